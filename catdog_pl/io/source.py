"""What a user names as an input, and the pictures behind it, each with a way to read its bytes."""

import codecs
import glob
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from catdog_pl.errors import ImageError, ImageFault
from catdog_pl.io.files import SYSTEM_FOLDERS, is_url, walk

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from PIL import Image

    InMemory = bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any] | torch.Tensor
    Input = str | os.PathLike[str] | InMemory
    """A file, folder or URL by its name, ``-`` for standard input, or a picture in memory."""

MAX_BYTES = 256 * 2**20
"""The largest image file: as large as the largest allowed image is uncompressed, 89 Mpx of 3 bytes each."""

STDIN = "-"


class WebOptions(NamedTuple):
    """How pictures are fetched from URLs.

    Attributes:
        public_only: refuse hosts on private, loopback and link-local addresses, at the first request and
            after each redirect; for URLs that come from somebody else. Proxies and stored passwords
            (``.netrc``) of the environment are then not used.
        seconds: for one download as a whole, from the first connection to the last byte.
        max_bytes: of one download, after decompression; twice the largest photographs of today's cameras.
    """

    public_only: bool = False
    seconds: float = 30.0
    max_bytes: int = 64 * 2**20


class ImageSource(NamedTuple):
    """One picture before it is read; can be pickled.

    Attributes:
        name: for answers and errors; secrets in a URL are masked.
        read: gives the content of an image file; raises ``ImageError`` or ``DownloadError``.
    """

    name: str
    read: Callable[[], bytes]


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
            from catdog_pl.io.memory import memory_source  # which imports this module

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


def file_source(path: str) -> ImageSource:
    """Return the source of a file that was named."""
    return ImageSource(path, partial(read_file, path))


def refused_source(name: str, reason: str, kind: ImageFault = "unreadable") -> ImageSource:
    """Return a source that cannot be read, so that it gets its line among the answers."""
    return ImageSource(name, partial(_refuse, ImageError(name, reason, kind)))


def read_file(path: str, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file; anything else, such as a pipe that would block, is refused unopened.

    Raises:
        ImageError: the file is missing, empty, larger than the limit in bytes, or cannot be read.
    """
    if not path:
        raise ImageError(path, "the name is empty", "missing")
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise ImageError(path, f"it is {kind}, not a file")
        check_length(status.st_size, path, limit)
        with open(path, "rb", buffering=0) as file:
            return file.read(status.st_size) or b""
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(path, "there is no such file", "missing") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(path, f"it cannot be read: {getattr(error, 'strerror', None) or error}") from error


def check_length(count: int, name: str, limit: int = MAX_BYTES) -> None:
    """Raise `ImageError` for an image file that is empty or has more bytes than the limit."""
    if count == 0:
        raise ImageError(name, "it is empty", "empty")
    if count > limit:
        raise ImageError(name, f"{count:,} bytes are more than {limit:,}, the limit", "too large")


def _kind(name: str) -> str:
    """Return what a name is meant as."""
    if name == STDIN:
        return "stdin"
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
        case "folder":
            yield from _folder_sources(name)
        case "zip":
            from catdog_pl.io.zip import zip_sources  # which imports this module

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


def _refuse(error: ImageError) -> bytes:
    raise error
