"""Checkpoints: read without trust, checked against their model, loaded, written, compared."""

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import lightning
import torch
from torch import Tensor
from torch.optim import Optimizer

from catdog_pl.errors import CatDogError, CheckpointError, UsageError, first_line
from catdog_pl.io.files import atomic_write
from catdog_pl.models.classifier import FORMAT, NOTE, Classifier, DataSpec
from catdog_pl.models.registry import checked, model_class

LIGHTNING_VERSION = re.compile(r"[2-9]\.\d+\.\d+((a|b|rc|\.dev|\.post)\d+)*(\+\w+)?")

PER_WEIGHT = {"mean_square", "square_avg", "exp_avg", "exp_avg_sq", "momentum_buffer"}
"""Entries of an optimizer's state that have the weight's shape; others, such as Adafactor's, are smaller."""


def load_checkpoint(path: str | Path) -> Classifier:
    """Build the model that a checkpoint names and give it the checkpoint's weights.

    Args:
        path: a file that ``fit`` wrote.

    Returns:
        The model on the CPU, in evaluation mode, with its ``data_spec``.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or hostile.
    """
    checkpoint, model = _read(Path(path))
    model.load_state_dict(checkpoint["state_dict"], assign=True)
    model.data_spec = data_spec(checkpoint)
    return model.eval()


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint's contents, checked without memory for the network.

    Nothing in the file is executed or imported by name: it is unpickled with ``weights_only=True``, and
    the model's class comes from the registry.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or hostile.
    """
    return _read(Path(path))[0]


def save_checkpoint(
    model: Classifier,
    path: Path,
    optimizer: Optimizer | None = None,
    origin: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint as ``fit`` would before its first epoch.

    Args:
        model: its weights, hyper-parameters and ``data_spec`` are written.
        path: the file, which is replaced if it is there.
        optimizer: the state that ``fit --ckpt_path`` starts with; a fresh one by default.
        origin: where the weights are from and what is not proven of them, as plain values for the note.

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
    if origin:
        checkpoint[NOTE]["origin"] = origin
    with atomic_write(path) as part:
        torch.save(checkpoint, part)


def restore_arguments(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that rebuild a checkpoint's model; its pretrained weights are not read again."""
    cls = model_class(checkpoint[NOTE]["model"])
    return cls.rebuild_arguments(dict(checkpoint.get("hyper_parameters") or {}))


def data_spec(checkpoint: dict[str, Any]) -> DataSpec:
    """Return what the checkpoint's model was trained on.

    Raises:
        TypeError: a field is missing or unknown.
        ValueError: there are not two class names.
    """
    fields = dict(checkpoint[NOTE]["data"])
    first, second = fields.pop("class_names")
    return DataSpec(class_names=(str(first), str(second)), **fields)


def progress(checkpoint: dict[str, Any]) -> str:
    """Return how far a checkpoint's model was trained, such as ``epoch 3``.

    Lightning counts from 0, so that the checkpoint of the first epoch and one that was imported both say 0;
    only the second was never stepped.
    """
    return f"epoch {checkpoint['epoch'] + 1}" if checkpoint["global_step"] else "not trained here yet"


def compare(checkpoint: dict[str, Any], arguments: dict[str, Any], path: Path | None) -> list[str]:
    """Return lines that tell what is taken from the checkpoint and which arguments differ from it.

    Args:
        checkpoint: as ``read_checkpoint`` returns it.
        arguments: those of the model, from the command line and configuration files.
        path: the checkpoint's, for the lines.

    Raises:
        UsageError: an argument differs that is not in the model's ``TUNABLE``: it decides what the weights
            mean.
    """
    name = checkpoint[NOTE]["model"]
    lines = [f"From the checkpoint {path}: model {name}, {progress(checkpoint)}"]
    for key, old in restore_arguments(checkpoint).items():
        new = arguments.get(key)
        if _as_yaml(new) == _as_yaml(old):
            continue
        if key not in model_class(name).TUNABLE:
            raise UsageError(
                f"{key} is {new}, the checkpoint {path} was trained with {old}; leave it out, or start "
                "without --ckpt_path"
            )
        lines.append(f"  {key}: {new} instead of the checkpoint's {old}")
    return lines


def _as_yaml(value: Any) -> Any:
    """Return a value as a YAML file gives it back: tuples as lists, no mapping as an empty one."""
    return {} if value is None else list(value) if isinstance(value, tuple) else value


def _read(path: Path) -> tuple[dict[str, Any], Classifier]:
    """Return the checked contents, and the checkpoint's model on the meta device, without its weights."""
    check_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd pickles, which the checks below judge
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a broken or hostile file
        raise CheckpointError(
            f"Checkpoint {path} cannot be read: {first_line(error)}; give a file written by fit"
        ) from error
    check_note(checkpoint, path)
    try:
        model = model_class(checkpoint[NOTE]["model"]).skeleton(**restore_arguments(checkpoint))
    except (TypeError, ValueError, RuntimeError, CatDogError) as error:
        raise CheckpointError(
            f"Checkpoint {path} has hyper-parameters that do not fit its model: {first_line(error)}"
        ) from error
    check_weights(checkpoint.get("state_dict"), model, path)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if fault := training_fault(checkpoint, trainable):
        raise CheckpointError(
            f"Checkpoint {path} has a training state that fit does not write: {fault}; use another copy"
        )
    return dict(checkpoint), model


