"""A model as a program of torch.export, which needs PyTorch but not this package."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from catdog_pl.export.portable import Portable, batches, dynamic_batch, example, metadata
from catdog_pl.io.files import atomic_write
from catdog_pl.models.classifier import Classifier

METADATA = "metadata.txt"
"""The file inside that names the classes, the threshold, the image size and the resize filter, by line."""


def export_pt2(
    model: Classifier, checkpoint: dict[str, Any], target: Path, photographs: object = None
) -> Iterator[str]:
    """Write a .pt2 file for ``torch.export.load(path).module()``.

    Raises:
        CatDogError: the file cannot be written.
    """
    with torch.no_grad():
        program = torch.export.export(Portable(model), (example(model),), dynamic_shapes=dynamic_batch())
    lines = "".join(f"{name}: {value}\n" for name, value in metadata(model).items())
    with atomic_write(target) as part, part.open("wb") as file, warnings.catch_warnings():
        # Of kernels in channels_last memory, which are written whole.
        warnings.filterwarnings("ignore", "No complete tensor found in the group")
        torch.export.save(program, file, extra_files={METADATA: lines})
    size = model.data_spec.image_size
    return iter(
        [f"takes uint8 RGB (N, {size}, {size}, 3) and gives the probability (N,) of the second class"]
    )


def answer(path: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return a file's probabilities (N,) for pixels (N, S, S, 3)."""
    module = torch.export.load(path).module()
    with torch.inference_mode():
        return np.concatenate([np.asarray(module(torch.from_numpy(part))) for part in batches(pixels)])
