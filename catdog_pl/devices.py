"""The word after ``--accelerator``: whether this machine has it, and the device that it means."""

from typing import TYPE_CHECKING

from catdog_pl.errors import UsageError

if TYPE_CHECKING:  # importing torch takes seconds, which --help must not
    import torch

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
"""Words of Lightning's that mean a device of PyTorch's."""


def check_accelerator(word: object) -> None:
    """Refuse an accelerator that Lightning does not know or this machine does not have.

    Args:
        word: the value of ``--accelerator``; an object of Lightning's is not checked.

    Raises:
        UsageError: it cannot be used here.
    """
    if word in ACCELERATORS:
        find_device(str(word))
    elif isinstance(word, str):
        from lightning.pytorch.accelerators import AcceleratorRegistry  # where plug-ins add theirs

        known = AcceleratorRegistry.available_accelerators()
        if word not in known:
            raise _unknown(word, {*ACCELERATORS, *known})


def find_device(word: str) -> "torch.device":
    """Return the device of an accelerator: the GPU for ``auto`` where there is one.

    Raises:
        UsageError: there is no such accelerator, or this machine does not have it.
    """
    import torch

    if word not in ACCELERATORS:
        raise _unknown(word, ACCELERATORS)
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if word == "cpu" or (word == "auto" and gpu is None):
        return torch.device("cpu")
    if gpu is None or word not in ("auto", "gpu", gpu.type):
        kind = {"cuda": "CUDA GPU", "mps": "Apple GPU"}.get(word, "GPU")
        raise UsageError(f"--accelerator {word}: PyTorch finds no {kind} on this machine; use cpu or auto")
    return gpu


def _unknown(word: str, valid: "set[str] | tuple[str, ...]") -> UsageError:
    return UsageError(
        f"--accelerator {word}: there is no such accelerator; valid are {', '.join(sorted(valid))}"
    )
