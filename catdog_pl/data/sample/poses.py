"""Poses: portrait, sitting, standing, lying; the same bodies for both kinds, in each one's proportions.

An animal stands on the line y = 0 and looks to the right or at the viewer; the unit is a large head's radius.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from catdog_pl.data.sample.animal import Animal, Build
from catdog_pl.data.sample.colours import BLACK, blend, chance, pick
from catdog_pl.data.sample.curves import Points, Shape, both_sides, curve, furry, oval, ribbon
from catdog_pl.data.sample.markings import Box, body_marks
from catdog_pl.data.sample.pencil import Colour, Mark, Pencil

HEAD = 0.95  # radius of a head on a whole body
CREASE = 0.03  # width of a line between leg and body
BELL: Colour = (232, 200, 84)


@dataclass(frozen=True)
class Pose:
    """A way to hold oneself.

    Attributes:
        draw: draws the animal.
        box: left, top, right, bottom of what should be seen.
        share: how often this pose is drawn.
        grounded: whether the animal stands on the ground, or else fills the picture's lower edge.
    """

    draw: Callable[[Pencil, Animal], None]
    box: Box
    share: float
    grounded: bool = True


def portrait(pencil: Pencil, animal: Animal) -> None:
    """Draws head and shoulders from the front."""
    wide = animal.rng.uniform(0.95, 1.25)
    shoulders = both_sides([(0.35, 0.2), (0.62, 0.8), (wide, 1.5), (wide + 0.1, 3.2)])
    _trunk(pencil, animal, [shoulders], (-wide, 0.6, wide, 2.6))
    _chest(pencil, animal, [(-0.3, 0.4), (0.3, 0.4), (0.55, 1.4), (0, 1.9 + wide), (-0.55, 1.4)])
    _collar(pencil, animal, [(-0.62, 0.82), (0, 1.05), (0.62, 0.82)])
    _head(pencil, animal, 0, 0, 1.0, sideways=0)


def sitting_front(pencil: Pencil, animal: Animal) -> None:
    """Draws the animal sitting, from the front."""
    leg = animal.build.leg
    hips = animal.build.chest + 0.34
    raised = chance(0.3, animal.rng)
    side = pick((-1, 1), animal.rng)
    animal.tail(pencil.moved(-0.45 * side, -0.15, mirrored=side < 0), raised=raised)
    pencil.fill(*(oval(s * (hips - 0.05), -0.1, 0.26, 0.13) for s in (-1, 1)), colour=animal.coat.feet)
    body = both_sides([(0.22, -1.75), (0.42, -1.35), (0.8 * hips, -0.75), (hips, -0.3), (0.75 * hips, -0.02)])
    legs = [ribbon([(0.24 * s, -1.0), (0.25 * s, -0.5), (0.24 * s, -0.1)], [leg, 0.9 * leg]) for s in (-1, 1)]
    _trunk(pencil, animal, [body, *legs], (-hips, -1.6, hips, 0), feet=[-0.25, 0.25])
    _chest(pencil, animal, [(-0.2, -1.6), (0.2, -1.6), (0.32, -1.0), (0, -0.5), (-0.32, -1.0)])
    for x in (-0.24 - leg, -0.24 + leg, 0.24 - leg, 0.24 + leg):
        pencil.hair([(x, -0.8), (x, -0.45), (0.95 * x, -0.1)], CREASE, animal.coat.ink)
    _collar(pencil, animal, [(-0.36, -1.45), (0, -1.3), (0.36, -1.45)])
    _head(pencil, animal, 0, -2.2, HEAD, sideways=0)


def sitting_side(pencil: Pencil, animal: Animal) -> None:
    """Draws the animal sitting, from the side."""
    leg, chest, ink = animal.build.leg, animal.build.chest, animal.coat.ink
    animal.tail(pencil.moved(-0.62, -0.14), raised=chance(0.25, animal.rng))
    _far_leg(pencil, animal, [(0.50, -1.0), (0.56, -0.5), (0.58, -0.1)])
    back = [(-0.5, -0.02), (-0.82, -0.2), (-0.85, -0.6), (-0.55, -1.15), (-0.2, -1.6), (0.1, -1.9)]
    body = curve([*back, (0.48, -1.75), (0.40 + 0.5 * chest, -1.2), (0.42, -0.55), (0.2, -0.05)])
    near = ribbon([(0.34, -1.05), (0.38, -0.5), (0.38, -0.1)], [1.1 * leg, 0.9 * leg])
    _trunk(pencil, animal, [body, near, oval(0.46, -0.09, 0.21, 0.11)], (-0.85, -1.8, 0.6, 0), feet=[0.42])
    pencil.hair([(0.34 - leg, -0.85), (0.38 - leg, -0.45), (0.38 - 0.9 * leg, -0.1)], CREASE, ink)
    pencil.hair([(-0.05, -0.1), (-0.1, -0.55), (-0.45, -0.75)], CREASE, ink)
    pencil.fill(oval(-0.06, -0.09, 0.28, 0.11), colour=animal.coat.feet)
    _collar(pencil, animal, [(-0.02, -1.5), (0.3, -1.36), (0.58, -1.42)])
    _head(pencil, animal, 0.3, -2.2, HEAD, sideways=0.3)


def standing(pencil: Pencil, animal: Animal) -> None:
    """Draws the animal standing, from the side."""
    leg, height, ink = animal.build.leg, animal.build.height, animal.coat.ink
    top, knee = -height - 0.52, -0.55 * height
    far_hind, far_fore, hind, fore = animal.rng.uniform(-0.16, 0.16, 4)
    animal.tail(pencil.moved(-0.85, top + 0.22), raised=chance(0.75, animal.rng))
    _far_leg(pencil, animal, _leg_line(-0.5, far_hind, height))
    _far_leg(pencil, animal, _leg_line(0.72, far_fore, height))
    lines = (_leg_line(-0.72, hind, height), _leg_line(0.54, fore, height))
    legs = [ribbon(line, [1.5 * leg, leg, 0.85 * leg]) for line in lines]
    feet = [line[-1][0] for line in lines]
    paws = [oval(x + 0.08, -0.09, 0.2, 0.1) for x in feet]
    _trunk(pencil, animal, [_long_body(animal.build, top), *legs, *paws], (-1.0, top, 0.98, top + 1.0), feet)
    pencil.hair([(leg - 0.62, knee), (leg - 0.5, knee - 0.25), (-0.6, knee - 0.55)], CREASE, ink)
    pencil.hair([(0.5 - leg, knee), (0.46 - leg, knee - 0.2), (0.52 - leg, knee - 0.4)], CREASE, ink)
    _collar(pencil, animal, [(0.50, top - 0.02), (0.8, top + 0.28), (1.12, top + 0.3)])
    _head(pencil, animal, 0.85, top - 0.45, HEAD, sideways=0.3)


def _long_body(build: Build, top: float) -> Shape:
    back = [(-0.92, 0.14), (-0.5, 0.0), (0.2, 0.04), (0.7, -0.06), (0.98, 0.3)]
    belly = [
        (0.86, 0.42 + 0.6 * build.chest),
        (0.5, 0.5 + 0.7 * build.chest),
        (-0.3, 0.45 + 0.7 * build.waist),
    ]
    return curve(np.add([*back, *belly, (-0.66, 0.9), (-1.0, 0.6)], (0, top)))


def lying(pencil: Pencil, animal: Animal) -> None:
    """Draws the animal lying with its forelegs stretched out, from the side."""
    ink, tall = animal.coat.ink, 0.78 + 0.3 * animal.build.chest
    animal.tail(pencil.moved(-0.95, -0.16), raised=False)
    _far_leg(pencil, animal, [(0.5, -0.22), (1.0, -0.18), (1.5, -0.16)])
    back = [(-0.55, -0.02), (-0.98, -0.08), (-1.05, -0.35), (-0.9, -0.8), (-0.4, -tall), (0.2, -tall)]
    body = curve([*back, (0.7, -tall - 0.12), (1.0, -0.7), (0.85, -0.15), (0.4, 0.0)])
    near = ribbon([(0.45, -0.3), (0.8, -0.14), (1.3, -0.1)], [0.16, 0.15, 0.13])
    _trunk(pencil, animal, [body, near, oval(1.34, -0.11, 0.18, 0.12)], (-1.1, -tall, 0.9, 0), feet=[1.4])
    pencil.hair([(0.42, -0.48), (0.62, -0.36), (0.9, -0.3)], CREASE, ink)
    pencil.hair([(-0.1, -0.1), (-0.2, -0.5), (-0.55, -0.68), (-0.82, -0.5)], CREASE, ink)
    pencil.fill(oval(-0.2, -0.09, 0.32, 0.11), colour=animal.coat.feet)
    _collar(pencil, animal, [(0.42, -0.85), (0.75, -0.68), (1.05, -0.72)])
    _head(pencil, animal, 0.7, -1.45, HEAD, sideways=0.3)


POSES = (
    Pose(portrait, (-1.3, -1.5, 1.3, 1.2), share=0.46, grounded=False),
    Pose(sitting_front, (-1.15, -3.55, 1.15, 0.05), share=0.24),
    Pose(sitting_side, (-1.25, -3.55, 1.6, 0.05), share=0.12),
    Pose(standing, (-1.25, -2.95, 2.15, 0.05), share=0.09),
    Pose(lying, (-1.4, -2.8, 2.05, 0.05), share=0.09),
)


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draws a pose, each as often as its share says."""
    return POSES[int(rng.choice(len(POSES), p=[pose.share for pose in POSES]))]


