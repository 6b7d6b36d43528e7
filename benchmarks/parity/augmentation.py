"""Keras' ``ImageDataGenerator``: the warp for given parameters, and the distribution of those it draws."""

from collections.abc import Iterator

import numpy as np
import torch
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from scipy.stats import ks_2samp

from benchmarks.parity.check import Check, largest
from benchmarks.parity.initialisation import CRITICAL
from benchmarks.parity.referee import Array, images, tensor
from catdog_pl.data.transforms import AffineRanges, sample_parameters, warp

SIZE = 150
DRAWS = 5_000
NAMES = ("theta", "tx", "ty", "zx", "zy", "flip_horizontal")
"""The columns of ``sample_parameters`` as Keras calls them."""


def checks() -> Iterator[Check]:
    """The warp on twelve pictures of the workshop's size and on odd sizes, and thousands of draws."""
    for size in (SIZE, 37):
        parameters = keras_draws(size, 12, seed=size)
        exact, fast = warp_differences(images(12, size, seed=5), parameters, size)
        yield Check(f"augmented pixels, exact path, 12 images of {size} px, on 0..255", exact, 1e-6)
        yield Check(f"augmented pixels, float32 path, 12 images of {size} px, on 0..255", fast, 1e-2)
    theirs = keras_draws(SIZE, DRAWS, seed=6)
    ours = sample_parameters(AffineRanges(), seed=7, epoch=0, count=DRAWS).numpy()
    for i, name in enumerate(NAMES):
        critical = CRITICAL * np.sqrt(2 / DRAWS)
        distance = ks_2samp(theirs[:, i], ours[:, i]).statistic
        yield Check(f"KS distance of {DRAWS} draws each, {name}", float(distance), float(critical))
    correlation = np.abs(np.corrcoef(ours.T) - np.eye(len(NAMES))).max()
    yield Check("correlation between two drawn parameters, largest", float(correlation), 4 / np.sqrt(DRAWS))


def generator() -> ImageDataGenerator:
    """The workshop's generator for training, without its rescaling."""
    return ImageDataGenerator(
        rotation_range=30, width_shift_range=0.2, height_shift_range=0.2, zoom_range=0.2, horizontal_flip=True
    )


def keras_draws(size: int, count: int, seed: int) -> Array:
    """Parameters that Keras draws, (count, 6), with our units: shifts as fractions of the image."""
    np.random.seed(seed)  # the generator that Keras draws from
    drawn = [generator().get_random_transform((size, size, 3)) for _ in range(count)]
    rows = np.array([[float(parameters[name]) for name in NAMES] for parameters in drawn])
    rows[:, 1:3] /= size
    return rows


def warp_differences(pixels: Array, parameters: Array, size: int) -> tuple[float, float]:
    """The largest difference of pixels from Keras' warp, of the exact and of the fast path."""
    expected = np.stack([keras_warp(*pair, size) for pair in zip(pixels, parameters, strict=True)])
    exact, fast = (our_warp(pixels, parameters, dtype) for dtype in (torch.float64, torch.float32))
    return largest(expected, exact), largest(expected, fast)


def our_warp(pixels: Array, parameters: Array, dtype: torch.dtype) -> Array:
    """Pictures through our warp, interpolated in ``dtype``, float32 on 0..255 like Keras' own."""
    warped = warp(tensor(pixels), torch.from_numpy(parameters), dtype)
    return warped.permute(0, 2, 3, 1).float().numpy()


def keras_warp(pixels: Array, parameters: Array, size: int) -> Array:
    """One picture through Keras' ``apply_transform``, float32 on 0..255."""
    values = dict(zip(NAMES, parameters * [1, size, size, 1, 1, 1], strict=True))
    warped: Array = generator().apply_transform(pixels.astype(np.float32), values)
    return warped
