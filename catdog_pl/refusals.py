"""What the machine, the checkpoint and the libraries do not allow, each in one line."""

from typing import Any

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry

from catdog_pl.errors import UsageError


def check_accelerator(accelerator: Any) -> None:
    """Hold that the machine has what is asked for.

    Raises:
        UsageError: it has not.
    """
    if accelerator in ("gpu", "cuda") and not (torch.cuda.is_available() or mps_stands_in(accelerator)):
        raise UsageError(f"accelerator {accelerator}: PyTorch sees no GPU on this machine; give cpu or auto")
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise UsageError("accelerator mps: PyTorch sees no Apple GPU on this machine; give cpu or auto")
    valid = ("auto", *AcceleratorRegistry.available_accelerators(), "gpu")
    if isinstance(accelerator, str) and accelerator not in valid:
        raise UsageError(f"accelerator {accelerator!r} is unknown; valid are {', '.join(sorted(set(valid)))}")


def mps_stands_in(accelerator: str) -> bool:
    """Whether ``gpu`` means an Apple GPU here, as it does for Lightning."""
    return accelerator == "gpu" and torch.backends.mps.is_available()
