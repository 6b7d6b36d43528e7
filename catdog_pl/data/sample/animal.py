"""An animal: its coat, its expression, and the parts of a body that every kind draws in its own way."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from catdog_pl.data.sample.coat import Coat, draw_coat
from catdog_pl.data.sample.colours import chance
from catdog_pl.data.sample.curves import Points, Shape, curve, furry, oval, ribbon
from catdog_pl.data.sample.markings import face_marks, tail_marks
from catdog_pl.data.sample.pencil import Colour, Pencil

SPARK: Colour = (250, 250, 250)
PUPIL: Colour = (18, 14, 16)
TONGUE: Colour = (226, 110, 122)


@dataclass(frozen=True)
class Build:
    """Proportions of a body.

    Attributes:
        leg: half-width of a leg.
        chest: half-width of the chest.
        waist: half-height of the body before the hind legs.
        height: length of the legs.
    """

    leg: float
    chest: float
    waist: float
    height: float


@dataclass(frozen=True)
class Expression:
    """What a face does.

    Attributes:
        turn: how far the face is turned aside, -1..1.
        lids: how far the eyes are open, 0..1; 0 is a contented arc.
        gaze: where the eyes look, -1..1 to the right and downwards.
        tongue: whether the tongue is out.
    """

    turn: float
    lids: float
    gaze: tuple[float, float]
    tongue: bool


class Animal(ABC):
    """One animal, with a coat and an expression of its own.

    Args:
        rng: all that is drawn by chance comes from here.
    """

    build: ClassVar[Build]

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.coat: Coat = draw_coat(rng)
        self.look = draw_expression(rng)
        self.ear_length = rng.uniform(0.8, 1.2)

    @abstractmethod
    def face(self, pencil: Pencil) -> None:
        """Draws the head from the front, with radius 1 around (0, 0)."""

    @abstractmethod
    def profile(self, pencil: Pencil) -> None:
        """Draws the head from the side, with radius 1 around (0, 0), looking to the right."""

    @abstractmethod
    def tail(self, pencil: Pencil, *, raised: bool) -> None:
        """Draws the tail from its root at (0, 0) to the left."""

    def skull(self, pencil: Pencil, outline: Shape, face_x: float = 0.0) -> None:
        """Fills the head's outline with the coat; the face is centred on (face_x, 0)."""
        rough = furry(outline, 1.2 * self.coat.fluff, self.rng)
        pencil.fill(rough, colour=self.coat.base, marks=face_marks(self.coat, face_x, self.rng))

    def paint_tail(self, pencil: Pencil, middle: Points, widths: tuple[float, ...]) -> None:
        """Fills a tail around its middle line."""
        shape = furry(ribbon(middle, widths), self.coat.fluff, self.rng)
        pencil.fill(shape, colour=self.coat.base, marks=tail_marks(self.coat, curve(middle, closed=False)))

    def eye(self, pencil: Pencil, rx: float, ry: float, pupil: tuple[float, float]) -> None:
        """Draws an eye around (0, 0).

        Args:
            pencil: draws in the eye's frame.
            rx: half-width.
            ry: half-height when wide open.
            pupil: half-width and half-height of the pupil as parts of the eye's.
        """
        lids, (x, y) = self.look.lids, self.look.gaze
        if lids == 0:
            pencil.hair([(-rx, 0.2 * ry), (0, -0.5 * ry), (rx, 0.2 * ry)], 0.07, self.coat.ink)
            return
        ry *= lids
        pencil.fill(oval(0, 0, rx, ry), colour=self.coat.iris, shade=0.4)
        black = oval(0.2 * rx * x, 0.15 * ry * y, rx * pupil[0], ry * pupil[1])
        pencil.fill(black, colour=PUPIL, inked=False, shade=0)
        pencil.spot(-0.3 * rx, -0.38 * ry, 0.26 * ry, SPARK)


def draw_expression(rng: np.random.Generator) -> Expression:
    """Draws an expression."""
    lids = 0.0 if chance(0.08, rng) else rng.uniform(0.75, 1.0)
    gaze = (rng.uniform(-1, 1), rng.uniform(-1, 1))
    return Expression(turn=rng.uniform(-1, 1), lids=lids, gaze=gaze, tongue=chance(0.6, rng))
