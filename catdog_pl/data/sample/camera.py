"""The camera: size of the picture, place of the animal, light, focus, noise; the same for both kinds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from catdog_pl.data.sample.poses import Pose

OVERSAMPLING = 2  # pictures are drawn this much larger and averaged down, which smooths the edges
SHORTEST, LONGEST = 120, 400  # sides of a picture, pixels


@dataclass(frozen=True)
class Framing:
    """Where an animal is in its picture, in pixels of the oversampled picture.

    Attributes:
        size: width and height.
        unit: length of one drawing unit.
        x: where the drawing's (0, 0) lies.
        y: likewise, downwards.
        angle: radians by which the drawing is turned clockwise.
        mirrored: whether the animal looks to the left.
        ground: y of the line where the floor begins.
    """

    size: tuple[int, int]
    unit: float
    x: float
    y: float
    angle: float
    mirrored: bool
    ground: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3) matrix from drawing units to pixels."""
        cos, sin = self.unit * np.cos(self.angle), self.unit * np.sin(self.angle)
        side = -1.0 if self.mirrored else 1.0
        return np.array([[side * cos, -sin, self.x], [side * sin, cos, self.y], [0.0, 0.0, 1.0]])


def draw_size(rng: np.random.Generator) -> tuple[int, int]:
    """Draws width and height; small pictures are more frequent than large ones."""
    long = SHORTEST * (LONGEST / SHORTEST) ** (rng.random() ** 1.7)
    short = max(SHORTEST, long * rng.uniform(0.75, 1.0))
    wide = rng.random() < 0.6
    return (round(long), round(short)) if wide else (round(short), round(long))


def draw_framing(size: tuple[int, int], pose: Pose, rng: np.random.Generator) -> Framing:
    """Places a pose in a picture of the given final size."""
    width, height = size[0] * OVERSAMPLING, size[1] * OVERSAMPLING
    left, top, right, bottom = pose.box
    unit = min(width / (right - left), height / (bottom - top)) * rng.uniform(0.85, 1.05)
    room_x, room_y = max(0.0, width - unit * (right - left)), max(0.0, height - unit * (bottom - top))
    mirrored = bool(rng.random() < 0.5)
    x = rng.uniform(0.25, 0.75) * room_x + unit * (right if mirrored else -left)
    y = (rng.uniform(0.5, 1.0) if pose.grounded else 1.0) * room_y - unit * top
    ground = y - unit * rng.uniform(0.05, 0.4) if pose.grounded else height * rng.uniform(0.55, 0.9)
    return Framing((width, height), unit, x, y, rng.uniform(-0.1, 0.1), mirrored, min(ground, 0.95 * height))


def cast_shadow(picture: Image.Image, framing: Framing) -> None:
    """Darkens the ground under an animal."""
    small = (framing.size[0] // 4, framing.size[1] // 4)
    x, y, unit = framing.x / 4, framing.y / 4, framing.unit / 4
    mask = Image.new("L", small)
    ImageDraw.Draw(mask).ellipse((x - 1.2 * unit, y - 0.14 * unit, x + 1.2 * unit, y + 0.16 * unit), fill=110)
    mask = mask.filter(ImageFilter.BoxBlur(3)).resize(framing.size)
    picture.paste((0, 0, 0), (0, 0), mask)


def develop(drawing: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turns the oversampled drawing into the picture that a middling camera would take of it."""
    picture = drawing.reduce(OVERSAMPLING).filter(ImageFilter.BoxBlur(rng.uniform(0.0, 0.8)))
    pixels = np.asarray(picture).astype(np.float32)
    pixels *= _lamp(pixels.shape[:2], rng)[:, :, None]
    pixels *= _exposure(rng)
    grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32)
    grain *= np.float32(rng.uniform(0, 5))
    pixels += grain[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255, out=pixels).astype(np.uint8))


def _exposure(rng: np.random.Generator) -> NDArray[np.float32]:
    """Returns the factors of red, green and blue: how bright the picture is, and how warm."""
    warmth = np.array([rng.uniform(0.93, 1.07), 1.0, rng.uniform(0.93, 1.07)])
    return (rng.uniform(0.8, 1.15) * warmth).astype(np.float32)


def _lamp(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Returns a factor (height, width) that grows towards one side."""
    height, width = shape
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25)
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(strength * np.cos(angle))
    down = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(strength * np.sin(angle))
    return (1 + across[None, :] + down[:, None]).astype(np.float32)
