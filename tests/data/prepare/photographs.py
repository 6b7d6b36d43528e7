"""Photographs for the tests of prepare, and what a prepared folder holds."""

import csv
import hashlib
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from catdog_pl.data.prepare.photo import Photo
from catdog_pl.data.prepare.photos import Photos, photo_table
from catdog_pl.data.prepare.splits import SPLITS


def after(step: Callable[[Photos], object], photos: Iterable[Photo]) -> list[Photo]:
    """The photographs as a step of ``prepare`` leaves them."""
    with photo_table() as table:
        table.add(photos)
        step(table)
        return list(table.select())


def picture(number: int) -> Image.Image:
    """A picture of its own: no two numbers look alike, not even to a perceptual hash."""
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)


def draw(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(path)
    return path


def kaggle(folder: Path, count: int) -> Path:
    """``folder/train/{cat,dog}.N.jpg``, so many of each."""
    for number in range(count):
        draw(folder / "train" / f"cat.{number}.jpg", number)
        draw(folder / "train" / f"dog.{number}.jpg", 10_000 + number)
    return folder


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.jpg"), reverse=True):
            file.write(path, path.relative_to(folder))
    return archive


def contents(root: Path) -> dict[str, str]:
    """Every file under root, hidden ones too, with the hash of its bytes."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def photos(root: Path) -> dict[str, str]:
    """The files in the splits, with their hashes."""
    return {name: sha256 for name, sha256 in contents(root).items() if name.split("/")[0] in SPLITS}


def counts(root: Path) -> dict[str, int]:
    return {
        f"{split}/{label.name}": len(list(label.iterdir()))
        for split in SPLITS
        for label in sorted((root / split).iterdir())
    }


def manifest(root: Path) -> list[dict[str, str]]:
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
