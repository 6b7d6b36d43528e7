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
from catdog_pl.io.rows import RowFiles, is_whole, row_type, seal
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
        pixels: (samples, S, S, 3) uint8 once ``decode`` has run, else None.
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
        self.pixels: Tensor | None = None
        self._digest: str | None = None
        super().__init__(str(root))
        self.labels = torch.tensor(self.targets)

    @property
    def nbytes(self) -> int:
        """Bytes that the decoded photographs take."""
        return len(self) * self.size * self.size * 3

    @property
    def digest(self) -> str | None:
        """A SHA-256 of the decoded photographs and their order; None where they are not kept."""
        if self._digest is None and self.pixels is not None:
            digest = hashlib.sha256()
            for picture in self.pixels.cpu().numpy():
                digest.update(picture)
            self._digest = digest.hexdigest()
        return self._digest

    @property
    def device(self) -> torch.device:
        """Where batches are put together: the CPU, unless the decoded photographs were moved."""
        return torch.device("cpu") if self.pixels is None else self.pixels.device

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

        Args:
            progress: show a progress bar on a terminal and in a notebook, elsewhere a line a minute.
            start: the sample to begin with; processes that begin at different ones share the work.
        """
        if self.pixels is not None:
            return
        rows = self._rows()
        order = (*range(start, len(self)), *range(start))

        def spoiled(part: Sequence[int]) -> list[int]:
            return [index for index in part if not is_whole(rows[index])]

        def load(index: int) -> None:
            if not is_whole(row := rows[index]):  # another process may have been here
                row["values"] = self._load(index)
                seal(row)

        title = f"decoding {one_line(self.root)}"
        hide = None if progress else True  # None: a bar on a terminal and in a notebook
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            parts = [order[first : first + 500] for first in range(0, len(order), 500)]
            missing = [index for part in pool.map(spoiled, parts) for index in part]
            loaded = pool.map(load, missing)
            bar = tqdm(loaded, title, len(missing), leave=False, disable=hide, unit="img")
            last = time.monotonic()
            for count, _ in enumerate(bar, 1):
                if progress and bar.disable and time.monotonic() - last >= SILENCE:
                    last = time.monotonic()
                    print(f"{title}: {count} of {len(missing)} images", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
        self.pixels = torch.from_numpy(rows["values"])

    def to(self, device: torch.device) -> None:
        """Move the decoded photographs and the labels to a device; batches are put together there."""
        assert self.pixels is not None, "decode first"
        self.pixels = self.pixels.to(device)
        self.labels = self.labels.to(device)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Return the batch of these samples, its pixels uint8 in channels_last memory."""
        index = torch.as_tensor(indices)
        if self.device.type == "cuda":
            index = index.pin_memory()  # from pageable memory, the host would wait until the GPU is idle
        there = index.to(self.device, non_blocking=True)
        if self.pixels is None:
            pixels = torch.from_numpy(np.stack([self._load(int(i)) for i in indices]))
        elif self.device.type == "cpu":  # numpy gathers 20 times as fast as torch
            pixels = torch.from_numpy(self.pixels.numpy()[index.numpy()])
        else:
            pixels = self.pixels[there]
        return pixels.permute(0, 3, 1, 2), self.labels[there], index  # (N, S, S, 3) -> (N, 3, S, S)

    def _rows(self) -> npt.NDArray[Any]:
        """Return a row for each photograph: those of a file, or empty ones in memory."""
        kind = row_type("uint8", (self.size, self.size, 3))
        rows = None
        if self.files and (key := self._key()):
            rows = self.files.find(key, len(self))
            rows = self.files.make(key, len(self), kind) if rows is None else rows
        return np.zeros(len(self), kind) if rows is None else np.asarray(rows)

    def _key(self) -> str | None:
        """Return a digest of all that the pixels depend on; None where a file has just gone."""
        digest = hashlib.sha256(repr((decoder(), self.size, self.resize)).encode())
        try:
            for path, _ in self.samples:
                stat = os.stat(path)
                identity = (os.path.abspath(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                digest.update(repr(identity).encode())
        except OSError:
            return None
        return digest.hexdigest()

    def _load(self, index: int) -> npt.NDArray[np.uint8]:
        return load_pixels(Path(self.samples[index][0]), self.size, self.resize)


def refuse(error: OSError) -> NoReturn:
    """Raise the error for a folder that cannot be read."""
    raise unreadable(error) from error
