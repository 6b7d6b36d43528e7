"""Which model of ours a Keras file holds, with which hyper-parameters, and what the file leaves open."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isclose, isqrt
from typing import Any, Literal

import h5py

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import CONTAINERS, MEAN_BGR, Config, KerasLayer, input_shape, layers_in_order
from catdog_pl.keras.file import KerasFile
from catdog_pl.keras.hdf5 import read_array
from catdog_pl.keras.layers import (
    CLASSES,
    IDLE,
    TRAINING_ONLY,
    Link,
    Spec,
    brief,
    is_channels_first,
    read_chain,
    read_layer,
    weight_names,
)
from catdog_pl.keras.weights import StoredLayer, layer_names, match, stored_layers
from catdog_pl.models.backbones.vgg16 import BLOCKS, TORCHVISION_NAMES, normalization
from catdog_pl.models.keras_layers import imagenet_rescaling, keras_chain
from catdog_pl.models.sequential import is_valid
from catdog_pl.models.spec import WORKSHOP_SIZE

Preprocessing = Literal["rescale", "raw", "symmetric", "caffe"]

ASK = (
    "the file does not tell what is done to pixels before the model. Pass --preprocessing rescale if they "
    "are multiplied by 1/255, raw if they stay 0..255, symmetric if they become -1..1, caffe if "
    "keras.applications.vgg16.preprocess_input is called"
)
VGG16_WORDS = {"rescale": "workshop", "caffe": "imagenet"}
"""What the model vgg16 calls these."""

VGG16_FILTERS = tuple(width for widths in BLOCKS for width in widths)
COARSE = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")  # dtypes with 2 to 3 digits

LINEAR = ("GlobalAveragePooling2D", "AveragePooling2D", "Flatten", "Reshape", *IDLE)
"""Layers that may stand between the last weights and the answer: two outputs keep their difference."""

LIKE_OURS = {
    name.lower(): kind
    for name, kind in CLASSES.items()
    if kind in ("Conv2D", "MaxPooling2D", "Flatten", "Dense", "Activation", "Rescaling")
}
LIKE_OURS |= {name.lower(): name for name in ("ReLU", *IDLE, *TRAINING_ONLY, *CONTAINERS, "InputLayer")}
"""Classes of layers that the workshop's models may have in Keras, by their names in small letters."""

UNLIKE_OURS = {name.lower() for name in CLASSES} - LIKE_OURS.keys() | {
    "add", "average", "centercrop", "concatenate", "conv2dtranspose", "groupnormalization", "lambda",
    "maximum", "multiply", "slicingoplambda", "subtract", "tfoplambda", "thresholdedrelu", "upsampling2d",
}  # fmt: skip
"""Classes that change a prediction and that none of the workshop's models has."""


@dataclass
class Recognised:
    """One of our models, described by a Keras file."""

    model: str
    arguments: dict[str, Any]  # hyper-parameters, without the image size
    image_size: int | None = None  # None where the file does not tell it
    layers: list[KerasLayer] = field(default_factory=list)  # with weights; none for a file of weights only
    names: list[str] = field(default_factory=list)  # of the layers with weights
    stored: list[list[h5py.Dataset]] = field(default_factory=list)  # the arrays of each layer with weights
    flip: bool = False  # our first kernel takes its channels in the other order
    folds: bool = False  # the last layer has two outputs in the file, of which we take the difference
    notes: list[str] = field(default_factory=list)  # what a user should know, one line each


def recognise(file: KerasFile, preprocessing: Preprocessing | None) -> Recognised:
    """Return the model of ours that a file holds, its pixels prepared outside it as the user says."""
    if file.model is None:
        return recognise_weights(file.weights, preprocessing)
    layers = layers_in_order(file.model)
    chain = read_chain(layers)
    size, channels = image_of(input_shape(file.model, layers), is_channels_first(layers))
    left_out = listed(layer for layer in layers if layer.class_name in TRAINING_ONLY)
    notes = [f"left out, because they act only in training: {left_out}"] if left_out else []
    folds = make_one_sigmoid(chain, file.training, notes)
    weighted = [link for link in chain if weight_names(link.spec)]
    stored = match([(link.layer, len(weight_names(link.spec))) for link in weighted], file.weights)
    stored = [arrays for link, arrays in zip(weighted, stored, strict=True) if not adapted(link.spec, arrays)]
    found = workshop_model(chain, preprocessing) if channels == 3 else None
    found = found or sequential(chain, preprocessing, channels)
    found.image_size, found.folds, found.stored = size, folds, stored
    found.layers = [link.layer for link in chain if weight_names(link.spec)]
    found.names = [layer.name for layer in found.layers]
    found.notes = notes + found.notes + differences(found, layers)
    return found


