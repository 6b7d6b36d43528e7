"""The history of a fit: a line per epoch as Keras prints it, and ``metrics.csv``."""

import csv
import math
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from torch.optim import Optimizer

from catdog_pl.callbacks.checkpoint import best_checkpoint, model_checkpoint
from catdog_pl.callbacks.training import METRICS, EpochMetrics, divergence
from catdog_pl.errors import CatDogError
from catdog_pl.io.files import atomic_write
from catdog_pl.process import program
from catdog_pl.runs import LAST, find_checkpoint

KERAS_NAMES = {"train_loss": "loss", "train_acc": "acc"}
"""What Keras prints for a metric where it differs from ours."""

COLUMNS = ("epoch", "seconds", *METRICS, "learning_rate")
"""Of ``metrics.csv``: the epoch from 1, its duration, what the models log, and the rate of its last step."""


class History(EpochMetrics):
    """One line per finished epoch, as Keras prints it, and the same numbers in the run's ``metrics.csv``.

    The rows are part of the checkpoint: a resumed run writes the file anew from them, so that no epoch
    is missing or doubled. The class's name is the key of its state.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []  # the columns of metrics.csv; old checkpoints lack the rate
        self.draw: Callable[[list[dict[str, float]], Path], None] | None = None  # as --plot asks for
        self._learning_rate = math.nan
        self._epoch_start = self._fit_start = time.perf_counter()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print where the training runs and where its files go."""
        self._fit_start = time.perf_counter()
        device = trainer.strategy.root_device
        is_cuda = device.type == "cuda"
        name = torch.cuda.get_device_name(device) if is_cuda else f"{torch.get_num_threads()} threads"
        if trainer.is_global_zero:  # pl_module.print loses lines as long as no progress bar is drawn
            devices = f"{trainer.world_size} x {device.type}"
            print(f"Training on {devices} ({name}), precision {trainer.precision}")
            print(f"Files of this run: {trainer.default_root_dir}")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        super().on_train_epoch_start(trainer, pl_module)
        self._epoch_start = time.perf_counter()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Note the learning rate of the step; by the epoch's end, a scheduler has set the next one's."""
        self._learning_rate = float(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's line and write the file."""
        metrics = self.epoch_metrics(trainer)
        if not metrics:  # the rest of an epoch that was saved after its last step
            return
        epoch, seconds = trainer.current_epoch + 1, time.perf_counter() - self._epoch_start
        row = {"epoch": epoch, "seconds": seconds, **metrics, "learning_rate": self._learning_rate}
        # An epoch that max_steps or max_time cut short is continued by a resume.
        self.rows = [*(old for old in self.rows if old["epoch"] < epoch), row]
        pl_module.print(epoch_line(row, trainer.max_epochs))
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            write_rows(Path(trainer.default_root_dir) / "metrics.csv", self.rows)
            if self.draw:
                self.draw(self.rows, Path(trainer.default_root_dir) / "curves.png")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print how long it took, which epoch was best, why it stopped, and what to type next."""
        if trainer.is_global_zero:
            minutes = (time.perf_counter() - self._fit_start) / 60
            print(f"It takes {minutes:.2f} min to train the model")
            print("\n".join(closing_lines(self.rows, trainer)))

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue behind the checkpoint's rows."""
        self.rows = list(state_dict["rows"])


def epoch_line(row: Mapping[str, float], max_epochs: int | None, *progress: str) -> str:
    """Return ``Epoch 3/25 - 31s - loss: 0.6405 - acc: 0.6343 - val_loss: 0.6078 - val_acc: 0.6805``.

    ``progress``, such as ``45 of 80 batches``, comes after the epoch.
    """
    numbers = [f"{KERAS_NAMES.get(name, name)}: {row[name]:.4f}" for name in METRICS if name in row]
    epoch = epoch_name(int(row["epoch"]), max_epochs)
    return " - ".join([epoch, *progress, f"{row['seconds']:.0f}s", *numbers])


