"""How a training runs: the seed of each epoch, and when it stops."""

from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from catdog_pl.errors import UsageError

METRICS = ("train_loss", "train_acc", "val_loss", "val_acc")
"""What the models log once an epoch."""

Mode = Literal["auto", "min", "max"]


class EpochSeed(Callback):
    """Seeds PyTorch anew at the start of each epoch, so that a resumed run drops the same hidden units.

    Attributes:
        has_begun: whether an epoch was begun, so that whatever there was to restore is restored.
    """

    def __init__(self) -> None:
        self.seed = 0
        self.has_begun = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the run's seed, which ``seed_everything`` gave to PyTorch."""
        self.seed = torch.initial_seed()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed by the run's seed and the epoch."""
        self.has_begun = True
        torch.manual_seed(self.seed + trainer.current_epoch)


class EarlyStopping(LightningEarlyStopping):
    """Lightning's early stopping with the workshop's defaults; a resumed run obeys the patience it is given.

    The name stays Lightning's: the state in checkpoints is found by it.

    Args:
        monitor: train_loss, train_acc, val_loss or val_acc.
        patience: epochs without a better value after which the training stops.
        mode: min, max, or auto: max for an accuracy and min for a loss, as in Keras.
        check_on_train_epoch_end: whether to check at the end of an epoch, or after each validation.
        kwargs: as for Lightning's.

    Raises:
        UsageError: there is no such metric, or the mode would take the worst value for the best.
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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score and the count of epochs without a better one, but not why it stopped."""
        patience = self.patience
        super().load_state_dict(state_dict)
        self.patience = patience
        self.stopping_reason = EarlyStoppingReason.NOT_STOPPED


def resolve_mode(group: str, monitor: str | None, mode: Mode) -> str:
    """Return whether a metric is best when it is smallest (``min``) or largest (``max``).

    Args:
        group: the options' group, for the errors.
        monitor: a metric; None means no metric.
        mode: what the user gave.

    Raises:
        UsageError: there is no such metric, or the mode would take the worst value for the best.
    """
    if monitor not in (*METRICS, None):
        raise UsageError(f"--{group}.monitor {monitor} is not a metric; valid are {', '.join(METRICS)}")
    natural = "max" if monitor and monitor.endswith("_acc") else "min"
    if monitor and mode not in ("auto", natural):
        raise UsageError(
            f"--{group}.mode {mode} would take the worst {monitor} for the best; give auto or {natural}"
        )
    return natural
