"""Colours: picking, mixing, jittering."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from catdog_pl.data.sample.pencil import Colour

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

Choice = TypeVar("Choice")


def pick(choices: Sequence[Choice], rng: np.random.Generator) -> Choice:
    """Returns one of the choices, each as likely as the others."""
    return choices[int(rng.integers(len(choices)))]


def chance(probability: float, rng: np.random.Generator) -> bool:
    """Returns True with the given probability."""
    return bool(rng.random() < probability)


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """Mixes two colours; `share` is the second one's part, 0..1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def jittered(colour: Colour, spread: float, rng: np.random.Generator) -> Colour:
    """Moves each channel by up to `spread`."""
    moved = np.asarray(colour) + rng.uniform(-spread, spread, 3)
    red, green, blue = np.clip(moved, 0, 255).astype(int).tolist()
    return red, green, blue


def any_colour(rng: np.random.Generator) -> Colour:
    """Returns a colour of paint, cloth or wall: neither very dark nor glaring."""
    red, green, blue = rng.integers(90, 250, 3).tolist()
    return blend((red, green, blue), (160, 160, 160), 0.3)


def luminance(colour: Colour) -> float:
    """Returns the brightness, 0..255, with the weights of ITU-R BT.601."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
