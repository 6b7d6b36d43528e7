"""How a training runs: the metrics of its epoch, the seed of each epoch, and when it stops."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from catdog_pl.errors import UsageError

METRICS = ("train_loss", "train_acc", "val_loss", "val_acc")
"""What the models log once an epoch."""

Mode = Literal["auto", "min", "max"]


class EpochMetrics(Callback):
    """Knows the metrics of the running epoch; ``Trainer.callback_metrics`` keeps those of an earlier one."""

    _was_validated = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last epoch's validation."""
        self._was_validated = False
        super().on_train_epoch_start(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has a validation."""
        self._was_validated = not trainer.sanity_checking
        super().on_validation_end(trainer, pl_module)

    def epoch_metrics(self, trainer: Trainer) -> dict[str, float]:
        """Return the epoch's metrics by name."""
        return {
            name: float(trainer.callback_metrics[name])
            for name in METRICS
            if name in trainer.callback_metrics and (self._was_validated or not name.startswith("val_"))
        }


def divergence(metrics: Mapping[str, Any]) -> str | None:
    """Return what shows that a training diverged, such as ``val_loss is NaN``, or None."""
    for name in METRICS:
        value = float(metrics.get(name, 0.0))
        if not math.isfinite(value):
            return f"{name} is {'NaN' if math.isnan(value) else 'infinite'}"
    return None


class EpochSeed(Callback):
    """Seeds PyTorch anew at the start of each epoch, so that a resumed run drops the same hidden units."""

    def __init__(self) -> None:
        self.seed = 0
        self.has_begun = False  # then whatever there was to restore is restored

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the run's seed, which ``seed_everything`` gave to PyTorch."""
        self.seed = torch.initial_seed()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed by the run's seed and the epoch."""
        self.has_begun = True
        torch.manual_seed(self.seed + trainer.current_epoch)


class EarlyStopping(EpochMetrics, LightningEarlyStopping):
    """Lightning's early stopping with the workshop's defaults; a resumed run obeys the patience it is given.

    Epochs without validation are not counted, and any metric that is not finite stops the training. The name
    stays Lightning's: the state in checkpoints is found by it.

    Args:
        monitor: train_loss, train_acc, val_loss or val_acc.
        patience: epochs without a better value after which the training stops.
        mode: min, max, or auto: max for an accuracy and min for a loss, as in Keras.
        check_on_train_epoch_end: whether to check at the end of an epoch, or after each validation.
        kwargs: as for Lightning's.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 2,  # the workshop's; Lightning's own default is 3
        mode: Mode = "auto",
        check_on_train_epoch_end: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            monitor=monitor,
            patience=patience,
            mode=resolve_mode("early_stopping", monitor, mode),
            check_on_train_epoch_end=check_on_train_epoch_end,
            **kwargs,
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop where the epoch diverged, or its metric has not improved for too long."""
        metrics = self.epoch_metrics(trainer)
        if self.check_finite and divergence(metrics):
            trainer.should_stop = True
            self.stopping_reason = EarlyStoppingReason.NON_FINITE_METRIC
        elif self.monitor in metrics:
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score and the count of epochs without a better one, but not why it stopped."""
        patience = self.patience
        super().load_state_dict(state_dict)
        self.patience = patience
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED


def resolve_mode(group: str, monitor: str | None, mode: Mode) -> str:
    """Return whether a metric, or None, is best when it is smallest (``min``) or largest (``max``).

    Raises:
        UsageError: there is no such metric, or the mode would take the worst value for the best; ``group``
            is the options' group in the message.
    """
    if monitor not in (*METRICS, None):
        raise UsageError(f"--{group}.monitor {monitor} is not a metric; valid are {', '.join(METRICS)}")
    natural = "max" if monitor and monitor.endswith("_acc") else "min"
    if monitor and mode not in ("auto", natural):
        raise UsageError(
            f"--{group}.mode {mode} would take the worst {monitor} for the best; give auto or {natural}"
        )
    return natural
