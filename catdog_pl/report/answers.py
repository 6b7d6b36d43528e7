"""What a model answers to the photographs of a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from catdog_pl.data.dataset import CachedImageFolder
from catdog_pl.errors import CatDogError, DatasetError, first_line, one_line
from catdog_pl.models.classifier import Classifier
from catdog_pl.report.evaluation import COLUMNS, evaluation_table
from catdog_pl.report.metrics import Labels, Values

KEPT_BYTES = 4 * 2**30
"""Decoded photographs that are kept in memory; of more, each is decoded when it is needed."""

BATCH = 50


@dataclass(frozen=True)
class Answers:
    """The answers to a split.

    Attributes:
        table: one row a photograph, with the columns of ``test.csv``.
        class_names: in label order.
        folder: the photographs; None where only the answers are there.
    """

    table: pd.DataFrame
    class_names: tuple[str, str]
    folder: CachedImageFolder | None = None

    @property
    def true(self) -> Labels:
        """The labels (N,), 0 or 1."""
        return np.asarray(self.table["true"] == one_line(self.class_names[1]), np.int64)

    @property
    def logits(self) -> Values:
        """The logits of the second class (N,)."""
        return np.asarray(self.table["logit"], np.float64)

    @property
    def right(self) -> int:
        """How many are right."""
        return int((self.table["true"] == self.table["predicted"]).sum())


def answer_split(model: Classifier, folder: CachedImageFolder) -> Answers:
    """Return a model's answers to photographs, which stay decoded where there is memory for them.

    Raises:
        DatasetError: the folder has other classes than the model.
        ImageError: a photograph cannot be read.
        CatDogError: an answer is NaN.
    """
    names = model.data_spec.class_names
    if tuple(folder.classes) != names:
        raise DatasetError(
            f"{folder.root} has the classes {', '.join(folder.classes)}, the model has {', '.join(names)}; "
            "give the photographs that it was trained for by --root"
        )
    if folder.nbytes <= KEPT_BYTES:
        folder.decode(progress=True)
    device = next(model.parameters()).device
    batches = [range(start, min(start + BATCH, len(folder))) for start in range(0, len(folder), BATCH)]
    logits: list[float] = []
    with torch.inference_mode():
        for batch in tqdm(batches, f"answering {one_line(folder.root)}", leave=False, disable=None):
            logits += model(folder.__getitems__(batch)[0].to(device)).float().tolist()
    return Answers(evaluation_table(folder, dict(enumerate(logits))), names, folder)


def read_answers(path: Path, class_names: tuple[str, str]) -> Answers:
    """Return the answers in a ``test.csv``.

    Raises:
        CatDogError: the file is missing, or is not one that ``test`` has written for these classes.
    """
    try:
        table = pd.read_csv(
            path, usecols=list(COLUMNS), dtype=dict.fromkeys(("file", "predicted", "true"), str)
        )
        table["logit"], table["probability"] = (
            table["logit"].astype(float),
            table["probability"].astype(float),
        )
    except (OSError, ValueError) as error:  # pandas' errors of parsing are ValueErrors
        raise CatDogError(
            f"{path} cannot be read ({first_line(error)}); write it anew with the command test"
        ) from error
    return Answers(checked(table, path, class_names), class_names)


def checked(table: pd.DataFrame, path: Path, class_names: Sequence[str]) -> pd.DataFrame:
    """Return a table of answers; one that holds none, or other classes, is refused."""
    found = sorted({*table["predicted"], *table["true"]})
    if not found or not set(found) <= {one_line(name) for name in class_names} or table["logit"].isna().any():
        raise CatDogError(
            f"{path} holds the classes {', '.join(map(str, found)) or 'none'}, the model answers "
            f"{' or '.join(class_names)}; write it anew with the command test"
        )
    return table
