"""HDF5 files of other people, read as data only: no link is followed, no declared size is believed.

HDF5's own C library crashes, or loops for ever, on some damaged files. So a file is first read by a process
of its own, which is this module run as a script (`survey`).
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from catdog_pl.errors import KerasFileError

Array = npt.NDArray[np.float32]

# Keras compresses nothing; a file of a few kilobytes can declare terabytes, and hard links can make it an
# endless tree.
MAX_ELEMENTS = 2**28  # of one array, 1 GiB; the basic model's largest has 4.7 million
UNSTORED = 2**20  # bytes that an array may declare beyond ten times what is stored of it
MAX_ENTRIES = 2_000  # names, or entries of groups, of one file; VGG16 has 200
MAX_TEXT = 2**24  # bytes of one attribute; the configuration of VGG16 has 30,000
SURVEY_SECONDS = 30.0  # for the first reading; VGG16 takes a third of a second
SIGNATURE = b"\x89HDF\r\n\x1a\n"

FOREIGN: dict[str, Callable[[bytes], bool]] = {
    "a pickle, ": lambda start: start[:1] == b"\x80",
    "a TensorFlow Lite model, ": lambda start: start[4:8] == b"TFL3",
    "JSON, which holds no weights, ": lambda start: start[:1] == b"{",
}
"""Other files that people give, by their first 8 bytes."""

HDF5_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError)
"""What h5py raises on files that are damaged, foreign or hostile."""


@contextmanager
def open_h5(source: Path | bytes, name: str) -> Iterator[h5py.File]:
    """Open a file for reading; whatever is wrong with it while the block runs becomes one line.

    Raises:
        KerasFileError: the file is damaged or foreign, or the block raised this.
    """
    check_signature(source, name)
    survey(source, name)
    try:
        with h5py.File(BytesIO(source) if isinstance(source, bytes) else source, "r") as file:
            yield file
    except KerasFileError as error:
        raise KerasFileError(f"{name}: {error}") from error
    except HDF5_ERRORS as error:
        detail = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise KerasFileError(f"{name} is damaged, or no Keras file ({detail})") from error


def check_signature(source: Path | bytes, name: str) -> None:
    """Refuse content that is no HDF5, before anything else is made of it."""
    try:
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            start = file.read(len(SIGNATURE))
    except OSError as error:
        raise KerasFileError(f"{name} cannot be read ({error.strerror or error})") from error
    if start != SIGNATURE:
        found = next((kind for kind, is_kind in FOREIGN.items() if is_kind(start)), "")
        found += "neither HDF5 nor a .keras archive, or damaged"
        raise KerasFileError(f"{name} is {found}; give a file that Keras saved")


def survey(source: Path | bytes, name: str) -> None:
    """Let another process read all of a file, and refuse it if HDF5 crashes or does not end."""
    package = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH"))))
    argument, content = ("-", source) if isinstance(source, bytes) else (str(source.resolve()), None)
    try:
        # -P: the folder of this file holds modules of other packages' names.
        done = subprocess.run(
            [sys.executable, "-P", __file__, argument],
            input=content,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": path},
            timeout=SURVEY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise KerasFileError(f"{name} is damaged: reading it takes over {SURVEY_SECONDS:.0f} s") from error
    if done.returncode:
        raise KerasFileError(f"{name} is damaged in a way that HDF5 does not survive; use another copy")


def read_everything(file: h5py.File) -> None:
    """Read every attribute and array that the functions here may read, and go on past whatever is wrong."""
    waiting, count = [file], 0
    while waiting and count < MAX_ENTRIES:
        group = waiting.pop()
        for attribute in or_none(list, group.attrs) or ():
            or_none(attribute_value, group, attribute)
        for key in or_none(list, group) or ():
            count += 1
            found = or_none(child, group, key)
            if isinstance(found, h5py.Group):
                waiting.append(found)
            elif found is not None:
                or_none(np.asarray, or_none(array_at, group, key))


def or_none(read: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns, or None where the file is wrong."""
    with suppress(KerasFileError, *HDF5_ERRORS):
        return read(*arguments)
    return None


def groups(file: h5py.File) -> Iterator[tuple[str, h5py.Group]]:
    """Yield all groups below the root with their paths, each reached through hard links alone."""
    waiting, count = [("", file)], 0
    while waiting:
        path, group = waiting.pop()
        for key in group:
            count += 1
            if count > MAX_ENTRIES:
                raise KerasFileError(f"it has more than {MAX_ENTRIES} entries; Keras writes 200 for VGG16")
            found = child(group, key)
            if isinstance(found, h5py.Group):
                waiting.append((f"{path}/{key}".lstrip("/"), found))
                yield waiting[-1]


