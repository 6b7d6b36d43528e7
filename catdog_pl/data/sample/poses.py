"""Poses: portrait, sitting, standing, lying; tables of shapes that are scaled to the build of a species."""

from typing import NamedTuple

import numpy as np

from catdog_pl.data.sample.animals import INK, Animal
from catdog_pl.data.sample.pencil import CIRCLE, Mark, Part, Pencil, blend, parts

# The animal has its feet on y = 0 and looks at the viewer or to the right. Lines of "fur" and "far" are legs.
PORTRAIT = """
    fur     half   35,20 62,80 110,150 120,320
    chest   half   30,40 55,140 1,300
    collar  line   -64,84 0,112 64,84"""
SITTING_FRONT = """
    fur     half   22,-175 42,-135 67,-75 83,-30 62,-2
    fur     lines  24,-100 25,-50 24,-10
    feet    ovals  78,-10 26,13
    chest   half   20,-160 32,-100 1,-50
    ink     lines  7,-80 7,-45 7,-10 | 41,-80 41,-45 40,-10
    collar  line   -36,-140 0,-114 36,-140"""
SITTING_SIDE = """
    far     line   50,-100 56,-50 58,-10
    fur     area   -50,-2 -82,-20 -85,-60 -55,-115 -20,-160 10,-190 48,-175 64,-120 42,-55 20,-5
    fur     line   34,-105 38,-50 38,-10
    feet    oval   -6,-9 28,11
    ink     line   17,-85 21,-45 23,-10 | -5,-10 -10,-55 -45,-75
    collar  line   -6,-146 30,-116 60,-134"""
STANDING = """
    far     line   -50,-69 -50,-35 -50,-10 | 72,-69 72,-35 72,-10
    fur     area   -92,-117 -50,-131 20,-127 70,-137 98,-101 86,-60 50,-47 -30,-59 -66,-41 -100,-71
    fur     line   -72,-69 -72,-35 -72,-10 | 54,-69 54,-35 54,-10
    ink     line   -45,-43 -33,-68 -60,-98 | 33,-43 29,-63 35,-83
    collar  line   50,-133 80,-103 112,-101"""
LYING = """
    far     line   50,-22 100,-18 150,-16
    fur     area   -55,-2 -98,-8 -105,-35 -90,-80 -40,-93 20,-93 70,-105 100,-70 85,-15 40,0
    fur     line   45,-30 80,-14 130,-10
    feet    oval   -20,-9 32,11
    ink     line   42,-48 62,-36 90,-30 | -10,-10 -20,-50 -55,-68 -82,-50
    collar  line   42,-85 75,-68 105,-72"""


class Pose(NamedTuple):
    """A way to hold oneself, in drawing units."""

    body: list[Part]
    share: float  # of the pictures
    box: tuple[float, float, float, float]  # left, top, right, bottom of what should be seen
    head: tuple[float, float]  # middle of the head
    sideways: float = 0.0  # how often the head is seen from the side
    tail: tuple[float, float] | None = None  # root of the tail
    raised: float = 0.0  # how often the tail is raised
    stride: float = 3.0  # how far a leg is moved forwards or backwards at most


POSES = (
    Pose(parts(PORTRAIT), 0.46, (-130, -150, 130, 120), (0, 0)),
    Pose(parts(SITTING_FRONT), 0.24, (-115, -355, 115, 5), (0, -220), 0.0, (-45, -15), 0.3),
    Pose(parts(SITTING_SIDE), 0.12, (-125, -355, 160, 5), (30, -220), 0.3, (-62, -14), 0.25),
    Pose(parts(STANDING), 0.09, (-125, -295, 225, 5), (85, -176), 0.3, (-85, -109), 0.75, 16.0),
    Pose(parts(LYING), 0.09, (-140, -280, 205, 5), (70, -145), 0.3, (-95, -16)),
)


def draw_animal(pencil: Pencil, animal: Animal, pose: Pose) -> None:
    """Draw an animal in a pose."""
    rng = animal.rng
    build = np.array(animal.species.build) * rng.uniform(0.95, 1.05, 2)
    if pose.tail is not None:
        animal.draw_tail(pencil.moved(pose.tail * build), raised=rng.random() < pose.raised)
    for role, body, lines in pose.body:
        part = Part(role, [area * build for area in body], [line * build for line in lines])
        marks, width = list[Mark](), 14.0 * (role == "collar")
        if role == "fur":
            low, high = part.areas[0].min(axis=0), part.areas[0].max(axis=0)
            marks = animal.marks("body", np.array(((low[0] + high[0]) / 2, low[1])), (high - low) / 100)
        if role == "collar":
            part.areas.append(part.lines[0][8] + (0, 10) + CIRCLE * 9)  # a tag
        if role in ("fur", "far"):
            sock, width = blend(animal.colours["feet"], INK, 0.2 * (role == "far")), animal.species.leg
            for leg in part.lines:
                leg += np.linspace(0, 1, len(leg))[:, None] ** 2 * (rng.uniform(-pose.stride, pose.stride), 0)
                part.areas.append(leg[-1] + (3, 1) + CIRCLE * (20, 10))  # a paw
                marks.append((leg[-1] + CIRCLE * (25, 24), sock))
        animal.draw(pencil, part, marks, width)
    head = pencil.moved(pose.head * build, rng.uniform(-0.28, 0.28))
    animal.draw_head(head, sideways=rng.random() < pose.sideways)
