"""Which checkpoints a fit keeps, and how they are written."""

import os
import shutil
from datetime import timedelta
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint as LightningModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from catdog_pl.callbacks.training import EpochMetrics, Mode, divergence, resolve_mode
from catdog_pl.io.files import atomic_write
from catdog_pl.models.checkpoint import SAFETENSORS, read_checkpoint
from catdog_pl.runs import BEST, LAST


class ModelCheckpoint(EpochMetrics, LightningModelCheckpoint):
    """Lightning's keeper of the best checkpoint and of ``last.ckpt``; an epoch that diverged is never kept.

    Both lie in the run's folder. ``save_last`` would write the last one only in epochs that were the best.
    A run whose folder was moved keeps its best, whose score Lightning forgets where the folder has another
    name. The name stays Lightning's: the state in checkpoints is found by it.

    Args:
        monitor: train_loss, train_acc, val_loss or val_acc; null keeps the last epoch.
        mode: min, max, or auto: max for an accuracy and min for a loss, as in Keras.
        filename: name of the file, without its ending; may hold metrics as ``{epoch}`` or ``{val_loss:.2f}``.
            Where several are kept, ``best`` means ``{epoch}-{step}``. ``best.ckpt`` is the best in any case.
        save_top_k: how many of the best are kept; -1 keeps all, 0 none.
        every_n_train_steps: save after so many steps instead of epochs.
        train_time_interval: save after so much time instead of epochs.
        save_on_train_epoch_end: whether to save at the end of an epoch, or after each validation; null means
            the end of an epoch, unless steps or time are given.
        enable_version_counter: whether a file of that name is kept and the new one numbered.
        kwargs: as for Lightning's.
    """

    def __init__(
        self,
        monitor: str | None = "val_loss",  # without it "best" would mean "last"
        mode: Mode = "auto",
        filename: str | None = Path(BEST).stem,
        save_top_k: int = 1,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = False,  # each run has its own folder, so best.ckpt is this run's
        **kwargs: Any,
    ) -> None:
        # At the end of the epoch, after its history row: a resumed run then starts at the next epoch.
        # With steps or time, what is due at the last step waits for the validation's metrics.
        if save_on_train_epoch_end is None:
            save_on_train_epoch_end = not every_n_train_steps and train_time_interval is None
        super().__init__(
            monitor=monitor,
            mode=resolve_mode("checkpoint", monitor, mode),
            filename=None if filename == Path(BEST).stem and save_top_k not in (0, 1) else filename,
            save_top_k=save_top_k,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=train_time_interval,
            save_on_train_epoch_end=save_on_train_epoch_end,
            enable_version_counter=enable_version_counter,
            **kwargs,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save into the run's folder, unless another was given."""
        self.dirpath = self.dirpath or trainer.default_root_dir
        super().setup(trainer, pl_module, stage)

    def __warn_if_dir_not_empty(self, dirpath: str) -> None:
        """Take the place of Lightning's: the run's folder holds its config, and to look there loads s3fs."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch, once where it is among the best, and let ``best.ckpt`` be the best."""
        metrics, step = self.epoch_metrics(trainer), self._last_global_step_saved
        if trainer.fast_dev_run or divergence(metrics):  # type: ignore[attr-defined]
            return
        if self.monitor is None or self.monitor in metrics:
            super().on_train_epoch_end(trainer, pl_module)
        folder, is_whole = Path(str(self.dirpath)), not self.save_weights_only
        is_written = isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)  # others may do it later
        if self._last_global_step_saved == step or not is_whole or not is_written:
            trainer.save_checkpoint(folder / LAST)
        elif trainer.is_global_zero:
            link(Path(self._last_checkpoint_saved), folder / LAST)
        best = best_checkpoint(trainer)
        if trainer.is_global_zero and best and best.parent.resolve() == folder.resolve():
            link(best, folder / BEST)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether a value is among the best, which none of a training that diverged is."""
        return not divergence(trainer.callback_metrics) and super().check_monitor_top_k(trainer, current)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Rewrite the state to the folder's new place, when the checkpoint lies in it."""
        state = checkpoint["callbacks"].get(self.state_key)
        folder = str(self.dirpath)
        if state and trainer.ckpt_path and Path(trainer.ckpt_path).parent.resolve() == Path(folder).resolve():
            checkpoint["callbacks"][self.state_key] = moved_state(state, folder)


def model_checkpoint(trainer: Trainer) -> ModelCheckpoint | None:
    """Return the trainer's own `ModelCheckpoint`; a user may have added others."""
    ours = (keeper for keeper in trainer.checkpoint_callbacks if isinstance(keeper, ModelCheckpoint))
    return next(ours, None)


def best_checkpoint(trainer: Trainer) -> Path | None:
    """Return the best checkpoint's file, or None."""
    keeper = model_checkpoint(trainer)
    path = Path(keeper.best_model_path) if keeper and keeper.best_model_path else None
    return path if path and path.is_file() else None


def link(source: Path, target: Path) -> None:
    """Give a file a second name; it is copied where the file system knows no links."""
    if target.exists() and source.samefile(target):
        return
    with atomic_write(target) as part:
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)


def moved_state(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return the state of a ``ModelCheckpoint`` for another folder; unchanged where that lacks its files."""
    old = str(state["dirpath"])
    best = {moved_path(path, old, folder): score for path, score in state["best_k_models"].items()}
    if not all(Path(path).is_file() for path in best):
        return state
    keys = ("best_model_path", "kth_best_model_path", "last_model_path")
    paths = {key: moved_path(state[key], old, folder) for key in keys}
    return state | paths | {"dirpath": folder, "best_k_models": best}


def moved_path(path: str, old: str, new: str) -> str:
    """Return a path in the folder ``old`` as it is in the folder ``new``, and any other path unchanged."""
    # Windows' rules know both separators: the run may come from another system.
    file = PureWindowsPath(path)
    if not path or not file.is_relative_to(old) or ".." in file.parts:
        return path
    return os.path.join(new, *file.relative_to(old).parts)  # joined as Lightning does, which compares


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, and reads the Hub's layout, too.

    Lightning's own writer loses the existing checkpoint when it is killed while TMPDIR lies on another
    file system, and says nothing when the folder cannot be written.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Save atomically: where the disk is full, the old file is untouched."""
        advice = "the last complete one is kept; make room and resume with --ckpt_path last"
        with atomic_write(Path(path), advice) as part, part.open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Return a file's contents, for weights in the Hub's layout as ``read_checkpoint`` does."""
        if Path(path).suffix == SAFETENSORS:
            return read_checkpoint(Path(path))
        return super().load_checkpoint(Path(path), map_location, weights_only)