def _trunk(
    pencil: Pencil,
    animal: Animal,
    shapes: list[Shape],
    box: Box,
    feet: list[float] | None = None,
) -> None:
    """Fills body and near legs as one; `box` is where the coat's pattern goes, `feet` where paws stand."""
    coat, rng = animal.coat, animal.rng
    socks = [Mark(oval(x, -0.02, 0.25, 0.24), coat.feet) for x in feet or []]
    body = furry(shapes[0], 0.6 * coat.fluff, rng)
    pencil.fill(body, *shapes[1:], colour=coat.base, marks=[*body_marks(coat, box, rng), *socks])


def _chest(pencil: Pencil, animal: Animal, outline: Points) -> None:
    if animal.coat.chest is not None:
        rough = furry(curve(outline), animal.coat.fluff, animal.rng)
        pencil.fill(rough, colour=animal.coat.chest, inked=False)


def _far_leg(pencil: Pencil, animal: Animal, line: Points) -> None:
    """Draws a leg on the far side, in the body's shadow."""
    x, y = line[-1]
    leg = animal.build.leg
    foot = Mark(oval(x, y, 0.25, 0.24), blend(animal.coat.feet, BLACK, 0.2))
    shapes = [ribbon(line, [1.2 * leg, leg, 0.85 * leg]), oval(x + 0.08, y + 0.02, 0.2, 0.1)]
    pencil.fill(*shapes, colour=blend(animal.coat.base, BLACK, 0.2), marks=[foot])


def _leg_line(x: float, stride: float, height: float) -> list[tuple[float, float]]:
    return [(x, 0.1 - height), (x + 0.3 * stride, 0.05 - height / 2), (x + stride, -0.1)]


def _collar(pencil: Pencil, animal: Animal, line: list[tuple[float, float]]) -> None:
    if animal.coat.collar is not None:
        pencil.fill(ribbon(line, [0.07, 0.07]), colour=animal.coat.collar)
        x, y = line[1]
        pencil.fill(oval(x, y + 0.1, 0.09, 0.09), colour=BELL)


def _head(pencil: Pencil, animal: Animal, x: float, y: float, size: float, *, sideways: float) -> None:
    """Draws the head, tilted; `sideways` is the probability of a profile."""
    there = pencil.moved(x, y, scale=size, angle=animal.rng.uniform(-0.28, 0.28))
    if chance(sideways, animal.rng):
        animal.profile(there)
    else:
        animal.face(there)
