"""One folder per class: found in Keras' order, decoded once, served in batches."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.datasets import ImageFolder
from tqdm.auto import tqdm

from catdog_pl.data.images import ResizeRule, decoder, load_pixels
from catdog_pl.data.layout import unreadable
from catdog_pl.errors import DatasetError, one_line
from catdog_pl.io.files import subfolders, walk
from catdog_pl.io.rows import RowFiles, Rows, rows_in_memory
from catdog_pl.process import SILENCE

Batch = tuple[Tensor, Tensor, Tensor]
"""Pixels (N, 3, S, S) in 0..255, labels (N,) int64, sample indices (N,) int64; what a model takes, too."""


class CachedImageFolder(ImageFolder):  # type: ignore[misc]  # torchvision has no type information
    """A torchvision ``ImageFolder`` that gives whole batches of resized uint8 pixels.

    Files come in the order of Keras' ``flow_from_directory``; hidden and system folders are skipped. A single
    sample, ``dataset[0]``, is torchvision's: the image as it is on disk, and its label.

    Args:
        root: folder with one folder per class.
        size: side in pixels of the square that every photograph is resized to.
        resize: Pillow's filter for it.
        files: where decoded photographs are kept for other processes and later runs; None: in memory.

    Attributes:
        labels: (samples,) int64, the position of each sample's class folder.

    Raises:
        DatasetError: the folder is missing, has other than two classes, or a class without an image.
    """

    def __init__(
        self, root: str | Path, size: int, resize: ResizeRule = "nearest", files: RowFiles | None = None
    ) -> None:
        self.size = size
        self.resize = resize
        self.files = files
        self._pixels: Tensor | None = None
        self._rows: Rows | None = None  # those of the pixels, until all of them are checked
        self._digest: str | None = None
        super().__init__(str(Path(root)))
        self.labels = torch.tensor(self.targets)
        self._is_whole = np.zeros(len(self), dtype=bool)

    @property
    def nbytes(self) -> int:
        """Bytes that the decoded photographs take."""
        return len(self) * self.size * self.size * 3

    @property
    def is_decoded(self) -> bool:
        """Whether ``decode`` has run."""
        return self._pixels is not None

    @property
    def pixels(self) -> Tensor | None:
        """(samples, S, S, 3) uint8, all of them checked, once ``decode`` has run, else None."""
        self.check()
        return self._pixels

    @property
    def digest(self) -> str | None:
        """A SHA-256 of the decoded photographs and their order; None where they are not kept."""
        if self._digest is None and (pixels := self.pixels) is not None:
            digest = hashlib.sha256()
            for picture in pixels.cpu().numpy():
                digest.update(picture)
            self._digest = digest.hexdigest()
        return self._digest

    @property
    def device(self) -> torch.device:
        """Where batches are put together: the CPU, unless the decoded photographs were moved."""
        return torch.device("cpu") if self._pixels is None else self._pixels.device

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        """Return the two class folders in plain string order, and each one's label."""
        try:
            classes = subfolders(directory)
        except OSError as error:
            raise unreadable(error) from error
        if len(classes) != 2:
            count = f"{len(classes) or 'no'} class folder{'' if len(classes) == 1 else 's'}"
            names = f" ({', '.join(classes)})" if classes else ""
            surplus = "; keep two of them, and move the others elsewhere" if len(classes) > 2 else ""
            raise DatasetError(
                f"{directory} has {count}{names}, but two are needed, such as cat and dog{surplus}"
            )
        return classes, {name: label for label, name in enumerate(classes)}

    @staticmethod
    def make_dataset(directory: str, class_to_idx: dict[str, int], **_: Any) -> list[tuple[str, int]]:
        """Return path and label of every image: class by class, folder by folder, in plain string order."""
        samples = []
        for name, label in class_to_idx.items():
            folder = os.path.join(directory, name)
            # Keras sorts the folders by their paths, in which "a-b" comes between "a" and "a/c".
            images = [
                os.path.join(parent, file) for parent, files in sorted(walk(folder, refuse)) for file in files
            ]
            if not images:
                raise DatasetError(f"{folder} holds no image; every class needs at least one")
            samples += [(path, label) for path in images]
        return samples

    def decode(self, progress: bool = False, start: int = 0) -> None:
        """Have every photograph decoded and resized, on all processors; again does nothing.

        What an earlier run decoded is compared with its checksum when a batch first asks for it, so that no
        start has to read all of it, and decoded again where it is damaged.

        Args:
            progress: show a progress bar on a terminal and in a notebook, elsewhere a line a minute.
            start: the sample to begin with; processes that begin at different ones share the work.
        """
        if self.is_decoded:
            return
        self._rows = rows = self._find_rows()
        missing = np.flatnonzero(rows.checksums == 0)
        missing = np.roll(missing, -np.searchsorted(missing, start))
        title = f"decoding {one_line(self.root)}"
        hide = None if progress else True  # None: a bar on a terminal and in a notebook
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            loaded = pool.map(self._check, missing[:, None].tolist())
            bar = tqdm(loaded, title, len(missing), leave=False, disable=hide, unit="img")
            last = time.monotonic()
            for count, _ in enumerate(bar, 1):
                if progress and bar.disable and time.monotonic() - last >= SILENCE:
                    last = time.monotonic()
                    print(f"{title}: {count} of {len(missing)} images", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
        self._pixels = torch.from_numpy(rows.values)

    def check(self) -> None:
        """Compare at once, on all processors, what no batch has asked for yet; afterwards all is whole."""
        if self._rows is None:
            return
        parts = [range(first, min(first + 500, len(self))) for first in range(0, len(self), 500)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(self._check, parts):
                pass
        self._rows = None

    def to(self, device: torch.device) -> None:
        """Move the decoded photographs and the labels to a device; batches are put together there."""
        assert self._pixels is not None, "decode first"
        if device != self.device:
            self.check()
        self._pixels = self._pixels.to(device)
        self.labels = self.labels.to(device)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the batch of these samples, its pixels uint8 in channels_last memory."""
        index = torch.as_tensor(indices)
        if self.device.type == "cuda":
            index = index.pin_memory()  # from pageable memory, the host would wait until the GPU is idle
        there = index.to(self.device, non_blocking=True)
        if self._pixels is None:
            pixels = torch.from_numpy(np.stack([self._load(int(i)) for i in indices]))
        elif self.device.type == "cpu":  # numpy gathers 20 times as fast as torch
            self._check(index.tolist())
            pixels = torch.from_numpy(self._pixels.numpy()[index.numpy()])
        else:
            pixels = self._pixels[there]
        return pixels.permute(0, 3, 1, 2), self.labels[there], index  # (N, S, S, 3) -> (N, 3, S, S)

    def _check(self, indices: Sequence[int]) -> None:
        """Decode those of the samples whose pixels are missing or damaged; each is compared once."""
        if self._rows is None:
            return
        for index in indices:
            if not self._is_whole[index]:
                if not self._rows.is_whole(index):  # another process may have been here
                    self._rows.values[index] = self._load(index)
                    self._rows.seal(index)
                self._is_whole[index] = True

    def _find_rows(self) -> Rows:
        """Return a row for each photograph: those of a file, or empty ones in memory."""
        shape, dtype = (len(self), self.size, self.size, 3), "uint8"
        rows = None
        if self.files and (key := self._key()):
            rows = self.files.find(key, len(self)) or self.files.make(key, shape, dtype)
        return rows or rows_in_memory(shape, dtype)

    def _key(self) -> str | None:
        """Return a digest of all that the pixels depend on; None where a file has just gone."""
        digest = hashlib.sha256(repr((decoder(), self.size, self.resize)).encode())
        root = os.path.abspath(self.root)
        try:
            for path, _ in self.samples:
                stat = os.stat(path)
                place = root + path[len(self.root) :]
                identity = (place, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                digest.update(repr(identity).encode())
        except OSError:
            return None
        return digest.hexdigest()

    def _load(self, index: int) -> npt.NDArray[np.uint8]:
        return load_pixels(Path(self.samples[index][0]), self.size, self.resize)


def refuse(error: OSError) -> NoReturn:
    """Raise the error for a folder that cannot be read."""
    raise unreadable(error) from error
