"""A model as other programs take it: photographs as bytes in, probabilities out."""

import csv
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from catdog_pl.models.classifier import Classifier
from catdog_pl.models.spec import THRESHOLD
from catdog_pl.models.transfer import TransferClassifier

BATCH = 32
"""Photographs that are checked at once."""


class Portable(nn.Module):
    """A classifier with all its preprocessing but the resizing.

    Args:
        model: is put into evaluation mode, and computes in float32.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        if isinstance(model, TransferClassifier):
            model.bf16_backbone = False  # other machines may have no units for it
        self.model = model
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """RGB pixels (N, S, S, 3), uint8 -> probabilities of the second class (N,), float32."""
        logits: Tensor = self.model(pixels.permute(0, 3, 1, 2))
        return logits.sigmoid()


def example(model: Classifier) -> Tensor:
    """Return pixels (2, S, S, 3) to trace with; with one alone, a batch could be taken for fixed."""
    size = model.data_spec.image_size
    return torch.zeros(2, size, size, 3, dtype=torch.uint8)


def dynamic_batch() -> tuple[dict[int, Any]]:
    """Return what tells that the first dimension is free."""
    return ({0: torch.export.Dim("batch", min=1)},)


def metadata(model: Classifier) -> dict[str, str]:
    """Return what a program needs to use the file, as text; the class names are a row of CSV."""
    spec = model.data_spec
    return {
        "model": model.name,
        "class_names": csv_row(spec.class_names),
        "threshold": str(THRESHOLD),
        "image_size": str(spec.image_size),
        "resize": spec.predict_resize,
    }


def csv_row(values: tuple[str, ...]) -> str:
    """Return a row of CSV without its line end; values with commas, quotes or line ends are quoted."""
    row, end = io.StringIO(), "\r\n"  # the writer quotes for the characters of its own line end
    csv.writer(row, lineterminator=end).writerow(values)
    return row.getvalue().removesuffix(end)


def probabilities(model: Classifier, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the model's own answers (N,) to pixels (N, S, S, 3)."""
    with torch.inference_mode():
        parts = [Portable(model)(torch.from_numpy(part)) for part in batches(pixels)]
    return np.asarray(torch.cat(parts))


def batches(pixels: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    """Return pixels in parts of `BATCH`."""
    return [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
