"""The workshop's test report: accuracy, crosstab, and a CSV with one line per photograph."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from sklearn.metrics import accuracy_score
from torch import Tensor

from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.io.files import atomic_write


def predicted_labels(probabilities: Sequence[float]) -> list[int]:
    """1 where the probability is above 0.5, else 0; exactly 0.5 is 0."""
    return [1 if probability > 0.5 else 0 for probability in probabilities]


def crosstab(true: Sequence[int], predicted: Sequence[int]) -> pd.DataFrame:
    """How often each true label got each predicted one, with margins, in the workshop's form.

    A label that was never predicted keeps its column of zeros, which ``pandas.crosstab`` alone leaves out.
    """
    counts = pd.crosstab(pd.Series(true), pd.Series(predicted), rownames=["True"], colnames=["Pred"])
    counts = counts.reindex(index=[0, 1], columns=[0, 1], fill_value=0)
    counts["All"] = counts.sum(axis=1)
    counts.loc["All"] = counts.sum()
    return counts.rename_axis(index="True", columns="Pred")


class Evaluation(Callback):
    """Collects a test's probabilities; prints the report and writes the CSV at its end.

    Args:
        path: the CSV, one line per photograph: file, probability, predicted, true.

    Attributes:
        table: the same as a data frame, once the test has ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = pd.DataFrame()
        self._outputs: list[Tensor] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test."""
        self._outputs = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's indices and probabilities."""
        self._outputs.append(torch.stack([outputs["indices"].double(), outputs["probabilities"].double()]))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the devices' answers into file order, print the report, write the CSV.

        Raises:
            CatDogError: the CSV cannot be written.
        """
        collected = gather(torch.cat(self._outputs, dim=1), trainer)
        if not trainer.is_global_zero:
            return
        order = collected[0].long()
        probabilities = torch.empty(len(order), dtype=torch.float64)
        probabilities[order.argsort().argsort()] = collected[1]
        datamodule: CatDogDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self.table = evaluation_table(datamodule, order.sort().values.tolist(), probabilities.tolist())
        print_report(self.table, datamodule)
        self._write()
        print(f"Predictions written to {self.path}")

    def _write(self) -> None:
        advice = "the figures above are complete, for the file make room there and test again"
        with atomic_write(self.path, advice) as part:
            self.table.to_csv(part, index=False)


def gather(columns: Tensor, trainer: Trainer) -> Tensor:
    """Join (2, n) columns of all devices to (2, total), on the CPU; the devices may hold different n."""
    if trainer.world_size == 1:
        return columns.cpu()
    parts: list[Tensor | None] = [None] * trainer.world_size
    torch.distributed.all_gather_object(parts, columns.cpu())
    return torch.cat([part for part in parts if part is not None], dim=1)


def evaluation_table(
    datamodule: CatDogDataModule, indices: Sequence[int], probabilities: Sequence[float]
) -> pd.DataFrame:
    """One row per photograph: file, probability, predicted and true class.

    Args:
        datamodule: knows the files and the labels of the test folder.
        indices: which of them were tested, ascending.
        probabilities: of the second class, in the same order.
    """
    files, labels = datamodule.files("test"), datamodule.labels("test")
    names = datamodule.folders["test"].classes
    return pd.DataFrame(
        {
            "file": [str(files[i].relative_to(datamodule.root / "test").as_posix()) for i in indices],
            "probability": probabilities,
            "predicted": [names[label] for label in predicted_labels(probabilities)],
            "true": [names[labels[i]] for i in indices],
        }
    )


def print_report(table: pd.DataFrame, datamodule: CatDogDataModule) -> None:
    """Print the accuracy and the crosstab as the workshop's notebook shows them."""
    index = datamodule.folders["test"].class_to_idx
    true, predicted = table["true"].map(index).tolist(), table["predicted"].map(index).tolist()
    print(f"Accuracy : {accuracy_score(true, predicted)}")
    print(crosstab(true, predicted))
