"""Folders of photographs -> decoded uint8 cache -> batches -> augmentation on the device."""

from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from catdog_pl.data.dataset import Batch, CachedImageFolder
from catdog_pl.data.images import ResizeRule
from catdog_pl.data.transforms import AffineRanges, draw, warp
from catdog_pl.errors import DatasetError, UsageError

Split = Literal["train", "validation", "test"]

STAGES: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("test",),
}
"""The folders that each stage of the Trainer reads."""


class CatDogDataModule(LightningDataModule):
    """The folders ``root/{train,validation,test}/<class>/``, as the workshop's generators read them.

    Each photograph is decoded and resized once and kept as bytes, on the GPU where that has room. A batch is
    pixels (N, 3, S, S) in 0..255, labels (N,) and sample indices (N,); training pixels come augmented as
    float32, the others as uint8. Training is shuffled, validation and test come in file order, and the short
    last batch is kept.

    Args:
        root: folder that holds the train, validation and test folders.
        image_size: side in pixels to which every photograph is resized, without keeping its aspect ratio.
        batch_size: photographs per batch, per device.
        resize: Pillow's filter for resizing; nearest is what Keras' flow_from_directory uses.
        rotation: augmentation, largest angle in degrees, in both directions.
        width_shift: augmentation, largest shift as a fraction of the image; as in Keras 3, of the rows.
        height_shift: augmentation, largest shift as a fraction of the image; as in Keras 3, of the columns.
        zoom: augmentation, each axis is scaled by its own factor in 1 - zoom .. 1 + zoom.
        horizontal_flip: augmentation, whether half of the images are mirrored.
        views: augmentation, number of different views of each photograph; after so many epochs they come
            again. 0 draws a new one in every epoch, as Keras does.
        seed: of the shuffling and the augmentation; both depend on it, the epoch and the sample alone.
        cache_gib: memory that decoded photographs may take, in GiB. A larger data set is decoded anew
            in every epoch.
        num_workers: processes that make batches; by default none when the photographs are cached, else
            one per processor.

    Raises:
        UsageError: a number lies outside its range.
    """

    def __init__(
        self,
        root: Path = Path("data"),
        image_size: int = 150,
        batch_size: int = 50,
        resize: ResizeRule = "nearest",
        rotation: float = 30.0,
        width_shift: float = 0.2,
        height_shift: float = 0.2,
        zoom: float = 0.2,
        horizontal_flip: bool = True,
        views: int = 0,
        seed: int = 2018,
        cache_gib: float = 4.0,
        num_workers: int | None = None,
    ) -> None:
        super().__init__()
        check_range("image_size", image_size, 2)
        check_range("batch_size", batch_size, 1)
        check_range("num_workers", num_workers or 0, 0)
        check_range("cache_gib", cache_gib, 0)
        check_range("seed", seed, 0)
        check_range("views", views, 0)
        check_range("zoom", zoom, 0, 1)
        self.root = Path(root)
        self.image_size = image_size
        self.batch_size = batch_size
        self.resize = resize
        self.ranges = AffineRanges(rotation, width_shift, height_shift, zoom, horizontal_flip)
        self.views = views
        self.seed = seed
        self.cache_bytes = int(cache_gib * 2**30)
        self.num_workers = num_workers
        self.folders: dict[Split, CachedImageFolder] = {}
        self._drawn: tuple[int, Tensor] | None = None

    def setup(self, stage: str) -> None:
        """Find the photographs of a stage, hold their classes against each other, and decode them.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            DatasetError: a folder is missing or empty, or its classes are not two, or not those of training.
            ImageError: a photograph cannot be decoded.
        """
        for split in STAGES[stage]:
            if split not in self.folders:
                self.folders[split] = CachedImageFolder(self.root / split, self.image_size, self.resize)
        self._check_classes(STAGES[stage])
        self._report(STAGES[stage])
        if sum(self.folders[split].nbytes for split in STAGES[stage]) <= self.cache_bytes:
            for split in STAGES[stage]:
                self.folders[split].decode(progress=self._speaks)
            if not self.num_workers:  # processes beside this one cannot read what lies on its GPU
                self._place([self.folders[split] for split in STAGES[stage]])

    def _place(self, folders: list[CachedImageFolder]) -> None:
        """Keep decoded photographs on a GPU that has room, so that a step neither copies nor waits."""
        missing = sum(folder.nbytes for folder in folders if folder.device != self._device)
        device = self._device if has_room(self._device, missing) else torch.device("cpu")
        for folder in folders:
            folder.to(device)

    @property
    def data_spec(self) -> dict[str, Any]:
        """What a checkpoint notes of its data, in plain values; known once ``setup`` has run."""
        folder = next(iter(self.folders.values()))
        return {"class_names": tuple(folder.classes), "image_size": self.image_size, "resize": self.resize}

    def files(self, split: Split) -> list[Path]:
        """The photographs of a split in sample order."""
        return [Path(path) for path, _ in self.folders[split].samples]

    def labels(self, split: Split) -> list[int]:
        """The labels of a split in sample order: 0 or 1, the position of the class folder."""
        return self.folders[split].labels.tolist()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled anew in each epoch, by (seed, epoch)."""
        folder = self.folders["train"]
        # With one replica it is no more than a shuffle that knows its epoch, which is what makes a resumed
        # run see the order that the uninterrupted run would have seen.
        sampler: DistributedSampler[Any] = DistributedSampler(
            folder, num_replicas=self._world_size, rank=self._rank, shuffle=True, seed=self.seed
        )
        return self._loader(folder, sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation photographs in file order."""
        return self._in_order("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test photographs in file order."""
        return self._in_order("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The test photographs in file order."""
        return self._in_order("test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """On the device: bring the channels forward and, in training, augment.

        Args:
            batch: pixels (N, S, S, 3) uint8, labels (N,), indices (N,).
            dataloader_idx: position of the loader, unused.

        Returns:
            Pixels (N, 3, S, S) in channels_last memory, float32 in training and uint8 otherwise; labels
            (N,), indices (N,).
        """
        pixels, labels, indices = batch
        pixels = pixels.permute(0, 3, 1, 2)
        if self.trainer is not None and self.trainer.training:
            drawn = self._parameters(self.trainer.current_epoch, indices.device)
            pixels = warp(pixels, drawn[indices.to(drawn.device)])
        return pixels, labels, indices

    def _parameters(self, epoch: int, device: torch.device) -> Tensor:
        """The epoch's draws for every training photograph, on the device: no step waits for the host."""
        view = epoch % self.views if self.views else epoch
        if self._drawn is None or self._drawn[0] != view:
            drawn = draw(self.ranges, self.seed, view, len(self.folders["train"]))
            # Apple's GPUs know no float64, in which the draws are kept.
            self._drawn = (view, drawn if device.type == "mps" else drawn.to(device))
        return self._drawn[1]

    def _in_order(self, split: Split) -> DataLoader[Batch]:
        folder = self.folders[split]
        if self._world_size == 1:
            return self._loader(folder, None)
        # Lightning's own choice repeats samples to even out the devices, and a crosstab would count them.
        return self._loader(
            folder, UnrepeatedDistributedSampler(folder, num_replicas=self._world_size, rank=self._rank)
        )

    def _loader(self, folder: CachedImageFolder, sampler: "Sampler[Any] | None") -> DataLoader[Batch]:
        workers = folder.default_workers if self.num_workers is None else self.num_workers
        return DataLoader(
            folder,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=workers,
            collate_fn=as_it_is,
            pin_memory=self._device.type == "cuda" and folder.device.type == "cpu",
            persistent_workers=workers > 0,
            # A loader draws a number per epoch, and Lightning starts the first epoch's before the epoch's
            # seed is set: from the global generator, a resumed run would drop other hidden units.
            generator=torch.Generator(),
        )

    def _check_classes(self, splits: tuple[Split, ...]) -> None:
        first, *others = (self.folders[split] for split in splits)
        for other in others:
            if other.classes != first.classes:
                raise DatasetError(
                    f"{other.root} holds the classes {', '.join(other.classes)}, {first.root} holds "
                    f"{', '.join(first.classes)}; give both the same class folders"
                )

    def _report(self, splits: tuple[Split, ...]) -> None:
        if not self._speaks:
            return
        for split in splits:
            folder = self.folders[split]
            print(f"Found {len(folder)} images belonging to {len(folder.classes)} classes.")
        print(f"Class Indices : {self.folders[splits[0]].class_to_idx}")

    @property
    def _speaks(self) -> bool:
        return self.trainer is None or self.trainer.is_global_zero

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank


def check_range(name: str, value: float, low: float, below: float = float("inf")) -> None:
    """Hold ``low <= value < below``.

    Raises:
        UsageError: it is not so.
    """
    if not low <= value < below:
        above = f" and below {below:g}" if below < float("inf") else ""
        raise UsageError(f"{name} is {value:g}; it must be at least {low:g}{above}")


def has_room(device: torch.device, nbytes: int) -> bool:
    """Whether a GPU holds so many bytes in a quarter of its free memory; the rest is for the training."""
    return device.type == "cuda" and 4 * nbytes <= torch.cuda.mem_get_info(device)[0]


def as_it_is(batch: Any) -> Any:
    """The collate function of a data set that already answers in batches."""
    return batch
