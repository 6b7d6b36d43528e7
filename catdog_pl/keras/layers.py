"""The table of Keras layers: read from a configuration, built in PyTorch, written again, one row each.

Between the three a layer is a `Spec`, plain values in the words of Keras 3::

    {"class_name": "Dense", "name": "dense_1", "units": 256, "use_bias": True, "activation": "relu"}
"""

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import KerasLayer
from catdog_pl.keras.hdf5 import Array, printable
from catdog_pl.keras.nn import KerasFlatten, KerasRescaling
from catdog_pl.keras.weights import to_keras

Spec = dict[str, Any]
Shape = tuple[int, ...]  # of one sample as Keras has it: (height, width, channels), or (values,)


class KerasEntry(NamedTuple):
    """One layer to write: its arguments, its name among them, and its weights in Keras' axes."""

    class_name: str
    config: dict[str, Any]
    arrays: tuple[Array, ...] = ()

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
    build: Callable[[Spec, Shape], nn.Module]  # without the activation


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("a whole number above 0")
    return value


def _pair(value: Any) -> list[int]:
    values = value if isinstance(value, list | tuple) else [value, value]
    if len(values) != 2:
        raise ValueError("one number, or one for each axis")
    return [_whole(v) for v in values]


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _padding(value: Any) -> str:
    if value not in ("valid", "same"):
        raise ValueError("valid or same")
    return str(value)


def _channels_last(value: Any) -> str:
    if value not in ("channels_last", "tf"):  # Keras 1 called it tf
        raise ValueError("channels_last")
    return "channels_last"


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("a number from 0 to 1")
    return float(value)


def _rgb(value: Any) -> list[float]:
    """A number, or one number for each of R, G and B."""
    values = value if isinstance(value, list | tuple) and len(value) == 3 else [value] * 3
    if not all(isinstance(v, int | float) and abs(v) < 1e9 for v in values):
        raise ValueError("a number, or one for each of R, G and B")
    return [float(v) for v in values]


def _activation(value: Any) -> str:
    """A function's name; Keras 3 may wrap it, and a layer in its place goes by its class."""
    if isinstance(value, dict):
        config = value.get("config")
        value = config if isinstance(config, str) else value.get("class_name")
    if not isinstance(value, str):
        raise ValueError("the name of a function")
    return printable(value)


def _build_conv(spec: Spec, shape: Shape) -> nn.Module:
    kernel, strides, dilation = (tuple(spec[key]) for key in ("kernel_size", "strides", "dilation_rate"))
    padding = spec["padding"] if strides == (1, 1) else _unpadded(spec)
    groups, bias = spec["groups"], spec["use_bias"]
    return nn.Conv2d(shape[-1], spec["filters"], kernel, strides, padding, dilation, groups, bias)


def _build_pool(spec: Spec, shape: Shape) -> nn.Module:
    return nn.MaxPool2d(spec["pool_size"], spec["strides"], padding=_unpadded(spec))


def _unpadded(spec: Spec) -> int:
    if spec["padding"] != "valid":
        raise KerasFileError(f"layer {spec['name']} has padding same, which cannot be built with its strides")
    return 0


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}

IMAGE = {"data_format": Option(_channels_last, "channels_last")}
LINEAR = {"use_bias": Option(_flag, True), "activation": Option(_activation, "linear")}
CONV = {
    "filters": Option(_whole),
    "kernel_size": Option(_pair),
    "strides": Option(_pair, 1),
    "padding": Option(_padding, "valid"),
    "dilation_rate": Option(_pair, 1),
    "groups": Option(_whole, 1),
}
POOL = {"pool_size": Option(_pair), "strides": Option(_pair), "padding": Option(_padding, "valid")}

LAYERS: dict[str, LayerRow] = {
    "Conv2D": LayerRow(("Convolution2D",), CONV | LINEAR | IMAGE, _build_conv),
    "MaxPooling2D": LayerRow(("MaxPool2D",), POOL | IMAGE, _build_pool),
    "Flatten": LayerRow((), IMAGE, lambda spec, shape: KerasFlatten()),
    "Dense": LayerRow(
        (),
        {"units": Option(_whole)} | LINEAR,
        lambda spec, shape: nn.Linear(shape[-1], spec["units"], bias=spec["use_bias"]),
    ),
    "Dropout": LayerRow((), {"rate": Option(_rate)}, lambda spec, shape: nn.Dropout(spec["rate"])),
    "Rescaling": LayerRow(
        (),
        {"scale": Option(_rgb), "offset": Option(_rgb, 0.0), "bgr": Option(_flag, False)},
        lambda spec, shape: KerasRescaling(spec["scale"], spec["offset"], spec["bgr"]),
    ),
    "Activation": LayerRow(
        ("ReLU",), {"activation": Option(_activation)}, lambda spec, shape: ACTIVATIONS[spec["activation"]]()
    ),
}
"""By Keras' class."""

