"""A Keras file -> one of our models with its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from catdog_pl.errors import CatDogError, KerasFileError
from catdog_pl.keras.arrays import from_keras, keras_shape
from catdog_pl.keras.file import KerasFile, open_keras
from catdog_pl.keras.hdf5 import read_array
from catdog_pl.keras.image_size import chosen_size
from catdog_pl.keras.optimizer import optimizer_with, read_mean_squares, rmsprop_arguments
from catdog_pl.keras.recognise import Recognised, recognise, recognise_shapes
from catdog_pl.keras.stored import match
from catdog_pl.keras.weights import StoredLayer, has_rescaling, stored_layers
from catdog_pl.models.classifier import Classifier, DataSpec
from catdog_pl.models.registry import model_class


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
        found, stored = recognised(file)
        size = chosen_size(found, stored[-2].kernel.shape[0], image_size)
        settings = rmsprop_arguments(file.training)
        arguments = found.arguments | {"image_size": size} | (settings._asdict() if settings else {})
        model = built(found.model, arguments)
        load(model, stored, found.bgr)
        means = read_mean_squares(file.weights, trainable(model)) if settings else []
    model.data_spec = DataSpec(class_names=class_names, image_size=size)
    return Imported(
        model=model.eval(),
        optimizer=optimizer_with(model, means) if means else None,
        source=file.kind + (f" of Keras {file.keras_version}" if file.keras_version else ""),
        layers=list(zip([layer.name for layer in found.layers or stored], weighted(model), strict=True)),
        notes=[*found.notes, optimizer_note(file, settings is not None, bool(means))],
    )


def recognised(file: KerasFile) -> tuple[Recognised, list[StoredLayer]]:
    """The model in a file and the arrays of its layers, in their order."""
    if file.model is None:
        stored = stored_layers(file.weights)
        return recognise_shapes(stored, has_rescaling(file.weights)), stored
    found = recognise(file.model, file.training)
    return found, match(found.layers, file.weights)


def built(name: str, arguments: dict[str, Any]) -> Classifier:
    """The model without memory for its weights, which are not read yet.

    Raises:
        KerasFileError: the hyper-parameters do not go together.
    """
    try:
        return model_class(name).skeleton(**arguments)
    except (CatDogError, RuntimeError, OverflowError) as error:
        raise KerasFileError(f"no {name} model of this size can be built ({error})") from error


def load(model: Classifier, stored: Sequence[StoredLayer], bgr: bool) -> None:
    """Give the model its weights, each array's declared shape checked before it is read.

    Raises:
        KerasFileError: an array has another shape than the model's.
    """
    state: dict[str, Tensor] = {}
    for (name, layer), arrays in zip(weighted(model).items(), stored, strict=True):
        state[f"{name}.weight"] = from_keras(read_array(arrays.kernel, keras_shape(layer.weight)))
        state[f"{name}.bias"] = from_keras(read_array(arrays.bias, (len(layer.weight),)))
    if bgr:
        first = next(iter(state))
        state[first] = state[first].flip(1)
    model.load_state_dict(state, assign=True)
    model.to(memory_format=torch.channels_last)


def weighted(model: Classifier) -> dict[str, "nn.Conv2d | nn.Linear"]:
    """The layers with weights, by their names, in their order."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def trainable(model: Classifier) -> list[nn.Parameter]:
    """The parameters that the optimizer has, in its order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def optimizer_note(file: KerasFile, known: bool, carried: bool) -> str:
    """What becomes of the file's optimizer."""
    if carried:
        return "optimizer: RMSprop with its mean squares is carried over"
    if known:
        return "optimizer: RMSprop is carried over, it starts afresh"
    return "optimizer: none that is known here, fit starts with keras_rmsprop and its defaults"
