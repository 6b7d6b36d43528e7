"""Which model of ours a Keras file holds, with which hyper-parameters, and what the file leaves open."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, isqrt
from typing import Any, Literal

import h5py

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import CONTAINERS, MEAN_BGR, Config, KerasLayer, input_shape, layers_in_order
from catdog_pl.keras.file import KerasFile
from catdog_pl.keras.layers import CLASSES, TRAINING_ONLY, Link, read_chain
from catdog_pl.keras.weights import StoredLayer, layer_names, match, stored_layers
from catdog_pl.models.backbones.vgg16 import BLOCKS, TORCHVISION_NAMES, normalization
from catdog_pl.models.keras_layers import imagenet_rescaling, keras_chain

Preprocessing = Literal["workshop", "imagenet"]

VGG16_FILTERS = tuple(width for widths in BLOCKS for width in widths)
WORKSHOP_SIZE = 150
COARSE = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")  # dtypes with 2 to 3 digits
IDLE = ("Dropout", *TRAINING_ONLY)

LIKE_OURS = {name.lower(): kind for name, kind in CLASSES.items()}
LIKE_OURS |= {name.lower(): name for name in (*IDLE, *CONTAINERS, "InputLayer")}
"""Classes of layers that a model of ours may have in Keras, by their names in small letters."""

UNLIKE_OURS = {
    "add", "average", "averagepooling2d", "batchnormalization", "centercrop", "concatenate",
    "conv2dtranspose", "cropping2d", "depthwiseconv2d", "elu", "globalaveragepooling2d",
    "globalmaxpooling2d", "groupnormalization", "lambda", "layernormalization", "leakyrelu", "maximum",
    "multiply", "normalization", "permute", "prelu", "reshape", "resizing", "separableconv2d",
    "slicingoplambda", "softmax", "subtract", "tfoplambda", "thresholdedrelu", "upsampling2d",
    "zeropadding2d",
}  # fmt: skip
"""Classes that change a prediction and that no model of ours has."""


@dataclass
class Recognised:
    """One of our models, described by a Keras file."""

    model: str
    arguments: dict[str, Any]  # hyper-parameters, without the image size
    image_size: int | None = None  # None where the file does not tell it
    layers: list[KerasLayer] = field(default_factory=list)  # with weights; none for a file of weights only
    stored: list[StoredLayer] = field(default_factory=list)  # the convolutions, then the two dense layers
    flip: bool = False  # our first kernel takes BGR where the file's takes RGB
    notes: list[str] = field(default_factory=list)  # what a user should know, one line each


def recognise(file: KerasFile, preprocessing: Preprocessing | None) -> Recognised:
    """Return the model of ours that a file holds, its pixels prepared outside it as the user says."""
    if file.model is None:
        return recognise_weights(file.weights, preprocessing)
    found = recognise_layers(file.model, file.training, preprocessing)
    found.stored = match(found.layers, file.weights)
    return found


def recognise_layers(config: Config, training: Config, preprocessing: Preprocessing | None) -> Recognised:
    """Return the model that a configuration describes; the layers' own names do not matter."""
    layers = layers_in_order(config)
    chain = read_chain(layers)
    acting = [link for link in chain if link.spec["class_name"] != "Dropout"]
    rescales = bool(acting) and acting[0].spec["class_name"] == "Rescaling"
    inside = preprocessing_of(acting.pop(0)) if rescales else None
    if acting and acting[-1].spec.get("activation") == "linear" and from_logits(training):
        acting[-1].spec["activation"] = "sigmoid"  # the loss has it
    weighted = [link for link in acting if link.spec["class_name"] in ("Conv2D", "Dense")]
    dense = [link for link in weighted if link.spec["class_name"] == "Dense"]
    filters = tuple(link.spec["filters"] for link in weighted if "filters" in link.spec)
    model = "vgg16" if len(filters) == len(VGG16_FILTERS) else "basic"
    arguments = {"dense_units": dense[0].spec["units"] if dense else 1}
    arguments |= {"dropout": 0.0} if model == "vgg16" else {"filters": filters or (1,)}
    compare(acting, model, arguments)
    found = Recognised(model, arguments, layers=[link.layer for link in weighted])
    found.image_size = image_size(input_shape(config, layers))
    set_preprocessing(found, inside, preprocessing)
    idle = [layer for layer in layers if layer.class_name in IDLE]
    notes = differences(found, idle)
    if model == "vgg16":
        between = chain[chain.index(dense[0]) : chain.index(dense[1])]
        kept = next((link for link in between if link.spec["class_name"] == "Dropout"), None)
        found.arguments["dropout"] = kept.spec["rate"] if kept else 0.0
        idle = [layer for layer in idle if kept is None or layer is not kept.layer]
    if idle:
        found.notes.append(f"left out, because they act only in training: {listed(idle)}")
    found.notes += notes
    return found


