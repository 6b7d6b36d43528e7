"""A folder of pictures of every mode: order of files, classes, and pixels after loading and resizing.

Left out is grey of more than 8 bits, which Keras clips to white and this project scales.
"""

from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from PIL import Image

from benchmarks.parity.check import Check, largest
from benchmarks.parity.referee import Array, images
from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.images import ResizeRule
from catdog_pl.models import Basic

SIZE = 150
RESIZE: ResizeRule = "nearest"
PICTURES: dict[str, tuple[str, tuple[int, int], dict[str, Any]]] = {
    "cat/cat.1029.jpg": ("RGB", (151, 149), {}),
    "cat/cat.103.jpg": ("RGB", (150, 150), {"progressive": True}),
    "cat/cat.2.jpg": ("L", (37, 500), {}),
    "cat/cat.20.JPG": ("CMYK", (333, 71), {}),
    "cat/more/cat.1.png": ("RGBA", (64, 64), {}),
    "cat/cat.3.png": ("LA", (499, 375), {}),
    "dog/dog.1.png": ("P", (211, 97), {}),
    "dog/dog.10.png": ("1", (90, 160), {}),
    "dog/dog.2.bmp": ("RGB", (1, 7), {}),
    "dog/dog.3.jpeg": ("RGB", (640, 480), {"exif": True}),
    "dog/dog.4.tif": ("RGB", (301, 299), {}),
    "dog/dog.5.png": ("P", (45, 33), {"transparency": 3}),
}
"""Name: mode, (width, height), and what else is said on saving."""


def checks() -> Iterator[Check]:
    """Keras' ``flow_from_directory`` against the datamodule, on pictures drawn for it."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        draw_pictures(root / "test")
        with redirect_stdout(StringIO()):
            theirs, ours = keras_flow(root / "test"), our_flow(root)
    yield Check(f"names of {len(PICTURES)} files in their order, differing", differing(theirs[0], ours[0]), 0)
    yield Check("labels, differing", differing(theirs[1], ours[1]), 0)
    yield Check("class indices, differing", differing(theirs[2], ours[2]), 0)
    yield Check(
        f"pixels of {len(PICTURES)} files, loaded and resized, on 0..255", largest(theirs[3], ours[3]), 0
    )
    yield Check(f"pixels of {len(PICTURES)} files, rescaled to 0..1", largest(theirs[4], ours[4]), 0)


Flow = tuple[list[str], list[int], list[tuple[str, int]], Array, Array]
"""Names, labels, class indices, pixels on 0..255 and on 0..1, (N, S, S, 3)."""


def keras_flow(folder: Path) -> Flow:
    """The folder as the workshop's test generator gives it."""
    options = {"target_size": (SIZE, SIZE), "batch_size": 5, "class_mode": "binary", "shuffle": False}
    plain = ImageDataGenerator().flow_from_directory(str(folder), **options)
    rescaled = ImageDataGenerator(rescale=1.0 / 255).flow_from_directory(str(folder), **options)
    pixels = np.concatenate([plain[i][0] for i in range(len(plain))])
    labels = np.concatenate([plain[i][1] for i in range(len(plain))])
    unit = np.concatenate([rescaled[i][0] for i in range(len(rescaled))])
    names = [Path(name).as_posix() for name in plain.filenames]
    return names, [int(label) for label in labels], list(plain.class_indices.items()), pixels, unit


def our_flow(root: Path) -> Flow:
    """The folder as the datamodule gives it to a model, and as the model rescales it."""
    datamodule = CatDogDataModule(root, image_size=SIZE, batch_size=5, resize=RESIZE)
    datamodule.setup("test")
    loaded = [datamodule.on_after_batch_transfer(batch, 0) for batch in datamodule.test_dataloader()]
    pixels, labels = torch.cat([batch[0] for batch in loaded]), torch.cat([batch[1] for batch in loaded])
    names = [path.relative_to(root / "test").as_posix() for path in datamodule.files("test")]
    classes = list(datamodule.folders["test"].class_to_idx.items())
    unit = Basic(SIZE, (2,), 2).preprocess(pixels)
    return (
        names,
        labels.tolist(),
        classes,
        pixels.permute(0, 2, 3, 1).numpy(),
        unit.permute(0, 2, 3, 1).numpy(),
    )


def draw_pictures(folder: Path) -> None:
    """Write ``PICTURES``."""
    for seed, (name, (mode, (width, height), options)) in enumerate(PICTURES.items()):
        side = max(width, height, 5)
        picture = Image.fromarray(images(1, side, seed)[0, :height, :width]).convert(mode)
        if "exif" in options:
            exif = Image.Exif()
            exif[0x0112] = 6  # orientation: turned by 90 degrees, which Keras ignores
            options = {"exif": exif}
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target, **options)


def differing(first: Sequence[object], second: Sequence[object]) -> float:
    """In how many places two lists differ."""
    return float(sum(a != b for a, b in zip(first, second, strict=True)))
