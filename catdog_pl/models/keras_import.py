"""A Keras file -> a model of ours with its weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from catdog_pl.errors import CatDogError, KerasFileError, UsageError
from catdog_pl.keras.file import open_keras
from catdog_pl.keras.hdf5 import read_array
from catdog_pl.keras.nn import KerasRMSprop
from catdog_pl.keras.optimizer import read_mean_squares, rmsprop_arguments
from catdog_pl.keras.weights import from_keras, keras_shapes
from catdog_pl.models.classifier import Classifier
from catdog_pl.models.keras_layers import weighted_layers
from catdog_pl.models.keras_recognise import Preprocessing, Recognised, choose_size, recognise
from catdog_pl.models.registry import model_class
from catdog_pl.models.spec import DataSpec

OLD_WORDS: dict[str, Preprocessing] = {"workshop": "rescale", "imagenet": "caffe"}
"""What was once the name of a preprocessing, and still is where VGG16 is trained."""


@dataclass(frozen=True)
class Imported:
    """What came out of a Keras file, the model on the CPU in evaluation mode."""

    model: Classifier
    optimizer: Optimizer | None  # with the file's state; None where that cannot be carried over
    source: str  # the kind of file, and which Keras wrote it
    layers: list[tuple[str, str]]  # Keras' name of each layer with weights, and ours
    notes: list[str]  # what a user should know, one line each


def import_file(
    path: Path,
    image_size: int | None = None,
    class_names: tuple[str, str] = ("cat", "dog"),
    preprocessing: str | None = None,
    architecture: Path | None = None,
    resize: str | None = None,
) -> Imported:
    """Read a Keras file of any kind, told by its content.

    Args:
        path: a ``.keras`` archive, a whole model in HDF5, or weights alone in HDF5.
        image_size: side of the images in pixels, where the file does not tell it.
        class_names: what the labels 0 and 1 stand for, which no Keras file tells.
        preprocessing: outside the model, where its layers do not do it: ``rescale`` (times 1/255, also called
            ``workshop``), ``raw`` (0..255), ``symmetric`` (-1..1) or ``caffe`` (VGG16's
            ``preprocess_input``, also called ``imagenet``).
        architecture: the JSON of ``model.to_json()``, for a file of weights alone.
        resize: how photographs were resized, a name that `catdog_pl.data.images.resize` knows; Pillow's
            nearest by default, which is Keras' own.

    Raises:
        UsageError: the class names are the same.
        KerasFileError: the file is missing, damaged, foreign or hostile, or holds another model.
    """
    with open_keras(path, architecture) as file:
        found = recognise(file, OLD_WORDS.get(str(preprocessing), preprocessing))  # type: ignore[arg-type]
        size = choose_size(found, image_size)
        rmsprop = rmsprop_arguments(file.training)
        model = build(found, image_size=size, **rmsprop)
        load(model, found)
        notes = [*found.notes, *sort_classes(model, class_names, size)]
        if resize:
            model.data_spec = replace(model.data_spec, resize=resize, predict_resize=resize)
        # The mean squares of a first kernel that takes its channels in the other order are not turned round.
        carries = rmsprop and not (found.flip and model.name == "sequential")
        means = read_mean_squares(file.weights, weighted_layers(model).values()) if carries else []
    if means:
        notes.append("optimizer: RMSprop with its mean squares is carried over")
    elif rmsprop:
        notes.append("optimizer: RMSprop is carried over, it starts afresh")
    else:
        notes.append("optimizer: not carried over; fit starts with keras_rmsprop and its defaults")
    layers = list(zip(found.names, weighted_layers(model), strict=True))
    source = file.kind + (f" of Keras {file.keras_version}" if file.keras_version else "")
    return Imported(model.eval(), optimizer_with(model, means) if means else None, source, layers, notes)


def build(found: Recognised, **more: Any) -> Classifier:
    """Return the model without memory for its weights, which are not read yet."""
    try:
        return model_class(found.model).skeleton(**found.arguments, **more)
    except KerasFileError:
        raise
    except (CatDogError, RuntimeError, OverflowError) as error:
        raise KerasFileError(f"no {found.model} model of this size can be built ({error})") from error


def load(model: Classifier, found: Recognised) -> None:
    """Give the model its weights, each array's declared shape checked before it is read."""
    state: dict[str, Tensor] = {}
    layers = weighted_layers(model)
    for (name, layer), arrays in zip(layers.items(), found.stored, strict=True):
        own, shapes = layer.state_dict(keep_vars=True), keras_shapes(layer)
        folds = found.folds and name == list(layers)[-1]
        for (key, shape), data in zip(shapes.items(), arrays, strict=True):
            array = read_array(data, (*shape[:-1], 2) if folds else shape)
            if folds:  # softmax of two outputs is the sigmoid of their difference
                array = np.diff(array.astype(np.float64)).astype(np.float32)
            if key == "running_var" and array.min(initial=0.0) < 0:
                raise KerasFileError(f"{data.name} holds a negative variance; use another copy")
            state[f"{name}.{key}"] = from_keras(array, own[key])
    if found.flip:
        first = next(iter(state))
        state[first] = state[first].flip(1)
    model.load_state_dict(state, assign=True)
    model.to(memory_format=torch.channels_last)


def sort_classes(model: Classifier, class_names: tuple[str, str], image_size: int) -> list[str]:
    """Describe the model's data, the classes in plain string order as data folders have them.

    Names in the other order change places, and the logit its sign: the last layer is negated, which is exact
    (and leaves its mean squares as they are). The user gets a line about that.
    """
    first, second = sorted(class_names)
    if first == second:
        raise UsageError(f"--class_names {first} {second}: the two classes have the same name")
    model.data_spec = DataSpec(class_names=(first, second), image_size=image_size)
    if (first, second) == class_names:
        return []
    *_, last = weighted_layers(model).values()
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.neg_()
    return [f"last layer negated: the classes are in the order of their folders, {first} and {second}"]


def optimizer_with(model: Classifier, means: Sequence[Tensor]) -> Optimizer:
    """Return the model's own optimizer as it stands when these are its mean squares."""
    optimizer = model.create_optimizer()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter, mean in zip(parameters, means, strict=True):
        if isinstance(optimizer, KerasRMSprop):
            optimizer.state[parameter] = {"mean_square": mean}
        else:  # torch counts the steps; its rule does not use them
            optimizer.state[parameter] = {"square_avg": mean, "step": torch.tensor(0.0)}
    return optimizer
