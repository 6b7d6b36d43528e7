"""A Keras file of any kind, told by its content and not by its name, opened for reading."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import h5py

from catdog_pl.errors import KerasFileError, first_line
from catdog_pl.io.files import file_fault
from catdog_pl.keras.config import Config
from catdog_pl.keras.hdf5 import open_h5, printable, text
from catdog_pl.keras.weights import legacy_root

MAX_CONFIG = 2**24  # bytes of the configuration in an archive; VGG16's has 30,000
MAX_WEIGHTS = 2**31  # bytes of the weights, which are read into memory; VGG16 has 67 million

ZIP_ERRORS = (BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, KeyError, ValueError)
"""What zipfile raises on archives that are damaged, encrypted or compressed in an unknown way."""


@dataclass(frozen=True)
class KerasFile:
    """What one file holds; version and training are empty where the file does not tell them."""

    kind: str  # for messages, ``a whole model (HDF5)``
    keras_version: str
    model: Config | None  # the model's configuration; None for weights alone
    training: Config  # what the model was compiled with
    weights: h5py.File  # the arrays, in either layout


@contextmanager
def open_keras(path: Path, architecture: Path | None = None) -> Iterator[KerasFile]:
    """Open a ``.keras`` archive, a whole model in HDF5, or weights alone in either layout of HDF5.

    Args:
        path: the file.
        architecture: the JSON of ``model.to_json()``, for weights alone.

    Raises:
        KerasFileError: there is no such file, or it is damaged, foreign or hostile.
    """
    refuse_tensorflow(path)
    if fault := file_fault(path):
        raise KerasFileError(f"{path}: {fault}; give a file saved by Keras, .keras or .h5")
    opener = open_archive if is_zipfile(path) else open_hdf5
    with opener(path) as file:
        if architecture and file.model is not None:
            raise KerasFileError(f"it holds its architecture itself; leave out --architecture {architecture}")
        yield replace(file, model=read_architecture(architecture)) if architecture else file


def read_architecture(path: Path) -> Config:
    """Return the configuration in a JSON file, as ``model.to_json()`` gives it."""
    if fault := file_fault(path):
        raise KerasFileError(f"--architecture {path}: {fault}; give the JSON of model.to_json()")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG + 1)
        if len(content) > MAX_CONFIG:
            raise KerasFileError(f"more than {MAX_CONFIG} bytes")
        found = json.loads(content)
        return parsed(found if isinstance(found, str) else content)  # some people dump the text once more
    except (OSError, ValueError, RecursionError, KerasFileError) as error:
        detail = "not the JSON of model.to_json()"
        raise KerasFileError(f"--architecture {path} is {detail} ({first_line(error)})") from error


def refuse_tensorflow(path: Path) -> None:
    """Name TensorFlow's own formats, with the lines of Keras that convert them."""
    folder = path.parent if path.name in ("saved_model.pb", "keras_metadata.pb") else path
    prefix = re.sub(r"\.(index|data-\d+-of-\d+)$", "", str(path))
    if (folder / "saved_model.pb").is_file():
        lines = f"import tf_keras; model = tf_keras.models.load_model({str(folder)!r})"
        found = f"a TensorFlow SavedModel; convert it with Keras 2: {lines}"
    elif Path(f"{prefix}.index").is_file():
        lines = f"model = build_model(); model.load_weights({prefix!r})"
        code = "Keras 2 and your code that builds the model"
        found = f"a TensorFlow checkpoint; convert it with {code}: {lines}"
    else:
        return
    raise KerasFileError(f"{path} is {found}; model.save('model.h5')")


@contextmanager
def open_hdf5(path: Path) -> Iterator[KerasFile]:
    """Open a file that is HDF5 itself."""
    with open_h5(path, str(path)) as weights:
        config, training = text(weights, "model_config"), text(weights, "training_config")
        root = legacy_root(weights)
        version = text(weights if root is None else root, "keras_version") or ""
        kind = "a whole model (HDF5)" if config else "weights only (HDF5)"
        model = parsed(config) if config else None
        yield KerasFile(kind, printable(version), model, parsed(training) if training else {}, weights)


@contextmanager
def open_archive(path: Path) -> Iterator[KerasFile]:
    """Open a ``.keras`` archive; its members are read by name into memory, none is unpacked to disk."""
    try:
        with ZipFile(path) as archive:
            if any(name.endswith("data.pkl") for name in archive.namelist()):
                raise KerasFileError("it is a checkpoint of PyTorch, no Keras file; keras export writes one")
            config = parsed(member(archive, "config.json", MAX_CONFIG))
            metadata = parsed(member(archive, "metadata.json", MAX_CONFIG))
            content = member(archive, "model.weights.h5", MAX_WEIGHTS)
    except KerasFileError as error:
        raise KerasFileError(f"{path}: {error}") from error
    except ZIP_ERRORS as error:
        raise KerasFileError(f"{path} is damaged, or no Keras archive ({error})") from error
    with open_h5(content, str(path)) as weights:
        version, training = metadata.get("keras_version"), config.get("compile_config")
        version = printable(version) if isinstance(version, str) else ""
        training = training if isinstance(training, dict) else {}
        yield KerasFile("a whole model (.keras)", version, config, training, weights)


def member(archive: ZipFile, name: str, limit: int) -> bytes:
    """Return one file of an archive, unless it declares more bytes than Keras writes."""
    if name not in archive.namelist():
        raise KerasFileError(f"{name} is missing in the archive; give a file that Keras saved")
    entry = archive.getinfo(name)
    if entry.file_size > limit:
        raise KerasFileError(f"{name} declares {entry.file_size} bytes; at most {limit} are read")
    if entry.file_size > MAX_CONFIG + 10 * entry.compress_size:
        raise KerasFileError(f"{name} unpacks to {entry.file_size} bytes; Keras does not compress")
    return archive.read(entry)


def parsed(content: str | bytes) -> dict[str, Any]:
    """Return a JSON object."""
    found = json.loads(content)
    if not isinstance(found, dict):
        raise KerasFileError(f"its configuration is a {type(found).__name__}, no JSON object")
    return found