def epoch_name(epoch: int, max_epochs: int | None) -> str:
    """Return ``Epoch 3/25``, or ``Epoch 3`` where no number of epochs is set."""
    return f"Epoch {epoch}/{max_epochs}" if max_epochs and max_epochs > 0 else f"Epoch {epoch}"


def closing_lines(rows: list[dict[str, float]], trainer: Trainer) -> list[str]:
    """Return the best epoch, the reason to stop, and the next command."""
    lines = [f"Best epoch: {best}"] if (best := best_epoch(rows, trainer)) else []
    if not any("val_loss" in row for row in rows):
        lines.append("There was no validation, so that no epoch is known to be the best")
    lines.append(f"Stopped because {reason_to_stop(trainer, rows)}")
    if not (rows and divergence(rows[-1])) and (command := next_command(trainer)):
        lines.append(f"Next: {command}")
    return lines


def best_epoch(rows: list[dict[str, float]], trainer: Trainer) -> str | None:
    """Return the epoch in ``best.ckpt`` as ``3 (val_loss 0.6078, val_acc 0.6805)``, or None."""
    keeper = model_checkpoint(trainer)
    if keeper is None or keeper.monitor is None or keeper.best_model_score is None:
        return None
    score = float(keeper.best_model_score)
    for row in rows:
        if row.get(keeper.monitor) == score:
            names = (keeper.monitor, "val_loss", "val_acc")
            shown = [f"{name} {row[name]:.4f}" for name in METRICS if name in names and name in row]
            return f"{row['epoch']} ({', '.join(shown)})"
    return None


def next_command(trainer: Trainer) -> str | None:
    """Return the command that tests the run's best checkpoint, or its last where there is no best."""
    folder = Path(trainer.default_root_dir)
    last = folder / LAST
    checkpoint = best_checkpoint(trainer) or (last if last.is_file() else None)
    if checkpoint is None:
        return None
    if checkpoint.parent.resolve() == folder.resolve():
        checkpoint = folder / checkpoint.name  # as short as the user's own words
    with suppress(CatDogError):
        if find_checkpoint().samefile(checkpoint):  # what a test takes by itself
            return f"{program()} test"
    return f"{program()} test --ckpt_path {shlex.quote(str(checkpoint))}"


def reason_to_stop(trainer: Trainer, rows: list[dict[str, float]]) -> str:
    """Return why a fit that has ended did not go on."""
    if rows and (reason := divergence(rows[-1])):
        return reason
    for stopper in trainer.early_stopping_callbacks:
        if stopper.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            epochs = "epoch" if stopper.patience == 1 else "epochs"
            return f"{stopper.monitor} had not improved for {stopper.patience} {epochs}"
        if stopper.stopping_reason is EarlyStoppingReason.STOPPING_THRESHOLD:
            return f"{stopper.monitor} reached {stopper.stopping_threshold:g} (stopping_threshold)"
        if stopper.stopping_reason is EarlyStoppingReason.DIVERGENCE_THRESHOLD:
            return f"{stopper.monitor} passed {stopper.divergence_threshold:g} (divergence_threshold)"
    if 0 <= trainer.max_steps <= trainer.global_step:
        return f"{count(trainer.global_step, 'step')} done (max_steps)"
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        return f"{count(trainer.current_epoch, 'epoch')} done (max_epochs)"
    if trainer.limit_train_batches == 0:
        return "it was to train on no batch (limit_train_batches)"
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    if any((left := timer.time_remaining()) is not None and left <= 0 for timer in timers):
        return "its time was over (max_time)"
    return "a callback asked for it"


def count(number: int, noun: str) -> str:
    """Return ``1 epoch was`` or ``2 epochs were``."""
    return f"{number} {noun} was" if number == 1 else f"{number} {noun}s were"


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the history as CSV."""
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
