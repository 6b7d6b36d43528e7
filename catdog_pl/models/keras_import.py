"""A Keras file -> a model of ours with its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose, isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from catdog_pl.errors import CatDogError, KerasFileError
from catdog_pl.keras.config import Config, KerasLayer, input_shape, layers_in_order
from catdog_pl.keras.file import open_keras
from catdog_pl.keras.hdf5 import read_array
from catdog_pl.keras.layers import TRAINING_ONLY, Link, read_chain
from catdog_pl.keras.nn import KerasRMSprop
from catdog_pl.keras.optimizer import read_mean_squares, rmsprop_arguments
from catdog_pl.keras.weights import StoredLayer, from_keras, has_rescaling, keras_shape, match, stored_layers
from catdog_pl.models.backbones.vgg16 import BLOCKS, TORCHVISION_NAMES
from catdog_pl.models.classifier import Classifier, DataSpec
from catdog_pl.models.keras_layers import imagenet_rescaling, keras_chain, takes_bgr, weighted_layers
from catdog_pl.models.registry import model_class

VGG16_FILTERS = tuple(width for widths in BLOCKS for width in widths)

WORKSHOP_SIZE = 150

NO_RESCALING = "no Rescaling layer: taken to be trained on pixels times 1/255, as in the workshop"


@dataclass(frozen=True)
class Imported:
    """What came out of a Keras file.

    Attributes:
        model: on the CPU, in evaluation mode.
        optimizer: with the file's state; None where that cannot be carried over.
        source: the kind of file, and which Keras wrote it.
        layers: Keras' name of each layer with weights, and ours.
        notes: what a user should know, one line each.
    """

    model: Classifier
    optimizer: Optimizer | None
    source: str
    layers: list[tuple[str, str]]
    notes: list[str]


@dataclass
class Recognised:
    """One of our models, described by a Keras file.

    Attributes:
        model: ``basic`` or ``vgg16``.
        arguments: its hyper-parameters, without the image size.
        image_size: side of the square input in pixels; None where the file does not tell.
        layers: the convolutions, then the two dense layers; none where the file holds weights alone.
        notes: what a user should know, one line each.
    """

    model: str
    arguments: dict[str, Any]
    image_size: int | None = None
    layers: list[KerasLayer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_file(
    path: Path, image_size: int | None = None, class_names: tuple[str, str] = ("cat", "dog")
) -> Imported:
    """Read a Keras file of any kind, told by its content.

    Args:
        path: a ``.keras`` archive, a whole model in HDF5, or weights alone in HDF5.
        image_size: side of the images in pixels, where the file does not tell it.
        class_names: what the labels 0 and 1 stand for, which no Keras file tells.

    Raises:
        KerasFileError: the file is missing, damaged, foreign or hostile, or holds another model.
    """
    with open_keras(path) as file:
        if file.model is None:
            stored = stored_layers(file.weights)
            found = recognise_weights(stored, has_rescaling(file.weights))
        else:
            found = recognise(file.model, file.training)
            stored = match(found.layers, file.weights)
        size = choose_size(found, stored[-2].kernel.shape[0], image_size)
        rmsprop = rmsprop_arguments(file.training)
        model = build(found, {"image_size": size} | (rmsprop._asdict() if rmsprop else {}))
        load(model, stored)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        means = read_mean_squares(file.weights, trainable) if rmsprop else []
    names = [layer.name for layer in found.layers or stored]
    model.data_spec = DataSpec(class_names=class_names, image_size=size)
    return Imported(
        model=model.eval(),
        optimizer=optimizer_with(model, means) if means else None,
        source=file.kind + (f" of Keras {file.keras_version}" if file.keras_version else ""),
        layers=list(zip(names, weighted_layers(model), strict=True)),
        notes=[*found.notes, optimizer_note(rmsprop is not None, bool(means))],
    )


def recognise(config: Config, training: Config) -> Recognised:
    """Return the model that a configuration describes; the layers' own names do not matter.

    Args:
        config: of the model.
        training: what the model was compiled with.

    Raises:
        KerasFileError: a layer is another than our models have; the message names it.
    """
    layers = layers_in_order(config)
    chain = read_chain(layers)
    acting = [link for link in chain if link.spec["class_name"] != "Dropout"]
    front = acting.pop(0) if acting and acting[0].spec["class_name"] == "Rescaling" else None
    if acting and acting[-1].spec.get("activation") == "linear" and from_logits(training):
        acting[-1].spec["activation"] = "sigmoid"  # the loss has it
    weighted = [link for link in acting if link.spec["class_name"] in ("Conv2D", "Dense")]
    dense = [link for link in weighted if link.spec["class_name"] == "Dense"]
    filters = tuple(link.spec["filters"] for link in weighted if "filters" in link.spec)
    model = "vgg16" if len(filters) == len(VGG16_FILTERS) else "basic"
    arguments = {"dense_units": dense[0].spec["units"] if dense else 1}
    arguments |= {"dropout": 0.0} if model == "vgg16" else {"filters": filters or (1,)}
    compare(acting, model, arguments)
    between = chain[chain.index(dense[0]) : chain.index(dense[1])]
    kept = next((link for link in between if link.spec["class_name"] == "Dropout"), None)
    weights = front and pretrained(front)
    if model == "vgg16":
        arguments |= {"dropout": kept.spec["rate"] if kept else 0.0, "weights": weights or "none"}
        arguments["preprocessing"] = "imagenet" if weights else "workshop"
    elif weights:
        raise KerasFileError("its Rescaling layer is ImageNet's; the basic model takes pixels times 1/255")
    size = image_size(input_shape(config, layers))
    found = Recognised(model, arguments, size, [link.layer for link in weighted])
    if front is None:
        found.notes.append(NO_RESCALING)
    idle = [layer.name for layer in layers if layer.class_name in ("Dropout", *TRAINING_ONLY)]
    if kept and model == "vgg16":
        idle.remove(kept.layer.name)
    if idle:
        found.notes.append(f"left out, because they act only in training: {', '.join(idle)}")
    return found


def compare(chain: Sequence[Link], model: str, arguments: Mapping[str, Any]) -> None:
    """Compare the layers that act with those of a model of ours.

    Raises:
        KerasFileError: they differ; the message names the first layer that does.
    """
    expected = [spec for spec in keras_chain(model, arguments) if spec["class_name"] != "Dropout"]
    for (layer, spec), own in zip(chain, expected, strict=False):
        if spec["class_name"] != own["class_name"]:
            raise KerasFileError(f"{layer} stands where the {model} model has a {own['class_name']} layer")
        for option, value in own.items():
            if spec[option] != value and option != "name":
                found = {"units": f"{spec[option]} outputs", "filters": f"{spec[option]} filters"}
                words = found.get(option, f"{option} {shown(spec[option])}")
                raise KerasFileError(f"{layer} has {words}; the {model} model has {shown(value)}")
    if len(chain) > len(expected):
        raise KerasFileError(f"{chain[len(expected)].layer} comes after the last layer of the {model} model")
    if len(chain) < len(expected):
        after = f"after {chain[-1].layer} " if chain else ""
        raise KerasFileError(f"{after}the {model} model has a {expected[len(chain)]['class_name']} layer")


def shown(value: object) -> str:
    """Return an option's value for a message: ``3 x 3``."""
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)[:60]