def adapted(spec: Spec, arrays: Sequence[h5py.Dataset]) -> bool:
    """Give a Normalization layer what it learnt from data; whether that is what the arrays are."""
    if spec["class_name"] == "Normalization":
        for name, data in zip(("mean", "variance"), arrays, strict=True):
            if data.size > 3:
                raise KerasFileError(f"{data.name} holds {data.size} values; an image has 3 channels at most")
            spec[name] = [float(value) for value in read_array(data, data.shape).ravel()]
    return bool(spec["class_name"] == "Normalization")


def make_one_sigmoid(chain: list[Link], training: Config, notes: list[str]) -> bool:
    """Make the end of a chain one unit with a sigmoid; return whether it had two outputs."""
    ends = [i for i, link in enumerate(chain) if weight_names(link.spec)]
    if not ends or chain[ends[-1]].spec["class_name"] not in ("Dense", "Conv2D"):
        raise KerasFileError("it does not end in a Dense layer or a convolution, which would give its answer")
    head, *tail = chain[ends[-1] :]
    option = "units" if head.spec["class_name"] == "Dense" else "filters"
    units, function = head.spec[option], chain[-1].spec.get("activation", "linear")
    others = [link for link in tail if link.spec["class_name"] not in LINEAR and link is not chain[-1]]
    if others or (tail and head.spec["activation"] != "linear"):
        raise KerasFileError(f"{(others or [head])[0].layer} changes the answer behind the last weights")
    if tail and tail[-1].spec["class_name"] not in (*LINEAR, "Activation"):
        raise KerasFileError(f"{tail[-1].layer} stands last; a model for two classes ends in an activation")
    if function == "linear" and takes_logits(training) is None:
        notes.append("its last layer has no activation and the file has no loss: taken to give logits")
    is_logit = function == "linear" and takes_logits(training) is not False
    if (units, function) not in ((1, "sigmoid"), (2, "softmax")) and not (is_logit and units in (1, 2)):
        raise KerasFileError(
            f"{head.layer} has {units} outputs with the activation {function}; valid are 1 with sigmoid, "
            "2 with softmax, and either with linear and a loss that takes logits (from_logits=True)"
        )
    if units == 2:
        notes.append("two outputs become one logit, their difference: the same probabilities")
        head.spec[option] = 1
        for link in tail:
            if "target_shape" in link.spec:
                link.spec["target_shape"] = [*link.spec["target_shape"][:-1], 1]
    if "activation" in chain[-1].spec:
        chain[-1].spec["activation"] = "sigmoid"
    else:
        last = KerasLayer("Activation", f"{chain[-1].spec['name']}_sigmoid", {"activation": "sigmoid"})
        chain.append(Link(last, read_layer(last)))
    return bool(units == 2)


def takes_logits(training: Config) -> bool | None:
    """Whether the model was compiled with a loss that takes logits; None where it has no loss."""
    loss = training.get("loss")
    if not loss:
        return None
    config = loss.get("config") if isinstance(loss, dict) else None
    return isinstance(config, dict) and config.get("from_logits") is True


def workshop_model(chain: Sequence[Link], preprocessing: Preprocessing | None) -> Recognised | None:
    """Return the basic or the vgg16 model if a chain is exactly that; the layers' own names do not matter."""
    front = chain[0] if chain[0].spec["class_name"] == "Rescaling" else None
    specs = [link.spec for link in (chain[1:] if front else chain)]
    dense = [spec for spec in specs if spec["class_name"] == "Dense"]
    filters = tuple(spec["filters"] for spec in specs if spec["class_name"] == "Conv2D")
    if len(dense) != 2 or not filters:
        return None
    model = "vgg16" if filters == VGG16_FILTERS else "basic"
    arguments: dict[str, Any] = {"dense_units": dense[0]["units"], "dropout": specs[-2].get("rate", 0.0)}
    if model == "basic":
        arguments["filters"] = filters
    expected = [nameless(spec) for spec in keras_chain(model, arguments) if spec.get("rate") != 0]
    if [nameless(spec) for spec in specs] != expected:
        return None
    found = Recognised(model, arguments)
    inside = preprocessing_of(front.spec) if front else None
    return found if inside != "" and set_preprocessing(found, inside, preprocessing) else None


