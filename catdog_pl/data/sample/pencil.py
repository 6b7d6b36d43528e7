"""The pencil: draws tables of smooth shapes on a picture, with an outline, markings, light and fur.

Points and shapes are arrays (N, 2), x to the right, y downwards, in drawing units: a head's radius is 100.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour: TypeAlias = tuple[int, int, int]
Shape: TypeAlias = NDArray[np.float64]
Mark: TypeAlias = tuple[Shape, Colour]  # a closed outline, painted only where it lies on what carries it
Choice = TypeVar("Choice")

STEPS = np.linspace(0, 1, 8, endpoint=False)[:, None]  # between two knots: straight pieces below one pixel
CIRCLE = np.stack([np.cos(np.arange(32) * np.pi / 16), np.sin(np.arange(32) * np.pi / 16)], axis=1)
FALLING_LIGHT = Image.linear_gradient("L").point([round(0.3 * v) for v in range(256)])  # 30 % darker below
OUTLINED = ("fur", "far", "ears", "nose", "tongue", "iris", "feet", "collar")  # roles
SHADE = {"muzzle": 0.5, "skin": 0.6, "iris": 0.4}  # how strongly light and fur darken a role, 0..1; others: 1
SHADE |= dict.fromkeys(("nose", "spark", "ink", "furrow", "whisker"), 0)
NEAR = [0] * 31 + [255] * 225  # where a mask blurred by 1.3 outlines has 12 %: an outline around its edge


def pick(choices: Sequence[Choice], rng: np.random.Generator) -> Choice:
    """Return one of the choices, each as likely as the others."""
    return choices[int(rng.integers(len(choices)))]


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """Return a mixture of two colours; `share` is the second one's part, 0..1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def curve(knots: Shape, *, closed: bool = True) -> Shape:
    """Return the uniform Catmull-Rom spline through the knots; a knot given twice makes a corner."""
    before, after = (knots[-1:], knots[:2]) if closed else (knots[:1], knots[-1:])
    padded = np.concatenate([before, knots, after])[:, None]
    p0, p1, p2, p3 = (padded[k : k + len(padded) - 3] for k in range(4))
    cubic, square = 1.5 * (p1 - p2) + 0.5 * (p3 - p0), p0 - 2.5 * p1 + 2 * p2 - 0.5 * p3
    pieces: Shape = (((cubic * STEPS + square) * STEPS + 0.5 * (p2 - p0)) * STEPS + p1).reshape(-1, 2)
    return pieces if closed else np.concatenate([pieces, knots[-1:]])


class Part(NamedTuple):
    """Something that is drawn in one go."""

    role: str  # what it is: an animal has a colour for each role
    areas: list[Shape]  # closed outlines
    lines: list[Shape]  # smooth lines


def parts(table: str) -> list[Part]:
    """Return the parts of a table; its rows have a role, a form and the points of shapes, divided by ``|``.

    Rows in sequence that have one role make one part. Forms are ``area`` (knots of a closed curve), ``half``
    (those of the right half of a symmetric one, from top to bottom), ``oval`` (middle and half-axes) and
    ``line`` (knots); ``areas``, ``ovals`` and ``lines`` have a mirror image at x = 0 besides. Points are
    written as in SVG: ``25,-84 68,-62``.
    """
    found: list[Part] = []
    for role, form, shapes in (row.split(maxsplit=2) for row in table.strip().splitlines()):
        if not found or found[-1].role != role:
            found.append(Part(role, [], []))
        is_line = "line" in form
        for text in shapes.split("|"):
            shape = np.array([point.split(",") for point in text.split()], dtype=np.float64)
            if form == "half":
                shape = np.concatenate([shape, shape[::-1] * (-1, 1)])
            shape = CIRCLE * shape[1] + shape[0] if "oval" in form else curve(shape, closed=not is_line)
            twin = [shape * (-1, 1)] if form.endswith("s") else []
            (found[-1].lines if is_line else found[-1].areas).extend([shape, *twin])
    return found


@dataclass(frozen=True)
class Pencil:
    """Draws parts on a picture."""

    picture: Image.Image  # RGB
    fur: Image.Image  # L, of the same size: how much darker fur is at each place, 0..255
    ink: Colour  # of outlines
    line: float  # width of outlines, pixels
    frame: Shape  # (3, 3) matrix from drawing units to pixels

    def moved(self, place: Sequence[float] | Shape, angle: float = 0.0) -> "Pencil":
        """Return a pencil whose (0, 0) lies at a place of this one, turned clockwise by `angle` radians."""
        cos, sin = np.cos(angle), np.sin(angle)
        return replace(self, frame=self.frame @ [[cos, -sin, place[0]], [sin, cos, place[1]], [0, 0, 1]])

    def draw(self, part: Part, colour: Colour, marks: Sequence[Mark] = (), width: float = 0.0) -> None:
        """Fill the union of a part's areas and lines in the manner of its role, with one outline around it.

        Args:
            part: in drawing units.
            colour: of the fill.
            marks: painted over the fill, in order.
            width: of lines, drawing units; they are never thinner than an outline.
        """
        width = max(self.line, width * float(np.hypot(*self.frame[:2, 0])))
        areas, lines = [[self._pixels(shape) for shape in shapes] for shapes in (part.areas, part.lines)]
        corners, size = np.concatenate([*areas, *lines]), np.array(self.picture.size)
        margin = self.line + 1 + (width / 2 if lines else 0)
        low = np.clip(corners.min(axis=0) - margin, 0, size - 1).astype(int)
        high = np.clip(corners.max(axis=0) + margin + 1, low + 1, size).astype(int)
        left, top, right, bottom = box = (*low.tolist(), *high.tolist())

        mask = Image.new("1", (right - left, bottom - top))
        brush = ImageDraw.Draw(mask)
        for area in areas:
            brush.polygon((area - low).ravel().tolist(), fill=1)
        for line in lines:
            brush.line((line - low).ravel().tolist(), fill=1, width=round(width), joint="curve")
        if part.role in OUTLINED:
            near = mask.convert("L").filter(ImageFilter.BoxBlur(1.3 * self.line)).point(NEAR, "1")
            self.picture.paste(self.ink, box, near)
        layer = Image.new("RGB", mask.size, colour)
        for shape, other in marks:
            ImageDraw.Draw(layer).polygon((self._pixels(shape) - low).ravel().tolist(), fill=other)
        if shade := SHADE.get(part.role, 1):
            light = FALLING_LIGHT.resize(mask.size, Image.Resampling.NEAREST)
            layer.paste((0, 0, 0), None, ImageChops.add(light, self.fur.crop(box), scale=1 / shade))
        self.picture.paste(layer, box, mask)

    def _pixels(self, shape: Shape) -> Shape:
        return shape @ self.frame[:2, :2].T + self.frame[:2, 2]
