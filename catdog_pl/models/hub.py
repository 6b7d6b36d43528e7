"""A checkpoint in the layout of the Hugging Face Hub: a folder of ``model.safetensors`` and ``config.json``.

The weights are kept in a format that cannot hold code, the rest as text. What training alone needs, such as
the optimizer's state, is not there.
"""

import hashlib
import json
import struct
from pathlib import Path, PureWindowsPath
from typing import Any, NoReturn

import lightning
import torch
from torch import Tensor

from catdog_pl.errors import CheckpointError, first_line
from catdog_pl.io.files import atomic_write, file_fault
from catdog_pl.models.classifier import NOTE, Classifier
from catdog_pl.models.spec import THRESHOLD

CONFIG = "config.json"

SUM = "weights_sha256"
"""The entry of ``config.json`` that tells damaged weights, for which safetensors has no checksum."""

MAX_CONFIG_BYTES = 2**20
"""Ours have less than 4 kB, 30 kB with a chain of 100 layers."""

MAX_HEADER_BYTES = 2**23
"""Of the list of weights; 100,000 of them need so much. The library's own limit is 100 MB."""

ADVICE = "give a folder that export has written"


def config(checkpoint: dict[str, Any], weights_sha256: str) -> dict[str, Any]:
    """Return the values of ``config.json`` for a checkpoint; nothing tells its owner's folders."""
    note, hparams = checkpoint[NOTE], dict(checkpoint["hyper_parameters"])
    if "weights" in hparams:  # a name, or a file: read once, and its name still tells of which kind
        hparams["weights"] = PureWindowsPath(hparams["weights"]).name  # which knows both separators
    kept = ("model", "format", "data", "temperature", "versions", "hardware")
    return {
        "library_name": "catdog_pl",
        **{key: note[key] for key in kept if key in note},
        "threshold": THRESHOLD,
        "hyper_parameters": hparams,
        "epoch": checkpoint["epoch"],
        "global_step": checkpoint["global_step"],
        SUM: weights_sha256,
    }


def as_json(values: dict[str, Any]) -> str:
    """Return the text of ``config.json``; `CheckpointError` for a value that JSON does not know."""
    try:
        return json.dumps(values, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"A hyper-parameter of the checkpoint cannot be written to {CONFIG}: {first_line(error)}"
        ) from error


def store_temperature(weights: Path, temperature: float) -> None:
    """Note a temperature beside weights; `CatDogError` where the file cannot be written."""
    path = weights.with_name(CONFIG)
    text = as_json(_read_config(path) | {"temperature": temperature})
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def read(weights: Path) -> dict[str, Any]:
    """Return a folder's contents as a checkpoint without a training state; the weights stay in their file.

    Raises:
        CheckpointError: a file is missing, too large, or not in its format; what the values mean is not
            checked.
    """
    note = _read_config(weights.with_name(CONFIG))
    if note.get("threshold", THRESHOLD) != THRESHOLD:
        raise CheckpointError(f"its {CONFIG} asks for another threshold; answers here are by {THRESHOLD}")
    return {
        "epoch": note.pop("epoch", None),
        "global_step": note.pop("global_step", None),
        "hyper_parameters": note.pop("hyper_parameters", None),
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": _read_weights(weights),
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        NOTE: note,
    }


def copied(checkpoint: dict[str, Any], model: Classifier, weights: Path) -> dict[str, Tensor]:
    """Return the weights of ``read`` in memory, laid out as the model's own, by which kernels are chosen.

    Raises:
        CheckpointError: they are not those that were written.
    """
    state = {
        key: torch.empty_like(ours, dtype=checkpoint["state_dict"][key].dtype, device="cpu").copy_(
            checkpoint["state_dict"][key]
        )
        for key, ours in model.state_dict().items()
    }
    with weights.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != checkpoint[NOTE].get(SUM):
            raise CheckpointError(f"it is damaged, or {CONFIG} belongs to other weights; use another copy")
    return state


def _read_config(path: Path) -> dict[str, Any]:
    if fault := file_fault(path):
        raise CheckpointError(f"{path.name} belongs beside it, but {fault}; {ADVICE}")
    with path.open("rb") as file:
        content = file.read(MAX_CONFIG_BYTES + 1)
    if len(content) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"its {CONFIG} has more than {MAX_CONFIG_BYTES:,} bytes; {ADVICE}")
    try:
        values = json.loads(content.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its {CONFIG} is not JSON ({first_line(error)}); {ADVICE}") from error
    if not isinstance(values, dict) or "hyper_parameters" not in values:
        raise CheckpointError(f"its {CONFIG} was not written by catdog_pl; {ADVICE}")
    return values


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, which is mapped into memory: one that lies about sizes costs none."""
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise CheckpointError("reading it needs safetensors: pip install safetensors") from error
    try:
        with path.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
        if header_bytes > MAX_HEADER_BYTES:
            raise ValueError(f"its header has {header_bytes:,} bytes, the limit is {MAX_HEADER_BYTES:,}")
        return load_file(path)
    except Exception as error:  # the library's own error is not documented to be the only one
        raise CheckpointError(f"it is not a safetensors file, or damaged ({first_line(error)})") from error