def nameless(spec: Spec) -> Spec:
    """Return what a layer does, without its name and whether it trains."""
    return {key: value for key, value in spec.items() if key not in ("name", "trainable")}


def set_preprocessing(found: Recognised, inside: str | None, preprocessing: Preprocessing | None) -> bool:
    """Set what a workshop's model does to pixels; return whether it can do that.

    Args:
        found: the model.
        inside: what the file's own layers do: ``rescale``, ``preprocess_input``, the name of the weights that
            take it, or None.
        preprocessing: what is done outside of the file's model, if the user says so.
    """
    own = {None: None, "rescale": "rescale"}.get(inside, "caffe")
    if own and preprocessing not in (None, "raw", own):
        raise KerasFileError(
            f"its layers do the preprocessing {own}; leave out --preprocessing {preprocessing}"
        )
    how = own or preprocessing
    if found.model == "basic":
        if inside in TORCHVISION_NAMES:
            found.arguments["preprocessing"] = "imagenet"
            return True
        if how is None:
            assumed = "taken to be trained on pixels times 1/255, as in the workshop"
            found.notes.append(f"no Rescaling layer: {assumed}")
        return how in (None, "rescale")
    if how is None:
        raise KerasFileError(ASK)
    if how not in VGG16_WORDS:
        return False
    outside = inside in (None, "preprocess_input")
    weights = "none" if how == "rescale" else "keras" if outside else str(inside)
    found.arguments |= {"weights": weights, "preprocessing": VGG16_WORDS[how]}
    found.flip = not outside and how == "caffe" and normalization(weights).bgr
    return True


def preprocessing_of(front: Spec) -> str:
    """Return ``rescale``, ``preprocess_input``, the weights that take what it gives, or nothing."""
    scale, offset, bgr = (front["scale"] * 3)[:3], (front["offset"] * 3)[:3], front["bgr"]
    if bgr:
        known = {"preprocess_input": ([1.0] * 3, [-value for value in MEAN_BGR])}
    else:
        known = {name: imagenet_rescaling(name) for name in ("keras", *TORCHVISION_NAMES)}
        known["rescale"] = [1 / 255] * 3, [0.0] * 3
    for name, (factors, summands) in known.items():
        pairs = zip(scale + offset, factors + summands, strict=True)
        if all(isclose(a, b, rel_tol=1e-5, abs_tol=1e-8) for a, b in pairs):
            return name
    return ""


def sequential(chain: Sequence[Link], preprocessing: Preprocessing | None, channels: int) -> Recognised:
    """Return a chain of any layers as the model sequential."""
    specs = [link.spec for link in chain]
    first = next((spec for spec in specs if weight_names(spec)), None)
    front = specs[: specs.index(first)] if first else specs
    if any(spec["class_name"] in ("Rescaling", "Normalization") for spec in front):
        if preprocessing not in (None, "raw"):
            raise KerasFileError(
                f"its layers prepare the pixels themselves; leave out --preprocessing {preprocessing}"
            )
        preprocessing = "raw"
    if preprocessing is None:
        raise KerasFileError(ASK)
    flips = [spec for spec in specs if spec.get("bgr")]
    if flips and (specs[0] is not flips[0] or not first or first.get("groups") != 1):
        raise KerasFileError("it turns RGB into BGR elsewhere than before a first convolution")
    for spec in flips:
        spec |= {"bgr": False, "scale": spec["scale"][::-1], "offset": spec["offset"][::-1]}
    names: set[str] = set()
    for spec in specs:
        name = spec["name"].replace(".", "_") or spec["class_name"]
        while name in names or not is_valid(name):
            name += "_"
        names.add(name)
        spec["name"] = name
    layers = [{"class_name": spec["class_name"], **brief(spec)} for spec in specs]
    arguments = {"layers": layers, "preprocessing": preprocessing, "grey": channels == 1}
    return Recognised("sequential", arguments, flip=bool(flips))


