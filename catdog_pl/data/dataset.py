"""One folder per class: found as Keras finds it, decoded once, answered in batches."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import ImageFolder
from tqdm import tqdm

from catdog_pl.data.images import ResizeRule, load_pixels
from catdog_pl.errors import DatasetError
from catdog_pl.io.files import is_image_name

Batch = tuple[Tensor, Tensor, Tensor]
"""Pixels (N, S, S, 3) uint8, labels (N,) int64, sample indices (N,) int64."""


class CachedImageFolder(ImageFolder):  # type: ignore[misc]  # torchvision has no type information
    """A torchvision ``ImageFolder`` that answers in batches of resized uint8 pixels.

    Classes and files come in Keras' order. Hidden files and folders are not images or classes, and links to
    folders are not followed, as in Keras.

    Args:
        root: folder with one folder per class.
        size: side in pixels of the square that every photograph is resized to.
        resize: Pillow's filter for it.

    Raises:
        DatasetError: the folder is missing, has other than two classes, or a class without an image.
    """

    def __init__(self, root: Path, size: int, resize: ResizeRule = "nearest") -> None:
        self.size = size
        self.resize = resize
        self.pixels: Tensor | None = None
        super().__init__(str(root), is_valid_file=lambda path: is_image_name(os.path.basename(path)))
        self.is_valid_file = None  # its work is done, and a lambda cannot travel to spawned workers
        self.labels = torch.tensor(self.targets)

    @property
    def nbytes(self) -> int:
        """Bytes that the decoded photographs take."""
        return len(self) * self.size * self.size * 3

    @property
    def device(self) -> torch.device:
        """Where batches are put together: the CPU, unless the decoded photographs were moved."""
        return torch.device("cpu") if self.pixels is None else self.pixels.device

    @property
    def default_workers(self) -> int:
        """Processes worth having: none when a batch is a copy from memory, else one per processor."""
        return 0 if self.pixels is not None else (os.cpu_count() or 1)

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        """The class folders in plain string order, and each one's position.

        Raises:
            DatasetError: the folder is missing or does not hold exactly two class folders.
        """
        if not os.path.isdir(directory):
            raise DatasetError(
                f"{directory}: there is no such folder; run prepare first, or give its parent by --data.root"
            )
        classes = class_folders(directory)
        if len(classes) != 2:
            raise DatasetError(
                f"{directory} holds {len(classes)} class folders ({', '.join(classes) or 'none'}); "
                "two are needed, such as cat and dog"
            )
        return classes, {name: i for i, name in enumerate(classes)}

    @staticmethod
    def make_dataset(
        directory: str,
        class_to_idx: dict[str, int],
        extensions: tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> list[tuple[str, int]]:
        """The images of each class, folder by folder in plain string order, and their labels.

        Raises:
            DatasetError: a class has no image.
        """
        assert is_valid_file is not None
        samples = []
        for name, label in class_to_idx.items():
            images = [path for path in files_below(os.path.join(directory, name)) if is_valid_file(path)]
            if not images:
                raise DatasetError(
                    f"{os.path.join(directory, name)} holds no image; every class needs at least one"
                )
            samples += [(path, label) for path in images]
        return samples

    def decode(self, progress: bool = False) -> None:
        """Decode and resize every photograph into memory, on all processors; again does nothing.

        Args:
            progress: show a progress bar when standard error is a terminal.

        Raises:
            ImageError: a photograph cannot be decoded; the message names it.
        """
        if self.pixels is not None:
            return
        pixels = torch.empty((len(self), self.size, self.size, 3), dtype=torch.uint8)
        array = pixels.numpy()

        def read(i: int) -> None:
            array[i] = self._load(i)

        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            # None lets tqdm look whether standard error is a terminal.
            hide = None if progress else True
            done = pool.map(read, range(len(self)))
            for _ in tqdm(done, f"decoding {self.root}", len(self), leave=False, disable=hide, unit="img"):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
        self.pixels = pixels

    def to(self, device: torch.device) -> None:
        """Keep the decoded photographs and the labels on a device; batches are put together there."""
        assert self.pixels is not None, "decode first"
        self.pixels = self.pixels.to(device)
        self.labels = self.labels.to(device)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The batch of these samples, from memory when decoded; what a DataLoader asks for."""
        index = torch.as_tensor(indices)
        if self.pixels is None:
            decoded = torch.from_numpy(np.stack([self._load(int(i)) for i in indices]))
            return decoded, self.labels[index], index
        if self.device.type == "cuda":
            index = index.pin_memory()  # from pageable memory, the host would wait until the GPU is idle
        index = index.to(self.device, non_blocking=True)
        return self.pixels[index], self.labels[index], index

    def _load(self, i: int) -> "np.ndarray":
        return load_pixels(Path(self.samples[i][0]), self.size, self.resize)


def class_folders(directory: str) -> list[str]:
    """A directory's folders in plain string order, without hidden ones and what macOS adds to archives."""
    try:
        folders = [entry.name for entry in os.scandir(directory) if entry.is_dir()]
    except OSError as error:
        raise DatasetError(f"{directory} cannot be read ({error.strerror}); check its permissions") from error
    return sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")


def files_below(directory: str) -> list[str]:
    """Every file below a directory in Keras' order: folder by folder, each in plain string order."""

    def refuse(error: OSError) -> None:
        raise DatasetError(
            f"{error.filename} cannot be read ({error.strerror}); check its permissions"
        ) from error

    walk = sorted(os.walk(directory, onerror=refuse), key=lambda step: step[0])
    return [os.path.join(folder, file) for folder, _, files in walk for file in sorted(files)]
