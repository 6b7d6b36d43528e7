"""A model's layer table as Keras prints it: names, output shapes, parameter counts."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from catdog_pl.models.backbones import Backbone
from catdog_pl.models.classifier import Classifier

RULE = "_" * 65
DOUBLE_RULE = "=" * 65

KERAS_CLASSES = {
    "AvgPool2d": "AveragePooling2D",
    "BatchNorm2d": "BatchNormalization",
    "Conv2d": "Conv2D",
    "ConvReLU": "Conv2D",
    "KerasFlatten": "Flatten",
    "Linear": "Dense",
    "MaxPool2d": "MaxPooling2D",
}
"""PyTorch's class of a layer -> Keras'; any other class keeps its own name."""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    kind: str  # its class in Keras' words, such as Conv2D
    shape: tuple[int, ...]  # of the output without the batch, channels last
    parameters: int


def named_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Return the parts of a network that Keras counts as layers; activations belong to the layer before."""
    activations = nn.ReLU.__module__
    layers = network.layers() if isinstance(network, Backbone) else dict(network.named_children())
    return {name: layer for name, layer in layers.items() if type(layer).__module__ != activations}


def layer_rows(model: Classifier) -> list[Row]:
    """Return the table of a model, measured by one forward pass of a black image.

    A functional model, such as the workshop's VGG16, counts its input as a layer; a Sequential one,
    such as ``basic``, does not.
    """
    size = model.data_spec.image_size
    rows = [Row("input_1", "InputLayer", (size, size, 3), 0)] if model.has_backbone else []

    def add_row(name: str, layer: nn.Module, _: object, output: Tensor) -> None:
        shape = tuple(output.shape[1:])
        if output.ndim == 4 and not shape[0] == shape[1] != shape[2]:  # Swin's are channels last already
            shape = (*shape[1:], shape[0])
        kind = type(layer).__name__
        parameters = sum(p.numel() for p in layer.parameters())
        rows.append(Row(name, KERAS_CLASSES.get(kind, kind), shape, parameters))

    layers = [*named_layers(model.features).items(), *named_layers(model.head).items()]
    handles = [layer.register_forward_hook(partial(add_row, name)) for name, layer in layers]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, size, size, device=next(model.parameters()).device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the layer table in the columns of Keras 2."""
    lines = [RULE, f"{'Layer (type)':<29}{'Output Shape':<26}{'Param #':<10}", DOUBLE_RULE]
    for row in rows:
        shape = f"(None, {', '.join(map(str, row.shape))})"
        # Keras cuts a name that would run into the next column, and so does the workshop's print-out.
        lines += [f"{f'{row.name} ({row.kind})'[:28]:<29}{shape:<26}{row.parameters:<10}", RULE]
    return "\n".join([*lines[:-1], DOUBLE_RULE])


def totals(model: Classifier) -> str:
    """Return the three totals in Keras' words; with a backbone also the workshop's two counts of layers."""
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    lines = [
        f"Total params: {total:,}",
        f"Trainable params: {trainable:,}",
        f"Non-trainable params: {total - trainable:,}",
    ]
    if model.has_backbone:
        pretrained = 1 + len(named_layers(model.features))  # 1 for the input
        lines.append(f"{'[INFO]':<10} Pretrained model layers: {pretrained}")
        lines.append(f"{'[INFO]':<10} Total number of layers : {pretrained + len(named_layers(model.head))}")
    return "\n".join(lines)