def from_logits(training: Config) -> bool:
    """Whether the model was compiled with a loss that takes logits, so that it has no sigmoid of its own."""
    loss = training.get("loss")
    config = loss.get("config") if isinstance(loss, dict) else None
    return isinstance(config, dict) and config.get("from_logits") is True


def pretrained(front: Link) -> str | None:
    """Return whose pixels a Rescaling layer prepares: ``keras``, a name of torchvision's, or None for 1/255.

    Raises:
        KerasFileError: it does something else.
    """
    scale, offset = front.spec["scale"], front.spec["offset"]
    candidates: tuple[str | None, ...] = (None, "keras", *TORCHVISION_NAMES)
    for weights in candidates:
        known = imagenet_rescaling(weights) if weights else ([1 / 255] * 3, [0.0] * 3)
        pairs = zip(scale + offset, known[0] + known[1], strict=True)
        if all(isclose(a, b, rel_tol=1e-5, abs_tol=1e-8) for a, b in pairs):
            return weights
    raise KerasFileError(
        f"{front.layer} multiplies by {scale[0]:g} and adds {offset[0]:g}; "
        "the models here take pixels times 1/255"
    )


def image_size(shape: Sequence[object] | None) -> int | None:
    """Return the side of the square RGB input, None where its shape is not told.

    Args:
        shape: (batch, height, width, channels), batch not told.

    Raises:
        KerasFileError: the input is not square, or not RGB.
    """
    if shape is None or len(shape) != 4:
        return None
    _, height, width, channels = shape
    if channels != 3:
        raise KerasFileError(f"its images have {channels!r} channels; the models here take RGB, which has 3")
    if height != width:
        raise KerasFileError(f"its images are {height!r} x {width!r}; the models here take square ones")
    return height if isinstance(height, int) else None


