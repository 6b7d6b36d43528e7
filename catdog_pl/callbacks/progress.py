"""How far an epoch is: a bar on a terminal, elsewhere a line every minute."""

import math
import time
from contextlib import suppress
from threading import Event, Thread
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from catdog_pl.callbacks.history import KERAS_NAMES, epoch_line, epoch_name
from catdog_pl.process import SILENCE, is_notebook

REFRESH = 0.5
"""Seconds between two looks at the running metrics for the bar: each look waits for the GPU."""


class EpochProgress(Callback):
    """Knows the running metrics of the epoch and how long the training lasts at most.

    Where no progress bar is drawn, a thread prints a line every `SILENCE` seconds of an epoch: one step may
    last minutes. Metrics are brought from the device only to be shown. Of several processes, they are those
    of the first one's photographs.
    """

    def __init__(self) -> None:
        self._start = 0.0
        self._times: list[float] = []  # seconds into the epoch at each batch's end, those of validation, too
        self._last_times: list[float] = []  # of the last epoch, and its end
        self._done = (0, "")  # batches, and in words; replaced as a whole, because a thread reads it
        self._end: Event | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock, and the thread that prints."""
        now = time.monotonic()
        if self._times:
            self._last_times = [*self._times, now - self._start]
        self._start, self._times = now, []
        self._done = (0, f"0 of {trainer.num_training_batches} batches")
        if trainer.is_global_zero and trainer.progress_bar_callback is None:
            self._end = Event()
            Thread(target=self._print_lines, args=(trainer, self._end), daemon=True).start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that a batch is done."""
        self._note(f"{batch_idx + 1} of {trainer.num_training_batches} batches")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note that a batch is done."""
        if not trainer.sanity_checking:
            self._note(f"{batch_idx + 1} of {trainer.num_val_batches[dataloader_idx]} validation batches")

    def _note(self, batches: str) -> None:
        self._times.append(time.monotonic() - self._start)
        self._done = (len(self._times), batches)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the thread before the epoch's own line is printed."""
        if self._end:
            self._end.set()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the thread where the epoch breaks off."""
        if self._end:
            self._end.set()

    def metrics(self, trainer: Trainer) -> dict[str, float]:
        """Return the means over the epoch's samples so far by name; waits for the device."""
        model: Any = trainer.lightning_module
        means = {name: model.means[name] for name in KERAS_NAMES if name in model.means}
        if len(means) < len(KERAS_NAMES) or not all(mean.samples for mean in means.values()):
            return {}
        return {name: float(mean.total / mean.samples) for name, mean in means.items()}

    def time_left(self, trainer: Trainer, done: int | None = None) -> str | None:
        """Return ``at most 12 min``, or None where nothing is known; early stopping may end it before.

        The rest of an epoch takes as long as it did in the last epoch of this process, and in its first one
        as long a batch as those before; further epochs take as long as this one.

        Args:
            trainer: which trains.
            done: the epoch's batches so far, those of validation, too; None asks for all that are done.
        """
        done = len(self._times) if done is None else done
        limits = [timer.time_remaining() for timer in trainer.callbacks if isinstance(timer, Timer)]  # type: ignore[attr-defined]
        seconds = min([math.inf, *(limit for limit in limits if limit is not None)])
        if done and trainer.max_epochs and trainer.max_epochs > 0 and trainer.max_steps < 0:
            elapsed = self._times[done - 1]
            if self._last_times:
                rest = self._last_times[-1] - self._last_times[min(done, len(self._last_times)) - 1]
            else:
                total = trainer.num_training_batches + sum(trainer.num_val_batches)
                rest = elapsed / done * (total - done)
            epochs = trainer.max_epochs - trainer.current_epoch - 1
            seconds = min(seconds, rest + epochs * (elapsed + rest))
        return None if math.isinf(seconds) else f"at most {duration(seconds)}"

    def line(self, trainer: Trainer) -> str:
        """Return ``Epoch 3/25 - 45 of 80 batches - 31s - loss: 0.64 - acc: 0.63 - at most 12 min left``."""
        done, batches = self._done
        row = {
            "epoch": trainer.current_epoch + 1,
            "seconds": time.monotonic() - self._start,
            **(self.metrics(trainer) if done else {}),  # a step in work may have added its own to them
        }
        left = self.time_left(trainer, done)
        return epoch_line(row, trainer.max_epochs, batches) + (f" - {left} left" if left else "")

    def _print_lines(self, trainer: Trainer, end: Event) -> None:
        with suppress(OSError):  # nobody reads any more, which the epoch's own line finds as well
            while not end.wait(SILENCE):
                print(self.line(trainer), flush=True)


class EpochBar(TQDMProgressBar):
    """Lightning's progress bar, with the epoch as Keras counts it, its running metrics, and the time left.

    Args:
        progress: where they are from; stands before the bar among the Trainer's callbacks.
    """

    BAR_FORMAT = "{desc}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"  # all of it fits into 80 columns

    def __init__(self, progress: EpochProgress) -> None:
        super().__init__()
        self._progress = progress
        self._drawn = 0.0

    def init_train_tqdm(self) -> Tqdm:
        """Return a bar that vanishes in the end, when the epochs' lines say it all."""
        bar = super().init_train_tqdm()
        bar.leave = False
        return bar

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Start the bar again."""
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(epoch_name(trainer.current_epoch + 1, trainer.max_epochs))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self._is_due(batch_idx, self.total_train_batches):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Move the validation's bar."""
        if self._is_due(batch_idx, self.total_val_batches_current_dataloader):
            super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bars, so that the error has a line of its own."""
        for name in ("val_progress_bar", "train_progress_bar", "test_progress_bar"):
            with suppress(TypeError):  # which was never drawn
                getattr(self, name).close()

    def print(self, *words: Any, **options: Any) -> None:
        """Print a line above the bars; in a notebook, where they stand elsewhere, as any other.

        tqdm would draw all bars of the process anew, and fail at one whose making was interrupted.
        """
        (print if is_notebook() else super().print)(*words, **options)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return what stands behind the bar: ours, and what the model or a logger adds."""
        ours = {KERAS_NAMES[name]: value for name, value in self._progress.metrics(trainer).items()}
        left = self._progress.time_left(trainer)
        return {**ours, **({"left": left} if left else {}), **super().get_metrics(trainer, pl_module)}

    def _is_due(self, batch_idx: int, total: float) -> bool:
        now = time.monotonic()
        if now - self._drawn < REFRESH and batch_idx + 1 != total:
            return False
        self._drawn = now
        return True


def duration(seconds: float) -> str:
    """Return ``12 min`` or ``3 h 5 min``, rounded up."""
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{max(minutes, 1)} min"
