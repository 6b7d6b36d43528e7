"""Coats: colours, and the name of the pattern they are laid out in.

Nothing here knows which animal wears the coat, so that neither colour nor pattern tells the two apart.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from PIL import Image

from catdog_pl.data.sample.colours import blend, chance, jittered, luminance, pick
from catdog_pl.data.sample.pencil import Colour

Pattern: TypeAlias = Literal["plain", "bib", "stripes", "patches", "points", "cape"]
DARK_EARED: tuple[Pattern, ...] = ("patches", "points", "cape")

FURS: tuple[Colour, ...] = (
    (66, 62, 64),  # black
    (102, 104, 110),  # charcoal
    (152, 154, 158),  # silver
    (132, 140, 150),  # blue grey
    (240, 236, 228),  # white
    (236, 214, 178),  # cream
    (222, 176, 118),  # sand
    (222, 142, 66),  # ginger
    (184, 108, 56),  # red
    (140, 92, 58),  # brown
    (104, 72, 54),  # chocolate
    (196, 160, 126),  # fawn
)
PALE_FURS: tuple[Colour, ...] = ((246, 243, 238), (244, 230, 206), (226, 206, 176))
WARM_FURS: tuple[Colour, ...] = ((222, 176, 118), (222, 142, 66), (184, 108, 56))
SOOTY_FURS: tuple[Colour, ...] = ((34, 30, 32), (96, 56, 34))
IRISES: tuple[Colour, ...] = (
    (236, 186, 62),
    (196, 132, 48),
    (150, 190, 84),
    (112, 176, 206),
    (146, 96, 54),
)
NOSES: tuple[Colour, ...] = ((42, 36, 38), (52, 40, 40), (88, 56, 48), (176, 108, 106))
COLLARS: tuple[Colour, ...] = ((206, 54, 52), (48, 98, 190), (58, 150, 84), (236, 184, 48), (140, 78, 170))
BLUSH: Colour = (232, 160, 156)
INK: Colour = (14, 12, 16)


@dataclass(frozen=True)
class Coat:
    """What an animal wears.

    Attributes:
        pattern: how the colours are laid out.
        base: most of the fur.
        pale: muzzle, and with a bib or a cape also the chest.
        dark: stripes, patches, cape, and the points of a pointed coat.
        ears: outside of the ears.
        skin: inside of the ears.
        nose: colour of the nose.
        iris: colour of the eyes.
        ink: colour of the outlines.
        whisker: stands out from the fur.
        collar: its colour, or None where the animal wears none.
        fluff: length of the tufts on the outlines, in head radii.
    """

    pattern: Pattern
    base: Colour
    pale: Colour
    dark: Colour
    ears: Colour
    skin: Colour
    nose: Colour
    iris: Colour
    ink: Colour
    whisker: Colour
    collar: Colour | None
    fluff: float

    @property
    def muzzle(self) -> Colour:
        """Colour around the mouth."""
        return self.dark if self.pattern == "points" else self.pale

    @property
    def feet(self) -> Colour:
        """Colour of the paws."""
        return {"bib": self.pale, "points": self.dark}.get(self.pattern, self.base)

    @property
    def chest(self) -> Colour | None:
        """Colour of the chest where it differs from the rest."""
        return self.pale if self.pattern in ("bib", "cape") else None


def draw_coat(rng: np.random.Generator) -> Coat:
    """Draws a coat."""
    pattern = pick(get_args(Pattern), rng)
    base = jittered(pick(FURS, rng), 9, rng)
    dark = _second_fur(base, rng)
    return Coat(
        pattern=pattern,
        base=base,
        pale=blend(base, pick(PALE_FURS, rng), rng.uniform(0.55, 1.0)),
        dark=dark,
        ears=blend(dark if pattern in DARK_EARED else base, INK, rng.uniform(0.05, 0.35)),
        skin=blend(base, BLUSH, 0.65),
        nose=pick(NOSES, rng),
        iris=jittered(pick(IRISES, rng), 12, rng),
        ink=blend(base, INK, 0.8),
        whisker=(44, 38, 40) if luminance(base) > 105 else (244, 244, 240),
        collar=pick(COLLARS, rng) if chance(0.35, rng) else None,
        fluff=rng.uniform(0.03, 0.08) if chance(0.5, rng) else 0.0,
    )


def draw_fur(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Draws how much darker fur is at each place: upright strands, 0..45 of 255, as an L picture."""
    strands = rng.integers(0, 46, (size[1] // 14 + 1, size[0] // 4 + 1), dtype=np.uint8)
    return Image.fromarray(strands).resize(size, Image.Resampling.BILINEAR)


def _second_fur(base: Colour, rng: np.random.Generator) -> Colour:
    if luminance(base) < 90:
        return blend(base, pick(WARM_FURS, rng), 0.6)
    return blend(base, pick(SOOTY_FURS, rng), rng.uniform(0.5, 0.75))
