"""Markings: what the pattern of a coat paints on a face, a body and a tail."""

import numpy as np

from catdog_pl.data.sample.coat import Coat
from catdog_pl.data.sample.colours import pick
from catdog_pl.data.sample.curves import Shape, curve, oval, ribbon
from catdog_pl.data.sample.pencil import Mark

Box = tuple[float, float, float, float]

MASK = oval(0, 0.4, 0.62, 0.62)
# It reaches far to the left, to cover the back of a head seen from the side.
CAP = curve([(-2, -1.2), (1.2, -1.2), (1, -0.2), (0.4, -0.45), (0, -0.25), (-0.4, -0.45), (-2, -0.2)])


def _tabby_face() -> list[Shape]:
    brow = [[(0.7 * x, -0.5), (x, -0.8), (1.3 * x, -1.1)] for x in (-0.32, 0.0, 0.32)]
    left, right = (
        [[(s * 0.62, y), (s * 0.85, y - 0.02), (s * 1.2, y - 0.14)] for y in (0.2, 0.45)] for s in (-1, 1)
    )
    return [ribbon(bar, [0.03, 0.075, 0.09]) for bar in [*brow, *left, *right]]


TABBY_FACE = _tabby_face()


def face_marks(coat: Coat, x: float, rng: np.random.Generator) -> list[Mark]:
    """Returns what the coat paints on a head of radius 1 whose face is centred on (x, 0)."""
    shapes: list[Shape] = []
    match coat.pattern:
        case "bib":
            shapes = [_blaze(rng.uniform(0.10, 0.24))]
        case "stripes":
            shapes = TABBY_FACE
        case "patches":
            shapes = [oval(pick((-0.5, 0.5), rng), -0.25, rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.65))]
        case "points":
            shapes = [MASK]
        case "cape":
            shapes = [CAP]
    colour = coat.pale if coat.pattern == "bib" else coat.dark
    return [Mark(np.add(shape, (x, 0)), colour) for shape in shapes]


def _blaze(width: float) -> Shape:
    foot = width + 0.3
    return curve([(0, -0.9), (width, -0.3), (foot, 0.9), (-foot, 0.9), (-width, -0.3)])


def body_marks(coat: Coat, box: Box, rng: np.random.Generator) -> list[Mark]:
    """Returns what the coat paints on a body that fills the given box (left, top, right, bottom)."""
    left, top, right, _ = box
    shapes: list[Shape] = []
    match coat.pattern:
        case "stripes":
            shapes = _tabby_bars(box)
        case "patches":
            shapes = _patches(box, rng)
        case "cape":
            shapes = [oval((left + right) / 2, top, 0.55 * (right - left), 0.45 * (box[3] - top))]
    return [Mark(shape, coat.dark) for shape in shapes]


def _tabby_bars(box: Box) -> list[Shape]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    places = np.arange(left + 0.1 * width, right, 0.16 * max(width, 0.8))
    bars = [
        [(x, top - 0.1), (x + 0.05, top + 0.25 * height), (x - 0.04, top + 0.55 * height)] for x in places
    ]
    return [ribbon(bar, [0.07, 0.05, 0.01]) for bar in bars]


def _patches(box: Box, rng: np.random.Generator) -> list[Shape]:
    left, top, right, bottom = box
    size = np.array([right - left, bottom - top])
    centres = rng.uniform((left, top), (right, bottom), (4, 2))
    radii = size * rng.uniform((0.12, 0.15), (0.3, 0.3), (4, 2))
    return [oval(x, y, rx, ry) for (x, y), (rx, ry) in zip(centres, radii, strict=True)]


def tail_marks(coat: Coat, middle: Shape) -> list[Mark]:
    """Returns what the coat paints on a tail along the given middle line."""
    x, y = middle[-1]
    match coat.pattern:
        case "bib":
            return [Mark(oval(x, y, 0.3, 0.3), coat.pale)]
        case "points":
            return [Mark(oval(px, py, 0.35, 0.35), coat.dark) for px, py in middle[6::3]]
        case "stripes":
            return [Mark(oval(px, py, 0.28, 0.05), coat.dark) for px, py in middle[6::6]]
        case _:
            return []