def differences(found: Recognised, layers: Sequence[KerasLayer]) -> list[str]:
    """Return in which respects our model behaves differently from the one in the file."""
    notes = []
    idle = [layer for layer in layers if layer.class_name in (*IDLE, *TRAINING_ONLY)]
    if always := listed(layer for layer in idle if layer.training):
        notes.append(f"{always}: called with training=True, so that Keras predicts at random; here not")
    tuned = [layer for layer in found.layers[:-2] if layer.config.get("trainable", True) is True]
    if found.model == "vgg16" and tuned:
        notes.append(f"trainable in Keras: {listed(tuned)}; their weights are taken, fit does not train them")
    if penalised := listed(layer for layer in layers if any(map(is_penalty, layer.config.items()))):
        notes.append(f"{penalised}: regularizers are not carried over; fit has optimizer_args weight_decay")
    dtypes = [layer.config.get("dtype") for layer in found.layers]
    policies = [dtype.get("config") if isinstance(dtype, dict) else {"name": dtype} for dtype in dtypes]
    types = [policy.get("name") if isinstance(policy, dict) else None for policy in policies]
    if coarse := next((name for name in types if name in COARSE), None):
        here = "here it is float32: probabilities differ by some thousandths"
        notes.append(f"Keras computes in {coarse}, {here}")
    return notes


def is_penalty(option: tuple[str, object]) -> bool:
    """Whether an option of a layer adds something to the loss."""
    return option[0].endswith("_regularizer") and option[1] is not None


def listed(layers: Iterable[KerasLayer]) -> str:
    """Return the layers' names for a note."""
    return ", ".join(layer.name for layer in layers)


def image_of(shape: Sequence[object] | None, channels_first: bool) -> tuple[int | None, int]:
    """Return the side of the square input, None where it is not told, and its channels, 3 or 1."""
    if shape is None or len(shape) != 4:
        return None, 3
    _, height, width, channels = shape if not channels_first else (shape[0], *shape[2:], shape[1])
    if channels not in (1, 3):
        raise KerasFileError(f"its images have {str(channels)[:60]} channels; valid are 3 (RGB) and 1 (grey)")
    if height != width:
        sides = f"{str(height)[:60]} x {str(width)[:60]}"
        raise KerasFileError(f"its images are {sides}; the models here take square ones")
    return height if isinstance(height, int) else None, int(channels)


def recognise_weights(file: h5py.File, preprocessing: Preprocessing | None) -> Recognised:
    """Return the model of ours that arrays without a configuration belong to, as far as the file shows."""
    stored, (names, in_order) = stored_layers(file), layer_names(file)
    convolutions = [layer for layer in stored if layer.kernel.ndim == 4]
    dense = [layer for layer in stored if layer.kernel.ndim == 2]
    if len(dense) != 2 or not convolutions or stored != convolutions + dense:
        counts = f"{len(convolutions)} convolutions and {len(dense)} dense layers"
        advice = (
            "the workshop's models have convolutions, then two dense layers; for others pass --architecture"
        )
        raise KerasFileError(f"it holds {counts}; {advice} with the JSON of model.to_json()")
    filters = tuple(int(layer.kernel.shape[3]) for layer in convolutions)
    pairs = [[layer.kernel, layer.bias] for layer in stored]
    found = Recognised("basic", {"dense_units": int(dense[0].kernel.shape[1])}, stored=pairs)
    found.names = [layer.name for layer in stored]
    if filters == VGG16_FILTERS:
        found.model = "vgg16"
    else:
        found.arguments["filters"] = filters
    compare_names(found, stored, names, in_order)
    rescaling = any(kind_of(name) == "rescaling" for name in names)
    if rescaling and preprocessing != "rescale":
        raise KerasFileError(
            "it has a Rescaling layer, whose factor a file of weights only does not hold. If it is 1/255, "
            "pass --preprocessing rescale; else pass --architecture with the JSON of model.to_json()"
        )
    if not set_preprocessing(found, "rescale" if rescaling else None, preprocessing):
        raise KerasFileError(
            f"the {found.model} model has no preprocessing {preprocessing}; pass --architecture with the "
            "JSON of model.to_json()"
        )
    found.notes.append(
        "the file holds weights only: padding, strides and activations are not in it and taken to be those "
        "of the model here; compare a prediction with Keras', or pass --architecture (model.to_json())"
    )
    return found


