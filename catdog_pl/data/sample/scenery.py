"""Where the animal is: plain paper, a room, a meadow, clutter; the same for both kinds."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from catdog_pl.data.sample.colours import WHITE, any_colour, blend, chance, pick
from catdog_pl.data.sample.curves import curve
from catdog_pl.data.sample.pencil import Colour

Size: TypeAlias = tuple[int, int]

SKY: Colour = (150, 196, 232)
GRASS: Colour = (112, 166, 80)
LEAVES: Colour = (70, 110, 60)
BARK: Colour = (116, 88, 66)


def draw_scene(size: Size, ground: float, rng: np.random.Generator) -> Image.Image:
    """Draws a background, somewhat out of focus.

    Args:
        size: width and height, pixels.
        ground: y of the line where wall or sky end and floor or grass begin, pixels.
        rng: what is drawn comes from here.

    Returns:
        An RGB picture.
    """
    scene = pick(SCENES, rng)(size, ground, rng)
    return scene.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 1.0 + 0.01 * min(size))))


def paper(size: Size, ground: float, rng: np.random.Generator) -> Image.Image:
    """One colour, or one that fades into another."""
    first = any_colour(rng)
    return _fade(size, first, blend(first, any_colour(rng), rng.uniform(0.0, 0.9)), rng)


def room(size: Size, ground: float, rng: np.random.Generator) -> Image.Image:
    """A wall with pictures, a floor, perhaps a rug and a chest."""
    width, height = size
    wall = any_colour(rng)
    picture = Image.new("RGB", size, wall)
    draw = ImageDraw.Draw(picture)
    if chance(0.5, rng):
        stripe = max(4, int(width * rng.uniform(0.05, 0.15)))
        for x in range(0, width, 2 * stripe):
            draw.rectangle((x, 0, x + stripe, height), fill=blend(wall, WHITE, 0.15))
    for x, y, w, h in rng.uniform((-0.1, 0, 0.15, 0.15), (0.8, 0.4, 0.4, 0.4), (int(rng.integers(3)), 4)):
        corners = (x * width, y * height, (x + w) * width, (y + h) * height)
        draw.rectangle(corners, fill=any_colour(rng), outline=any_colour(rng), width=max(2, width // 60))
    draw.rectangle((0, ground, width, height), fill=any_colour(rng))
    draw.rectangle((0, ground - height / 40, width, ground), fill=blend(wall, WHITE, 0.6))
    _furniture(draw, size, ground, rng)
    return picture


def _furniture(draw: ImageDraw.ImageDraw, size: Size, ground: float, rng: np.random.Generator) -> None:
    width, height = size
    if chance(0.6, rng):
        x = rng.uniform(0.2, 0.8) * width
        rug = (
            x - 0.5 * width,
            ground + 0.02 * height,
            x + 0.5 * width,
            max(1.1 * height, ground + 0.1 * height),
        )
        draw.ellipse(rug, fill=any_colour(rng))
    if chance(0.4, rng):
        x, top = rng.uniform(-0.2, 0.7) * width, ground - rng.uniform(0.2, 0.45) * height
        chest = (x, top, x + 0.5 * width, ground + 0.1 * height)
        draw.rounded_rectangle(chest, radius=width // 20, fill=any_colour(rng))


def meadow(size: Size, ground: float, rng: np.random.Generator) -> Image.Image:
    """Sky, hills, perhaps trees, grass with blades."""
    width, height = size
    sky = blend(SKY, any_colour(rng), rng.uniform(0.0, 0.5))
    grass = blend(GRASS, any_colour(rng), rng.uniform(0.0, 0.35))
    picture = _fade(size, blend(sky, WHITE, 0.5), sky, rng)
    draw = ImageDraw.Draw(picture)
    for x, r in rng.uniform((0, 0.2), (1, 0.5), (int(rng.integers(1, 4)), 2)) * width:
        hill = blend(grass, sky, rng.uniform(0.2, 0.6))
        draw.ellipse((x - r, ground - 0.5 * r, x + r, ground + r), fill=hill)
    for x, r in rng.uniform((0, 0.06), (1, 0.16), (int(rng.integers(3)), 2)) * width:
        draw.rectangle((x - 0.2 * r, ground - 2 * r, x + 0.2 * r, ground + r), fill=BARK)
        draw.ellipse((x - r, ground - 3 * r, x + r, ground - 1.2 * r), fill=blend(grass, LEAVES, 0.6))
    draw.rectangle((0, ground, width, height), fill=grass)
    _blades(draw, size, ground, grass, rng)
    return picture


def _blades(
    draw: ImageDraw.ImageDraw, size: Size, ground: float, grass: Colour, rng: np.random.Generator
) -> None:
    width, height = size
    for x, depth, tall, bend in rng.uniform((0, 0, 0.01, -0.4), (1, 1, 0.04, 0.4), (60, 4)):
        foot = (x * width, ground + depth * (height - ground))
        tip = (foot[0] + bend * tall * height, foot[1] - tall * height)
        draw.line((foot, tip), fill=blend(grass, any_colour(rng), 0.4), width=max(1, width // 150))


def clutter(size: Size, ground: float, rng: np.random.Generator) -> Image.Image:
    """Paper strewn with discs, blobs and sticks."""
    picture = paper(size, ground, rng)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(8, 20))):
        place = rng.random(2) * size
        r = rng.uniform(0.04, 0.2) * min(size)
        colour = any_colour(rng)
        match int(rng.integers(3)):
            case 0:
                draw.ellipse((*(place - r), *(place + r)), fill=colour)
            case 1:
                draw.polygon(curve(place + r * rng.uniform(-1, 1, (5, 2))).ravel().tolist(), fill=colour)
            case _:
                draw.line(
                    (*place, *(place + 3 * r * rng.uniform(-1, 1, 2))), fill=colour, width=max(2, int(r / 4))
                )
    return picture


SCENES: tuple[Callable[[Size, float, np.random.Generator], Image.Image], ...] = (
    paper,
    paper,
    room,
    room,
    meadow,
    clutter,
)


def _fade(size: Size, first: Colour, second: Colour, rng: np.random.Generator) -> Image.Image:
    if chance(0.4, rng):
        ramp = Image.radial_gradient("L")
    else:
        ramp = Image.linear_gradient("L").rotate(90 * int(rng.integers(4)))
    return Image.composite(Image.new("RGB", size, first), Image.new("RGB", size, second), ramp.resize(size))
