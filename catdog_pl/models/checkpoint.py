"""The one table of model names, and the one way to read a checkpoint."""

import warnings
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import lightning
import torch
from torch.optim import Optimizer

from catdog_pl.errors import CatDogError, CheckpointError, UsageError, first_line
from catdog_pl.io.files import atomic_write
from catdog_pl.models.basic import Basic
from catdog_pl.models.classifier import FORMAT, NOTE, Classifier, DataSpec
from catdog_pl.models.training_state import state_fault
from catdog_pl.models.vgg16 import VGG16

MODELS: dict[str, type[Classifier]] = {cls.name: cls for cls in (Basic, VGG16)}


def model_class(name: str) -> type[Classifier]:
    """The class of a model name.

    Raises:
        UsageError: there is no such model.
    """
    if name not in MODELS:
        raise UsageError(f"model {name!r} is unknown; valid are {', '.join(MODELS)}")
    return MODELS[name]


def load_checkpoint(path: Path) -> Classifier:
    """Build the model that a checkpoint names and give it the checkpoint's weights.

    Args:
        path: a file that ``fit`` wrote.

    Returns:
        The model on the CPU, in evaluation mode, with its ``data_spec``.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or hostile.
    """
    checkpoint = read_checkpoint(path)
    model = build(checkpoint, path)
    model.load_state_dict(checkpoint["state_dict"], assign=True)
    model.data_spec = data_spec(checkpoint)
    return model.eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's contents, after every check that needs no memory for the network.

    Nothing in the file is executed or imported by name: it is unpickled with ``weights_only=True``, and
    the model's class comes from ``MODELS``.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or hostile.
    """
    check_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd pickles, which the checks below judge
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a broken or hostile file
        raise CheckpointError(
            f"checkpoint {path} cannot be read: {first_line(error)}; give a file written by fit"
        ) from error
    check_note(checkpoint, path)
    check_shapes(checkpoint, path)
    return dict(checkpoint)


def save_checkpoint(model: Classifier, path: Path, optimizer: Optimizer | None = None) -> None:
    """Write a checkpoint as ``fit`` would before its first epoch.

    Args:
        model: its weights, hyper-parameters and ``data_spec`` are written.
        path: the file, which is replaced if it is there.
        optimizer: the state from which ``fit --ckpt_path`` goes on; a fresh one by default.

    Raises:
        CatDogError: the file cannot be written; what was there is untouched.
    """
    checkpoint: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": model.state_dict(),
        "callbacks": {},
        "optimizer_states": [optimizer.state_dict()] if optimizer else [],
        "lr_schedulers": [],
        "hyper_parameters": dict(model.hparams),
    }
    model.on_save_checkpoint(checkpoint)
    with atomic_write(path) as part:
        torch.save(checkpoint, part)


def check_archive(path: Path) -> None:
    """Hold the file's checksums, which torch does not, and refuse one that unpacks to more than it is.

    Raises:
        CheckpointError: as ``read_checkpoint``.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path}: there is no such file; run fit first, or give its path")
    try:
        with ZipFile(path) as archive:
            if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                raise CheckpointError(f"checkpoint {path} is compressed, which fit never does; it is refused")
            damaged = archive.testzip()
    except (BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path} is not a checkpoint, or cut short ({error})") from error
    if damaged:
        raise CheckpointError(f"checkpoint {path} is damaged at {damaged}; use another copy")


def check_note(checkpoint: object, path: Path) -> None:
    """Hold that this project wrote the checkpoint, in a format this version reads."""
    note = checkpoint.get(NOTE) if isinstance(checkpoint, dict) else None
    if not isinstance(note, dict) or not isinstance(checkpoint, dict):
        raise CheckpointError(f"checkpoint {path} was not written by catdog_pl; give a file written by fit")
    if not isinstance(note.get("format"), int) or note["format"] > FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {note.get('format')!r}, this version reads up to {FORMAT}; "
            "update catdog_pl"
        )
    if note.get("model") not in MODELS:
        raise CheckpointError(
            f"checkpoint {path} holds the model {note.get('model')!r}; valid are {', '.join(MODELS)}"
        )
    try:
        image_size = data_spec(dict(checkpoint)).image_size
        if image_size != checkpoint["hyper_parameters"]["image_size"]:
            raise ValueError(f"image_size is both {image_size} and another")
        if not all(isinstance(checkpoint[key], int) for key in ("epoch", "global_step")):
            raise TypeError("epoch and global_step must be whole numbers")
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} does not say what it was trained on ({error})") from error


def check_shapes(checkpoint: dict[str, Any], path: Path) -> None:
    """Hold the weights against the network that the hyper-parameters describe, without its memory."""
    model = build(checkpoint, path)
    expected = {key: value.shape for key, value in model.state_dict().items()}
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict) or state.keys() != expected.keys():
        raise CheckpointError(f"checkpoint {path} does not hold the layers of its model; use another copy")
    for key, shape in expected.items():
        tensor = state[key]
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.shape != shape:
            found = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise CheckpointError(f"checkpoint {path}: {key} is {found}, its model needs {tuple(shape)}")
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"checkpoint {path}: {key} is {tensor.dtype}, its model needs floating point"
            )
    if fault := state_fault(checkpoint, [p for p in model.parameters() if p.requires_grad]):
        raise CheckpointError(
            f"checkpoint {path} has a state of training that fit does not write: {fault}; use another copy"
        )


def build(checkpoint: dict[str, Any], path: Path) -> Classifier:
    """The checkpoint's model without memory for its weights (on the meta device)."""
    try:
        return MODELS[checkpoint[NOTE]["model"]].skeleton(**restore_arguments(checkpoint))
    except (TypeError, ValueError, RuntimeError, CatDogError) as error:
        raise CheckpointError(
            f"checkpoint {path} has hyper-parameters that do not fit its model: {first_line(error)}"
        ) from error


def restore_arguments(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The arguments that rebuild a checkpoint's model; its pretrained weights are not read again."""
    return MODELS[checkpoint[NOTE]["model"]].rebuild_arguments(dict(checkpoint.get("hyper_parameters") or {}))


def data_spec(checkpoint: dict[str, Any]) -> DataSpec:
    """What the checkpoint's model was trained on.

    Raises:
        TypeError: a field is missing or unknown.
        ValueError: there are not two class names.
    """
    fields = dict(checkpoint[NOTE]["data"])
    first, second = fields.pop("class_names")
    return DataSpec(class_names=(str(first), str(second)), **fields)
