"""What makes a dog: hanging ears, a long muzzle with a large nose, round eyes, a short thick tail."""

import numpy as np

from catdog_pl.data.sample.animal import SPARK, TONGUE, Animal, Build
from catdog_pl.data.sample.colours import chance
from catdog_pl.data.sample.curves import Points, both_sides, curve, furry, oval
from catdog_pl.data.sample.pencil import Colour, Pencil

SKULL = [(0.28, -0.86), (0.66, -0.64), (0.80, -0.15), (0.76, 0.28), (0.60, 0.72), (0.26, 0.98)]
LONG_EAR = [(0.40, -0.78), (0.74, -0.88), (1.04, -0.46), (1.24, 0.12)]
LONG_EAR += [(1.18, 0.62), (0.94, 0.66), (0.72, 0.12), (0.66, -0.40)]
FOLDED_EAR = [(0.36, -0.80), (0.62, -1.12), (1.00, -1.02), (1.24, -0.50)]
FOLDED_EAR += [(1.17, -0.24), (0.88, -0.44), (0.62, -0.60)]
NOSE = [(-0.27, 0.24), (0, 0.16), (0.27, 0.24), (0.19, 0.46), (0, 0.55), (-0.19, 0.46)]
BRIDGE = [(-0.20, 0.02), (0.20, 0.02), (0.36, 0.50), (-0.36, 0.50)]
TONGUE_OUT = [(-0.17, 0.66), (0.17, 0.66), (0.18, 1.04), (0, 1.19), (-0.18, 1.04)]

SIDE_SKULL = [(-0.80, -0.30), (-0.45, -0.76), (0.10, -0.86), (0.50, -0.62), (0.68, -0.24), (1.02, -0.14)]
SIDE_SKULL += [
    (1.36, -0.08),
    (1.50, 0.16),
    (1.40, 0.44),
    (1.00, 0.60),
    (0.50, 0.74),
    (-0.10, 0.86),
    (-0.70, 0.55),
]
SNOUT = [(0.80, -0.06), (1.30, -0.03), (1.45, 0.16), (1.35, 0.40), (0.95, 0.52), (0.68, 0.30)]
SIDE_TONGUE = [(0.86, 0.48), (1.10, 0.46), (1.20, 0.82), (1.06, 1.04), (0.92, 0.90)]
SIDE_EAR = [(-0.50, -0.58), (-0.18, -0.74), (0.04, -0.40), (0.12, 0.28)]
SIDE_EAR += [(-0.08, 0.72), (-0.38, 0.52), (-0.56, -0.10)]

PUPIL = (0.74, 0.78)
TONGUE_FURROW: Colour = (180, 74, 88)


class Dog(Animal):
    """A dog."""

    build = Build(leg=0.19, chest=0.54, waist=0.36, height=0.86)

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.ear = FOLDED_EAR if chance(0.3, rng) else LONG_EAR

    def face(self, pencil: Pencil) -> None:
        """Draws the head from the front, with radius 1 around (0, 0)."""
        turn = self.look.turn
        self.skull(pencil, both_sides(SKULL))
        for side in (-1, 1):
            self._ear(pencil.moved(-0.10 * turn, 0, mirrored=side < 0), self.ear)
            there = pencil.moved(0.34 * side + 0.16 * turn, -0.16, mirrored=side < 0)
            self.eye(there, 0.17, 0.17, PUPIL)
            there.hair([(-0.13, -0.30), (0.02, -0.33), (0.15, -0.26)], 0.06, self.coat.ink)
        self._muzzle(pencil.moved(0.24 * turn, 0))

    def _ear(self, pencil: Pencil, ear: Points) -> None:
        points = np.array(ear)
        hangs = points[:, 1] > 0
        points[hangs, 1] *= self.ear_length
        pencil.fill(furry(curve(points), 0.8 * self.coat.fluff, self.rng), colour=self.coat.ears)

    def _muzzle(self, pencil: Pencil) -> None:
        coat = self.coat
        if self.look.tongue:
            pencil.fill(curve(TONGUE_OUT), colour=TONGUE)
            pencil.hair([(0, 0.74), (0, 1.0)], 0.03, TONGUE_FURROW)
        jowls = [oval(0.20 * side, 0.52, 0.30, 0.27) for side in (-1, 1)]
        pencil.fill(curve(BRIDGE), *jowls, colour=coat.muzzle, inked=False, shade=0.5)
        for side in (-1, 1):
            lip = [(0, 0.54), (0.04 * side, 0.72), (0.24 * side, 0.80), (0.47 * side, 0.63)]
            pencil.hair(lip, 0.045, coat.ink)
        pencil.fill(curve(NOSE), colour=coat.nose, shade=0)
        pencil.fill(oval(-0.08, 0.265, 0.08, 0.04), colour=SPARK, inked=False, shade=0)

    def profile(self, pencil: Pencil) -> None:
        """Draws the head from the side, with radius 1 around (0, 0), looking to the right."""
        coat = self.coat
        if self.look.tongue:
            pencil.fill(curve(SIDE_TONGUE), colour=TONGUE)
        self.skull(pencil, curve(SIDE_SKULL), face_x=0.7)
        pencil.fill(curve(SNOUT), colour=coat.muzzle, inked=False, shade=0.5)
        pencil.hair([(1.40, 0.36), (1.15, 0.41), (0.85, 0.43), (0.64, 0.28)], 0.045, coat.ink)
        pencil.fill(oval(1.42, 0.00, 0.20, 0.17), colour=coat.nose, shade=0)
        pencil.spot(1.37, -0.06, 0.05, SPARK)
        self.eye(pencil.moved(0.42, -0.22), 0.16, 0.16, PUPIL)
        self._ear(pencil, SIDE_EAR)

    def tail(self, pencil: Pencil, *, raised: bool) -> None:
        """Draws the tail from its root at (0, 0) to the left."""
        line = [(0.12, 0.00), (-0.25, -0.06), (-0.52, -0.22), (-0.66, -0.50)]
        if raised:
            line = [(0.12, 0.04), (-0.16, -0.18), (-0.30, -0.50), (-0.20, -0.82)]
        thick = 0.15 + self.coat.fluff
        self.paint_tail(pencil, line, (thick, 1.1 * thick, 0.9 * thick, 0.35 * thick))