def differences(found: Recognised, idle: Sequence[KerasLayer]) -> list[str]:
    """Return in which respects our model behaves differently from the one in the file."""
    notes = []
    if always := [layer for layer in idle if layer.training]:
        names = listed(always)
        notes.append(f"{names}: called with training=True, so that Keras predicts at random; here not")
    tuned = [layer for layer in found.layers[:-2] if layer.config.get("trainable", True) is True]
    if found.model == "vgg16" and tuned:
        notes.append(f"trainable in Keras: {listed(tuned)}; their weights are taken, fit does not train them")
    dtypes = [layer.config.get("dtype") for layer in found.layers]
    policies = [dtype.get("config") if isinstance(dtype, dict) else {"name": dtype} for dtype in dtypes]
    types = [policy.get("name") if isinstance(policy, dict) else None for policy in policies]
    if coarse := next((name for name in types if name in COARSE), None):
        here = "here it is float32: probabilities differ by some thousandths"
        notes.append(f"Keras computes in {coarse}, {here}")
    return notes


def listed(layers: Sequence[KerasLayer]) -> str:
    """Return the layers' names for a note."""
    return ", ".join(layer.name for layer in layers)


def set_preprocessing(found: Recognised, inside: str | None, preprocessing: Preprocessing | None) -> None:
    """Set what is done to pixels, from what the file does itself and what the user says is done outside."""
    own = {None: None, "workshop": "workshop"}.get(inside, "imagenet")
    if own and preprocessing and own != preprocessing:
        advice = f"leave out --preprocessing {preprocessing}"
        raise KerasFileError(f"its layers do the preprocessing {own}; {advice}")
    how = own or preprocessing
    if found.model == "basic":
        if inside in TORCHVISION_NAMES:
            found.arguments["preprocessing"] = "imagenet"
        elif how == "imagenet":
            raise KerasFileError("its preprocessing is ImageNet's; the basic model takes pixels times 1/255")
        if how is None:
            assumed = "taken to be trained on pixels times 1/255, as in the workshop"
            found.notes.append(f"no Rescaling layer: {assumed}")
        return
    if how is None:
        raise KerasFileError(
            "the file does not tell what is done to pixels before VGG16. Pass --preprocessing workshop if "
            "they are multiplied by 1/255, --preprocessing imagenet if "
            "keras.applications.vgg16.preprocess_input is called"
        )
    outside = inside in (None, "preprocess_input")
    weights = "none" if how == "workshop" else "keras" if outside else str(inside)
    found.arguments |= {"weights": weights, "preprocessing": how}
    found.flip = not outside and how == "imagenet" and normalization(weights).bgr


def compare(chain: Sequence[Link], model: str, arguments: Mapping[str, Any]) -> None:
    """Compare the layers that act with those of a model of ours."""
    expected = [spec for spec in keras_chain(model, arguments) if spec["class_name"] != "Dropout"]
    for (layer, spec), own in zip(chain, expected, strict=False):
        if spec["class_name"] != own["class_name"]:
            raise KerasFileError(f"{layer} stands where the {model} model has a {own['class_name']} layer")
        for option, valid in own.items():
            if option != "name" and spec[option] != valid:
                value, noun = shown(spec[option]), {"units": "outputs", "filters": "filters"}.get(option)
                words = f"{value} {noun}" if noun else f"{option} {value}"
                raise KerasFileError(f"{layer} has {words}; the {model} model has {shown(valid)}")
    if len(chain) > len(expected):
        raise KerasFileError(f"{chain[len(expected)].layer} comes after the last layer of the {model} model")
    if len(chain) < len(expected):
        after = f"after {chain[-1].layer} " if chain else ""
        raise KerasFileError(f"{after}the {model} model has a {expected[len(chain)]['class_name']} layer")


