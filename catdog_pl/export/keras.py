"""A model of ours -> a Keras file. Those of the workshop take what the workshop feeds, RGB times 1/255."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catdog_pl.keras.layers import KerasEntry, write_layer
from catdog_pl.keras.nn import KerasRMSprop
from catdog_pl.keras.optimizer import RMSpropState, parameters, rmsprop_state
from catdog_pl.keras.saving import KerasModel, write_file
from catdog_pl.keras.weights import to_keras
from catdog_pl.models.backbones.vgg16 import normalization
from catdog_pl.models.classifier import Classifier
from catdog_pl.models.keras_layers import imagenet_rescaling, keras_chain, layer, weighted_layers


def export_keras(
    model: Classifier, checkpoint: dict[str, Any], target: Path, photographs: object = None
) -> Iterator[str]:
    """Write a Keras file; its ending decides the kind.

    Args:
        model: on any device.
        checkpoint: as ``read_checkpoint`` returns it, with its RMSprop; empty for a fresh one.
        target: ``.keras`` or ``.h5`` for a whole model, ``.weights.h5`` for weights alone; replaced if there.
        photographs: are not needed.

    Raises:
        UsageError: the ending is none of these.
        CatDogError: Keras layers cannot express the model, or the file cannot be written.
    """
    write_file(target, KerasModel(entries(model), optimizer_state(model, checkpoint), model.has_backbone))
    optimizer, notes = model.optimizer_class, []
    if optimizer not in (KerasRMSprop, torch.optim.RMSprop):
        notes.append(
            f"optimizer: {optimizer.__name__} is not carried over; Keras starts with a fresh RMSprop"
        )
    if model.name == "sequential":
        grey = "one channel, grey, as " if model.hparams["grey"] else ""
        notes.append(f"the file's model takes {grey}{PIXELS_TAKEN[model.hparams['preprocessing']]}")
    return iter(notes)


PIXELS_TAKEN = {
    "rescale": "pixels times 1/255",
    "raw": "pixels 0..255",
    "symmetric": "pixels / 127.5 - 1",
    "caffe": "what keras.applications.vgg16.preprocess_input gives",
}


def entries(model: Classifier) -> list[KerasEntry]:
    """Return the layers of the equal Keras model, the input layer first.

    A model with ImageNet's preprocessing carries it as a Rescaling layer, and its first kernel takes RGB.
    """
    modules = {name.rpartition(".")[2]: module for name, module in weighted_layers(model).items()}
    layers = [write_layer(spec, modules.get(spec["name"])) for spec in keras_chain(model.name, model.hparams)]
    if model.hparams.get("preprocessing") == "imagenet":
        weights = str(model.hparams.get("weights", "IMAGENET1K_V1"))
        if normalization(weights).bgr:
            flipped = {**layers[0].arrays, "kernel": layers[0].arrays["kernel"][:, :, ::-1]}
            layers[0] = layers[0]._replace(arrays=flipped)
        scale, offset = imagenet_rescaling(weights)
        layers.insert(0, write_layer(layer("Rescaling", "rescaling_1", scale=scale, offset=offset)))
    channels = 1 if model.hparams.get("grey") else 3
    shape = [None, model.data_spec.image_size, model.data_spec.image_size, channels]
    name = "input_1" if model.has_backbone else f"{layers[0].name}_input"
    # The argument under which Keras 2 and 3 both read the shape.
    return [KerasEntry("InputLayer", {"name": name, "batch_input_shape": shape, "dtype": "float32"}), *layers]


def optimizer_state(model: Classifier, checkpoint: dict[str, Any]) -> RMSpropState:
    """Return the optimizer of a checkpoint as Keras' RMSprop; a fresh one where training used another."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    trainable = [pair for pair in parameters(weighted_layers(model).values()) if pair[0].requires_grad]
    means, steps = mean_squares(checkpoint, [p for p, _ in trainable]), checkpoint.get("global_step")
    if not means or not isinstance(steps, int) or not 0 <= steps < 2**31:
        steps = 0
    kept = means or [torch.zeros_like(p) for p, _ in trainable]
    arrays = [to_keras(mean, shape) for mean, (_, shape) in zip(kept, trainable, strict=True)]
    return rmsprop_state(
        model.learning_rate, model.optimizer_args, steps, dict(zip(names, arrays, strict=True))
    )


def mean_squares(checkpoint: dict[str, Any], trainable: list[torch.nn.Parameter]) -> list[Tensor]:
    """Return RMSprop's mean squares in a checkpoint, one for each parameter; nothing where it has others."""
    states = checkpoint.get("optimizer_states")
    first = states[0] if isinstance(states, list) and states else None
    kept = first.get("state") if isinstance(first, dict) else None
    means = []
    for i, parameter in enumerate(trainable):
        entry = kept.get(i) if isinstance(kept, dict) else None
        mean = entry.get("mean_square", entry.get("square_avg")) if isinstance(entry, dict) else None
        if not isinstance(mean, Tensor) or mean.shape != parameter.shape:
            return []
        means.append(mean)
    return means
