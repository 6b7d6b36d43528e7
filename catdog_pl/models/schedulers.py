"""Learning-rate schedulers by name, for ``--lr_scheduler``."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from catdog_pl.errors import UsageError

SCHEDULERS: dict[str, type[LRScheduler]] = {
    name: cls
    for name, cls in vars(lr_scheduler).items()
    if isinstance(cls, type)
    and issubclass(cls, LRScheduler)
    # Two names of the base; the others are built of functions or of other schedulers, which no word can be.
    and name
    not in ("LRScheduler", "_LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler")
}
"""The valid values of ``lr_scheduler``: PyTorch's own by class name."""


def check_scheduler(name: str | None) -> None:
    """Refuse a scheduler that does not exist, by a UsageError that lists the valid ones."""
    if name is not None and name not in SCHEDULERS:
        raise UsageError(f"lr_scheduler {name!r} is unknown; valid are {', '.join(SCHEDULERS)}")


def schedule(optimizer: Optimizer, name: str, options: Mapping[str, Any], trainer: Trainer) -> dict[str, Any]:
    """Return Lightning's description of an optimizer and its scheduler.

    What a scheduler must know of the training is filled in: ``total_steps`` and ``max_lr`` of ``OneCycleLR``,
    ``T_max`` of ``CosineAnnealingLR``, ``monitor`` and ``mode`` of ``ReduceLROnPlateau``, ``cycle_momentum``.

    Args:
        optimizer: what is scheduled.
        name: a key of ``SCHEDULERS``.
        options: the scheduler's arguments, and Lightning's ``interval`` (epoch or step), ``frequency`` and
            ``monitor``.
        trainer: of the fit that begins.

    Raises:
        UsageError: the scheduler does not take the options.
    """
    given = dict(options)
    config = {key: given.pop(key) for key in ("interval", "frequency", "monitor") if key in given}
    config.setdefault("interval", "step" if name in ("OneCycleLR", "CyclicLR") else "epoch")
    if name in ("OneCycleLR", "CyclicLR"):  # which refuse an optimizer without momentum otherwise
        given.setdefault("cycle_momentum", bool({"momentum", "betas"} & optimizer.defaults.keys()))
        rates = [group["lr"] for group in optimizer.param_groups]
        if name == "OneCycleLR":
            given.setdefault("max_lr", rates[0])
        for key in {"base_lr", "max_lr"} & given.keys():
            if isinstance(given[key], int | float):  # the first group's; the others keep their ratio to it
                given[key] = [given[key] * (rate / (rates[0] or 1)) for rate in rates]
    if name == "OneCycleLR" and "steps_per_epoch" not in given:
        given.setdefault("total_steps", int(trainer.estimated_stepping_batches))
    elif name == "CosineAnnealingLR":
        is_by_step = config["interval"] == "step"
        given.setdefault(
            "T_max", int(trainer.estimated_stepping_batches) if is_by_step else trainer.max_epochs
        )
    elif name == "ReduceLROnPlateau":
        config.setdefault("monitor", "val_loss")
        config.setdefault("frequency", trainer.check_val_every_n_epoch or 1)
        given.setdefault("mode", "max" if str(config["monitor"]).endswith("_acc") else "min")
    try:
        scheduler = SCHEDULERS[name](optimizer, **given)
    except (TypeError, ValueError) as error:
        raise UsageError(f"lr_scheduler {name} refuses lr_scheduler_args {dict(options)}: {error}") from error
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **config}}
