"""A frozen backbone's features, computed once: kept in files that later runs read, or in memory."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, hub, nn

from catdog_pl.io.rows import LIMIT, RowFiles, file_size, rows_in_memory

CPU = torch.device("cpu")

MEMORY = 4 * 2**30
"""Bytes that one model keeps in memory where it cannot write files."""


class FeatureCache:
    """The features of one set of images, a row for each sample, computed when they are first asked for.

    The rows are a file of ``io.rows``, which other processes may fill at the same time. A GPU has a copy of
    its own, so that no batch waits for it; ``write`` brings what is new there into the file.

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
        self._rows = files().find(key, count) if key else None
        if self._rows is not None:
            self._features = torch.from_numpy(self._rows.values).to(device)
            if device != CPU:  # what others write later does not come here
                self._is_whole[:] = self._is_written[:] = [self._rows.is_whole(row) for row in range(count)]

    @property
    def memory_bytes(self) -> int:
        """Bytes that are kept in memory."""
        if self._device != CPU:
            return 0 if self._features is None else self._features.nbytes
        if self._rows is None or isinstance(self._rows.values, np.memmap):
            return 0
        return sum(array.nbytes for array in self._rows)

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
        if self._device == CPU and self._rows is not None:  # numpy gathers rows faster than torch
            return torch.from_numpy(self._rows.values[indices.numpy()])
        return self._features[indices.to(self._device, non_blocking=True)]

    def write(self) -> None:
        """Bring what a GPU has computed into the file."""
        new = np.flatnonzero(self._is_whole & ~self._is_written)
        if self._rows is not None and self._features is not None and len(new):
            self._rows.values[new] = self._features[torch.from_numpy(new).to(self._device)].cpu().numpy()
            self._seal(new)

    def _holds(self, sample: int) -> bool:
        """Return whether a row is whole; its checksum is verified once."""
        if not self._is_whole[sample] and self._device == CPU and self._rows is not None:
            self._is_whole[sample] = self._is_written[sample] = self._rows.is_whole(sample)
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
        for sample in samples:
            self._rows.seal(sample)
        self._is_written[samples] = True

    def _create(self, features: Tensor) -> None:
        """Make empty rows for features like these, in a file or else in memory, unless they are too many."""
        shape, dtype = (self._count, *features.shape[1:]), str(features.dtype).removeprefix("torch.")
        if self._key:
            self._rows = files().make(self._key, shape, dtype)
        if file_size(shape, dtype) > self._memory and (self._rows is None or self._device != CPU):
            return
        if self._device != CPU:
            self._features = features.new_empty(shape)
            return
        self._rows = self._rows or rows_in_memory(shape, dtype)
        self._features = torch.from_numpy(self._rows.values)


def files() -> RowFiles:
    """Return where features are kept, in the folder of torch.hub."""
    return RowFiles("features", Path(hub.get_dir()) / "catdog_pl" / "features", LIMIT)


def network_digest(network: nn.Module) -> str:
    """Return a SHA-256 of a network: its layers with their options, and its weights."""
    digest = hashlib.sha256(repr(network).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
