"""The process that a command runs in: its start and end, its memory, its messages."""

import atexit
import ctypes
import gc
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

SILENCE = 60.0
"""Seconds that long work may print nothing where no progress bar is drawn."""


@contextmanager
def gc_paused() -> Iterator[None]:
    """Import large libraries without garbage collection, which finds none.

    It would look again and again through the modules' objects, which stay: a fifth of the import's time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def exit_fast(code: int) -> NoReturn:
    """End the process at once, after what is registered for its end and the output's last bytes.

    Python would take every object apart first, which lasts almost a second when torch is loaded.
    """
    atexit._run_exitfuncs()  # ends worker processes and closes logs
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def program() -> str:
    """Return what the user types to start the program, so that printed commands work when pasted."""
    return "catdog" if Path(sys.argv[0]).stem == "catdog" else "python -m catdog_pl"


def is_notebook() -> bool:
    """Return whether the process is a Jupyter kernel, whose user sees pictures and bars in a page."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and "IPKernelApp" in shell.config


def wait_passively() -> None:
    """Let PyTorch's idle threads sleep, so that decoding gets the processors; before torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def keep_memory(all_threads: bool = False) -> None:
    """Tell glibc to keep freed memory: mapping a step's activations anew costs 3.7 times the page faults.

    It keeps that of the main thread. Where a network computes in another one, ``all_threads`` has all of them
    share the main thread's: without that, EfficientNet-Lite0 is 1.6 times slower.
    """
    m_arena_max, m_mmap_max, m_trim_threshold, int_max = -8, -4, -1, 2**31 - 1  # glibc's malloc.h
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, int_max)
        if all_threads:
            libc.mallopt(m_arena_max, 1)


@cache  # a second call would wrap the first
def leave_out_unused() -> None:
    """Have torchmetrics, which Lightning loads, load neither matplotlib nor SciPy, where they are not yet.

    For commands: they would take a quarter and a whole second of each. What imports them itself gets them.
    """
    from lightning_utilities.core import imports

    is_met, is_there = imports.RequirementCache.__bool__, imports.package_available
    unused = ("matplotlib", "scipy", "scipy>=1.8.0")
    imports.RequirementCache.__bool__ = (  # type: ignore[method-assign]
        lambda self: self.requirement not in unused and is_met(self)
    )
    imports.package_available = cache(lambda name: name not in unused and is_there(name))


def silence() -> None:
    """Drop what Lightning prints at each start and nobody can act on; every message has its reason here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        # "GPU available: ...", the seed and an advertisement; History says what runs where.
        logging.getLogger(name).setLevel(logging.WARNING)
    # --trainer.profiler simple prints its table in this way, and only who asks for it sees one.
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)
    for message in (
        r".*callbacks used to create the checkpoint need to be provided",  # a test writes no history
        r"Found \d+ module\(s\) in eval mode at the start of training",  # a frozen backbone, on purpose
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # between Lightning and torch, not ours
        r"Checkpoint directory .* exists and is not empty",  # the run's own folder, which holds its config
        r"The '\w+_dataloader' does not have many workers",  # batches are copies from memory
        r"The dirpath has changed from",  # a run that starts from another's checkpoint has a best of its own
        r"The number of training batches \(\d+\) is smaller",  # ours are logged once an epoch
        r"\s*Unable to serialize instance",  # a callback's default that is an object, left out of config.yaml
        r"Starting from v1.9.0, `tensorboardX` has been removed",  # --trainer.logger true finds what there is
    ):
        warnings.filterwarnings("ignore", message=message)
