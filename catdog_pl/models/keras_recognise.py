"""Which model of ours a Keras file holds, with which hyper-parameters, and what the file leaves open."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, isqrt
from typing import Any, Literal

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import CONTAINERS, MEAN_BGR, Config, KerasLayer, input_shape, layers_in_order
from catdog_pl.keras.layers import CLASSES, TRAINING_ONLY, Link, read_chain
from catdog_pl.keras.weights import StoredLayer
from catdog_pl.models.backbones.vgg16 import BLOCKS, TORCHVISION_NAMES, normalization
from catdog_pl.models.keras_layers import imagenet_rescaling, keras_chain

Preprocessing = Literal["workshop", "imagenet"]

VGG16_FILTERS = tuple(width for widths in BLOCKS for width in widths)

WORKSHOP_SIZE = 150

UNPROVEN = (
    "the file holds weights only: padding, strides and activations are not in it and taken to be those of "
    "the model here; compare a prediction with Keras', or import a whole model (model.save)"
)

NO_RESCALING = "no Rescaling layer: taken to be trained on pixels times 1/255, as in the workshop"

ASK_PREPROCESSING = (
    "the file does not tell what is done to pixels before VGG16. Pass --preprocessing workshop if they are "
    "multiplied by 1/255, --preprocessing imagenet if keras.applications.vgg16.preprocess_input is called"
)

UNKNOWN_RESCALING = (
    "it has a Rescaling layer, whose factor a file of weights only does not hold. If it is 1/255, pass "
    "--preprocessing workshop; else save the whole model by model.save and import that"
)

COARSE = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
"""Keras' names of dtypes in which a layer computes with 2 to 3 digits."""

LIKE_OURS = {name.lower(): kind for name, kind in CLASSES.items()}
LIKE_OURS |= {name.lower(): name for name in (*TRAINING_ONLY, *CONTAINERS, "InputLayer")}
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
    """One of our models, described by a Keras file.

    Attributes:
        model: ``basic`` or ``vgg16``.
        arguments: its hyper-parameters, without the image size.
        image_size: side of the square input in pixels; None where the file does not tell.
        layers: the convolutions, then the two dense layers; none where the file holds weights only.
        flip: whether our first kernel takes BGR where the file's takes RGB.
        notes: what a user should know, one line each.
    """

    model: str
    arguments: dict[str, Any]
    image_size: int | None = None
    layers: list[KerasLayer] = field(default_factory=list)
    flip: bool = False
    notes: list[str] = field(default_factory=list)


def recognise(config: Config, training: Config, preprocessing: Preprocessing | None) -> Recognised:
    """Return the model that a configuration describes; the layers' own names do not matter.

    Raises:
        KerasFileError: a layer is another than our models have, and the message names it; or the file does
            not tell what is done to pixels, and the user neither.
    """
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
    prepare(found, inside, preprocessing)
    idle = [layer for layer in layers if layer.class_name in ("Dropout", *TRAINING_ONLY)]
    if model == "vgg16":
        between = chain[chain.index(dense[0]) : chain.index(dense[1])]
        kept = next((link for link in between if link.spec["class_name"] == "Dropout"), None)
        found.arguments["dropout"] = kept.spec["rate"] if kept else 0.0
        idle = [layer for layer in idle if kept is None or layer is not kept.layer]
    found.notes += [f"left out, because they act only in training: {listed(idle)}"] * bool(idle)
    found.notes += differences(found, layers)
    return found


def differences(found: Recognised, layers: Sequence[KerasLayer]) -> list[str]:
    """Return in which respects our model behaves differently from the one in the file."""
    notes = []
    if always := [
        layer for layer in layers if layer.training and layer.class_name in ("Dropout", *TRAINING_ONLY)
    ]:
        notes.append(
            f"{listed(always)}: called with training=True, so that Keras predicts at random; here not"
        )
    tuned = [layer for layer in found.layers[:-2] if layer.config.get("trainable", True) is True]
    if found.model == "vgg16" and tuned:
        notes.append(f"trainable in Keras: {listed(tuned)}; their weights are taken, fit does not train them")
    dtypes = [layer.config.get("dtype") for layer in found.layers]
    policies = [dtype.get("config") if isinstance(dtype, dict) else {"name": dtype} for dtype in dtypes]
    names = [policy.get("name") if isinstance(policy, dict) else None for policy in policies]
    if coarse := next((name for name in names if name in COARSE), None):
        notes.append(
            f"Keras computes in {coarse}, here it is float32: probabilities differ by some thousandths"
        )
    return notes


def listed(layers: Sequence[KerasLayer]) -> str:
    """Return the layers' names for a note."""
    return ", ".join(layer.name for layer in layers)


def prepare(found: Recognised, inside: str | None, preprocessing: Preprocessing | None) -> None:
    """Set what is done to the pixels."""
    own = {None: None, "workshop": "workshop"}.get(inside, "imagenet")
    if own and preprocessing and own != preprocessing:
        raise KerasFileError(
            f"its layers do the preprocessing {own}; leave out --preprocessing {preprocessing}"
        )
    how = own or preprocessing
    if found.model == "basic":
        if how == "imagenet":
            raise KerasFileError("its preprocessing is ImageNet's; the basic model takes pixels times 1/255")
        found.notes += [NO_RESCALING] * (how is None)
        return
    if how is None:
        raise KerasFileError(ASK_PREPROCESSING)
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
        for option, value in own.items():
            if spec[option] != value and option != "name":
                found = {
                    "units": f"{shown(spec[option])} outputs",
                    "filters": f"{shown(spec[option])} filters",
                }
                words = found.get(option, f"{option} {shown(spec[option])}")
                raise KerasFileError(f"{layer} has {words}; the {model} model has {shown(value)}")
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
    weights: tuple[str, ...] = ("keras", *TORCHVISION_NAMES)
    known = {name: imagenet_rescaling(name) for name in weights}
    known["workshop"] = [1 / 255] * 3, [0.0] * 3
    if bgr:
        known = {"preprocess_input": ([1.0] * 3, [-value for value in MEAN_BGR])}
    for name, rescaling in known.items():
        pairs = zip(scale + offset, rescaling[0] + rescaling[1], strict=True)
        if all(isclose(a, b, rel_tol=1e-5, abs_tol=1e-8) for a, b in pairs):
            return name
    raise KerasFileError(
        f"{front.layer} multiplies by {scale[0]:g} and adds {offset[0]:g}; "
        "the models here take pixels times 1/255"
    )


