"""What makes a cat: upright pointed ears, a short muzzle, slit pupils, whiskers, a long thin tail."""

import numpy as np

from catdog_pl.data.sample.animal import TONGUE, Animal, Build
from catdog_pl.data.sample.curves import Shape, both_sides, curve, oval
from catdog_pl.data.sample.pencil import Pencil

SKULL = [(0.25, -0.84), (0.68, -0.62), (0.96, -0.08), (1.02, 0.30), (0.72, 0.66), (0.28, 0.86)]
EAR = [(0.95, -0.16), (0.98, -0.80), (0.88, -1.44), (0.88, -1.44), (0.46, -1.12), (0.10, -0.74)]
NOSE = [(-0.14, 0.23), (0, 0.20), (0.14, 0.23), (0, 0.37), (0, 0.37)]

SIDE_SKULL = [(-0.72, -0.55), (-0.20, -0.86), (0.35, -0.74), (0.66, -0.30), (0.80, -0.02), (1.06, 0.12)]
SIDE_SKULL += [(1.10, 0.30), (0.98, 0.50), (0.62, 0.66), (0.10, 0.80), (-0.60, 0.66), (-0.95, 0.10)]
SIDE_EAR = [(-0.52, -0.42), (-0.46, -1.10), (-0.32, -1.52), (-0.32, -1.52), (0.10, -1.12), (0.28, -0.62)]
INSIDE_EAR = [(-0.24, -0.60), (-0.26, -1.00), (-0.25, -1.24), (-0.25, -1.24), (0.02, -0.98), (0.12, -0.66)]
FAR_EAR = [(0.10, -0.60), (0.28, -1.10), (0.42, -1.44), (0.42, -1.44), (0.58, -1.00), (0.60, -0.50)]
SIDE_NOSE = [(0.93, 0.09), (1.13, 0.09), (1.15, 0.19), (1.05, 0.29), (0.98, 0.20)]

WHISKERS = (-0.16, 0.02, 0.20)  # how far each one falls
WHISKER_WIDTH = 0.026


class Cat(Animal):
    """A cat."""

    build = Build(leg=0.15, chest=0.44, waist=0.40, height=0.72)

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self.pupil = (rng.uniform(0.2, 0.55), 0.92)

    def face(self, pencil: Pencil) -> None:
        """Draws the head from the front, with radius 1 around (0, 0)."""
        turn = self.look.turn
        for side in (-1, 1):
            self._ear(pencil.moved(-0.10 * turn, 0, mirrored=side < 0))
        self.skull(pencil, both_sides(SKULL))
        for side in (-1, 1):
            narrow = 1 - 0.25 * max(0.0, side * turn)
            there = pencil.moved(0.43 * side + 0.16 * turn, -0.06, angle=-0.22 * side)
            self.eye(there, 0.26 * narrow, 0.22, self.pupil)
        self._muzzle(pencil.moved(0.16 * turn, 0))

    def _ear(self, pencil: Pencil) -> None:
        pencil.fill(_grown(EAR, 1.0, self.ear_length), colour=self.coat.ears)
        pencil.fill(_grown(EAR, 0.6, self.ear_length), colour=self.coat.skin, inked=False, shade=0.6)

    def _muzzle(self, pencil: Pencil) -> None:
        coat = self.coat
        if self.look.tongue:
            pencil.fill(oval(0, 0.60, 0.09, 0.13), colour=TONGUE)
        cheeks = [oval(0.17 * side, 0.43, 0.23, 0.18) for side in (-1, 1)]
        pencil.fill(*cheeks, colour=coat.muzzle, inked=False, shade=0.5)
        pencil.fill(curve(NOSE), colour=coat.nose, shade=0)
        pencil.hair([(0, 0.36), (0, 0.46)], 0.03, coat.ink)
        for side in (-1, 1):
            pencil.hair([(0, 0.45), (0.12 * side, 0.53), (0.27 * side, 0.47)], 0.035, coat.ink)
            for fall in WHISKERS:
                root, bow = (0.24 * side, 0.43 + 0.2 * fall), (0.75 * side, 0.34 + fall)
                tip = (side * self.rng.uniform(1.15, 1.4), 0.42 + 1.5 * fall)
                pencil.hair([root, bow, tip], WHISKER_WIDTH, coat.whisker)

    def profile(self, pencil: Pencil) -> None:
        """Draws the head from the side, with radius 1 around (0, 0), looking to the right."""
        coat = self.coat
        pencil.fill(curve(FAR_EAR), colour=coat.ears)
        self.skull(pencil, curve(SIDE_SKULL), face_x=0.5)
        pencil.fill(curve(SIDE_EAR), colour=coat.ears)
        pencil.fill(curve(INSIDE_EAR), colour=coat.skin, inked=False, shade=0.6)
        self.eye(pencil.moved(0.46, -0.10, angle=0.25), 0.20, 0.20, self.pupil)
        pencil.fill(oval(0.84, 0.38, 0.26, 0.19), colour=coat.muzzle, inked=False, shade=0.5)
        pencil.fill(curve(SIDE_NOSE), colour=coat.nose, shade=0)
        pencil.hair([(1.05, 0.29), (0.98, 0.42), (0.80, 0.50), (0.62, 0.44)], 0.035, coat.ink)
        for fall in WHISKERS:
            root, back = (0.85, 0.40 + 0.3 * fall), 0.72 - self.rng.uniform(0.7, 1.0)
            for bow, tip in (((0.45, 0.34), back), ((1.25, 0.36), 1.50)):
                line = [root, (bow[0], bow[1] + fall), (tip, 0.42 + 1.5 * fall)]
                pencil.hair(line, WHISKER_WIDTH, coat.whisker)

    def tail(self, pencil: Pencil, *, raised: bool) -> None:
        """Draws the tail from its root at (0, 0) to the left."""
        hook = self.rng.uniform(-0.35, 0.35)
        line = [(0.10, 0.00), (-0.45, 0.02), (-0.90, -0.06), (-1.15, -0.34), (-1.02, -0.66)]
        if raised:
            line = [(0.10, 0.00), (-0.30, -0.10), (-0.52, -0.55), (-0.50, -1.05), (-0.52 + hook, -1.42)]
        thick = 0.11 + self.coat.fluff
        self.paint_tail(pencil, line, (thick, thick, 0.9 * thick, 0.8 * thick))


def _grown(ear: list[tuple[float, float]], size: float, length: float) -> Shape:
    """Shrinks an ear towards its middle, then stretches what stands above the skull."""
    middle = np.array([0.62, -0.62])
    points = middle + (np.array(ear) - middle) * size
    above = points[:, 1] < -0.5
    points[above, 1] = -0.5 + (points[above, 1] + 0.5) * length
    return curve(points)
