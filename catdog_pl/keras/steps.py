"""A Keras layer as the steps it does, after a look at the options that our models do not have."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import KerasLayer
from catdog_pl.keras.hdf5 import printable

TRAINING_ONLY = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "SpatialDropout2D",
)
"""Layers that hand their input on unchanged when the model predicts."""


class Step(NamedTuple):
    """One thing that a layer does; a Conv2D with an activation does two.

    Attributes:
        kind: ``conv``, ``pool``, ``flatten``, ``dense``, ``rescaling``, or the name of an activation.
        layer: which layer does it.
    """

    kind: str
    layer: KerasLayer


def steps_of(layers: Iterable[KerasLayer]) -> list[Step]:
    """What the layers do when the model predicts, in order, each pooling after the ReLU beside it.

    Raises:
        KerasFileError: a layer is of an unknown class, or has options that no model here has.
    """
    steps = [step for layer in layers for step in steps_of_layer(layer)]
    for i in range(len(steps) - 1):
        # Pooling and ReLU are both monotone: they may change places.
        if (steps[i].kind, steps[i + 1].kind) == ("pool", "relu"):
            steps[i], steps[i + 1] = steps[i + 1], steps[i]
    return steps


def steps_of_layer(layer: KerasLayer) -> list[Step]:
    """The steps of one layer: none, one, or one and an activation."""
    if layer.class_name in ("InputLayer", *TRAINING_ONLY):
        return []
    if layer.class_name == "Activation":
        return activation_of(layer)
    if layer.class_name not in KINDS:
        raise misfit(layer, "neither model has such a layer")
    kind, check = KINDS[layer.class_name]
    check(layer)
    return [Step(kind, layer), *(activation_of(layer) if kind in ("conv", "dense") else ())]


def activation_of(layer: KerasLayer) -> list[Step]:
    """The activation in a layer's options, or of an Activation layer; none where it is linear."""
    value = layer.config.get("activation", "linear")
    if isinstance(value, dict):  # a function's name is its config; a layer there stays its class, unknown
        config = value.get("config")
        value = config if isinstance(config, str) else value.get("class_name")
    return [] if value in ("linear", None) else [Step(printable(str(value)), layer)]


def check_convolution(layer: KerasLayer) -> None:
    """Hold that a convolution is 3x3, plain, and works on channels_last images."""
    config = layer.config
    kernel = config.get("kernel_size", [config.get("nb_row"), config.get("nb_col")])
    demand(layer, "kernel_size", pair(kernel), (3, 3))
    demand(layer, "strides", pair(config.get("strides", config.get("subsample", 1))), (1, 1))
    demand(layer, "dilation_rate", pair(config.get("dilation_rate", 1)), (1, 1))
    demand(layer, "groups", config.get("groups", 1), 1)
    demand(layer, "use_bias", config.get("use_bias", config.get("bias", True)), True)
    check_order(layer)


def check_pooling(layer: KerasLayer) -> None:
    """Hold that a pooling is 2x2 without padding."""
    size = pair(layer.config.get("pool_size", 2))
    demand(layer, "pool_size", size, (2, 2))
    demand(layer, "strides", pair(layer.config.get("strides") or size), (2, 2))
    demand(layer, "padding", padding(layer), "valid")
    check_order(layer)


def check_order(layer: KerasLayer) -> None:
    """Hold that a layer works on channels_last images, which Keras 1 called ``tf``."""
    config = layer.config
    order = config.get("data_format", config.get("dim_ordering")) or "channels_last"
    demand(
        layer,
        "data_format",
        {"tf": "channels_last", "th": "channels_first"}.get(order, order),
        "channels_last",
    )


def check_dense(layer: KerasLayer) -> None:
    """Hold that a dense layer has a bias."""
    demand(layer, "use_bias", layer.config.get("use_bias", layer.config.get("bias", True)), True)


def check_relu(layer: KerasLayer) -> None:
    """Hold that a ReLU layer is the plain one."""
    for option in ("max_value", "negative_slope", "threshold"):
        demand(layer, option, layer.config.get(option) or None, None)


def unchecked(layer: KerasLayer) -> None:
    """Nothing to hold here: the rescaling is read where its place is known."""


KINDS: dict[str, tuple[str, Callable[[KerasLayer], None]]] = {
    "Conv2D": ("conv", check_convolution),
    "Convolution2D": ("conv", check_convolution),
    "Dense": ("dense", check_dense),
    "Flatten": ("flatten", check_order),
    "MaxPool2D": ("pool", check_pooling),
    "MaxPooling2D": ("pool", check_pooling),
    "ReLU": ("relu", check_relu),
    "Rescaling": ("rescaling", unchecked),
}
"""What a layer does and what to hold of it, by its class in any version of Keras."""


def padding(layer: KerasLayer) -> object:
    """The padding of a convolution or pooling, which Keras 1 called ``border_mode``."""
    return layer.config.get("padding", layer.config.get("border_mode", "valid"))


def units(layer: KerasLayer) -> int:
    """The output channels of a convolution, or the width of a dense layer.

    Raises:
        KerasFileError: it is no positive whole number.
    """
    for option in ("filters", "nb_filter", "units", "output_dim"):
        value = layer.config.get(option)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    raise misfit(layer, "the configuration does not tell its width")


def pair(value: object) -> object:
    """A size that may be given once for both axes."""
    return tuple(value) if isinstance(value, list | tuple) else (value, value)


def demand(layer: KerasLayer, option: str, value: object, valid: object) -> None:
    """Hold that an option has the one value that our models have.

    Raises:
        KerasFileError: it has another.
    """
    if value != valid:
        raise misfit(layer, f"its {option} is {value!r}, the models here have {valid!r}")


def misfit(layer: KerasLayer, why: str) -> KerasFileError:
    """The error for a layer that no model here has."""
    return KerasFileError(f"{layer} does not fit: {why}")
