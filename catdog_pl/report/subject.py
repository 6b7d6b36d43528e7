"""What a report is about: a checkpoint, its run and its photographs."""

import sys
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from catdog_pl.data.datamodule import CatDogDataModule, row_files
from catdog_pl.data.dataset import CachedImageFolder
from catdog_pl.data.images import resize_rule
from catdog_pl.data.layout import Split, split_folder
from catdog_pl.errors import CatDogError, first_line, one_line
from catdog_pl.models.checkpoint import load_with_contents
from catdog_pl.models.classifier import NOTE, Classifier
from catdog_pl.report.answers import Answers, answer_split, read_answers
from catdog_pl.runs import RunFolder


@dataclass(frozen=True)
class Subject:
    """A checkpoint, its run and its photographs.

    Attributes:
        checkpoint: the file.
        contents: of the file.
        model: on the device to compute with.
        data_options: how its photographs are read, as arguments of `CatDogDataModule`.
    """

    checkpoint: Path
    contents: dict[str, Any]
    model: Classifier
    data_options: dict[str, Any]

    @classmethod
    def load(cls, checkpoint: Path, device: torch.device, root: Path | None = None) -> "Subject":
        """Return the subject of a checkpoint, with the photographs of its run, or those of ``root``.

        Raises:
            CatDogError: the checkpoint or its run's configuration cannot be read.
        """
        model, contents = load_with_contents(checkpoint)
        run = RunFolder.of(checkpoint)
        remembered = {
            key.removeprefix("data."): value for key, value in (run.remembered() if run else {}).items()
        }
        known = signature(CatDogDataModule).parameters
        options = {name: value for name, value in remembered.items() if name in known}
        if root:
            options["root"] = root
        return cls(checkpoint, contents, model.to(device), options)

    @property
    def title(self) -> str:
        """The model and its run, such as ``basic, 2026-11-25_18-44-30``."""
        return f"{self.contents[NOTE]['model']}, {one_line(self.checkpoint.resolve().parent.name)}"

    @property
    def epoch(self) -> int | None:
        """The checkpoint's epoch, counted from 1; None where it was not trained here."""
        return self.contents["epoch"] + 1 if self.contents["global_step"] else None

    @property
    def root(self) -> Path:
        """The folder with train, validation and test."""
        return Path(self.data_options.get("root", "data"))

    def photographs(self, split: Split) -> CachedImageFolder:
        """Return the photographs of a split, as the model reads them.

        Raises:
            DatasetError: the folder is missing or does not hold two classes.
        """
        spec = self.model.data_spec
        return CachedImageFolder(
            split_folder(self.root, split),
            spec.image_size,
            resize_rule(spec.resize),
            row_files(str(self.data_options.get("cache_dir", "auto"))),
        )

    def datamodule(self) -> CatDogDataModule:
        """Return how its run read the photographs.

        Raises:
            CatDogError: the run's configuration was edited, and has a value that is not valid.
        """
        try:
            return CatDogDataModule(**self.data_options)
        except (TypeError, ValueError) as error:
            raise CatDogError(
                f"The run's configuration is not valid ({first_line(error)}); mend it"
            ) from error

    def answers(self, split: Split) -> Answers:
        """Return what the model answers to a split; a test without its photographs is read from ``test.csv``.

        Raises:
            CatDogError: neither can be read.
        """
        try:
            return answer_split(self.model, self.photographs(split))
        except CatDogError as error:
            written = self.checkpoint.parent / "test.csv"
            if split != "test" or not written.is_file():
                raise
            answers = read_answers(written, self.model.data_spec.class_names)
            warn(f"{error}. The answers are those in {written}, and there are no pictures")
            return answers

    def history(self) -> pd.DataFrame:
        """Return the rows of the run's ``metrics.csv``.

        Raises:
            CatDogError: the file is missing, or is not one that ``fit`` has written.
        """
        path = self.checkpoint.parent / "metrics.csv"
        try:
            rows: pd.DataFrame = pd.read_csv(path).apply(pd.to_numeric, errors="coerce")
        except (OSError, ValueError) as error:
            raise CatDogError(f"{path} cannot be read ({first_line(error)}); fit writes it") from error
        if not {"epoch", "train_loss"} <= set(rows) or rows.empty or not np.isfinite(rows["epoch"]).all():
            raise CatDogError(f"{path} is not as fit writes it: a row for each epoch, with its train_loss")
        return rows


def warn(line: str) -> None:
    """Print a warning."""
    print(f"{'[WARNING]':<10} {one_line(line)}", file=sys.stderr)
