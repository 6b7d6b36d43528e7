"""The built-in sample: cats and dogs drawn by this package, so that everything runs without a photograph.

What tells a cat from a dog is shape alone: ears, muzzle, eyes, whiskers, tail. Coat, pose, size, place,
background, light, focus, noise and JPEG quality come from the same distributions for both.
"""

from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image
from tqdm import tqdm

from catdog_pl.data.sample.animal import Animal
from catdog_pl.data.sample.camera import OVERSAMPLING, cast_shadow, develop, draw_framing, draw_size
from catdog_pl.data.sample.cat import Cat
from catdog_pl.data.sample.coat import draw_fur
from catdog_pl.data.sample.dog import Dog
from catdog_pl.data.sample.pencil import Pencil
from catdog_pl.data.sample.poses import draw_pose
from catdog_pl.data.sample.scenery import draw_scene

Kind: TypeAlias = Literal["cat", "dog"]

KINDS: dict[Kind, type[Animal]] = {"cat": Cat, "dog": Dog}
SAMPLE_COUNTS = {"train": 400, "validation": 100, "test": 100}  # pictures of each kind
OUTLINE = 0.035  # width of an outline in drawing units, and at least 1.6 pixels of the finished picture
THINNEST_OUTLINE = 1.6
WORST_QUALITY, BEST_QUALITY = 70, 95  # of the JPEG files


def draw_sample(
    folder: Path,
    per_class: int = sum(SAMPLE_COUNTS.values()),
    *,
    seed: int = 2018,
    progress: bool = False,
) -> None:
    """Draws the sample as Kaggle names its files: ``cat.0.jpg``, ``dog.0.jpg``, ``cat.1.jpg``, ...

    A picture depends on the seed, its kind and its number only, so that a smaller sample is the beginning
    of a larger one, and an interrupted one is finished by drawing it again.

    Args:
        folder: where the files go; made where it does not exist. Files of these names are replaced.
        per_class: how many pictures of each kind.
        seed: not negative; another one draws other animals.
        progress: whether a progress bar is shown on stderr.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tqdm(total=per_class * len(KINDS), desc="Drawing", unit="picture", disable=not progress) as bar:
        for number in range(per_class):
            for place, kind in enumerate(KINDS):
                rng = np.random.Generator(np.random.PCG64([seed, place, number]))
                picture = draw_animal(kind, rng)
                quality = int(rng.integers(WORST_QUALITY, BEST_QUALITY + 1))
                picture.save(folder / f"{kind}.{number}.jpg", quality=quality)
                bar.update()


def draw_animal(kind: Kind, rng: np.random.Generator) -> Image.Image:
    """Draws one picture of a cat or a dog.

    Args:
        kind: which of the two.
        rng: all that is drawn by chance comes from here.

    Returns:
        An RGB picture with sides of 120 to 400 pixels.
    """
    size = draw_size(rng)
    pose = draw_pose(rng)
    framing = draw_framing(size, pose, rng)
    scene = draw_scene(size, framing.ground / OVERSAMPLING, rng)
    picture = scene.resize(framing.size, Image.Resampling.NEAREST)
    if pose.grounded:
        cast_shadow(picture, framing)
    animal = KINDS[kind](rng)
    line = max(THINNEST_OUTLINE * OVERSAMPLING, OUTLINE * framing.unit)
    pose.draw(Pencil(picture, draw_fur(framing.size, rng), framing.matrix, animal.coat.ink, line), animal)
    return develop(picture, rng)
