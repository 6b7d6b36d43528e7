"""A frozen backbone's features, computed once: kept in files that later runs read, or in memory."""

import hashlib
import os
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from torch import Tensor, hub, nn

if sys.platform != "win32":
    import fcntl

LIMIT = 8 * 2**30
"""Bytes of all files together: 65 sets of the workshop's 4,000 photographs through VGG16."""

CPU = torch.device("cpu")

MEMORY = 4 * 2**30
"""Bytes that one model keeps in memory where it cannot write files."""


class FeatureCache:
    """The features of one set of images, a row for each sample, computed when they are first asked for.

    The rows are a memory-mapped file, which other processes may fill at the same time. Each ends with its
    CRC-32: a row that is empty, damaged or half written does not match it, and is computed anew. A GPU has
    a copy of its own, so that no batch waits for it; ``write`` brings what is new there into the file.

    Args:
        key: the file's name; it tells everything that the features depend on. None keeps them in memory.
        count: samples in the set.
        device: where features are computed and wanted.
        memory: bytes that may be used where there is no file; a larger set is not kept.
    """

    def __init__(self, key: str | None, count: int, device: torch.device = CPU, memory: int = MEMORY) -> None:
        self._key = key
        self._count = count
        self._device = device
        self._memory = memory
        self._is_whole = np.zeros(count, dtype=bool)
        self._is_written = np.zeros(count, dtype=bool)
        self._is_refused = False
        self._features: Tensor | None = None
        self._rows = open_rows(key, count) if key else None
        if self._rows is not None:
            self._features = torch.from_numpy(self._rows["features"]).to(device)
            if device != CPU:  # what others write later does not come here
                self._is_whole[:] = self._is_written[:] = [is_whole(row) for row in self._rows]

    @property
    def memory_bytes(self) -> int:
        """Bytes that are kept in memory."""
        if self._device != CPU:
            return 0 if self._features is None else self._features.nbytes
        return 0 if self._rows is None or isinstance(self._rows, np.memmap) else self._rows.nbytes

    def batch(self, indices: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the features of samples, (N, ...) float32 or float64, on the device.

        Args:
            indices: the samples, (N,) int64, on the host.
            compute: gives the features of what is missing, by its positions in the batch.
        """
        missing = np.flatnonzero([not self._holds(sample) for sample in indices.numpy()])
        if len(missing):
            features = compute(torch.from_numpy(missing)).detach()
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            if not self._keep(indices[missing], features):
                return features
        assert self._features is not None
        if self._device == CPU and self._rows is not None:  # numpy gathers rows with a gap faster than torch
            return torch.from_numpy(self._rows["features"][indices.numpy()])
        return self._features[indices.to(self._device, non_blocking=True)]

    def write(self) -> None:
        """Bring what a GPU has computed into the file."""
        new = np.flatnonzero(self._is_whole & ~self._is_written)
        if self._rows is not None and self._features is not None and len(new):
            self._rows["features"][new] = self._features[torch.from_numpy(new).to(self._device)].cpu().numpy()
            self._seal(new)

    def _holds(self, sample: int) -> bool:
        """Return whether a row is whole; its checksum is verified once."""
        if not self._is_whole[sample] and self._device == CPU and self._rows is not None:
            self._is_whole[sample] = self._is_written[sample] = is_whole(self._rows[sample])
        return bool(self._is_whole[sample])

    def _keep(self, indices: Tensor, features: Tensor) -> bool:
        """Fill rows; return False where the set is not kept."""
        if self._features is None and not self._is_refused:
            self._create(features)
            self._is_refused = self._features is None
        if self._features is None:
            return False
        self._features[indices.to(self._device, non_blocking=True)] = features
        self._is_whole[indices.numpy()] = True
        if self._device == CPU:
            self._seal(indices.numpy())
        return True

    def _seal(self, samples: NDArray[np.int64]) -> None:
        """Add the checksums of rows that are in the file."""
        assert self._rows is not None
        self._rows["crc"][samples] = [zlib.crc32(row) for row in self._rows["features"][samples]]
        self._is_written[samples] = True

    def _create(self, features: Tensor) -> None:
        """Make empty rows for features like these, in a file or else in memory, unless they are too many."""
        shape = features.shape[1:]
        kind = row_type(str(features.dtype).removeprefix("torch."), shape)
        if self._key:
            try:
                self._rows = create_rows(self._key, self._count, kind)
            except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
                reason = getattr(error, "strerror", None) or error
                warn(f"features are not kept in {folder()} ({reason}); later runs compute them again")
        if self._count * kind.itemsize > self._memory and (self._rows is None or self._device != CPU):
            return
        if self._device != CPU:
            self._features = features.new_empty((self._count, *shape))
            return
        if self._rows is None:
            self._rows = np.zeros(self._count, kind)
        self._features = torch.from_numpy(self._rows["features"])


def is_whole(row: Any) -> bool:
    """Return whether a row's features match its checksum."""
    return zlib.crc32(row["features"]) == int(row["crc"])


def folder() -> Path:
    """Return the folder of all feature files, in that of torch.hub; it may be deleted at any time."""
    return Path(hub.get_dir()) / "catdog_pl" / "features"


def row_type(dtype: str, shape: tuple[int, ...]) -> np.dtype[Any]:
    """Return numpy's type of a row; an empty one, all zeros, does not match its checksum."""
    return np.dtype([("features", dtype, shape), ("crc", "u8")])


def open_rows(key: str, count: int) -> NDArray[Any] | None:
    """Return the rows of a file that an earlier run made, or None."""
    for path in folder().glob(f"{key}.*"):
        dtype, *sides = path.suffix[1:].split("-")
        with suppress(OSError):  # it may not be written to, or was just deleted
            rows = map_rows(path, count, row_type(dtype, tuple(map(int, sides))))
            os.utime(path)  # the one used longest ago is deleted first
            return rows
    return None


def create_rows(key: str, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return the rows of a new file, or of one that another process has just made.

    Raises:
        OSError: it cannot be written, the disk is full, or the set is larger than what is kept of all.
    """
    row = kind["features"]
    # The name holds the shape: unlike a header, it cannot be damaged without the file being lost.
    path = folder() / ".".join([key, "-".join([str(row.base), *map(str, row.shape)])])
    size = count * kind.itemsize
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / ".lock", timeout=60):
        if not path.exists() or path.stat().st_size != size:
            make_room(size)
            try:
                with path.open("wb") as file:
                    reserve(file, size)
            except OSError:
                path.unlink()
                raise
        return map_rows(path, count, kind)


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
    """Fill a new file with zeros that have their place: who writes to a map of a full disk is killed."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, 2**20):
        file.write(bytes(min(2**20, size - start)))


def make_room(size: int) -> None:
    """Delete the files used longest ago, but none in use, until so many bytes more are within the limit.

    Raises:
        OSError: they are not even then.
    """
    files = [(path.stat(), path) for path in folder().iterdir() if path.suffix and path.is_file()]
    excess = sum(stat.st_size for stat, _ in files) + size - LIMIT
    for stat, path in sorted(files, key=lambda entry: entry[0].st_mtime):
        if excess <= 0 or size > LIMIT:
            break
        with suppress(OSError):  # Windows deletes no file that is in use
            with path.open("rb") as file:
                if sys.platform != "win32":
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            excess -= stat.st_size
    if excess > 0:
        raise OSError(f"{size / 2**30:.1f} GiB more would be above the limit of {LIMIT / 2**30:g} GiB")


def network_digest(network: nn.Module) -> str:
    """Return a SHA-256 of a network: its layers with their options, and its weights."""
    digest = hashlib.sha256(repr(network).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@cache
def warn(line: str) -> None:
    """Print a warning, once."""
    rank_zero_only(print)(f"{'[WARNING]':<10} {line}", file=sys.stderr)
