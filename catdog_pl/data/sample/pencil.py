"""The pencil: fills outlines on a picture, with ink around them, patterns on them and shade over them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from catdog_pl.data.sample.curves import CIRCLE, Points, Shape, outward, ribbon

Colour: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[int, int, int, int]

# Shapes grow darker towards their lower edge, by up to 30 %: light comes from above.
FALLING_LIGHT = Image.linear_gradient("L").point([round(0.3 * v) for v in range(256)])


@dataclass(frozen=True)
class Mark:
    """A patch of another colour, seen only where it lies on the shape that carries it."""

    shape: Shape
    colour: Colour


@dataclass(frozen=True)
class Pencil:
    """Fills shapes given in drawing units.

    Attributes:
        picture: the RGB picture that is drawn on.
        texture: L picture of the same size; how much darker fur is at each place, 0..255.
        frame: (3, 3) matrix from drawing units to pixels.
        ink: colour of outlines.
        line: width of outlines, pixels.
    """

    picture: Image.Image
    texture: Image.Image
    frame: NDArray[np.float64]
    ink: Colour
    line: float

    def moved(
        self, x: float, y: float, *, scale: float = 1.0, angle: float = 0.0, mirrored: bool = False
    ) -> "Pencil":
        """Returns a pencil with a frame of its own, for a part of the drawing.

        Args:
            x: where the part's (0, 0) lies, in this pencil's units.
            y: likewise, downwards.
            scale: length of the part's unit.
            angle: radians by which the part is turned clockwise.
            mirrored: whether the part's x runs to the left.
        """
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        side = -1.0 if mirrored else 1.0
        part = np.array([[side * cos, -sin, x], [side * sin, cos, y], [0.0, 0.0, 1.0]])
        return replace(self, frame=self.frame @ part)

    def fill(
        self,
        *shapes: Shape,
        colour: Colour,
        marks: Sequence[Mark] = (),
        inked: bool = True,
        shade: float = 1.0,
    ) -> None:
        """Fills the union of closed shapes, with one outline around all of them.

        Args:
            *shapes: closed outlines.
            colour: of the fill.
            marks: painted over the fill, in order.
            inked: whether there is an outline.
            shade: how strongly light and fur darken the fill, 0..1.
        """
        corners = [self._pixels(shape) for shape in shapes]
        if inked:
            box, mask = self._stencil([outline + self.line * outward(outline) for outline in corners])
            self.picture.paste(self.ink, box, mask)
        box, mask = self._stencil(corners)
        self.picture.paste(colour, box, mask)
        for mark in marks:
            painted = _mask([self._pixels(mark.shape)], box)
            self.picture.paste(mark.colour, box, ImageChops.multiply(mask, painted))
        if shade > 0:
            self._shade(box, mask, shade)

    def hair(self, points: Points, width: float, colour: Colour) -> None:
        """Draws a line `width` units wide, but never thinner than an outline."""
        unit = float(np.hypot(self.frame[0, 0], self.frame[1, 0]))
        half = max(width, self.line / unit) / 2
        self.fill(ribbon(points, [half, half]), colour=colour, inked=False, shade=0)

    def spot(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Draws a disc without outline or shade."""
        self.fill(CIRCLE[::2] * radius + (x, y), colour=colour, inked=False, shade=0)

    def _shade(self, box: Box, mask: Image.Image, strength: float) -> None:
        light = FALLING_LIGHT.resize(mask.size, Image.Resampling.NEAREST)
        dark = ImageChops.add(light, self.texture.crop(box))
        if strength < 1:
            dark = ImageChops.multiply(dark, Image.new("L", mask.size, round(255 * strength)))
        self.picture.paste((0, 0, 0), box, ImageChops.multiply(mask, dark))

    def _pixels(self, shape: Shape) -> Shape:
        return shape @ self.frame[:2, :2].T + self.frame[:2, 2]

    def _stencil(self, corners: Sequence[Shape]) -> tuple[Box, Image.Image]:
        """Returns the part of the picture that the shapes touch, and their mask there."""
        points = np.concatenate(corners)
        size = np.array(self.picture.size)
        left, top = (int(v) for v in np.clip(points.min(axis=0) - 1, 0, size - 1))
        right, bottom = (int(v) for v in np.clip(points.max(axis=0) + 2, (left + 1, top + 1), size))
        box = (left, top, right, bottom)
        return box, _mask(corners, box)


def _mask(corners: Sequence[Shape], box: Box) -> Image.Image:
    mask = Image.new("L", (box[2] - box[0], box[3] - box[1]))
    draw = ImageDraw.Draw(mask)
    for outline in corners:
        draw.polygon((outline - box[:2]).ravel().tolist(), fill=255)
    return mask