def image_size(shape: Sequence[object] | None) -> int | None:
    """Return the side of the square RGB input, None where its shape is not told.

    Args:
        shape: (batch, height, width, channels), batch not told.
    """
    if shape is None or len(shape) != 4:
        return None
    _, height, width, channels = shape
    if channels != 3:
        raise KerasFileError(
            f"its images have {shown(channels)} channels; the models here take RGB, which has 3"
        )
    if height != width:
        raise KerasFileError(
            f"its images are {shown(height)} x {shown(width)}; the models here take square ones"
        )
    return height if isinstance(height, int) else None


def recognise_weights(
    stored: Sequence[StoredLayer], names: Sequence[str], in_order: bool, preprocessing: Preprocessing | None
) -> Recognised:
    """Return the model of ours that arrays without a configuration belong to, as far as the file shows.

    Args:
        stored: the layers with weights in their order.
        names: as `layer_names` returns them.
        in_order: whether they are the layers' own names in their order, not their classes.
        preprocessing: what the user says is done to pixels outside the model.

    Raises:
        KerasFileError: the file shows other layers than our models have; or nobody tells what is done to
            pixels before VGG16, or in a Rescaling layer.
    """
    convolutions = [layer for layer in stored if layer.kernel.ndim == 4]
    dense = [layer for layer in stored if layer.kernel.ndim == 2]
    if len(dense) != 2 or not convolutions or list(stored) != convolutions + dense:
        raise KerasFileError(
            f"it holds {len(convolutions)} convolutions and {len(dense)} dense layers; "
            "the models here have convolutions, then two dense layers"
        )
    filters = tuple(int(layer.kernel.shape[3]) for layer in convolutions)
    found = Recognised("basic", {"dense_units": int(dense[0].kernel.shape[1])})
    if filters == VGG16_FILTERS:
        found.model = "vgg16"
    else:
        found.arguments["filters"] = filters
    compare_names(found, stored, names, in_order)
    rescaling = any(kind_of(name) == "rescaling" for name in names)
    if rescaling and preprocessing != "workshop":
        raise KerasFileError(UNKNOWN_RESCALING)
    prepare(found, "workshop" if rescaling else None, preprocessing)
    found.notes.append(UNPROVEN)
    return found


def compare_names(
    found: Recognised, stored: Sequence[StoredLayer], names: Sequence[str], in_order: bool
) -> None:
    """Compare the names of all layers with a model of ours."""
    nested = len({layer.group for layer in stored}) < len(stored)  # of some, only the whole has a name
    by_weights = {layer.group: "conv2d" if layer.kernel.ndim == 4 else "dense" for layer in stored}
    kinds = {name: kind_of(name) for name in names}
    kinds |= {
        name: by_weights[name] for name in by_weights.keys() & kinds.keys() if kinds[name] not in UNLIKE_OURS
    }
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
        lists = [
            ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(has).items())) for has in (theirs, ours)
        ]
        order = "" if lists[0] != lists[1] else " in another order"
        raise KerasFileError(f"its layers are {lists[0]}; the {found.model} model has {lists[1]}{order}")


def kind_of(name: str) -> str:
    """Return what a layer's default name tells of its class: ``maxpooling2d`` for ``max_pooling2d_3``."""
    if own := re.fullmatch(r"block[1-5]_(conv|pool)[1-3]?", name):
        return {"conv": "conv2d", "pool": "maxpooling2d"}[own[1]]
    return re.sub(r"_\d+$", "", name).replace("_", "").lower()


def choose_size(found: Recognised, rows: int, image_size: int | None) -> int:
    """Return the side of the square images in pixels.

    Several sizes flatten to the same width. The workshop's is taken where it is among them.

    Args:
        found: the model; its own image size decides where the file tells it.
        rows: the first axis of the first dense kernel.
        image_size: what the user says.
    """
    sizes = range(found.image_size, found.image_size + 1) if found.image_size else sizes_for(found, rows)
    valid = f"{sizes[0]}" if len(sizes) == 1 else f"between {sizes[0]} and {sizes[-1]}"
    proven = "" if found.layers else "if the network is the workshop's, "
    if image_size is not None and image_size not in sizes:
        raise KerasFileError(f"{proven}its image size is {valid}, not {image_size}")
    if image_size is None and len(sizes) > 1 and WORKSHOP_SIZE not in sizes:
        if found.layers:
            raise KerasFileError(f"it does not tell its image size, which is {valid}: pass --image_size")
        raise KerasFileError(
            "it holds weights only, so the image size is unknown. If the network is the workshop's, "
            f"it is {valid}: pass --image_size"
        )
    if image_size is None and len(sizes) > 1:
        found.notes.append(f"image size {WORKSHOP_SIZE}, the workshop's; by its weights it is {valid}")
    return image_size or (WORKSHOP_SIZE if WORKSHOP_SIZE in sizes else sizes[0])


def sizes_for(found: Recognised, rows: int) -> range:
    """Return the image sizes that flatten to ``rows`` values."""
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