def shown(value: object) -> str:
    """Return an option's value for a message: ``3 x 3``."""
    return (" x ".join(map(str, value)) if isinstance(value, list) else str(value))[:60]


def from_logits(training: Config) -> bool:
    """Whether the model was compiled with a loss that takes logits, so that it has no sigmoid of its own."""
    loss = training.get("loss")
    config = loss.get("config") if isinstance(loss, dict) else None
    return isinstance(config, dict) and config.get("from_logits") is True


def preprocessing_of(front: Link) -> str:
    """Return ``workshop``, ``preprocess_input``, or the weights that take what a Rescaling layer gives."""
    scale, offset, bgr = front.spec["scale"], front.spec["offset"], front.spec["bgr"]
    if bgr:
        known = {"preprocess_input": ([1.0] * 3, [-value for value in MEAN_BGR])}
    else:
        known = {name: imagenet_rescaling(name) for name in ("keras", *TORCHVISION_NAMES)}
        known["workshop"] = [1 / 255] * 3, [0.0] * 3
    for name, (factors, summands) in known.items():
        pairs = zip(scale + offset, factors + summands, strict=True)
        if all(isclose(a, b, rel_tol=1e-5, abs_tol=1e-8) for a, b in pairs):
            return name
    does = f"multiplies by {scale[0]:g} and adds {offset[0]:g}"
    raise KerasFileError(f"{front.layer} {does}; the models here take pixels times 1/255")


def image_size(shape: Sequence[object] | None) -> int | None:
    """Return the side of the square RGB input (batch, height, width, channels), None where it is not told."""
    if shape is None or len(shape) != 4:
        return None
    _, height, width, channels = shape
    if channels != 3:
        channels = shown(channels)
        raise KerasFileError(f"its images have {channels} channels; the models here take RGB, which has 3")
    if height != width:
        sides = f"{shown(height)} x {shown(width)}"
        raise KerasFileError(f"its images are {sides}; the models here take square ones")
    return height if isinstance(height, int) else None


def recognise_weights(file: h5py.File, preprocessing: Preprocessing | None) -> Recognised:
    """Return the model of ours that arrays without a configuration belong to, as far as the file shows."""
    stored, (names, in_order) = stored_layers(file), layer_names(file)
    convolutions = [layer for layer in stored if layer.kernel.ndim == 4]
    dense = [layer for layer in stored if layer.kernel.ndim == 2]
    if len(dense) != 2 or not convolutions or stored != convolutions + dense:
        counts = f"{len(convolutions)} convolutions and {len(dense)} dense layers"
        expected = "the models here have convolutions, then two dense layers"
        raise KerasFileError(f"it holds {counts}; {expected}")
    filters = tuple(int(layer.kernel.shape[3]) for layer in convolutions)
    found = Recognised("basic", {"dense_units": int(dense[0].kernel.shape[1])}, stored=stored)
    if filters == VGG16_FILTERS:
        found.model = "vgg16"
    else:
        found.arguments["filters"] = filters
    compare_names(found, names, in_order)
    rescaling = any(kind_of(name) == "rescaling" for name in names)
    if rescaling and preprocessing != "workshop":
        raise KerasFileError(
            "it has a Rescaling layer, whose factor a file of weights only does not hold. If it is 1/255, "
            "pass --preprocessing workshop; else save the whole model by model.save and import that"
        )
    set_preprocessing(found, "workshop" if rescaling else None, preprocessing)
    found.notes.append(
        "the file holds weights only: padding, strides and activations are not in it and taken to be those "
        "of the model here; compare a prediction with Keras', or import a whole model (model.save)"
    )
    return found


def compare_names(found: Recognised, names: Sequence[str], in_order: bool) -> None:
    """Refuse names that show another layer than our model has, and note those that tell nothing.

    They are as `layer_names` returns them; not every file has those of layers without weights.
    """
    groups = {layer.group for layer in found.stored}
    nested = len(groups) < len(found.stored)  # of some, only the whole has a name
    kinds = {name: kind_of(name) for name in names}
    for layer in found.stored:  # what has such weights, whatever it is called
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
    rows = found.stored[-2].kernel.shape[0]
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
