"""Files of rows that take long to compute: found again by later runs, shared by processes, mended, bounded.

The rows of a file are memory-mapped, and several processes may fill them at the same time. Behind all of them
lie their CRC-32s: a row that is empty, damaged or half written does not match its own, and is computed anew.
The disk has the place of all rows from the start, because who writes to a map of a full disk is killed.
"""

import math
import os
import re
import shutil
import sys
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray

if sys.platform != "win32":
    import fcntl

LIMIT = 8 * 2**30
"""Bytes of a folder's files together: 124,000 photographs, or VGG16's features of 260,000."""

FREE = 2**30
"""Bytes that the files leave free on the disk, for checkpoints and everything else."""


class Rows(NamedTuple):
    """Rows of one kind, in a file or in memory.

    Attributes:
        values: (rows, ...).
        checksums: (rows,) uint64, the CRC-32 of each row's values; 0 as long as there are none.
    """

    values: NDArray[Any]
    checksums: NDArray[np.uint64]

    def is_whole(self, index: int) -> bool:
        """Return whether a row's values match its checksum."""
        return 0 != int(self.checksums[index]) == zlib.crc32(self.values[index])

    def seal(self, index: int) -> None:
        """Give a row the checksum of its values."""
        self.checksums[index] = zlib.crc32(self.values[index])


class RowFiles(NamedTuple):
    """A folder with files of rows, which may be deleted at any time.

    Attributes:
        noun: what the rows are, for the warning.
        folder: where the files are.
        limit: bytes of all files together; those used longest ago are deleted, but none in use.
    """

    noun: str
    folder: Path
    limit: int

    def find(self, key: str, count: int) -> Rows | None:
        """Return the rows of a file that an earlier run made, or None.

        Args:
            key: tells everything that the values depend on, in letters and digits.
            count: rows of the file.
        """
        for path in self.folder.glob(f"{key}.*"):
            dtype, *sides = path.suffix[1:].split("-")
            with suppress(OSError):  # it may not be written to, or was just deleted
                rows = map_rows(path, (count, *map(int, sides)), dtype)
                os.utime(path)
                return rows
        return None

    def make(self, key: str, shape: tuple[int, ...], dtype: str) -> Rows | None:
        """Return the rows of a file, which is made where it is missing; None after a warning.

        Args:
            key: as in `find`.
            shape: of the values, rows first.
            dtype: of the values, by its name.
        """
        # The name holds the shape: unlike a header, it cannot be damaged without the file being lost.
        path = self.folder / ".".join([key, "-".join([dtype, *map(str, shape[1:])])])
        size = file_size(shape, dtype)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock", timeout=60):
                if not path.exists() or path.stat().st_size != size:
                    self._make_room(size)
                    try:
                        with path.open("wb") as file:
                            reserve(file, size)
                    except OSError:
                        path.unlink(missing_ok=True)
                        raise
                return map_rows(path, shape, dtype)
        except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
            reason = getattr(error, "strerror", None) or error
            warn(f"{self.noun} are not kept in {self.folder} ({reason}); later runs compute them again")
            return None

    def _make_room(self, size: int) -> None:
        """Delete files until so many bytes more are within the limit; `OSError` where they never are."""
        if shutil.disk_usage(self.folder).free < size + FREE:
            raise OSError(f"{size / 2**30:.1f} GiB more would leave the disk less than {FREE / 2**30:g} GiB")
        ours = re.compile(r"\.(uint|float)\d+(-\d+)+").fullmatch  # the user may have put others there
        files = [(path.stat(), path) for path in self.folder.iterdir() if ours(path.suffix)]
        excess = sum(stat.st_size for stat, _ in files) + size - self.limit
        for stat, path in sorted(files, key=lambda entry: entry[0].st_mtime):
            if excess <= 0 or size > self.limit:
                break
            with suppress(OSError):  # Windows deletes no file that is in use
                with path.open("rb") as file:
                    if sys.platform != "win32":
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                excess -= stat.st_size
        if excess > 0:
            raise OSError(
                f"{size / 2**30:.1f} GiB more would be above the limit of {self.limit / 2**30:g} GiB"
            )


def map_rows(path: Path, shape: tuple[int, ...], dtype: str) -> Rows:
    """Return the rows of an existing file, which stays marked as in use as long as they live.

    Raises:
        OSError: it cannot be written to, or has another size.
    """
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if size != file_size(shape, dtype):
            raise OSError(f"{path} has another size")
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_SH)  # lives on in the maps, which have a duplicate of the descriptor
        values = np.memmap(file, dtype, "r+", 0, shape)
        return Rows(values, np.memmap(file, np.uint64, "r+", values.nbytes, shape[:1]))


def rows_in_memory(shape: tuple[int, ...], dtype: str) -> Rows:
    """Return empty rows for values of this shape, rows first."""
    return Rows(np.zeros(shape, dtype), np.zeros(shape[:1], np.uint64))


def file_size(shape: tuple[int, ...], dtype: str) -> int:
    """Return the bytes of so many values and their rows' checksums."""
    return math.prod(shape) * np.dtype(dtype).itemsize + shape[0] * 8


def reserve(file: BinaryIO, size: int) -> None:
    """Fill a new file with zeros that have their place on the disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, 2**20):
        file.write(bytes(min(2**20, size - start)))


@cache
def warn(line: str) -> None:
    """Print a warning, once."""
    rank_zero_only(print)(f"{'[WARNING]':<10} {line}", file=sys.stderr)
