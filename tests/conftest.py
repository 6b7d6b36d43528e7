"""Fixtures for all tests: tiny photographs, a folder of one's own, and no reach outside it."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Before anything imports Keras: the referee computes with PyTorch, which is installed anyway.
os.environ["KERAS_BACKEND"] = "torch"
# The tests run beside others' work; two threads a process are plenty for images of 32 pixels.
os.environ.setdefault("OMP_NUM_THREADS", "2")

COUNTS = {"train": 8, "validation": 4, "test": 3}


def draw_photo(path: Path, label: int, rng: np.random.Generator) -> None:
    """A noisy picture of a size of its own: cats (label 0) have a dark top, dogs a dark bottom."""
    height, width = rng.integers(30, 60, size=2)
    pixels = rng.integers(100, 255, size=(height, width, 3), dtype=np.uint8)
    half = slice(0, height // 2) if label == 0 else slice(height // 2, height)
    pixels[half] //= 4
    Image.fromarray(pixels).save(path, quality=95)


def draw_layout(root: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """``root/{train,validation,test}/{cat,dog}`` with that many photographs of each class."""
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        for label, name in enumerate(("cat", "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                draw_photo(folder / f"{name}.{i}.jpg", label, rng)
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data folder, to be read only."""
    return draw_layout(tmp_path_factory.mktemp("photos") / "data", COUNTS)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A basic model that nothing has trained, to be read only."""
    import torch

    from catdog_pl.models.basic import Basic
    from catdog_pl.models.checkpoint import save_checkpoint

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "best.ckpt"
    save_checkpoint(Basic(image_size=32), path)
    return path


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test stands in an empty folder, and downloads nothing into the user's cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    return tmp_path


Run = Callable[..., int]


@pytest.fixture
def run() -> Run:
    """Calls a command in this process: ``run("fit --model basic", "--root", path)`` -> exit code."""
    from catdog_pl.__main__ import main

    def call(line: str, *words: object) -> int:
        return main([*line.split(), *map(str, words)])

    return call