CLASSES = {name: kind for kind, row in LAYERS.items() for name in (kind, *row.classes)}

TRAINING_ONLY = (
    "ActivityRegularization", "AlphaDropout", "GaussianDropout", "GaussianNoise", "RandomBrightness",
    "RandomContrast", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", "SpatialDropout2D",
)  # fmt: skip
"""Layers that hand their input on unchanged when the model predicts, as Dropout does."""

KERAS_1 = {
    "bias": "use_bias", "border_mode": "padding", "dim_ordering": "data_format", "nb_filter": "filters",
    "output_dim": "units", "p": "rate", "subsample": "strides",
}  # fmt: skip
"""Options of Keras 1 by their names since Keras 2."""


def read_chain(layers: Iterable[KerasLayer]) -> list[Link]:
    """Return the layers that act, each with its spec, an activation as an option of the layer it follows.

    Layers that act only in training are left out, but for Dropout.

    Raises:
        KerasFileError: a layer is of an unknown class, or has an option that cannot be read.
    """
    chain: list[Link] = []
    for layer in layers:
        if layer.class_name in ("InputLayer", *TRAINING_ONLY):
            continue
        spec = read_layer(layer)
        before = [link.spec for link in chain if link.spec["class_name"] != "Dropout"]
        if spec["class_name"] != "Activation" or not joined(spec["activation"], before):
            chain.append(Link(layer, spec))
    return chain


def joined(function: str, before: Sequence[Spec]) -> bool:
    """Make an activation an option of the layer that it follows; return whether that can be done."""
    if function == "relu" and before and before[-1]["class_name"] == "MaxPooling2D":
        before = before[:-1]  # both are monotone: they may change places
    if function == "linear" or not before or before[-1].get("activation") != "linear":
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
    return spec


def modern(layer: KerasLayer) -> dict[str, Any]:
    """Return a layer's options in the words of Keras 3, those that are null left out."""
    found = {KERAS_1.get(key, key): value for key, value in layer.config.items() if value is not None}
    if "nb_row" in found:
        found["kernel_size"] = [found["nb_row"], found.get("nb_col")]
    if "pool_size" in found:
        found.setdefault("strides", found["pool_size"])
    if layer.class_name == "ReLU":
        for option in ("max_value", "negative_slope", "threshold"):
            if found.get(option):
                raise KerasFileError(f"{layer} has {option} {reprlib.repr(found[option])}; valid is none")
        found["activation"] = "relu"
    return found


def build_layer(spec: Spec, shape: Shape) -> dict[str, nn.Module]:
    """Return a layer as a module under its name, and its activation as one behind it.

    Raises:
        KerasFileError: PyTorch has no such layer, or no such activation.
    """
    function = spec.get("activation", "linear")
    if function != "linear" and function not in ACTIVATIONS:
        valid = ", ".join(ACTIVATIONS)
        raise KerasFileError(f"layer {spec['name']} has activation {function}; valid are {valid}")
    modules = {spec["name"]: LAYERS[spec["class_name"]].build(spec, shape)}
    if function != "linear" and spec["class_name"] != "Activation":
        modules[f"{spec['name']}_{function}"] = ACTIVATIONS[function]()
    return modules


def write_layer(spec: Spec, module: nn.Module | None = None) -> KerasEntry:
    """Return a layer as Keras stores it, without options that are Keras' defaults."""
    options = LAYERS[spec["class_name"]].options
    config = {"name": spec["name"]} | {
        name: spec[name]
        for name, option in options.items()
        if option.default is None or spec[name] != option.parse(option.default)
    }
    parameters = list(module.parameters(recurse=False)) if module else []
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        config["trainable"] = False
    return KerasEntry(spec["class_name"], config, tuple(to_keras(parameter) for parameter in parameters))
