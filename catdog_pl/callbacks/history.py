"""The history of a fit: a line per epoch as Keras prints it, and ``metrics.csv``."""

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint as LightningModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from catdog_pl.callbacks.training import METRICS, EarlyStopping
from catdog_pl.io.files import atomic_write
from catdog_pl.process import program

KERAS_NAMES = {"train_loss": "loss", "train_acc": "acc"}
"""What Keras prints for a metric where it differs from ours."""


class History(Callback):
    """One line per finished epoch, as Keras prints it, and the same numbers in the run's ``metrics.csv``.

    The rows are part of the checkpoint: a resumed run writes the file anew from them, so that no epoch
    is missing or doubled. The class's name is the key of its state.

    Attributes:
        rows: one mapping per finished epoch: epoch (from 1), seconds, and the metrics.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._epoch_start = self._fit_start = time.perf_counter()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print where the training runs and where its files go."""
        self._fit_start = time.perf_counter()
        device = trainer.strategy.root_device
        name = (
            torch.cuda.get_device_name(device)
            if device.type == "cuda"
            else f"{torch.get_num_threads()} threads"
        )
        pl_module.print(
            f"Training on {trainer.num_devices} x {device.type} ({name}), precision {trainer.precision}"
        )
        pl_module.print(f"Files of this run: {trainer.default_root_dir}")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._epoch_start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's line and write the file."""
        metrics = {
            name: float(trainer.callback_metrics[name])
            for name in METRICS
            if name in trainer.callback_metrics
        }
        row = {
            "epoch": trainer.current_epoch + 1,
            "seconds": time.perf_counter() - self._epoch_start,
        } | metrics
        self.rows.append(row)
        pl_module.print(epoch_line(row, trainer.max_epochs))
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            write_rows(Path(trainer.default_root_dir) / "metrics.csv", self.rows)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print how long it took, which epoch was best, why it stopped, and what to type next."""
        minutes = (time.perf_counter() - self._fit_start) / 60
        pl_module.print(f"It takes {minutes:.2f} min to train the model")
        for line in closing_lines(self.rows, trainer):
            pl_module.print(line)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue behind the checkpoint's rows."""
        self.rows = list(state_dict["rows"])


def epoch_line(row: Mapping[str, float], max_epochs: int | None) -> str:
    """Return ``Epoch 3/25 - 31s - loss: 0.6405 - acc: 0.6343 - val_loss: 0.6078 - val_acc: 0.6805``."""
    of = f"/{max_epochs}" if max_epochs and max_epochs > 0 else ""
    numbers = [f"{KERAS_NAMES.get(name, name)}: {row[name]:.4f}" for name in METRICS if name in row]
    return " - ".join([f"Epoch {row['epoch']}{of}", f"{row['seconds']:.0f}s", *numbers])


def closing_lines(rows: list[dict[str, float]], trainer: Trainer) -> list[str]:
    """Return the best epoch, the reason to stop, and the next command."""
    lines = []
    scored = [row for row in rows if "val_loss" in row]
    if scored:
        best = min(scored, key=lambda row: row["val_loss"])
        lines.append(
            f"Best epoch: {best['epoch']} (val_loss {best['val_loss']:.4f}, val_acc {best['val_acc']:.4f})"
        )
    lines.append(f"Stopped because {reason_to_stop(trainer)}")
    if (
        isinstance(trainer.checkpoint_callback, LightningModelCheckpoint)
        and trainer.checkpoint_callback.best_model_path
    ):
        lines.append(f"Next: {program()} test")
    return lines


def reason_to_stop(trainer: Trainer) -> str:
    """Return why a fit that has ended did not go on."""
    stopper = trainer.early_stopping_callback
    if isinstance(stopper, EarlyStopping):
        if stopper.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            return f"{stopper.monitor} had not improved for {stopper.patience} epochs"
        if stopper.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
            return f"{stopper.monitor} is NaN; a smaller --learning_rate may help{retry(trainer)}"
        if stopper.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            return str(stopper.stopping_reason_message)
    return f"{trainer.current_epoch} epochs were done (max_epochs)"


def retry(trainer: Trainer) -> str:
    """Return how to continue from the best epoch of a training that went astray."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    return f": {program()} fit --ckpt_path {best} --learning_rate RATE" if best else ""


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the history as CSV.

    Raises:
        CatDogError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["epoch", "seconds", *METRICS])
        writer.writeheader()
        writer.writerows(rows)