def check_archive(path: Path) -> None:
    """Verify the checksums, which torch does not, and refuse a file that unpacks to more than its size.

    Raises:
        CheckpointError: as ``read_checkpoint``.
    """
    if not path.is_file():
        raise CheckpointError(f"Checkpoint {path}: there is no such file; run fit first, or give its path")
    try:
        with ZipFile(path) as archive:
            if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                raise CheckpointError(f"Checkpoint {path} is compressed, which fit never does; it is refused")
            damaged = archive.testzip()
    except (BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"Checkpoint {path} is not a checkpoint, or cut short ({error})") from error
    if damaged:
        raise CheckpointError(f"Checkpoint {path} is damaged at {damaged}; use another copy")


def check_note(checkpoint: object, path: Path) -> None:
    """Check that this project wrote the checkpoint, in a format that this version reads."""
    note = checkpoint.get(NOTE) if isinstance(checkpoint, dict) else None
    if not isinstance(note, dict) or not isinstance(checkpoint, dict):
        raise CheckpointError(f"Checkpoint {path} was not written by catdog_pl; give a file written by fit")
    if not isinstance(note.get("format"), int) or note["format"] > FORMAT:
        raise CheckpointError(
            f"Checkpoint {path} has format {note.get('format')!r}, this version reads up to {FORMAT}; "
            "update catdog_pl"
        )
    try:
        checked(note.get("model"))
        image_size = data_spec(dict(checkpoint)).image_size
        if image_size != checkpoint["hyper_parameters"]["image_size"]:
            raise ValueError(f"image_size is both {image_size} and another")
        if not all(isinstance(checkpoint[key], int) for key in ("epoch", "global_step")):
            raise TypeError("epoch and global_step must be whole numbers")
    except UsageError as error:
        raise CheckpointError(f"Checkpoint {path}: {error}") from error
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"Checkpoint {path} does not say what it was trained on ({error})") from error


def check_weights(state: object, model: Classifier, path: Path) -> None:
    """Check that a state dict has the names, shapes and kinds of numbers of the model's own.

    Args:
        state: what the file holds.
        model: may be on the meta device.
        path: the checkpoint's, for the message.

    Raises:
        CheckpointError: it has not.
    """
    expected = model.state_dict()
    if not isinstance(state, dict) or state.keys() != expected.keys():
        raise CheckpointError(f"Checkpoint {path} does not hold the layers of its model; use another copy")
    for key, ours in expected.items():
        theirs = state[key]
        if not isinstance(theirs, Tensor) or theirs.layout != torch.strided or theirs.shape != ours.shape:
            found = tuple(theirs.shape) if isinstance(theirs, Tensor) else type(theirs).__name__
            raise CheckpointError(f"Checkpoint {path}: {key} is {found}, its model needs {tuple(ours.shape)}")
        if _kind(theirs.dtype) != _kind(ours.dtype):
            raise CheckpointError(f"Checkpoint {path}: {key} is {theirs.dtype}, its model needs {ours.dtype}")


def _kind(dtype: torch.dtype) -> str:
    """Return ``floating``, ``complex``, ``bool`` or ``integer``: a weight may be half, a counter may not."""
    if dtype.is_floating_point or dtype.is_complex:
        return "floating" if dtype.is_floating_point else "complex"
    return "bool" if dtype is torch.bool else "integer"


def training_fault(checkpoint: dict[str, Any], trainable: Sequence[Tensor]) -> str | None:
    """Return what Lightning and the optimizer would stumble over, since they check nothing; or None.

    Args:
        checkpoint: the contents of a file.
        trainable: the model's trainable parameters in their order; only their shapes matter.
    """
    if any(not _is_stored(tensor) for tensor in _tensors(checkpoint)):
        return "a tensor with more elements than the file holds"
    if not LIGHTNING_VERSION.fullmatch(str(checkpoint.get("pytorch-lightning_version"))):
        return "no version of Lightning from 2.0"
    for key in ("callbacks", "loops"):
        table = checkpoint.get(key, {})
        if not isinstance(table, dict):
            return f"{key} are not a mapping"
        if not all(isinstance(name, str) and isinstance(state, dict) for name, state in table.items()):
            return f"{key} of another kind"
    rows = checkpoint.get("callbacks", {}).get("History", {}).get("rows", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return "a history without rows"
    optimizers = checkpoint.get("optimizer_states", [])
    if not isinstance(optimizers, list) or not all(_fits(state, trainable) for state in optimizers):
        return "an optimizer of other weights"
    return None


def _tensors(value: object) -> Iterator[Tensor]:
    """Yield all tensors in nested containers; one that contains itself is entered once."""
    seen, waiting = set[int](), [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, dict | list | tuple | set) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(item.values() if isinstance(item, dict) else item)


def _is_stored(tensor: Tensor) -> bool:
    """Return whether each element has bytes of its own: a view may repeat one of them a billion times."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _fits(optimizer: object, trainable: Sequence[Tensor]) -> bool:
    """Return whether an optimizer's state has the parameters, in one group, and entries of their shapes."""
    if not isinstance(optimizer, dict) or not isinstance(optimizer.get("state"), dict):
        return False
    groups = optimizer.get("param_groups")
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], dict):
        return False
    if groups[0].get("params") != list(range(len(trainable))):
        return False
    return all(
        isinstance(index, int)
        and 0 <= index < len(trainable)
        and isinstance(values, dict)
        and all(_same_shape(values[name], trainable[index]) for name in PER_WEIGHT & values.keys())
        for index, values in optimizer["state"].items()
    )


def _same_shape(value: object, parameter: Tensor) -> bool:
    return value is None or (isinstance(value, Tensor) and value.shape == parameter.shape)
