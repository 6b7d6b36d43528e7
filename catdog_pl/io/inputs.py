"""What a user names as an input, and the pictures behind it."""

import codecs
import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from catdog_pl.errors import ImageFault
from catdog_pl.io.files import SYSTEM_FOLDERS, is_url, walk
from catdog_pl.io.memory import memory_source
from catdog_pl.io.source import MAX_BYTES, ImageSource, WebOptions, file_source, refused_source
from catdog_pl.io.store import is_store, store_sources
from catdog_pl.io.zip import zip_sources

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from PIL import Image

    InMemory = bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any] | torch.Tensor
    Input = str | os.PathLike[str] | InMemory
    """A file, folder or URL by its name, ``-`` for standard input, or a picture in memory."""

STDIN = "-"


def expand(inputs: "Iterable[Input]", web: WebOptions) -> Iterator[ImageSource]:
    """Find the pictures behind the inputs, in their order, as they are asked for.

    Any file that is named is tried; of a folder or zip, the images that ``walk`` would find, of a folder its
    own before those of the folders in it. A pattern such as ``photos/**/*.jpg`` and ``@names.txt``, a file
    with a name a line, count as such where no file has that name.

    Raises:
        UsageError: an input is of no known type.
    """
    for given in inputs:
        if isinstance(given, str | os.PathLike):
            yield from _named_sources(os.fspath(given), web)
        else:
            yield memory_source(given)


def is_one(inputs: object) -> bool:
    """Return whether this is one input, not several."""
    if isinstance(inputs, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(inputs, "read"):
        return True
    # Images, arrays and tensors; an array of names has one dimension.
    return hasattr(inputs, "getbands") or getattr(inputs, "ndim", 0) >= 2 or not hasattr(inputs, "__iter__")


def is_single(names: Sequence[str]) -> bool:
    """Return whether the names are one picture by their very form, so that its answer needs no name."""
    return len(names) == 1 and _kind(names[0]) in ("stdin", "url", "file")


def _kind(name: str) -> str:
    """Return what a name is meant as."""
    if name == STDIN:
        return "stdin"
    if is_store(name):
        return "store"
    if is_url(name):
        return "url"
    if os.path.isdir(name):
        return "folder"
    if os.path.lexists(name):
        return "zip" if name.lower().endswith(".zip") else "file"
    return "list" if name.startswith("@") else "pattern" if glob.has_magic(name) else "file"


def _named_sources(name: str, web: WebOptions) -> Iterator[ImageSource]:
    match _kind(name):
        case "stdin":
            yield ImageSource(STDIN, _read_stdin)
        case "url":
            from catdog_pl.io.http import fetch, mask  # requests takes 0.1 s to import; files need none of it

            yield ImageSource(mask(name), partial(fetch, name, web))
        case "store":
            yield from store_sources(name)
        case "folder":
            yield from _folder_sources(name)
        case "zip":
            yield from zip_sources(name)
        case "list":
            yield from _listed_sources(name, web)
        case "pattern":
            yield from _pattern_sources(name)
        case _:
            yield file_source(name)


def _folder_sources(folder: str) -> Iterator[ImageSource]:
    is_empty = True
    failures: list[OSError] = []
    for parent, names in walk(folder, failures.append):
        for name in names:
            is_empty = False
            yield file_source(os.path.join(parent, name))
    for failure in failures:
        yield refused_source(str(failure.filename), f"the folder cannot be read: {failure.strerror}")
    if is_empty and not failures:
        yield refused_source(folder, "there are no images in this folder", "missing")


def _pattern_sources(pattern: str) -> Iterator[ImageSource]:
    system = SYSTEM_FOLDERS.difference(Path(pattern).parts)
    found = [
        path
        for path in sorted(glob.iglob(pattern, recursive=True))
        if not system.intersection(Path(path).parts) and not ("**" in pattern and os.path.isdir(path))
    ]
    for path in found:
        yield from _folder_sources(path) if os.path.isdir(path) else [file_source(path)]
    if not found:
        yield refused_source(pattern, "no file matches this pattern", "missing")


def _listed_sources(name: str, web: WebOptions) -> Iterator[ImageSource]:
    """Find the pictures that a file names, one a line; a list in a list is not read."""
    try:
        with open(name[1:], "rb") as lines:
            for line in lines:
                word = os.fsdecode(line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n"))
                if word.startswith("@"):
                    yield file_source(word)
                elif word:
                    yield from _named_sources(word, web)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        kind: ImageFault = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        yield refused_source(name, f"the list of names cannot be read: {reason}", kind)


def _read_stdin() -> bytes:
    return sys.stdin.buffer.read(MAX_BYTES + 1)  # one more than an image file may have
