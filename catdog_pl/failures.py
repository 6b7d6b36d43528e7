"""Errors of the parser, Lightning, torch and the disk -> errors of ours, one line each."""

import re
from contextlib import suppress
from inspect import signature
from pathlib import Path

import torch
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

from catdog_pl.errors import CatDogError, UsageError, disk_line, first_line
from catdog_pl.models.registry import model_class, model_name
from catdog_pl.runs import LAST
from catdog_pl.short_forms import missing_package, parse_message


def wrong_option(error: ArgumentError, parser: LightningArgumentParser) -> UsageError:
    """Return the error for an option or a value that the parser does not take."""
    text = str(error)
    known = list(parser.get_defaults(skip_validation=True).keys(branches=True))
    named = re.search(r"given class_path '([^']+)'", text)
    with suppress(UsageError):  # it names no model; where it does, that model's options count
        own = signature(model_class(model_name(named[1] if named else ""))).parameters
        known = [key for key in known if not key.startswith("model.init_args.")]
        known += [f"model.init_args.{name}" for name in own]
    return UsageError(parse_message(text, known))


def refusal(error: Exception) -> CatDogError:
    """Return the package's own error behind a library's, or the library's first line as one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CatDogError):
            return cause
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    if line := missing_package(text) if isinstance(error, ImportError) else None:
        return UsageError(line)
    return UsageError(parse_message(text, []) if "Does not validate" in text else first_line(error))


def failure(error: Exception, run: Path, unread: Path | None, advice: str) -> CatDogError | None:
    """Return the error for what ended a run, or None for a fault of the program.

    Args:
        error: what the Trainer raised.
        run: the run's folder, which is named where a full disk names no file.
        unread: the checkpoint to resume from, as long as no epoch has begun.
        advice: how to resume; put behind what the user cannot mend by other options.
    """
    if isinstance(error, UsageError):
        return error
    if isinstance(error, MisconfigurationException):
        return refusal(error)
    if unread and isinstance(error, AttributeError | LookupError | TypeError | ValueError):
        return unrestorable(error, unread)
    line = _failure_line(error, run)
    return CatDogError(f"{line}{advice}") if line else None


def unrestorable(error: Exception, path: Path) -> CatDogError:
    """Return the error for a checkpoint from whose progress Lightning cannot resume."""
    if "contains only the model" in str(error):
        return CatDogError(
            f"Checkpoint {path} holds only weights (save_weights_only), with which no training resumes; "
            f"use the run's {LAST}"
        )
    return CatDogError(
        f"Checkpoint {path} cannot be resumed: its record of epochs and steps is not as fit writes it "
        f"({type(error).__name__}: {first_line(error)}); use another copy, or start without --ckpt_path"
    )


def _failure_line(error: Exception, run: Path) -> str | None:
    if isinstance(error, EOFError | ConnectionResetError):  # half a message of a process that died
        return f"a DataLoader worker ended unexpectedly ({type(error).__name__})"
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return disk_line(error, f"a file in {run}")
    text = str(error).strip()
    if isinstance(error, CatDogError):
        return text
    if isinstance(error, ImportError):
        return missing_package(text)
    if not isinstance(error, RuntimeError):
        return None
    # A worker process hands our error over as text behind its traceback: the last line, after its class.
    if text.startswith("Caught ") and (ours := re.match(r"catdog_pl\.[\w.]+: (.*)", text.splitlines()[-1])):
        return ours[1]
    if isinstance(error, getattr(torch.distributed, "DistError", ())) or "/gloo/" in text:
        return f"another process of this training was lost ({first_line(error)[:120]})"
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory ({first_line(error)}); give a smaller --batch_size"
    return first_line(error) if text.startswith("DataLoader worker") else None
