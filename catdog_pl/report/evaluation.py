"""The workshop's test report: accuracy, crosstab, and a CSV with one line per photograph."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.dataset import CachedImageFolder
from catdog_pl.data.statistics import wilson_interval
from catdog_pl.errors import CatDogError, one_line
from catdog_pl.io.files import atomic_write
from catdog_pl.report.leaks import leak_warnings
from catdog_pl.runs import RunFolder

COLUMNS = ("file", "probability", "predicted", "true", "logit")
"""Of ``test.csv``: path below the split's folder, probability of the second class, class answered, class of
the folder, and the probability's logit, which tells answers apart whose probability is rounded to 0 or 1."""


class Evaluation(Callback):
    """Collects a test's logits; prints the report and writes the CSV ``path`` at its end."""

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
        """Keep the batch's indices and logits."""
        self._outputs.append((outputs["indices"], outputs["logits"]))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the devices' answers together, print the report, write the CSV."""
        answers = gather(self._outputs, trainer)
        if not trainer.is_global_zero:
            return
        datamodule: CatDogDataModule = trainer.datamodule  # type: ignore[attr-defined]
        folder = datamodule.folders["test"]
        self.table = evaluation_table(folder, answers)
        print(report(self.table, folder.classes))
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
    """Return sample index -> logit of all devices, each of which may hold another number of them."""
    indices, logits = (torch.cat(column).tolist() for column in zip(*outputs, strict=True))
    answers = dict(zip(indices, logits, strict=True))
    if trainer.world_size > 1:
        devices: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(devices, answers)
        for others in devices:
            answers |= others
    return answers


def evaluation_table(folder: CachedImageFolder, answers: dict[int, float]) -> pd.DataFrame:
    """Return one row per photograph in file order, with the columns of `COLUMNS`.

    Args:
        folder: the tested photographs.
        answers: sample index -> logit of the second class.

    Raises:
        CatDogError: a logit is NaN, which would count as the first class.
    """
    indices = sorted(answers)
    logits = torch.tensor([answers[i] for i in indices])
    if undefined := int(logits.isnan().sum()):
        raise CatDogError(
            f"{undefined} of {len(answers)} answers of the model are NaN; test another checkpoint, "
            "or train with a smaller --learning_rate"
        )
    names = [one_line(name) for name in folder.classes]
    probabilities = logits.sigmoid().tolist()
    files = [Path(folder.samples[i][0]).relative_to(folder.root).as_posix() for i in indices]
    columns = (
        [one_line(file) for file in files],
        probabilities,
        [names[label] for label in predicted_labels(probabilities)],
        [names[folder.targets[i]] for i in indices],
        logits.tolist(),
    )
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


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
