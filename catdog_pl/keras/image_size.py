"""The image size of a model whose file does not tell it, from the width of its first dense layer."""

from math import isqrt

from catdog_pl.errors import KerasFileError
from catdog_pl.keras.recognise import Recognised

WORKSHOP = 150


def chosen_size(found: Recognised, rows: int, asked: int | None) -> int:
    """The side of the square images in pixels.

    Several sizes flatten to the same width. The workshop's is taken where it is among them.

    Args:
        found: the model; its own image size decides where the file tells it.
        rows: the first axis of the first dense kernel.
        asked: what the user says.

    Raises:
        KerasFileError: no size fits, or what was asked for does not, or several do.
    """
    fitting = range(found.image_size, found.image_size + 1) if found.image_size else sizes(found, rows)
    if asked is not None and asked not in fitting:
        raise KerasFileError(f"image_size {asked} does not fit its first dense layer; {words(fitting)} does")
    if asked is None and len(fitting) > 1 and WORKSHOP not in fitting:
        raise KerasFileError(f"it does not tell its image size; give --image_size, {words(fitting)} fits")
    return asked or (WORKSHOP if WORKSHOP in fitting else fitting[0])


def sizes(found: Recognised, rows: int) -> range:
    """The image sizes that flatten to ``rows`` values.

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


def words(fitting: range) -> str:
    """``150`` or ``144 to 151``."""
    return str(fitting[0]) if len(fitting) == 1 else f"{fitting[0]} to {fitting[-1]}"
