"""Animals: the tables of shapes that alone tell cats from dogs, and the coats that both of them wear."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from catdog_pl.data.sample.pencil import CIRCLE, Colour, Mark, Part, Pencil, Shape, blend, parts, pick


class Species(NamedTuple):
    """The shapes of a cat or a dog, in drawing units."""

    fronts: list[list[Part]]  # heads around (0, 0) from the front; one of them is drawn
    side: list[Part]  # a head around (0, 0) that looks to the right
    face: float  # x of the middle of its face
    tails: list[Part]  # lines of a hanging and a raised tail, from the root at (0, 0)
    tail: float  # width of the tail
    leg: float  # width of a leg
    build: tuple[float, float]  # width and height of the body, as parts of the poses'
    pupil: tuple[float, float, float]  # narrowest width, widest width and height, as parts of the eye's


CAT_FRONT = parts("""
    ears     areas  95,-16 98,-80 88,-144 88,-144 46,-112 10,-74
    skin     areas  82,-34 84,-73 78,-111 78,-111 52,-92 31,-69
    fur      half   25,-84 68,-62 96,-8 102,30 72,66 28,86
    iris     areas  68,-12 64,5 48,15 28,13 18,0 22,-17 38,-27 58,-25
    tongue   oval   0,60 9,13
    muzzle   ovals  17,43 23,18
    nose     area   -14,23 0,20 14,23 0,37 0,37
    ink      lines  0,36 0,46 | 0,45 12,53 27,47
    whisker  lines  24,40 75,18 127,18 | 24,43 75,36 127,45 | 24,47 75,54 127,72""")
CAT_SIDE = parts("""
    ears     area   10,-60 28,-110 42,-144 42,-144 58,-100 60,-50
    fur      area   -72,-55 -20,-86 35,-74 66,-30 80,-2 106,12 110,30 98,50 62,66 10,80 -60,66 -95,10
    ears     area   -52,-42 -46,-110 -32,-152 -32,-152 10,-112 28,-62
    skin     area   -24,-60 -26,-100 -25,-124 -25,-124 2,-98 12,-66
    iris     oval   46,-10 20,20
    muzzle   oval   84,38 26,19
    nose     area   93,9 113,9 115,19 105,29 98,20
    ink      line   105,29 98,42 80,50 62,44
    whisker  line   85,35 45,18 -13,18 | 85,41 45,36 -13,45 | 85,46 45,54 -13,72
    whisker  line   85,35 125,20 150,18 | 85,41 125,38 150,45 | 85,46 125,56 150,72""")
CAT_TAILS = parts("fur line 10,0 -45,2 -90,-6 -115,-34 -102,-66 | 10,0 -30,-10 -52,-55 -50,-105 -52,-142")
DOG_FRONT = """
    fur      half   28,-86 66,-64 80,-15 76,28 60,72 26,98
    iris     ovals  34,-16 17,17
    ink      areas  21,-44 36,-52 49,-45 36,-47
    tongue   area   -17,66 17,66 18,104 0,119 -18,104
    furrow   line   0,74 0,100
    muzzle   area   -20,2 20,2 36,50 -36,50
    muzzle   ovals  20,52 30,27
    ink      lines  0,54 4,72 24,80 47,63
    nose     area   -27,24 0,16 27,24 19,46 0,55 -19,46
    spark    oval   -8,26 8,4
    ears     areas  """
LONG_EAR = "40,-78 74,-88 104,-46 124,12 118,62 94,66 72,12 66,-40"
FOLDED_EAR = "36,-80 62,-112 100,-102 124,-50 117,-24 88,-44 62,-60"
DOG_FRONTS = [parts(DOG_FRONT + ear) for ear in (LONG_EAR, LONG_EAR, FOLDED_EAR)]
DOG_SIDE = parts("""
    tongue   area   86,48 110,46 120,82 106,104 92,90
    fur      area   -80,-30 -45,-76 10,-86 50,-62 68,-24 102,-14 136,-8 150,16 140,44 50,74 -10,86 -70,55
    muzzle   area   80,-6 130,-3 145,16 135,40 95,52 68,30
    ink      line   140,36 115,41 85,43 64,28
    nose     oval   142,0 20,17
    spark    oval   137,-6 5,5
    iris     oval   42,-22 16,16
    ears     area   -50,-58 -18,-74 4,-40 12,28 -8,72 -38,52 -56,-10""")
DOG_TAILS = parts("fur line 12,0 -25,-6 -52,-22 -66,-50 | 12,4 -16,-18 -30,-50 -20,-82")

CAT = Species([CAT_FRONT], CAT_SIDE, 50, CAT_TAILS, 24, 30, (0.94, 0.95), (0.2, 0.55, 0.92))
DOG = Species(DOG_FRONTS, DOG_SIDE, 70, DOG_TAILS, 32, 38, (1.06, 1.05), (0.74, 0.78, 0.78))

# What each pattern paints on a face around (0, 0), on a body that reaches from -50 to 50 in x and from 0 to
# 100 in y, and all along a tail.
MARKS = parts("""
    bib-face      half   0,-90 16,-30 46,90
    stripes-face  areas  0,-50 5,-50 9,-108 0,-108 | 20,-50 26,-50 54,-108 36,-108
    stripes-face  areas  62,18 62,22 120,16 120,0 | 62,43 62,47 120,41 120,25
    stripes-body  areas  4,-6 12,-6 12,25 7,55 | 22,-6 30,-6 30,25 25,60 | 40,-6 48,-6 48,25 43,50
    stripes-tail  oval   0,0 28,5
    patches-face  oval   -50,-25 50,52
    patches-body  oval   -30,25 20,20 | 20,60 25,22 | 35,10 18,20 | -35,80 20,15
    points-face   oval   0,40 62,62
    points-tail   oval   0,0 35,35
    cape-face     half   1,-120 200,-120 200,-20 100,-20 40,-45 1,-25
    cape-body     oval   0,0 55,45""")
PATTERNS = {  # pattern: roles that have the coat's pale colour, and its dark colour
    "plain": ("muzzle", "mark"),
    "bib": ("muzzle feet chest mark", ""),
    "stripes": ("muzzle", "mark"),
    "patches": ("muzzle", "mark ears"),
    "points": ("", "mark ears muzzle feet"),
    "cape": ("muzzle chest", "mark ears"),
}


def _colours(text: str) -> list[Colour]:
    """Return the colours of a text like ``423e40 66686e``, written as in HTML."""
    return [(red, green, blue) for red, green, blue in map(bytes.fromhex, text.split())]


# Black, charcoal, silver, blue grey, white, cream, sand, ginger, red, brown, chocolate, fawn.
FURS = _colours("423e40 66686e 989a9e 848c96 f0ece4 ecd6b2 deb076 de8e42 b86c38 8c5c3a 684836 c4a07e")
PALE_FURS, WARM_FURS = _colours("f6f3ee f4e6ce e2ceb0"), _colours("deb076 de8e42 b86c38")
SOOTY_FURS, NOSES = _colours("221e20 603822"), _colours("2a2426 342828 583830 b06c6a")
IRISES = _colours("ecba3e c48430 96be54 70b0ce 926036")
COLLARS = _colours("ce3634 3062be 3a9654 ecb830 8c4eaa")
INK, BLUSH, TONGUE, FURROW, SPARK, PUPIL = _colours("0e0c10 e8a09c e26e7a b44a58 fafafa 120e10")

DEPTH = {"ears": -10, "skin": -10, "fur": 0}  # units by which a turned face moves a part; all others: 18


class Animal:
    """A cat or a dog, whose coat and expression are sampled alike for both; `rng` is used in drawing, too."""

    def __init__(self, species: Species, rng: np.random.Generator) -> None:
        self.species, self.rng = species, rng
        self.pattern = pick(list(PATTERNS), rng)
        self.colours = sample_colours(self.pattern, rng)
        self.fluff = rng.uniform(0.03, 0.08) if rng.random() < 0.5 else 0.0  # length of tufts, in radii
        self.ears = rng.uniform(0.8, 1.2)  # by how much the ears are stretched, from y = -50 on
        self.turn = rng.uniform(-1, 1)  # how far the face is turned to the right
        self.lids = rng.uniform(0.75, 1.0) if rng.random() > 0.08 else 0.0  # how far the eyes are open
        self.gaze = rng.uniform((-0.2, -0.15), (0.2, 0.15))  # where the pupils are, in an eye's radii
        self.pupil = rng.random()  # how wide they are, of what the species can

    def draw(self, pencil: Pencil, part: Part, marks: Sequence[Mark] = (), width: float = 0.0) -> None:
        """Draw a part in the manner of its role, if there is a colour for it; `width` is that of lines."""
        if part.role in ("fur", "chest"):
            part = part._replace(areas=[self._tufted(area) for area in part.areas])
        if part.role in self.colours:
            pencil.draw(part, self.colours[part.role], marks, width)

    def _tufted(self, area: Shape) -> Shape:
        tufts = self.rng.uniform(0, self.fluff, (len(area), 1)) * np.resize((0, 1), (len(area), 1))
        tufted: Shape = area + (area - area.mean(axis=0)) * tufts
        return tufted

    def draw_head(self, pencil: Pencil, *, sideways: bool) -> None:
        """Draw the head around (0, 0), from the front or looking to the right."""
        face, turn = (self.species.face, 0.0) if sideways else (0.0, self.turn)
        for part in self.species.side if sideways else pick(self.species.fronts, self.rng):
            moved = pencil.moved((turn * DEPTH.get(part.role, 18), 0))
            if part.role == "iris":
                for eye in part.areas:
                    self._draw_eye(moved, eye)
            elif part.role in ("ears", "skin"):
                areas = [area * (1, self.ears) + (0, 50 * self.ears - 50) for area in part.areas]
                self.draw(moved, part._replace(areas=areas))
            else:
                self.draw(moved, part, self.marks("face", np.array((face, 0))) if part.role == "fur" else ())

    def _draw_eye(self, pencil: Pencil, eye: Shape) -> None:
        middle, radii = eye.mean(axis=0), np.ptp(eye, axis=0) / 2
        if self.lids == 0:
            arc = middle + radii * CIRCLE[16:] * (1, 0.6)
            self.draw(pencil, Part("ink", [], [arc]), width=6)
            return
        narrowest, widest, height = self.species.pupil
        pupil = CIRCLE * (narrowest + (widest - narrowest) * self.pupil, height) + self.gaze
        spark = CIRCLE * 0.26 * radii[1] / radii - (0.3, 0.38)
        marks = [(middle + radii * pupil, PUPIL), (middle + radii * spark, SPARK)]
        self.draw(pencil, Part("iris", [middle + (eye - middle) * (1, self.lids)], []), marks)

    def draw_tail(self, pencil: Pencil, *, raised: bool) -> None:
        """Draw the tail from its root at (0, 0) to the left."""
        line = self.species.tails[0].lines[raised]
        line = line + np.linspace(0, 1, len(line))[:, None] ** 2 * (self.rng.uniform(-25, 25), 0)
        marks = [mark for point in line[6::6] for mark in self.marks("tail", point)]
        width = self.species.tail + 200 * self.fluff
        self.draw(pencil, Part("fur", [line[-1] + CIRCLE * width / 2], [line]), marks, width)

    def marks(self, place: str, origin: Shape, size: Shape | float = 1.0) -> list[Mark]:
        """Return what the pattern paints on a face, a body or a tail, mirrored and stretched by chance."""
        size = size * self.rng.uniform(0.8, 1.25, 2) * (pick((-1, 1), self.rng), 1)
        shapes = [area for part in MARKS if part.role == f"{self.pattern}-{place}" for area in part.areas]
        return [((s + self.rng.uniform(-4, 4, 2)) * size + origin, self.colours["mark"]) for s in shapes]


def sample_colours(pattern: str, rng: np.random.Generator) -> dict[str, Colour]:
    """Return the colours of a coat for each role; parts whose role is not in it are not drawn."""
    base = blend(pick(FURS, rng), pick(FURS + IRISES, rng), rng.uniform(0.03, 0.3))
    pale = blend(base, pick(PALE_FURS, rng), rng.uniform(0.55, 1.0))
    dark = blend(base, pick(WARM_FURS if sum(base) < 270 else SOOTY_FURS, rng), rng.uniform(0.5, 0.75))
    colours = {"fur": base, "ears": base, "feet": base, "spark": SPARK, "nose": pick(NOSES, rng)}
    for roles, colour in zip(PATTERNS[pattern], (pale, dark), strict=True):
        colours |= dict.fromkeys(roles.split(), colour)
    colours["ears"] = blend(colours["ears"], INK, rng.uniform(0.05, 0.35))
    colours |= {"far": blend(base, INK, 0.2), "skin": blend(base, BLUSH, 0.65), "ink": blend(base, INK, 0.8)}
    colours["iris"] = blend(pick(IRISES, rng), pick(IRISES, rng), rng.uniform(0, 0.3))
    colours["whisker"] = INK if sum(base) > 315 else SPARK
    if rng.random() < 0.35:
        colours["collar"] = pick(COLLARS, rng)
    if rng.random() < 0.6:
        colours |= {"tongue": TONGUE, "furrow": FURROW}
    return colours
