"""One picture before it is decoded: its name, and a way to read its bytes."""

import os
import stat
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from catdog_pl.errors import ImageError, ImageFault

MAX_BYTES = 256 * 2**20
"""The largest image file: as large as the largest allowed image is uncompressed, 89 Mpx of 3 bytes each."""


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


def _refuse(error: ImageError) -> bytes:
    raise error
