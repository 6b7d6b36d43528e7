"""The workshop's test report: accuracy, crosstab, and a CSV with one line per photograph."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.statistics import wilson_interval
from catdog_pl.errors import CatDogError, one_line
from catdog_pl.io.files import atomic_write
from catdog_pl.report.leaks import leak_warnings
from catdog_pl.runs import RunFolder


class Evaluation(Callback):
    """Collects a test's probabilities; prints the report and writes the CSV ``path`` at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = pd.DataFrame()
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test."""
        self._outputs = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        """Keep the batch's indices and probabilities."""
        self._outputs.append((outputs["indices"], outputs["probabilities"]))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the devices' answers together, print the report, write the CSV."""
        answers = gather(self._outputs, trainer)
        if not trainer.is_global_zero:
            return
        datamodule: CatDogDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self.table = evaluation_table(datamodule, answers)
        print(report(self.table, datamodule.folders["test"].classes))
        advice = "the figures above are complete, for the file make room there and test again"
        with atomic_write(self.path, advice) as part:
            self.table.to_csv(part, index=False)
        print(f"Predictions written to {one_line(str(self.path))}")
        for warning in leak_warnings(datamodule.files("test"), training_folders(self.path, datamodule.root)):
            print(f"{'[WARNING]':<10} {one_line(warning)}", file=sys.stderr)


def training_folders(path: Path, root: Path) -> list[Path]:
    """Return the train folders of the tested data and of the run in whose folder ``path`` lies."""
    run = RunFolder.of(path)
    roots = [root, Path(run.remembered().get("data.root") or root)] if run else [root]
    return [folder / "train" for folder in roots]


def gather(outputs: Sequence[tuple[Tensor, Tensor]], trainer: Trainer) -> dict[int, float]:
    """Return sample index -> probability of all devices, each of which may hold another number of them."""
    indices, probabilities = (torch.cat(column).tolist() for column in zip(*outputs, strict=True))
    answers = dict(zip(indices, probabilities, strict=True))
    if trainer.world_size > 1:
        devices: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(devices, answers)
        for others in devices:
            answers |= others
    return answers


def evaluation_table(datamodule: CatDogDataModule, answers: dict[int, float]) -> pd.DataFrame:
    """Return one row per photograph in file order: file, probability, predicted and true class.

    Args:
        datamodule: after ``setup("test")``.
        answers: sample index -> probability of the second class.

    Raises:
        CatDogError: a probability is NaN, which would count as the first class.
    """
    if undefined := sum(math.isnan(probability) for probability in answers.values()):
        raise CatDogError(
            f"{undefined} of {len(answers)} answers of the model are NaN; test another checkpoint, "
            "or train with a smaller --learning_rate"
        )
    files, labels = datamodule.files("test"), datamodule.labels("test")
    names = [one_line(name) for name in datamodule.folders["test"].classes]
    indices = sorted(answers)
    probabilities = [answers[i] for i in indices]
    return pd.DataFrame(
        {
            "file": [one_line(files[i].relative_to(datamodule.root / "test").as_posix()) for i in indices],
            "probability": probabilities,
            "predicted": [names[label] for label in predicted_labels(probabilities)],
            "true": [names[labels[i]] for i in indices],
        }
    )


def report(table: pd.DataFrame, class_names: Sequence[str]) -> str:
    """Return accuracy and crosstab of an ``evaluation_table`` in the form of the workshop's notebook."""
    names = [one_line(name) for name in class_names]
    true, predicted = ([names.index(name) for name in table[column]] for column in ("true", "predicted"))
    correct, total = sum(table["true"] == table["predicted"]), len(table)
    low, high = wilson_interval(correct, total)
    titles = {label: f"{label} {name}" for label, name in enumerate(names)}
    return (
        f"Accuracy: {round(correct / total, 4)} "
        f"({correct} of {total}; 95 % interval {low:.2f} to {high:.2f})\n"
        f"{crosstab(true, predicted).rename(index=titles, columns=titles).to_string()}"
    )


def predicted_labels(probabilities: Sequence[float]) -> list[int]:
    """Return 1 where the probability is above 0.5, else 0; exactly 0.5 is 0."""
    return [1 if probability > 0.5 else 0 for probability in probabilities]


def crosstab(true: Sequence[int], predicted: Sequence[int]) -> pd.DataFrame:
    """Return how often each true label got each predicted one, with margins, in the workshop's form.

    A label that was never predicted keeps its column of zeros, which ``pandas.crosstab`` alone leaves out.
    """
    counts = pd.crosstab(pd.Series(true), pd.Series(predicted), rownames=["True"], colnames=["Pred"])
    counts = counts.reindex(index=[0, 1], columns=[0, 1], fill_value=0)
    counts["All"] = counts.sum(axis=1)
    counts.loc["All"] = counts.sum()
    return counts.rename_axis(index="True", columns="Pred")
