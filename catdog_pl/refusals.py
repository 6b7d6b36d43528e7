"""What the machine, the checkpoint and the libraries do not allow, each in one line."""

import re
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from catdog_pl.callbacks.history import METRICS
from catdog_pl.errors import CatDogError, UsageError, disk_line, first_line
from catdog_pl.io.files import is_url
from catdog_pl.models.checkpoint import restore_arguments
from catdog_pl.models.classifier import NOTE

TUNABLE = ("learning_rate", "optimizer_args", "dropout", "bf16_backbone", "cached_views")
"""Hyper-parameters that may differ from the checkpoint's; the others decide what its weights mean."""


def changes(checkpoint: dict[str, Any], arguments: dict[str, Any], path: Path | None) -> list[str]:
    """What the command line or a file sets otherwise than the checkpoint, as lines to print.

    Raises:
        UsageError: it decides what the checkpoint's weights mean, and so cannot change.
    """
    lines = [f"From the checkpoint {path}: model {checkpoint[NOTE]['model']}, {training_state(checkpoint)}"]
    for key, old in restore_arguments(checkpoint).items():
        new = arguments.get(key)
        if plain(new) == plain(old):
            continue
        if key not in TUNABLE:
            raise UsageError(
                f"{key} is {new}, the checkpoint {path} was trained with {old}; leave it out, or start "
                "without --ckpt_path"
            )
        lines.append(f"  {key}: {new} instead of the checkpoint's {old}")
    return lines


def training_state(checkpoint: dict[str, Any]) -> str:
    """How far a checkpoint's model was trained, such as ``epoch 3``.

    Lightning counts from 0, so that the first epoch's checkpoint and one that was imported both say 0; only
    the second was never stepped.
    """
    return f"epoch {checkpoint['epoch'] + 1}" if checkpoint["global_step"] else "not trained here yet"


def plain(value: Any) -> Any:
    """A value in the form that a YAML file gives back: tuples as lists, nothing as an empty mapping."""
    return list(value) if isinstance(value, tuple) else value or {}


def check_monitors(config: Namespace) -> None:
    """Hold that early stopping and the checkpoint watch a metric that a fit logs.

    Raises:
        UsageError: they watch another.
    """
    for group in ("early_stopping", "checkpoint"):
        monitor = config[group].monitor
        if monitor not in (*METRICS, None):
            raise UsageError(f"--{group}.monitor {monitor} is no metric; valid are {', '.join(METRICS)}")


def check_local(key: str, folder: Any) -> None:
    """Hold that a folder to write to is none of another machine, whose name would become folders here.

    Raises:
        UsageError: it is a URL.
    """
    if is_url(str(folder)):
        raise UsageError(f"--{key} {folder} is a URL; give a folder of this machine")


def refusal(error: Exception) -> CatDogError:
    """The project's own error behind a library's, or the library's first line as one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CatDogError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return UsageError(first_line(error))


def unrestorable(error: Exception, path: Path) -> CatDogError:
    """What Lightning meant that stumbled over the progress that a checkpoint tells of."""
    return CatDogError(
        f"checkpoint {path} cannot be gone on with: its record of epochs and steps is not as fit writes it "
        f"({type(error).__name__}: {first_line(error)}); use another copy, or start without --ckpt_path"
    )


def failure(error: Exception, run: Path) -> str | None:
    """One line for what can go wrong in the middle of a run; None for what is a fault of the program.

    Args:
        error: what ended the run.
        run: its folder, which is named where a full disk names no file.
    """
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return disk_line(error, f"a file in {run}")
    text = str(error).strip()
    if isinstance(error, CatDogError):
        return text
    # A worker process hands our error over as text behind its traceback: the last line, after its class.
    if text.startswith("Caught ") and (ours := re.match(r"catdog_pl\.[\w.]+: (.*)", text.splitlines()[-1])):
        return ours[1]
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory ({first_line(error)}); give a smaller --batch_size"
    return first_line(error) if text.startswith("DataLoader worker") else None
