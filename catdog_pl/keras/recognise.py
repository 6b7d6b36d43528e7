"""Which of the two models a Keras model is, told by its layers; their names do not matter."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import Config, KerasLayer, input_shape, layers_in_order
from catdog_pl.keras.preprocessing import imagenet_weights
from catdog_pl.keras.steps import TRAINING_ONLY, Step, misfit, padding, steps_of, units
from catdog_pl.keras.weights import StoredLayer
from catdog_pl.models.backbones.vgg16 import BLOCKS

VGG16_FILTERS = tuple(width for widths in BLOCKS for width in widths)

HEAD = ("flatten", "dense", "relu", "dense", "sigmoid")

WORDS = {
    "conv": "a convolution",
    "pool": "a max-pooling",
    "flatten": "the flattening",
    "dense": "a dense layer",
}
"""What a message calls a step; activations go by their own names."""


@dataclass
class Recognised:
    """One of our models, described by a Keras file.

    Attributes:
        model: ``basic`` or ``vgg16``.
        arguments: its hyper-parameters, without the image size.
        image_size: side of the square input in pixels; None where the file does not tell.
        layers: the convolutions, then the two dense layers; none where the file holds weights alone.
        bgr: whether our first kernel takes BGR where the file's takes RGB.
        notes: what a user should know, one line each.
    """

    model: str
    arguments: dict[str, Any]
    image_size: int | None = None
    layers: list[KerasLayer] = field(default_factory=list)
    bgr: bool = False
    notes: list[str] = field(default_factory=list)


def recognise(config: Config, training: Config) -> Recognised:
    """The model that a configuration describes.

    Args:
        config: of the model.
        training: what the model was compiled with.

    Raises:
        KerasFileError: a layer does not fit; the message names it.
    """
    layers = layers_in_order(config)
    steps = steps_of(layers)
    rescaling = steps.pop(0).layer if steps and steps[0].kind == "rescaling" else None
    if steps and steps[-1].kind == "dense" and from_logits(training):
        steps.append(Step("sigmoid", steps[-1].layer))  # the loss has it
    convolutions = [step.layer for step in steps if step.kind == "conv"]
    model = "vgg16" if len(convolutions) == len(VGG16_FILTERS) else "basic"
    check_order(steps, model, len(convolutions))
    hidden, last = (step.layer for step in steps if step.kind == "dense")
    if units(last) != 1:
        raise misfit(last, f"{units(last)} units where the {model} model has one")
    size = image_size(input_shape(config, layers), convolutions[0])
    found = Recognised(model, {"dense_units": units(hidden)}, size, [*convolutions, hidden, last])
    if model == "basic":
        describe_basic(found, convolutions, rescaling)
    else:
        describe_vgg16(found, convolutions, rescaling, rate_between(layers, hidden, last))
    note(found, layers, rescaling)
    return found


def image_size(shape: Sequence[object] | None, first: KerasLayer) -> int | None:
    """The side of the square RGB input, None where its shape is not told.

    Args:
        shape: (batch, height, width, channels), batch not told.
        first: the first convolution, for the message.

    Raises:
        KerasFileError: the input is not square, or not RGB.
    """
    if shape is None or len(shape) != 4:
        return None
    _, height, width, channels = shape
    if channels != 3:
        raise misfit(first, f"its images have {channels!r} channels, here they are RGB")
    if height != width:
        raise misfit(first, f"its images are {height!r} x {width!r}, here they are square")
    return height if isinstance(height, int) else None


def check_order(steps: Sequence[Step], model: str, n_convolutions: int) -> None:
    """Hold the steps against those of the model.

    Raises:
        KerasFileError: they differ; the message names the first layer that does not fit.
    """
    block = ("conv", "relu", "pool")
    expected = [*block * max(n_convolutions, 1), *HEAD]
    if model == "vgg16":
        expected = [kind for widths in BLOCKS for kind in (*("conv", "relu") * len(widths), "pool")] + [*HEAD]
    for step, kind in zip(steps, expected, strict=False):
        if step.kind != kind:
            found, valid = WORDS.get(step.kind, step.kind), WORDS.get(kind, kind)
            raise misfit(step.layer, f"{found} where the {model} model has {valid}")
    if len(steps) > len(expected):
        raise misfit(steps[len(expected)].layer, f"the {model} model has ended there")
    if len(steps) < len(expected):
        after = f"after {steps[-1].layer} " if steps else ""
        missing = expected[len(steps)]
        raise KerasFileError(f"{after}the {model} model goes on with {WORDS.get(missing, missing)}")


def describe_basic(found: Recognised, convolutions: list[KerasLayer], rescaling: KerasLayer | None) -> None:
    """Fill in the hyper-parameters of ``basic``.

    Raises:
        KerasFileError: a convolution pads, or the rescaling is VGG16's.
    """
    for layer in convolutions:
        if padding(layer) != "valid":
            raise misfit(layer, f"its padding is {padding(layer)!r}, the basic model has valid")
    if rescaling is not None and imagenet_weights(rescaling):
        raise misfit(rescaling, "ImageNet's preprocessing; the basic model takes pixels times 1/255")
    found.arguments["filters"] = tuple(units(layer) for layer in convolutions)


def describe_vgg16(
    found: Recognised, convolutions: list[KerasLayer], rescaling: KerasLayer | None, dropout: float
) -> None:
    """Fill in the hyper-parameters of ``vgg16``.

    Raises:
        KerasFileError: a convolution does not pad, or has another width than VGG16's.
    """
    for layer, width in zip(convolutions, VGG16_FILTERS, strict=True):
        if padding(layer) != "same":
            raise misfit(layer, f"its padding is {padding(layer)!r}, VGG16 has same")
        if units(layer) != width:
            raise misfit(layer, f"{units(layer)} filters where VGG16 has {width}")
    weights = imagenet_weights(rescaling) if rescaling is not None else None
    found.bgr = weights == "keras"
    found.arguments["weights"] = weights or "none"
    found.arguments["preprocessing"] = "imagenet" if weights else "workshop"
    found.arguments["dropout"] = dropout


def rate_between(layers: Sequence[KerasLayer], hidden: KerasLayer, last: KerasLayer) -> float:
    """The rate of the dropout between the two dense layers, which Keras 1 called ``p``; 0 without one."""
    between = layers[layers.index(hidden) : layers.index(last)]
    rates = [
        layer.config.get("rate", layer.config.get("p")) for layer in between if layer.class_name == "Dropout"
    ]
    rate = rates[0] if rates else 0.0
    if not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise KerasFileError(f"the dropout before {last} has the rate {rate!r}; valid is 0 to below 1")
    return float(rate)


def from_logits(training: Config) -> bool:
    """Whether the model was compiled with a loss that takes logits, so that it has no sigmoid of its own."""
    loss = training.get("loss")
    config = loss.get("config") if isinstance(loss, dict) else None
    return isinstance(config, dict) and config.get("from_logits") is True


def note(found: Recognised, layers: Sequence[KerasLayer], rescaling: KerasLayer | None) -> None:
    """Note what the file does not say, and what of it is left out."""
    if rescaling is None:
        found.notes.append(
            "no Rescaling layer: taken to be trained on pixels times 1/255, as in the workshop"
        )
    dropped = [layer.name for layer in layers if layer.class_name in TRAINING_ONLY]
    if found.arguments.get("dropout"):
        hidden, last = (layers.index(layer) for layer in found.layers[-2:])
        kept = next(layer.name for layer in layers[hidden:last] if layer.class_name == "Dropout")
        dropped.remove(kept)
    if dropped:
        found.notes.append(f"left out, for they act in training alone: {', '.join(dropped)}")


def recognise_shapes(stored: Sequence[StoredLayer], rescaling: bool) -> Recognised:
    """The model that arrays without a configuration fit.

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
