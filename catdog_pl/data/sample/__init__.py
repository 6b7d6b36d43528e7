"""The built-in sample: cats and dogs drawn by this package, so that everything runs without a photograph.

What tells a cat from a dog is shape alone: ears, muzzle, eyes, whiskers, tail, build. Coat, pose, size,
place, background, light, focus, noise and JPEG quality come from the same distributions for both.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

from catdog_pl.data.sample.animals import CAT, DOG, Animal, Species
from catdog_pl.data.sample.pencil import Pencil
from catdog_pl.data.sample.poses import POSES, draw_animal
from catdog_pl.data.sample.scenery import draw_scene, photograph

SPECIES = {"cat": CAT, "dog": DOG}
SAMPLE_COUNTS = {"train": 400, "validation": 100, "test": 100}  # pictures of each species
TOTAL = sum(SAMPLE_COUNTS.values())
SHORTEST, LONGEST = 120, 400  # sides of a picture, pixels
OVERSAMPLING = 2  # pictures are drawn this much larger and averaged down, which smooths the edges
OUTLINE, THINNEST_OUTLINE = 3.5, 1.6  # width in drawing units, and at least in pixels of the finished picture
QUALITY = 70, 96  # of the JPEG files: at least, and less than


def draw_sample(folder: Path, per_class: int = TOTAL, *, seed: int = 2018, progress: bool = False) -> None:
    """Draw the sample as Kaggle names its files: ``cat.0.jpg``, ``dog.0.jpg``, ``cat.1.jpg``, ...

    A picture depends on the seed, its species and its number only, so that a smaller sample is the beginning
    of a larger one, and an interrupted one is finished by drawing it again.

    Args:
        folder: where the files go; made where it does not exist. Files of these names are replaced.
        per_class: how many pictures of each species.
        seed: not negative; another one draws other animals.
        progress: whether a progress bar is shown on stderr.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tqdm(total=per_class * len(SPECIES), desc="Drawing", unit="picture", disable=not progress) as bar:
        for number in range(per_class):
            for place, (name, species) in enumerate(SPECIES.items()):
                rng = np.random.Generator(np.random.PCG64([seed, place, number]))
                picture = draw_picture(species, rng)
                picture.save(folder / f"{name}.{number}.jpg", quality=int(rng.integers(*QUALITY)))
                bar.update()


def draw_picture(species: Species, rng: np.random.Generator) -> Image.Image:
    """Return an RGB picture of a cat or a dog, with sides of 120 to 400 pixels."""
    long = SHORTEST * (LONGEST / SHORTEST) ** (rng.random() ** 1.7)  # small pictures are more frequent
    sides = round(long), round(max(SHORTEST, long * rng.uniform(0.75, 1.0)))
    size = sides if rng.random() < 0.6 else sides[::-1]
    width, height = (side * OVERSAMPLING for side in size)

    pose = POSES[int(rng.choice(len(POSES), p=[pose.share for pose in POSES]))]
    grounded = pose.tail is not None  # or else the picture ends below the shoulders
    left, top, right, bottom = pose.box
    unit = min(width / (right - left), height / (bottom - top)) * rng.uniform(0.85, 1.05)  # pixels
    room_x, room_y = max(0.0, width - unit * (right - left)), max(0.0, height - unit * (bottom - top))
    side = -1 if rng.random() < 0.5 else 1  # -1 looks to the left
    x = rng.uniform(0.25, 0.75) * room_x + unit * (-left if side == 1 else right)
    y = (rng.uniform(0.5, 1.0) if grounded else 1.0) * room_y - unit * top
    floor = y - unit * rng.uniform(5, 40) if grounded else height * rng.uniform(0.55, 0.9)
    ground = min(floor, 0.95 * height)

    picture = draw_scene(size, ground / OVERSAMPLING, rng).resize((width, height), Image.Resampling.NEAREST)
    if grounded:
        _cast_shadow(picture, x, y, unit)
    animal = Animal(species, rng)
    strands = rng.integers(0, 46, (height // 14 + 1, width // 4 + 1), dtype=np.uint8)
    fur = Image.fromarray(strands).resize(picture.size, Image.Resampling.BILINEAR)
    frame = np.array([[side * unit, 0, x], [0, unit, y], [0, 0, 1]])
    line = max(THINNEST_OUTLINE * OVERSAMPLING, OUTLINE * unit)
    pencil = Pencil(picture, fur, animal.colours["ink"], line, frame).moved((0, 0), rng.uniform(-0.1, 0.1))
    draw_animal(pencil, animal, pose)
    return photograph(picture.reduce(OVERSAMPLING), rng)


def _cast_shadow(picture: Image.Image, x: float, y: float, unit: float) -> None:
    """Darken the ground around (x, y), where an animal stands; the unit's length is in pixels."""
    mask = Image.new("L", (picture.width // 4, picture.height // 4))
    shadow = (x / 4 - 30 * unit, y / 4 - 4 * unit, x / 4 + 30 * unit, y / 4 + 4 * unit)
    ImageDraw.Draw(mask).ellipse(shadow, fill=110)
    picture.paste((0, 0, 0), (0, 0), mask.filter(ImageFilter.BoxBlur(3)).resize(picture.size))
