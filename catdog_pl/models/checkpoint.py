"""Checkpoints: read without trust, checked against their model, loaded, written, compared."""

import inspect
import re
import reprlib
import shlex
import sys
import types
import typing
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import lightning
import torch
from torch import Tensor
from torch.optim import Optimizer

from catdog_pl.devices import Hardware
from catdog_pl.errors import CatDogError, CheckpointError, UsageError, first_line
from catdog_pl.io.files import atomic_write, file_fault, in_hub_folder
from catdog_pl.models import hub
from catdog_pl.models.classifier import AVERAGED, FORMAT, NOTE, Classifier
from catdog_pl.models.registry import model_class
from catdog_pl.models.spec import MAX_SIZE, DataSpec
from catdog_pl.process import program

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
SAFETENSORS = ".safetensors"
LIGHTNING_VERSION = re.compile(r"[2-9]\.\d+\.\d+((a|b|rc|\.dev|\.post)\d+)*(\+\w+)?")

WEIGHT_DTYPES = {torch.float64, torch.float32, torch.float16, torch.bfloat16}

PER_WEIGHT = {"mean_square", "square_avg", "exp_avg", "exp_avg_sq", "momentum_buffer"}
"""Entries of an optimizer's state that have the weight's shape; others, such as Adafactor's, are smaller."""


def load_checkpoint(path: str | Path) -> Classifier:
    """Return a checkpoint's model with its weights and ``data_spec``, on the CPU, in evaluation mode.

    Args:
        path: a file that ``fit`` has written, or a folder in the Hub's layout that ``export`` has.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or hostile.
    """
    return load_with_contents(path)[0]


def load_with_contents(path: str | Path) -> tuple[Classifier, dict[str, Any]]:
    """Return the model of `load_checkpoint`, and the contents of `read_checkpoint`, of one reading.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or hostile.
    """
    checkpoint, model = _read(Path(path))
    model.load_state_dict(checkpoint["state_dict"], assign=True)
    model.data_spec = data_spec(checkpoint)
    model.temperature = checkpoint[NOTE].get("temperature")
    return model.eval(), checkpoint


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a checkpoint's contents, checked without memory for the network.

    Nothing in the file is executed or imported by name: it is unpickled with ``weights_only=True``, and
    the model's class comes from the registry.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or hostile.
    """
    return _read(Path(path))[0]


def save_checkpoint(
    model: Classifier, path: Path, optimizer: Optimizer | None = None, origin: dict[str, Any] | None = None
) -> None:
    """Write, or replace, a checkpoint as ``fit`` would before its first epoch.

    Args:
        model: its weights, hyper-parameters and ``data_spec`` are written.
        path: the file; if it cannot be written (CatDogError), what was there is untouched.
        optimizer: the state that ``fit --ckpt_path`` starts with; a fresh one by default.
        origin: where the weights are from and what is not proven of them, as plain values for the note.
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


def store_temperature(path: str | Path, temperature: float) -> None:
    """Note in a checkpoint what calibrated probabilities divide its logits by; all else in it stays.

    Raises:
        CheckpointError: the temperature is not above 0, or the file is not a checkpoint.
        CatDogError: the file cannot be written; it is untouched.
    """
    path = in_hub_folder(Path(path))
    checkpoint = read_checkpoint(path)
    checkpoint[NOTE]["temperature"] = float(temperature)
    _check_temperature(float(temperature))
    if path.suffix == SAFETENSORS:
        return hub.store_temperature(path, float(temperature))
    with atomic_write(path) as part:
        torch.save(checkpoint, part)