def recognise_weights(stored: Sequence[StoredLayer], rescaling: bool) -> Recognised:
    """Return the model that arrays without a configuration belong to.

    Args:
        stored: the layers with weights in their order.
        rescaling: whether a Rescaling layer is among the others.

    Raises:
        KerasFileError: they are not convolutions followed by two dense layers, or VGG16's with a rescaling
            whose numbers are not told.
    """
    convolutions = [layer for layer in stored if layer.kernel.ndim == 4]
    dense = [layer for layer in stored if layer.kernel.ndim == 2]
    if len(dense) != 2 or not convolutions or list(stored) != convolutions + dense:
        raise KerasFileError(
            f"it holds {len(convolutions)} convolutions and {len(dense)} dense layers; "
            "the models here have convolutions, then two dense layers"
        )
    filters = tuple(int(layer.kernel.shape[3]) for layer in convolutions)
    found = Recognised("basic", {"filters": filters, "dense_units": int(dense[0].kernel.shape[1])})
    if filters == VGG16_FILTERS:
        if rescaling:
            raise KerasFileError(
                "weights alone do not tell what VGG16's Rescaling layer does; give a whole model"
            )
        del found.arguments["filters"]
        found.model = "vgg16"
        found.arguments |= {"weights": "none", "preprocessing": "workshop"}
        found.notes.append("weights alone: taken to have VGG16's padding, and a dropout of 0.4")
    found.notes.append("weights alone: taken to be trained on pixels times 1/255, as in the workshop")
    return found


def choose_size(found: Recognised, rows: int, image_size: int | None) -> int:
    """Return the side of the square images in pixels.

    Several sizes flatten to the same width. The workshop's is taken where it is among them.

    Args:
        found: the model; its own image size decides where the file tells it.
        rows: the first axis of the first dense kernel.
        image_size: what the user says.

    Raises:
        KerasFileError: no size, several sizes or another size than the user's flatten to this width.
    """
    sizes = range(found.image_size, found.image_size + 1) if found.image_size else sizes_for(found, rows)
    valid = f"{sizes[0]}" if len(sizes) == 1 else f"between {sizes[0]} and {sizes[-1]}"
    if image_size is not None and image_size not in sizes:
        raise KerasFileError(f"its image size is {valid}, not {image_size}")
    if image_size is None and len(sizes) > 1 and WORKSHOP_SIZE not in sizes:
        raise KerasFileError(
            "it holds weights only, so the image size is unknown. If the network is the workshop's, "
            f"it is {valid}: pass --image_size"
        )
    return image_size or (WORKSHOP_SIZE if WORKSHOP_SIZE in sizes else sizes[0])


def sizes_for(found: Recognised, rows: int) -> range:
    """Return the image sizes that flatten to ``rows`` values.

    Raises:
        KerasFileError: there is none.
    """
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


def build(found: Recognised, more: Mapping[str, Any]) -> Classifier:
    """Return the model without memory for its weights, which are not read yet.

    Raises:
        KerasFileError: the hyper-parameters do not go together.
    """
    try:
        return model_class(found.model).skeleton(**found.arguments, **more)
    except (CatDogError, RuntimeError, OverflowError) as error:
        raise KerasFileError(f"no {found.model} model of this size can be built ({error})") from error


def load(model: Classifier, stored: Sequence[StoredLayer]) -> None:
    """Give the model its weights, each array's declared shape checked before it is read.

    Raises:
        KerasFileError: an array has another shape than the model's.
    """
    state: dict[str, Tensor] = {}
    for (name, layer), arrays in zip(weighted_layers(model).items(), stored, strict=True):
        state[f"{name}.weight"] = from_keras(read_array(arrays.kernel, keras_shape(layer.weight)))
        state[f"{name}.bias"] = from_keras(read_array(arrays.bias, (len(layer.weight),)))
    if takes_bgr(model):
        first = next(iter(state))
        state[first] = state[first].flip(1)
    model.load_state_dict(state, assign=True)
    model.to(memory_format=torch.channels_last)


def optimizer_with(model: Classifier, means: Sequence[Tensor]) -> Optimizer:
    """Return the model's own optimizer as it stands when these are its mean squares.

    Args:
        model: with one of the two kinds of RMSprop.
        means: one for each trainable parameter, in PyTorch's shapes.
    """
    optimizer = model.create_optimizer()
    key = "mean_square" if isinstance(optimizer, KerasRMSprop) else "square_avg"
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, mean in zip(parameters, means, strict=True):
        optimizer.state[parameter][key] = mean
        if not isinstance(optimizer, KerasRMSprop):
            optimizer.state[parameter]["step"] = torch.tensor(0.0)  # torch counts; its rule does not use it
    return optimizer


def optimizer_note(known: bool, carried: bool) -> str:
    """Return what becomes of the file's optimizer."""
    if carried:
        return "optimizer: RMSprop with its mean squares is carried over"
    if known:
        return "optimizer: RMSprop is carried over, it starts afresh"
    return "optimizer: not carried over; fit starts with keras_rmsprop and its defaults"
