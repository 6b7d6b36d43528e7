"""Files of rows that take long to compute: found again by later runs, shared by processes, mended, bounded.

The rows of a file are memory-mapped, and several processes may fill them at the same time. Each ends with its
CRC-32: a row that is empty, damaged or half written does not match it, and is computed anew. The disk has the
place of all rows from the start, because who writes to a map of a full disk is killed.
"""

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

    def find(self, key: str, count: int) -> NDArray[Any] | None:
        """Return the rows of a file that an earlier run made, or None.

        Args:
            key: tells everything that the values depend on, in letters and digits.
            count: rows of the file.
        """
        for path in self.folder.glob(f"{key}.*"):
            dtype, *sides = path.suffix[1:].split("-")
            with suppress(OSError):  # it may not be written to, or was just deleted
                rows = map_rows(path, count, row_type(dtype, tuple(map(int, sides))))
                os.utime(path)
                return rows
        return None

    def make(self, key: str, count: int, kind: np.dtype[Any]) -> NDArray[Any] | None:
        """Return the rows of a file, which is made where it is missing; None after a warning."""
        values = kind["values"]
        # The name holds the shape: unlike a header, it cannot be damaged without the file being lost.
        path = self.folder / ".".join([key, "-".join([str(values.base), *map(str, values.shape)])])
        size = count * kind.itemsize
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
                return map_rows(path, count, kind)
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


def row_type(dtype: str, shape: tuple[int, ...]) -> np.dtype[Any]:
    """Return numpy's type of a row with values of this kind."""
    return np.dtype([("values", dtype, shape), ("crc", "u8")])


def is_whole(row: Any) -> bool:
    """Return whether a row's values match its checksum, which is 0 as long as there are none."""
    return 0 != int(row["crc"]) == zlib.crc32(row["values"])


def seal(row: Any) -> None:
    """Give a row the checksum of its values."""
    row["crc"] = zlib.crc32(row["values"])


def map_rows(path: Path, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return the rows of an existing file, which stays marked as in use as long as they live.

    Raises:
        OSError: it cannot be written to, or has another size.
    """
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size != count * kind.itemsize:
            raise OSError(f"{path} has another size")
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_SH)  # lives on in the map, which has a duplicate of the descriptor
        return np.memmap(file, kind, "r+", shape=(count,))


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
