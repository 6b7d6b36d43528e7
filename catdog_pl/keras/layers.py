"""The table of Keras layers: read from a configuration, built in PyTorch, written again, one row each.

Between the three a layer is a `Spec`, plain values in the words of Keras 3, its images channels last::

    {"class_name": "Dense", "name": "dense_1", "units": 256, "use_bias": True, "activation": "relu"}
"""

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import inf, isfinite
from typing import Any, NamedTuple

import torch
from torch import nn

from catdog_pl.errors import KerasFileError
from catdog_pl.keras import nn as own
from catdog_pl.keras.config import KerasLayer
from catdog_pl.keras.hdf5 import Array, printable
from catdog_pl.keras.weights import keras_shapes, to_keras

Spec = dict[str, Any]
Shape = tuple[int, ...]  # of one sample as Keras has it: (height, width, channels), or (values,)

MAX_VALUES = 2**28  # that one image may have between two layers, 1 GiB; VGG16 at 224 pixels has 3 million


class KerasEntry(NamedTuple):
    """One layer to write: its arguments, its name among them, and its weights in Keras' axes and order."""

    class_name: str
    config: dict[str, Any]
    arrays: Mapping[str, Array] = {}

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.config["name"])


class Link(NamedTuple):
    """One layer of a chain: where its file has it, and what it does."""

    layer: KerasLayer
    spec: Spec


class Option(NamedTuple):
    """One option of a layer."""

    parse: Callable[[Any], Any]  # value of a configuration -> plain value; ValueError says what is valid
    default: Any = None  # Keras'; None where the configuration must have the option


class LayerRow(NamedTuple):
    """How one kind of layer is read, built and written."""

    classes: tuple[str, ...]  # its other names, in any version of Keras
    options: Mapping[str, Option]  # those that a prediction depends on, by their names in Keras 3
    build: Callable[[Spec, Shape], nn.Module]  # without the activation; ValueError says what is valid
    weights: Callable[[Spec], list[str]] = lambda spec: []  # Keras' names of its arrays, in its order


def _whole(value: Any, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**31:
        raise ValueError(f"a whole number above {least - 1}")
    return value


def _pair(value: Any, least: int = 1) -> list[int]:
    values = value if isinstance(value, list | tuple) else [value, value]
    if len(values) != 2:
        raise ValueError("one number, or one for each axis")
    return [_whole(v, least) for v in values]


def _margins(value: Any) -> list[list[int]]:
    """Pixels above and below, then left and right."""
    values = value if isinstance(value, list | tuple) and len(value) == 2 else [value, value]
    return [_pair(v, 0) for v in values]


def _target(value: Any) -> list[int]:
    if not isinstance(value, list | tuple) or len(value) not in (1, 3):
        raise ValueError("one number, or height, width and channels")
    return [v if v == -1 and not isinstance(v, bool) else _whole(v) for v in value]


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _one_of(*valid: Any) -> Callable[[Any], Any]:
    """Hold an option to the values that are supported."""

    def parse(value: Any) -> Any:
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in valid):
            raise ValueError(" or ".join(str(one).lower() for one in valid))
        return value

    return parse


def _number(value: Any, low: float = -inf, high: float = inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")
    if not (low <= value <= high and abs(value) < 1e9):
        raise ValueError("a number" + (f" from {low:g} to {high:g}" if isfinite(high) else f" >= {low:g}"))
    return float(value)


_rate = partial(_number, low=0, high=1)
_positive = partial(_number, low=0)


def _limit(value: Any) -> float | None:
    return None if value is None else _positive(value)


def _rgb(value: Any) -> list[float]:
    """A number, or one number for each of R, G and B."""
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) not in (1, 3) or not all(isinstance(v, int | float) and abs(v) < 1e9 for v in values):
        raise ValueError("a number, or one for each of R, G and B")
    return [float(v) for v in values]


def _statistics(value: Any) -> list[float] | None:
    """Numbers that may be nested in lists of one, as arrays are; None where the weights hold them."""
    while isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if value is None:
        return None
    return [_number(v) for v in (value if isinstance(value, list | tuple) else [value])]


def _axis(value: Any) -> int:
    values = value if isinstance(value, list | tuple) else [value]
    values = values or [-1]  # one mean for all channels
    if len(values) != 1 or values[0] not in (-1, 1, 3) or isinstance(values[0], bool):
        raise ValueError("the axis of the channels")
    return int(values[0])


