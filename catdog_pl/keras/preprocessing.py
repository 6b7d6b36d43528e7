"""What stands in front of the first layer, as a Keras ``Rescaling`` layer says it.

Every exported model takes what the workshop feeds, RGB times 1/255. A VGG16 trained with ImageNet's
preprocessing carries it as a ``Rescaling`` layer, and its first kernel takes RGB.
"""

from collections.abc import Sequence
from math import isclose
from typing import NamedTuple

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.config import KerasLayer
from catdog_pl.models.backbones.vgg16 import TORCHVISION_NAMES, normalization

Channels = tuple[float, float, float]


class Rescaling(NamedTuple):
    """``pixels * scale + offset`` per channel of RGB.

    Attributes:
        scale: of R, G and B.
        offset: of R, G and B.
    """

    scale: Channels
    offset: Channels

    def near(self, other: "Rescaling") -> bool:
        """Whether both are the same numbers, as far as float32 tells."""
        pairs = zip(self.scale + self.offset, other.scale + other.offset, strict=True)
        return all(isclose(a, b, rel_tol=1e-5, abs_tol=1e-8) for a, b in pairs)


PIXELS = Rescaling((1 / 255,) * 3, (0.0,) * 3)
"""The layer of models that take pixels in 0..255."""


def imagenet(weights: str) -> Rescaling:
    """From RGB in 0..1 to what VGG16's published weights were trained with, before the BGR flip.

    Args:
        weights: ``keras`` or a name of torchvision's.
    """
    mean, std, _ = normalization(weights)
    r, g, b = (255 / value for value in std)
    mr, mg, mb = (-m / s for m, s in zip(mean, std, strict=True))
    return Rescaling((r, g, b), (mr, mg, mb))


def imagenet_weights(layer: KerasLayer) -> str | None:
    """Whose preprocessing a ``Rescaling`` layer is: ``keras``, a name of torchvision's, or None for 1/255.

    Raises:
        KerasFileError: it is none of these.
    """
    found = Rescaling(channels(layer, "scale", None), channels(layer, "offset", 0.0))
    if found.near(PIXELS):
        return None
    weights: str
    for weights in ("keras", *TORCHVISION_NAMES):
        if found.near(imagenet(weights)):
            return weights
    raise KerasFileError(
        f"{layer} does not fit: it rescales by {found.scale[0]:g} and adds {found.offset[0]:g}; "
        "the models here take pixels times 1/255"
    )


def channels(layer: KerasLayer, argument: str, default: float | None) -> Channels:
    """A number, or one number for each of R, G and B."""
    value = layer.config.get(argument, default)
    values = value if isinstance(value, Sequence) and len(value) == 3 else [value] * 3
    if not all(isinstance(v, int | float) for v in values):
        raise KerasFileError(f"{layer} does not fit: its {argument} is {value!r}")
    return float(values[0]), float(values[1]), float(values[2])