def child(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """Return what lies at a path below a group, reached through hard links alone."""
    found = group
    for part in path.split("/"):
        link = found.get(part, getlink=True) if part and isinstance(found, h5py.Group) else None
        if link is None:
            raise KerasFileError(f"{path} is missing in it")
        if not isinstance(link, h5py.HardLink):
            raise KerasFileError(f"{path} is a link; a Keras file holds its own arrays")
        found = found[part]
    return found


def group_at(group: h5py.Group, path: str) -> h5py.Group:
    """Return the group at a path below a group."""
    found = child(group, path)
    if not isinstance(found, h5py.Group):
        raise KerasFileError(f"{path} is no group")
    return found


def array_at(group: h5py.Group, path: str) -> h5py.Dataset:
    """Return the array at a path below a group, of numbers that lie in this file; nothing is read yet."""
    data = child(group, path)
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiu" or data.shape is None:
        raise KerasFileError(f"{path} is no array of numbers")
    if data.external or data.is_virtual:
        raise KerasFileError(f"{path} lies in another file; a Keras file holds its own arrays")
    if data.size > MAX_ELEMENTS:
        raise KerasFileError(f"{path} declares {data.size} elements; at most {MAX_ELEMENTS} are read")
    if data.nbytes > UNSTORED + 10 * data.id.get_storage_size():
        raise KerasFileError(f"{path} declares {data.nbytes} bytes of which few are stored; Keras stores all")
    return data


def read_array(data: h5py.Dataset, shape: tuple[int, ...]) -> Array:
    """Return the values of an array, finite floating-point numbers of this shape, as float32."""
    if data.shape != shape:
        raise KerasFileError(f"{data.name} has the shape {data.shape}, expected is {shape}")
    if data.dtype.kind != "f":
        raise KerasFileError(f"{data.name} holds {data.dtype}, expected are floating-point numbers")
    with np.errstate(over="ignore"):  # of float64, which is refused as infinite
        values = np.asarray(data[()], dtype=np.float32)
    if not np.isfinite(values).all():
        raise KerasFileError(f"{data.name} holds NaN or infinite numbers; use a file saved before they arose")
    return values


def has_names(group: h5py.Group, attribute: str) -> bool:
    """Whether a group has this list attribute, whole or in chunks."""
    return attribute in group.attrs or f"{attribute}0" in group.attrs


def names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list attribute, which Keras splits into ``layer_names0``, ``layer_names1``, ... when long."""
    if not has_names(group, attribute):
        raise KerasFileError(f"the attribute {attribute} is missing in it; give a file that Keras saved")
    chunks = [f"{attribute}{i}" for i in range(len(group.attrs))]
    keys = [attribute] if attribute in group.attrs else [key for key in chunks if key in group.attrs]
    values = [value for key in keys for value in np.ravel(attribute_value(group, key)).tolist()]
    return [printable(decoded(value)) for value in values]


def text(group: h5py.Group, attribute: str) -> str | None:
    """Return a text attribute; None where there is none."""
    return decoded(attribute_value(group, attribute)) if attribute in group.attrs else None


def attribute_value(group: h5py.Group, attribute: str) -> Any:
    """Return the value of an attribute, unless it is larger than Keras writes."""
    stored = group.attrs.get_id(attribute)
    count = math.prod(stored.shape)
    if count > MAX_ENTRIES or count * stored.dtype.itemsize > MAX_TEXT:
        raise KerasFileError(f"its attribute {attribute} is larger than Keras writes")
    return group.attrs[attribute]


def decoded(value: object) -> str:
    """Return text that h5py gives as str or bytes, depending on who wrote it."""
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise KerasFileError(f"an attribute holds {type(value).__name__} where Keras writes text")
    return str(value)


def printable(name: str) -> str:
    """Return a name that may stand in a message."""
    if not name.isprintable():
        raise KerasFileError(f"it has the name {name!r}; Keras writes none with control characters")
    return name


if __name__ == "__main__":
    # The process that started this one learns from it only whether HDF5 crashes.
    with suppress(KerasFileError, *HDF5_ERRORS):
        content = BytesIO(sys.stdin.buffer.read()) if sys.argv[1] == "-" else sys.argv[1]
        with h5py.File(content, "r") as opened:
            read_everything(opened)