def compare_names(
    found: Recognised, stored: Sequence[StoredLayer], names: Sequence[str], in_order: bool
) -> None:
    """Refuse names that show another layer than our model has, and note those that tell nothing.

    They are as `layer_names` returns them; not every file has those of layers without weights.
    """
    groups = {layer.group for layer in stored}
    nested = len(groups) < len(stored)  # of some, only the whole has a name
    kinds = {name: kind_of(name) for name in names}
    for layer in stored:  # what has such weights, whatever it is called
        if layer.group in kinds and kinds[layer.group] not in UNLIKE_OURS:
            kinds[layer.group] = "conv2d" if layer.kernel.ndim == 4 else "dense"
    for name, kind in kinds.items():
        if kind in UNLIKE_OURS or kind.startswith("tf.") or (kind not in LIKE_OURS and not in_order):
            raise KerasFileError(f"its layer {name} is of a kind that the {found.model} model does not have")
    unknown = [name for name, kind in kinds.items() if kind not in LIKE_OURS]
    chain = keras_chain(found.model, {"dropout": 0.0} | found.arguments)
    ours = [spec["class_name"] for spec in chain if spec["class_name"] != "Dropout"]
    theirs = [LIKE_OURS[kinds[name]] for name in names if LIKE_OURS.get(kinds[name]) in ours]
    if Counter(theirs) == Counter(ours) and (not in_order or theirs == ours or nested):
        return
    if unknown and not nested:
        found.notes.append(f"layers whose names do not tell what they do: {', '.join(unknown)[:200]}")
    elif not nested and "Flatten" in theirs:
        order = " in another order" if Counter(theirs) == Counter(ours) else ""
        expected = f"the {found.model} model has {counted(ours)}{order}"
        raise KerasFileError(f"its layers are {counted(theirs)}; {expected}")


def counted(kinds: Sequence[str]) -> str:
    """Return ``4 Conv2D, 2 Dense``."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(kinds).items()))


def kind_of(name: str) -> str:
    """Return what a layer's default name tells of its class: ``maxpooling2d`` for ``max_pooling2d_3``."""
    if own := re.fullmatch(r"block[1-5]_(conv|pool)[1-3]?", name):
        return {"conv": "conv2d", "pool": "maxpooling2d"}[own[1]]
    return re.sub(r"_\d+$", "", name).replace("_", "").lower()


def choose_size(found: Recognised, image_size: int | None) -> int:
    """Return the side of the square images in pixels, where the user says ``image_size``.

    Several sizes flatten to the same width. The workshop's is taken where it is among them.
    """
    if found.model == "sequential" and found.image_size is None:
        if image_size is None:
            raise KerasFileError("it does not tell its image size: pass --image_size")
        return image_size
    sizes = range(found.image_size, found.image_size + 1) if found.image_size else possible_sizes(found)
    valid = f"{sizes[0]}" if len(sizes) == 1 else f"between {sizes[0]} and {sizes[-1]}"
    if image_size is not None and image_size not in sizes:
        proven = "" if found.layers else "if the network is the workshop's, "
        raise KerasFileError(f"{proven}its image size is {valid}, not {image_size}")
    if image_size is not None or len(sizes) == 1:
        return image_size or sizes[0]
    if WORKSHOP_SIZE in sizes:
        found.notes.append(f"image size {WORKSHOP_SIZE}, the workshop's; by its weights it is {valid}")
        return WORKSHOP_SIZE
    if found.layers:
        raise KerasFileError(f"it does not tell its image size, which is {valid}: pass --image_size")
    unknown = "it holds weights only, so the image size is unknown"
    raise KerasFileError(f"{unknown}. If the network is the workshop's, it is {valid}: pass --image_size")


def possible_sizes(found: Recognised) -> range:
    """Return the image sizes that flatten to the width that the first dense layer takes."""
    rows = found.stored[-2][0].shape[0]
    channels = 512 if found.model == "vgg16" else found.arguments["filters"][-1]
    side = isqrt(rows // channels)
    if side * side * channels != rows or not side:
        raise KerasFileError(f"its first dense layer takes {rows} values, which no square image gives")
    if found.model == "vgg16":
        return range(32 * side, 32 * side + 32)
    low = high = side
    for _ in found.arguments["filters"]:
        low, high = 2 * low + 2, 2 * high + 3  # a 3x3 convolution takes 2 off, a pooling halves
    return range(low, high + 1)