def _activation(value: Any) -> str:
    """A function's name; Keras 3 may wrap it, and a layer in its place goes by its class."""
    if isinstance(value, dict):
        config = value.get("config")
        value = config if isinstance(config, str) else value.get("class_name")
    if not isinstance(value, str):
        raise ValueError("the name of a function")
    return {"silu": "swish"}.get(value, printable(value))  # Keras 2 knows it by this name alone


def _edges(spec: Spec, shape: Shape, sizes: Sequence[int], dilation: Sequence[int] = (1, 1)) -> own.Edges:
    """Return the padding of a convolution or pooling as TensorFlow computes it."""
    if spec["padding"] == "valid":
        return 0, 0, 0, 0
    before, after = [], []
    for side, size, stride, gap in zip(shape[:2], sizes, spec["strides"], dilation, strict=True):
        total = max((-(-side // stride) - 1) * stride + (size - 1) * gap + 1 - side, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before[1], after[1], before[0], after[0]


def _conv_options(spec: Spec, shape: Shape) -> dict[str, Any]:
    kernel, dilation = spec["kernel_size"], spec["dilation_rate"]
    options = {"kernel_size": tuple(kernel), "stride": tuple(spec["strides"]), "dilation": tuple(dilation)}
    return options | {"edges": _edges(spec, shape, kernel, dilation)}


def _build_conv(spec: Spec, shape: Shape) -> nn.Module:
    if shape[-1] % spec["groups"] or spec["filters"] % spec["groups"]:
        raise ValueError(f"groups that divide {shape[-1]} and {spec['filters']} channels")
    options = _conv_options(spec, shape) | {"groups": spec["groups"], "bias": spec["use_bias"]}
    return own.Conv2D(shape[-1], spec["filters"], **options)


def _build_depthwise(spec: Spec, shape: Shape, bias: bool | None = None) -> own.DepthwiseConv2D:
    channels, bias = shape[-1], spec["use_bias"] if bias is None else bias
    options = _conv_options(spec, shape) | {"groups": channels, "bias": bias}
    return own.DepthwiseConv2D(channels, channels * spec["depth_multiplier"], **options)


def _build_dense(spec: Spec, shape: Shape) -> nn.Module:
    layer = nn.Linear if len(shape) == 1 else own.Dense
    return layer(shape[-1], spec["units"], bias=spec["use_bias"])


def _build_norm(spec: Spec, shape: Shape) -> nn.Module:
    if spec["axis"] not in (-1, len(shape)):
        raise ValueError(f"axis -1 or {len(shape)}")
    options = {key: spec[key] for key in ("epsilon", "center", "scale")}
    if spec["class_name"] == "LayerNormalization":
        return own.LayerNormalization(shape[-1], **options)
    layer = own.BatchNormalization(shape[-1], spec["momentum"], **options)
    layer.frozen = not spec["trainable"]
    return layer


def _per_channel(values: Sequence[float], shape: Shape) -> list[float]:
    """Return one value for each channel of an image, or one for all."""
    if len(shape) == 3 and len(values) == shape[-1]:
        return list(values)
    if len(shape) != 3 or len(set(values)) > 1:
        raise ValueError(f"an image with {len(values)} channels before it")
    return list(values[:1])


def _build_rescaling(spec: Spec, shape: Shape) -> nn.Module:
    scale, offset = (_per_channel(spec[key], shape) for key in ("scale", "offset"))
    return own.KerasRescaling(scale, offset, spec["bgr"])


def _build_normalization(spec: Spec, shape: Shape) -> nn.Module:
    """``(x - mean) / max(sqrt(variance), 1e-7)``, as ``keras/src/layers/preprocessing/normalization.py``."""
    if spec["mean"] is None or spec["variance"] is None or min(spec["variance"]) < 0:
        raise ValueError("one with a mean and a variance >= 0")
    if len(spec["mean"]) != len(spec["variance"]):
        raise ValueError("as many means as variances")
    scale = [1 / max(v**0.5, 1e-7) for v in spec["variance"]]
    offset = [-m * s for m, s in zip(spec["mean"], scale, strict=True)]
    return own.KerasRescaling(_per_channel(scale, shape), _per_channel(offset, shape))


def _build_prelu(spec: Spec, shape: Shape) -> nn.Module:
    *sides, channels = shape
    shared = spec["shared_axes"]
    sides = [1 if axis in shared else side for axis, side in enumerate(sides, start=1)]
    return own.PReLU([channels, *sides])


def _shared_axes(value: Any) -> list[int]:
    if value not in ([], [1, 2]):
        raise ValueError("none or [1, 2]")
    return list(value)


def _dims(value: Any) -> list[int]:
    if not isinstance(value, list | tuple) or sorted(map(str, value)) != ["1", "2", "3"]:
        raise ValueError("an order of 1, 2 and 3")
    return [int(v) for v in value]


def _pad(margins: Sequence[Sequence[int]], sign: int) -> nn.Module:
    (above, below), (left, right) = margins
    return nn.ZeroPad2d((sign * left, sign * right, sign * above, sign * below))


def _kernel(spec: Spec) -> list[str]:
    return ["kernel"] + ["bias"] * spec["use_bias"]


def _affine(spec: Spec) -> list[str]:
    return ["gamma"] * spec["scale"] + ["beta"] * spec["center"]


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "elu": nn.ELU, "selu": nn.SELU, "swish": nn.SiLU,
    "gelu": nn.GELU, "softplus": nn.Softplus, "softsign": nn.Softsign, "mish": nn.Mish,
    "softmax": partial(nn.Softmax, dim=1),
}  # fmt: skip

RECTIFIERS = {"relu6": {"max_value": 6.0}, "leaky_relu": {"negative_slope": 0.2}}
"""Activations that Keras 2 does not know by name, as options of a ReLU layer behind."""

TRAINABLE = {"trainable": Option(_flag, True)}
BIAS = {"use_bias": Option(_flag, True), "activation": Option(_activation, "linear")} | TRAINABLE
PADDING = {"padding": Option(_one_of("valid", "same"), "valid")}
WINDOW = {"kernel_size": Option(_pair), "strides": Option(_pair, 1), "dilation_rate": Option(_pair, 1)}
CONV = {"filters": Option(_whole)} | WINDOW | PADDING | BIAS
DEPTHWISE = WINDOW | PADDING | {"depth_multiplier": Option(_whole, 1)} | BIAS
POOL = {"pool_size": Option(_pair), "strides": Option(_pair)} | PADDING
NORM = {
    "axis": Option(_axis, -1),
    "epsilon": Option(_positive, 1e-3),
    "center": Option(_flag, True),
    "scale": Option(_flag, True),
} | TRAINABLE
RATE = {"rate": Option(_rate)}
KEEPDIMS = {"keepdims": Option(_flag, False)}

LAYERS: dict[str, LayerRow] = {
    "Conv2D": LayerRow(("Convolution2D",), CONV | {"groups": Option(_whole, 1)}, _build_conv, _kernel),
    "DepthwiseConv2D": LayerRow((), DEPTHWISE, _build_depthwise, _kernel),
    "SeparableConv2D": LayerRow(
        ("SeparableConvolution2D",),
        {"filters": Option(_whole)} | DEPTHWISE,
        lambda spec, shape: own.SeparableConv2D(
            _build_depthwise(spec, shape, bias=False), spec["filters"], spec["use_bias"]
        ),
        lambda spec: ["depthwise_kernel", "pointwise_kernel"] + ["bias"] * spec["use_bias"],
    ),
    "MaxPooling2D": LayerRow(
        ("MaxPool2D",),
        POOL,
        lambda spec, shape: own.MaxPooling2D(
            spec["pool_size"], spec["strides"], _edges(spec, shape, spec["pool_size"])
        ),
    ),
    "AveragePooling2D": LayerRow(
        ("AvgPool2D",),
        POOL,
        lambda spec, shape: own.AveragePooling2D(
            spec["pool_size"], spec["strides"], _edges(spec, shape, spec["pool_size"])
        ),
    ),
    "GlobalAveragePooling2D": LayerRow(
        ("GlobalAvgPool2D",), KEEPDIMS, lambda spec, shape: own.GlobalPooling2D(torch.mean, spec["keepdims"])
    ),
    "GlobalMaxPooling2D": LayerRow(
        ("GlobalMaxPool2D",), KEEPDIMS, lambda spec, shape: own.GlobalPooling2D(torch.amax, spec["keepdims"])
    ),
    "BatchNormalization": LayerRow(
        (),
        NORM | {"momentum": Option(_rate, 0.99), "renorm": Option(_one_of(False), False)},
        _build_norm,
        lambda spec: [*_affine(spec), "moving_mean", "moving_variance"],
    ),
    "LayerNormalization": LayerRow(
        (),
        NORM | {"rms_scaling": Option(_one_of(False), False)},
        _build_norm,
        _affine,
    ),
    "Flatten": LayerRow((), {}, lambda spec, shape: own.KerasFlatten()),
    "Dense": LayerRow((), {"units": Option(_whole)} | BIAS, _build_dense, _kernel),
    "Activation": LayerRow(
        ("Softmax",),
        {"activation": Option(_activation), "axis": Option(_one_of(-1), -1)},
        lambda spec, shape: nn.Identity(),
    ),
    "ReLU": LayerRow(
        ("LeakyReLU",),
        {
            "max_value": Option(_limit),
            "negative_slope": Option(_positive, 0.0),
            "threshold": Option(_positive, 0.0),
        },
        lambda spec, shape: own.ReLU(spec["max_value"], spec["negative_slope"], spec["threshold"]),
    ),
    "ELU": LayerRow((), {"alpha": Option(_positive, 1.0)}, lambda spec, shape: nn.ELU(spec["alpha"])),
    "PReLU": LayerRow(
        (), {"shared_axes": Option(_shared_axes, [])} | TRAINABLE, _build_prelu, lambda spec: ["alpha"]
    ),
    "Dropout": LayerRow((), RATE, lambda spec, shape: nn.Dropout(spec["rate"])),
    "SpatialDropout2D": LayerRow((), RATE, lambda spec, shape: nn.Dropout2d(spec["rate"])),
    "AlphaDropout": LayerRow((), RATE, lambda spec, shape: nn.AlphaDropout(spec["rate"])),
    "GaussianDropout": LayerRow(
        (),
        {"rate": Option(partial(_number, low=0, high=0.999))},
        lambda spec, shape: own.GaussianNoise((spec["rate"] / (1 - spec["rate"])) ** 0.5, multiplies=True),
    ),
    "GaussianNoise": LayerRow(
        (),
        {"stddev": Option(_positive)},
        lambda spec, shape: own.GaussianNoise(spec["stddev"], multiplies=False),
    ),
    "ZeroPadding2D": LayerRow(
        (), {"padding": Option(_margins, 1)}, lambda spec, shape: _pad(spec["padding"], 1)
    ),
    "Cropping2D": LayerRow(
        (), {"cropping": Option(_margins, 0)}, lambda spec, shape: _pad(spec["cropping"], -1)
    ),
    "Reshape": LayerRow(
        (), {"target_shape": Option(_target)}, lambda spec, shape: own.Reshape(spec["target_shape"])
    ),
    "Permute": LayerRow((), {"dims": Option(_dims)}, lambda spec, shape: own.Permute(spec["dims"])),
    "Rescaling": LayerRow(
        (),
        {"scale": Option(_rgb), "offset": Option(_rgb), "bgr": Option(_flag, False)},
        _build_rescaling,
    ),
    "Normalization": LayerRow(
        (),
        {
            "axis": Option(_axis, -1),
            "mean": Option(_statistics),
            "variance": Option(_statistics),
            "invert": Option(_one_of(False), False),
        },
        _build_normalization,
        lambda spec: ["mean", "variance"] if spec["mean"] is None else [],
    ),
    "Resizing": LayerRow(
        (),
        {
            "height": Option(_whole),
            "width": Option(_whole),
            "interpolation": Option(_one_of("bilinear", "nearest"), "bilinear"),
            "crop_to_aspect_ratio": Option(_one_of(False), False),
            "pad_to_aspect_ratio": Option(_one_of(False), False),
            "antialias": Option(_one_of(False), False),
        },
        lambda spec, shape: own.Resizing(
            (spec["height"], spec["width"]),
            "bilinear" if spec["interpolation"] == "bilinear" else "nearest-exact",
        ),
    ),
}
CLASSES = {name: kind for kind, row in LAYERS.items() for name in (kind, *row.classes)}

TRAINING_ONLY = (
    "ActivityRegularization", "RandomBrightness", "RandomContrast", "RandomFlip", "RandomHeight",
    "RandomRotation", "RandomTranslation", "RandomWidth", "RandomZoom",
)  # fmt: skip
"""Layers that hand their input on unchanged when the model predicts, and that are left out here."""

IDLE = ("Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise")
"""Layers that act in training alone."""

KERAS_1 = {
    "bias": "use_bias", "border_mode": "padding", "nb_filter": "filters", "output_dim": "units",
    "p": "rate", "sigma": "stddev", "subsample": "strides",
}  # fmt: skip
"""Options of Keras 1 by their names since Keras 2."""


def read_chain(layers: Iterable[KerasLayer]) -> list[Link]:
    """Return the layers that act, each with its spec, an activation as an option of the layer it follows.

    Raises:
        KerasFileError: a layer is of an unknown class, or has an option that cannot be read.
    """
    chain: list[Link] = []
    layers = [layer for layer in layers if layer.class_name not in ("InputLayer", *TRAINING_ONLY)]
    turned = is_channels_first(layers)
    for layer in layers:
        spec = read_layer(layer)
        if turned:
            turned = turn(layer, spec, chain)
        if spec["class_name"] == "Activation" and joined(spec["activation"], [link.spec for link in chain]):
            continue
        chain.append(Link(layer, spec))
        if (function := spec.get("activation")) in RECTIFIERS:
            options = RECTIFIERS[str(function)]
            if spec["class_name"] == "Activation":
                chain.pop()
            else:
                spec["activation"] = "linear"
            name = spec["name"] + f"_{function}" * (spec["class_name"] != "Activation")
            chain.append(Link(layer, read_layer(KerasLayer("ReLU", name, options))))
    return chain


def is_channels_first(layers: Iterable[KerasLayer]) -> bool:
    """Whether a chain's images are (channels, height, width); a Flatten layer may say otherwise."""
    found = {stated_format(layer): layer for layer in layers if layer.class_name != "Flatten"}
    if len(found.keys() - {None}) > 1:
        raise KerasFileError(
            f"{found['channels_first']} has channels_first, {found['channels_last']} has not"
        )
    return "channels_first" in found


def stated_format(layer: KerasLayer) -> str | None:
    """Return ``channels_first`` or ``channels_last``, None for a layer that does not tell."""
    value = layer.config.get("data_format", layer.config.get("dim_ordering"))
    words = {"tf": "channels_last", "th": "channels_first"}  # Keras 1
    value = words.get(value, value) if isinstance(value, str) else value
    if value not in (None, "channels_last", "channels_first"):
        valid = "channels_last or channels_first"
        raise KerasFileError(f"{layer} has data_format {reprlib.repr(value)}; valid is {valid}")
    return value


def turn(layer: KerasLayer, spec: Spec, chain: list[Link]) -> bool:
    """Make a layer of a chain with channels first one with channels last; return whether images follow it.

    Kernels are the same for both. Only what flattens sees the difference.
    """
    kind = spec["class_name"]
    if kind == "Flatten" and stated_format(layer) != "channels_first":
        chain.append(
            Link(layer, read_layer(KerasLayer("Permute", f"{layer.name}_order", {"dims": [3, 1, 2]})))
        )
    elif kind == "BatchNormalization" and spec["axis"] == 1:
        spec["axis"] = -1
    elif "axis" in spec and (kind != "Activation" or spec["activation"] == "softmax"):
        raise KerasFileError(
            f"{layer} has axis {spec['axis']}; with channels_first valid is 1 in BatchNormalization"
        )
    elif kind in ("Dense", "PReLU", "Reshape", "Permute"):
        raise KerasFileError(f"{layer} acts on images with channels_first; it is not supported there")
    return kind != "Flatten" and not kind.startswith("Global")


def joined(function: str, before: Sequence[Spec]) -> bool:
    """Make an activation an option of the layer that it follows; return whether that can be done."""
    while function == "relu" and before and before[-1]["class_name"] in ("MaxPooling2D", *IDLE[:2]):
        before = before[:-1]  # a maximum and a scale may change places with it
    if function in ("linear", *RECTIFIERS) or not before or before[-1].get("activation") != "linear":
        return function == "linear"
    before[-1]["activation"] = function
    return True


def read_layer(layer: KerasLayer) -> Spec:
    """Return a layer as plain values."""
    kind = CLASSES.get(layer.class_name)
    if kind is None:
        raise KerasFileError(f"{layer} is not supported; supported are {', '.join(LAYERS)}")
    found, spec = modern(layer), {"class_name": kind, "name": layer.name}
    for name, option in LAYERS[kind].options.items():
        value = found.get(name, option.default)
        try:
            spec[name] = option.parse(value)
        except ValueError as error:
            raise KerasFileError(f"{layer} has {name} {reprlib.repr(value)}; valid is {error}") from error
    if kind == "ReLU" and spec["max_value"] is None and not (spec["negative_slope"] or spec["threshold"]):
        return read_layer(KerasLayer("Activation", layer.name, {"activation": "relu"}))
    return spec


def modern(layer: KerasLayer) -> dict[str, Any]:
    """Return a layer's options in the words of Keras 3, those that are null left out."""
    found = {KERAS_1.get(key, key): value for key, value in layer.config.items() if value is not None}
    if "nb_row" in found:
        found["kernel_size"] = [found["nb_row"], found.get("nb_col")]
    if CLASSES[layer.class_name] in ("MaxPooling2D", "AveragePooling2D"):
        found.setdefault("strides", found.setdefault("pool_size", 2))
    elif layer.class_name == "LeakyReLU":
        found.setdefault("negative_slope", found.get("alpha", 0.3))
    elif layer.class_name == "Rescaling":
        found.setdefault("offset", 0.0)
    elif layer.class_name == "Softmax":
        found["activation"] = "softmax"
    return found


def weight_names(spec: Spec) -> list[str]:
    """Return Keras' names of a layer's arrays, in the order in which it stores them."""
    return LAYERS[spec["class_name"]].weights(spec)


def build_chain(specs: Sequence[Spec], shape: Shape) -> Iterator[tuple[dict[str, nn.Module], Shape]]:
    """Yield each layer's modules as `build_layer` does, with the shape of what they give.

    Raises:
        KerasFileError: PyTorch has no such layer, or it does not fit the layer before.
    """
    for spec in specs:
        modules = build_layer(spec, shape)
        with torch.device("meta"):
            probe = nn.Sequential(*build_layer(spec, shape).values()).eval()
            try:
                output = probe(torch.empty(1, shape[-1], *shape[:-1]))
            except (RuntimeError, ValueError, OverflowError) as error:
                size = " x ".join(map(str, shape))
                raise KerasFileError(f"{shown(spec)} does not fit what comes before it, {size}") from error
        shape = (*output.shape[2:], output.shape[1])
        if not 0 < output.numel() <= MAX_VALUES:
            raise KerasFileError(f"{shown(spec)} gives {output.numel()} values; valid are 1 to {MAX_VALUES}")
        yield modules, shape


def build_layer(spec: Spec, shape: Shape) -> dict[str, nn.Module]:
    """Return a layer as a module under its name, and its activation as one behind it.

    Raises:
        KerasFileError: PyTorch has no such layer, or no such activation.
    """
    function = spec.get("activation", "linear")
    if function != "linear" and function not in ACTIVATIONS:
        valid = ", ".join(ACTIVATIONS)
        raise KerasFileError(f"{shown(spec)} has activation {function}; valid are {valid}")
    try:
        modules = {spec["name"]: LAYERS[spec["class_name"]].build(spec, shape)}
    except ValueError as error:
        raise KerasFileError(f"{shown(spec)} cannot be built; valid is {error}") from error
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise KerasFileError(f"{shown(spec)} is larger than any memory") from error
    modules[spec["name"]].requires_grad_(spec.get("trainable", True))
    if spec["class_name"] == "Activation":
        return {spec["name"]: ACTIVATIONS[function]() if function != "linear" else nn.Identity()}
    if function != "linear":
        modules[f"{spec['name']}_{function}"] = ACTIVATIONS[function]()
    return modules


def shown(spec: Spec) -> str:
    """Return a layer for a message."""
    return str(KerasLayer(spec["class_name"], spec["name"], {}))


def brief(spec: Spec) -> dict[str, Any]:
    """Return a spec without what is Keras' default: the layer's configuration."""
    options = LAYERS[spec["class_name"]].options
    return {"name": spec["name"]} | {
        name: spec[name]
        for name, option in options.items()
        if (spec[name] is not None if option.default is None else spec[name] != option.parse(option.default))
    }


def write_layer(spec: Spec, module: nn.Module | None = None) -> KerasEntry:
    """Return a layer as Keras stores it, without options that are Keras' defaults."""
    config, state = brief(spec), module.state_dict() if module else {}
    parameters = list(module.parameters()) if module else []
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        config["trainable"] = False
    shapes = keras_shapes(module) if module else {}
    arrays = [to_keras(tensor, shapes[key]) for key, tensor in state.items()]
    return KerasEntry(spec["class_name"], config, dict(zip(weight_names(spec), arrays, strict=True)))