def restore_arguments(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return all arguments that rebuild a checkpoint's model; its pretrained weights are not read again.

    A checkpoint of an earlier version lacks later arguments, whose defaults are what it was trained with.
    """
    cls = model_class(checkpoint[NOTE]["model"])
    defaults = {key: parameter.default for key, parameter in inspect.signature(cls).parameters.items()}
    given = {"image_size": data_spec(checkpoint).image_size} | checkpoint["hyper_parameters"]
    return cls.rebuild_arguments(defaults | given)


def data_spec(checkpoint: dict[str, Any]) -> DataSpec:
    """Return what the checkpoint's model was trained on.

    Raises:
        CheckpointError: a field is missing, unknown or not valid.
    """
    fields = checkpoint[NOTE].get("data")
    _check_values(DataSpec, fields, "data")
    if len(fields.get("class_names", ())) != 2:
        raise CheckpointError("it does not name two classes; use another copy")
    spec = DataSpec(**{**fields, "class_names": tuple(fields["class_names"])})
    if not 0 < spec.image_size <= MAX_SIZE:
        raise CheckpointError(f"its image_size is {spec.image_size}; valid are 1 to {MAX_SIZE}")
    return spec


def trained_on(checkpoint: dict[str, Any]) -> Hardware:
    """Return the `hardware` that a checkpoint was trained on, empty where it does not tell.

    Older checkpoints do not, nor do imported models, which no step has trained. The kinds of the values are
    checked; a text may still be any.
    """
    note = checkpoint[NOTE].get("hardware")
    return note if checkpoint["global_step"] and _is_valid(note, dict[str, str | int | list[str]]) else {}


def compare(checkpoint: dict[str, Any], arguments: dict[str, Any], path: Path | None) -> list[str]:
    """Return lines that tell what is taken from the checkpoint and which model arguments differ from it.

    Raises:
        UsageError: an argument differs that is not in the model's ``TUNABLE``: it decides what the weights
            mean.
    """
    name = checkpoint[NOTE]["model"]
    cls = model_class(name)
    # Lightning counts epochs from 0; a checkpoint that was imported says 0 as well, but was never stepped.
    progress = f"epoch {checkpoint['epoch'] + 1}" if checkpoint["global_step"] else "not trained here yet"
    lines = [f"From the checkpoint {path}: model {name}, {progress}"]
    for key, old in restore_arguments(checkpoint).items():
        new = arguments.get(key, old)
        if _as_yaml(new) == _as_yaml(old):
            continue
        if key not in cls.TUNABLE:
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
    path = in_hub_folder(path)
    is_mapped = path.suffix == SAFETENSORS and file_fault(path) is None
    try:
        checkpoint = hub.read(path) if is_mapped else _unpickle(path)
        _check_note(checkpoint)
        model = _skeleton(checkpoint)
        _check_weights(checkpoint.get("state_dict"), model)
        if AVERAGED in checkpoint:
            _check_weights(checkpoint[AVERAGED], model)
        _check_training(checkpoint, [p for group in model.parameter_groups() for p in group["params"]])
        if is_mapped:  # last, because it needs memory for the weights
            checkpoint["state_dict"] = hub.copied(checkpoint, model, path)
    except CatDogError as error:
        raise CheckpointError(f"Checkpoint {path}: {error}") from error
    return checkpoint, model


def _unpickle(path: Path) -> Any:
    """Return what a file holds, which may be anything that is plain."""
    _check_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd pickles, which the other checks judge
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(
            "it holds more than plain values and tensors, and loading that could run foreign code; "
            "give a file written by fit"
        ) from error
    except Exception as error:  # torch raises half a dozen types for a broken or hostile file
        raise CheckpointError(
            f"it cannot be read ({first_line(error)}); give a file written by fit"
        ) from error
    if not all(_is_stored(tensor) for tensor in _tensors(content)):
        raise CheckpointError("it holds a tensor with more elements than the file; use another copy")
    return content


def _check_archive(path: Path) -> None:
    """Verify the checksums, which torch does not, and refuse a file that unpacks to more than its size."""
    if fault := file_fault(path):
        raise CheckpointError(f"{fault}; run fit first, or give the path of a file such as best.ckpt")
    command = f"{program()} keras import {shlex.quote(str(path))}"
    keras_fault = f"it is a Keras file; make a checkpoint of it by: {command}"
    if path.suffix.lower() == ".onnx":  # whose content has no mark
        raise CheckpointError("it is an ONNX file, which predict alone takes; give what it was exported from")
    try:
        with path.open("rb") as file:
            if file.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
                raise CheckpointError(keras_fault)
        with ZipFile(path) as archive:
            names = archive.namelist()
            if "config.json" in names:
                raise CheckpointError(keras_fault)
            if any(name.endswith("/archive_format") for name in names):
                raise CheckpointError("it is a program of torch.export; give what it was exported from")
            if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                raise CheckpointError("it is compressed, which fit never does; give a file written by fit")
            damaged = archive.testzip()
    except (BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"it is not a checkpoint, or cut short ({first_line(error)})") from error
    if damaged:
        raise CheckpointError(f"it is damaged at {damaged}; use another copy")


def _check_note(checkpoint: Any) -> None:
    """Check that this project wrote the checkpoint, in a format that this version reads."""
    note = checkpoint.get(NOTE) if isinstance(checkpoint, dict) else None
    if not isinstance(note, dict):
        raise CheckpointError("it was not written by catdog_pl; give a file written by fit")
    if not isinstance(note.get("format"), int) or note["format"] > FORMAT:
        raise CheckpointError(
            f"it has format {reprlib.repr(note.get('format'))}, this version reads up to {FORMAT}; "
            "update catdog_pl"
        )
    if not _is_valid([checkpoint.get("epoch"), checkpoint.get("global_step")], list[int]):
        raise CheckpointError("its epoch and global_step must be whole numbers; use another copy")
    _check_temperature(note.get("temperature"))


def _check_temperature(value: Any) -> None:
    """Check what logits are divided by; None is without."""
    if value is not None and not (_is_valid(value, float) and value > 0 and value is not True):
        raise CheckpointError(f"its temperature is {reprlib.repr(value)}; it must be a number above 0")


def _skeleton(checkpoint: dict[str, Any]) -> Classifier:
    """Return the checkpoint's model on the meta device, built only from values of the right kind."""
    cls = model_class(checkpoint[NOTE].get("model"))
    _check_values(cls.__init__, checkpoint.get("hyper_parameters"), "hyper_parameters")
    try:
        model = cls.skeleton(**checkpoint["hyper_parameters"])
    except (TypeError, ValueError, RuntimeError, CatDogError) as error:
        raise CheckpointError(f"its hyper-parameters do not fit its model: {first_line(error)}") from error
    if data_spec(checkpoint).image_size != model.data_spec.image_size:
        raise CheckpointError("it names two image sizes; use another copy")
    return model


def _check_values(target: Any, values: Any, name: str) -> None:
    """Check that values are a mapping that fits the annotations of a dataclass or function."""
    annotations = typing.get_type_hints(target)
    if not isinstance(values, dict):
        raise CheckpointError(f"its {name} are missing; use another copy")
    for key, value in values.items():
        if key not in annotations or not _is_valid(value, annotations[key]):
            entry = f"{reprlib.repr(key)}: {reprlib.repr(value)}"
            raise CheckpointError(f"its {name} hold {entry}, which is not valid; use another copy")


def _is_valid(value: Any, annotation: Any) -> bool:
    """Return whether a value is of an annotated type; a list counts as a tuple, a float must be finite."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_is_valid(value, member) for member in members)
    if origin is typing.Literal:
        return isinstance(value, str) and value in members
    if origin in (tuple, list):
        return isinstance(value, tuple | list) and all(_is_valid(item, members[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _is_valid(key, members[0]) and _is_valid(item, members[1]) for key, item in value.items()
        )
    if annotation is float:
        return isinstance(value, float | int) and abs(value) <= sys.float_info.max
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)


def _check_weights(state: object, model: Classifier) -> None:
    """Check that a state dict has the names, shapes and kinds of numbers of the model's own, and no NaN.

    Integer buffers such as BatchNorm's counter stay integers; weights may be of half precision.
    """
    expected = model.state_dict()
    if not isinstance(state, dict) or state.keys() != expected.keys():
        raise CheckpointError("it does not hold the layers of its model; use another copy")
    for key, ours in expected.items():
        theirs = state[key]
        if not isinstance(theirs, Tensor) or theirs.shape != ours.shape:
            found = tuple(theirs.shape) if isinstance(theirs, Tensor) else type(theirs).__name__
            raise CheckpointError(f"{key} is {found}, its model needs {tuple(ours.shape)}")
        if theirs.dtype != ours.dtype and not {theirs.dtype, ours.dtype} <= WEIGHT_DTYPES:
            raise CheckpointError(f"{key} is {theirs.dtype}, its model needs {ours.dtype}")
        # A finite sum has finite terms, and takes a tenth of the time.
        if not theirs.sum().isfinite() and not theirs.isfinite().all():
            raise CheckpointError(
                f"{key} is NaN or infinite, because the training diverged; use a checkpoint of an earlier "
                "epoch, or fit again with a smaller --learning_rate"
            )


def _check_training(checkpoint: dict[str, Any], trainable: Sequence[Tensor]) -> None:
    """Check what Lightning and the optimizer of ``trainable`` take over without a check of theirs."""
    callbacks, loops = checkpoint.get("callbacks", {}), checkpoint.get("loops", {})
    optimizers = checkpoint.get("optimizer_states", [])
    if not LIGHTNING_VERSION.fullmatch(str(checkpoint.get("pytorch-lightning_version"))):
        fault = "no version of Lightning from 2.0"
    elif not _is_valid([callbacks, loops], list[dict[str, dict[Any, Any]]]):
        fault = "callbacks or loops of another kind"
    elif not _is_valid(callbacks.get("History", {}).get("rows", []), list[dict[Any, Any]]):
        fault = "a history without rows"
    elif AVERAGED in checkpoint and not _is_scalar(checkpoint.get("averaging_state"), "n_averaged"):
        fault = "averages without their number"
    elif not isinstance(optimizers, list) or not all(_fits(state, trainable) for state in optimizers):
        fault = "an optimizer of other weights"
    else:
        return
    raise CheckpointError(f"its training state is not as fit writes it ({fault}); use another copy")


def _is_scalar(state: object, key: str) -> bool:
    """Return whether a state holds one number, as a tensor, under this key and nothing else."""
    value = state.get(key) if isinstance(state, dict) and len(state) == 1 else None
    return isinstance(value, Tensor) and value.shape == ()


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
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _fits(optimizer: Any, trainable: Sequence[Tensor]) -> bool:
    """Return whether an optimizer's state is that of these parameters, with entries of their shapes."""
    if not _is_valid(optimizer, dict[str, Any]) or not isinstance(optimizer.get("state"), dict):
        return False
    groups = optimizer.get("param_groups")
    if not groups or not _is_valid(groups, list[dict[Any, Any]]):
        return False
    numbers = [group.get("params") for group in groups]
    if not _is_valid(numbers, list[list[int]]):
        return False
    indices = list(chain.from_iterable(numbers))
    if indices != list(range(len(indices))):
        return False
    if len(indices) != len(trainable):  # layers were unfrozen in Python; a resume would be told so by PyTorch
        return True
    if not _is_valid(optimizer["state"], dict[int, dict[Any, Any]]):
        return False
    return optimizer["state"].keys() <= set(indices) and all(
        value is None or (isinstance(value, Tensor) and value.shape == trainable[index].shape)
        for index, entries in optimizer["state"].items()
        for name, value in entries.items()
        if name in PER_WEIGHT
    )
