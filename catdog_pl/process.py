"""The process that a command runs in: its memory, its messages, its terminal."""

import ctypes
import logging
import platform
import sys
import warnings


def keep_memory() -> None:
    """Tell glibc to keep freed memory instead of handing every large activation back to the kernel.

    Without it a training step on the CPU pays for mapping its activations anew each time: 3.7 times the page
    faults, measured. Other C libraries have no such switch and are left alone.
    """
    m_mmap_max, m_trim_threshold, int_max = -4, -1, 2**31 - 1  # glibc's malloc.h
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, int_max)


def silence() -> None:
    """Drop what Lightning prints at each start and nobody can act on; every message has its reason here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        # "GPU available: ...", the seed and an advertisement; History says what runs where.
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r".*callbacks used to create the checkpoint need to be provided",  # a test writes no history
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # between Lightning and torch, not ours
        r"Checkpoint directory .* exists and is not empty",  # the run's own folder, which holds its config
        r"The '\w+_dataloader' does not have many workers",  # batches are copies from memory
        r"The dirpath has changed from",  # a run that starts from another's checkpoint has a best of its own
    ):
        warnings.filterwarnings("ignore", message=message)


def on_terminal() -> bool:
    """Whether a person watches standard output, where a progress bar belongs."""
    return sys.stdout.isatty()
