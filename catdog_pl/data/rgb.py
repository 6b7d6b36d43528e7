"""An image of any mode of Pillow as RGB."""

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]
"""Red, green and blue, each 0..255."""


def to_rgb(image: Image.Image, background: Colour | None = None) -> Image.Image:
    """The image in mode RGB; it may be the same object, and its ``info`` may change.

    Args:
        image: of any mode; grey of more than 8 bits is scaled to 0..255, where Pillow would clip it.
        background: put behind transparent pixels; None drops transparency, as Keras does.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if background is not None and image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*background, 255))
        return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
    image.info.pop("transparency", None)  # Pillow would warn that it is lost; that is the rule here
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, as 0..255.

    Black is 0. White is the smallest usual white that no pixel exceeds: 65,535 for integers; 1, 255 or
    65,535 for floats; the brightest pixel where even that is exceeded. So a dark 16-bit photograph
    stays dark, and 65,535 becomes 255 exactly. What is not a finite number counts as black.
    """
    values = np.asarray(image).astype(np.float32)
    values[~np.isfinite(values)] = 0.0
    peak = float(values.max())
    whites = (1.0, 255.0, 65_535.0) if image.mode == "F" else (65_535.0,)
    white = next((white for white in whites if peak <= white), peak)
    return Image.fromarray(np.rint(values.clip(0.0) * (255.0 / white)).astype(np.uint8))
