"""``python -m catdog_pl summary``: a model's layer table as Keras prints it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from catdog_pl.arguments import ArgumentParser

if TYPE_CHECKING:  # importing torch takes seconds, which --help and a wrong word must not
    from torch import Tensor, nn

    from catdog_pl.models import Classifier

RULE = "_" * 65
DOUBLE_RULE = "=" * 65


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        name: the Keras layer name, such as ``conv2d_1``.
        kind: the Keras class, such as ``Conv2D``.
        shape: the output without the batch, channels last.
        parameters: weights and biases.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


def keras_kinds() -> "dict[type[nn.Module], str]":
    """Keras' name of each PyTorch layer class that is a layer in Keras too; activations are not."""
    from torch import nn

    from catdog_pl.keras.nn import KerasFlatten
    from catdog_pl.models.convolution import ConvReLU

    return {
        nn.Conv2d: "Conv2D",
        ConvReLU: "Conv2D",
        nn.MaxPool2d: "MaxPooling2D",
        KerasFlatten: "Flatten",
        nn.Linear: "Dense",
        nn.Dropout: "Dropout",
    }


def layer_rows(model: "Classifier") -> list[Row]:
    """The table of a model, measured by one forward pass over a single image.

    A functional model, such as the workshop's VGG16, counts its input as a layer; a Sequential one,
    such as ``basic``, does not.
    """
    import torch

    kinds = keras_kinds()
    size = model.data_spec.image_size
    rows = [Row("input_1", "InputLayer", (size, size, 3), 0)] if model.has_backbone else []

    def note(name: str, layer: "nn.Module", output: "Tensor") -> None:
        shape = (*output.shape[2:], output.shape[1]) if output.ndim == 4 else tuple(output.shape[1:])
        rows.append(Row(name, kinds[type(layer)], shape, sum(p.numel() for p in layer.parameters())))

    layers = [(name, layer) for part in (model.features, model.head) for name, layer in part.named_children()]
    hooks = [
        layer.register_forward_hook(lambda layer, _, output, name=name: note(name, layer, output))
        for name, layer in layers
        if type(layer) in kinds
    ]
    device = next(model.parameters()).device
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size, device=device))
    for hook in hooks:
        hook.remove()
    return rows


def table(rows: Sequence[Row]) -> str:
    """The layer table in the columns of Keras 2."""
    lines = [RULE, f"{'Layer (type)':<29}{'Output Shape':<26}{'Param #':<10}", DOUBLE_RULE]
    for row in rows:
        shape = f"(None, {', '.join(map(str, row.shape))})"
        # Keras cuts a name that would run into the next column, and so does the workshop's print-out.
        lines += [f"{f'{row.name} ({row.kind})'[:28]:<29}{shape:<26}{row.parameters:<10}", RULE]
    return "\n".join([*lines[:-1], DOUBLE_RULE])


def totals(model: "Classifier") -> str:
    """The three totals, in Keras' words; on a backbone also the workshop's two counts of layers."""
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    lines = [
        f"Total params: {total:,}",
        f"Trainable params: {trainable:,}",
        f"Non-trainable params: {total - trainable:,}",
    ]
    if model.has_backbone:
        kinds = keras_kinds()
        base = 1 + sum(type(layer) in kinds for layer in model.features.children())  # 1 for the input
        every = base + sum(type(layer) in kinds for layer in model.head)
        lines.append(f"{'[INFO]':<10} Pretrained model layers: {base}")
        lines.append(f"{'[INFO]':<10} Total number of layers : {every}")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Print the table and the totals of one model."""
    parser = ArgumentParser(
        "summary",
        description="Print a model's layers with output shapes and parameter counts.",
    )
    parser.add_argument("--model", default="basic", metavar="NAME", help="basic (default) or vgg16")
    parser.add_argument("--image_size", type=int, default=150, metavar="PIXELS", help="default 150")
    options = parser.parse_args(argv)

    from catdog_pl.models.registry import model_class

    model = model_class(options.model).skeleton(image_size=options.image_size)
    print(f"{table(layer_rows(model))}\n{totals(model)}\n{RULE}")
    return 0
