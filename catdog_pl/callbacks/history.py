"""What surrounds a fit: its epoch lines and history, its seeds, when it stops, and its checkpoints."""

import csv
import os
import time
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping
from lightning.pytorch.callbacks import ModelCheckpoint as LightningModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.plugins.io import TorchCheckpointIO

from catdog_pl.io.files import atomic_write

METRICS = ("train_loss", "train_acc", "val_loss", "val_acc")
KERAS_NAMES = {"train_loss": "loss", "train_acc": "acc"}
"""What Keras prints for a metric where it differs from ours."""


class EpochSeed(Callback):
    """Seeds PyTorch anew at the start of each epoch, so that a resumed run drops the same hidden units.

    Args:
        seed: with the epoch's number it gives the seed of the epoch.

    Attributes:
        has_begun: whether an epoch was begun, so that whatever there was to restore is restored.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.has_begun = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed by the seed and the epoch."""
        self.has_begun = True
        torch.manual_seed(self.seed + trainer.current_epoch)


class History(Callback):
    """One line per finished epoch, as Keras prints it, and the same numbers in ``metrics.csv``.

    The rows are part of the checkpoint: a resumed run writes the file anew from them, so that no epoch
    is missing or doubled.

    Args:
        folder: the run's folder.

    Attributes:
        rows: one mapping per finished epoch: epoch (from 1), seconds, and the metrics.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self._epoch_start = self._fit_start = time.perf_counter()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the training runs and where its files go."""
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
        pl_module.print(f"Files of this run: {self.folder}")

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
            write_rows(self.folder / "metrics.csv", self.rows)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how long it took, which epoch was best, why it stopped, and what to type next."""
        minutes = (time.perf_counter() - self._fit_start) / 60
        pl_module.print(f"It takes {minutes:.2f} min to train the model")
        for line in closing_lines(self.rows, trainer):
            pl_module.print(line)

    def state_dict(self) -> dict[str, Any]:
        """The rows, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind the checkpoint's rows."""
        self.rows = list(state_dict["rows"])


class EarlyStopping(LightningEarlyStopping):
    """Lightning's early stopping; a resumed run obeys the patience it was given, not the checkpoint's."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score and the count of epochs without a better one; forget why it stopped."""
        patience = self.patience
        super().load_state_dict(state_dict)
        self.patience = patience
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED


def retry(trainer: Trainer) -> str:
    """How to go on from the best epoch of a training that went astray."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    return f": python -m catdog_pl fit --ckpt_path {best} --learning_rate RATE" if best else ""


class ModelCheckpoint(LightningModelCheckpoint):
    """Lightning's keeper of the best; a run whose folder was moved keeps its best.

    Lightning forgets the best score where the folder is not called as it was, and lets the next epoch replace
    the best checkpoint, however bad it is. The name stays Lightning's: the state is found by it.
    """

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the state speak of the folder's new place, when the checkpoint lies in it."""
        state = checkpoint["callbacks"].get(self.state_key)
        folder = str(self.dirpath)
        if state and trainer.ckpt_path and Path(trainer.ckpt_path).parent.resolve() == Path(folder).resolve():
            checkpoint["callbacks"][self.state_key] = moved_state(state, folder)


def moved_state(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """The state of a ``ModelCheckpoint`` in another folder; as it is where its checkpoints are not there."""

    def moved(path: str) -> str:
        return moved_path(path, str(state["dirpath"]), folder)

    best = {moved(path): score for path, score in state["best_k_models"].items()}
    if not all(Path(path).is_file() for path in best):
        return state
    paths = ("best_model_path", "kth_best_model_path", "last_model_path")
    return state | {"dirpath": folder, "best_k_models": best} | {key: moved(state[key]) for key in paths}


def moved_path(path: str, old: str, new: str) -> str:
    """A path in the folder ``old`` as it is in the folder ``new``; any other path as it is."""
    # Windows' rules know both separators: the run may come from another system.
    file = PureWindowsPath(path)
    if not path or not file.is_relative_to(old) or ".." in file.parts:
        return path
    return os.path.join(new, *file.relative_to(old).parts)  # joined as Lightning does, which compares


def epoch_line(row: Mapping[str, float], max_epochs: int | None) -> str:
    """``Epoch 3/25 - 31s - loss: 0.6405 - acc: 0.6343 - val_loss: 0.6078 - val_acc: 0.6805``."""
    of = f"/{max_epochs}" if max_epochs and max_epochs > 0 else ""
    numbers = [f"{KERAS_NAMES.get(name, name)}: {row[name]:.4f}" for name in METRICS if name in row]
    return " - ".join([f"Epoch {row['epoch']}{of}", f"{row['seconds']:.0f}s", *numbers])


def closing_lines(rows: list[dict[str, float]], trainer: Trainer) -> list[str]:
    """The best epoch, the reason to stop, and the next command."""
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
        lines.append("Next: python -m catdog_pl test")
    return lines


def reason_to_stop(trainer: Trainer) -> str:
    """Why a fit that has ended did not go on."""
    stopper = trainer.early_stopping_callback
    if isinstance(stopper, EarlyStopping):
        if stopper.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            return f"{stopper.monitor} had not improved for {stopper.patience} epochs"
        if stopper.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
            advice = f"a smaller --learning_rate may help{retry(trainer)}"
            return f"{stopper.monitor} is no number any more; {advice}"
        if stopper.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            return str(stopper.stopping_reason_message)
    return f"{trainer.current_epoch} epochs were done (max_epochs)"


def write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the history as CSV.

    Raises:
        CatDogError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["epoch", "seconds", *METRICS])
        writer.writeheader()
        writer.writerows(rows)


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint as a complete file.

    Lightning's own writer loses the existing checkpoint when it is killed while TMPDIR lies on another
    file system, and says nothing when the folder cannot be written.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Save atomically.

        Raises:
            CatDogError: the disk is full or the folder cannot be written; the old file is untouched.
        """
        advice = "the last complete one is kept; make room and resume with --ckpt_path last"
        with atomic_write(Path(path), advice) as part, part.open("wb") as file:
            torch.save(checkpoint, file)
