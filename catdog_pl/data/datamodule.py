"""Folders of photographs -> decoded uint8 cache -> batches -> augmentation on the device."""

import os
from html import escape
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor, hub
from torch.utils.data import DataLoader, DistributedSampler

from catdog_pl.data.augment import Augment, Augmentation, Mixing, RandomCrop
from catdog_pl.data.dataset import Batch, CachedImageFolder
from catdog_pl.data.display import picture_html
from catdog_pl.data.images import ResizeRule, load_pixels, resize_rule
from catdog_pl.data.layout import Split, split_folder
from catdog_pl.data.transforms import AffineRanges, affine_matrices
from catdog_pl.errors import DatasetError, ImageError, UsageError, one_line, validate_range
from catdog_pl.io.files import is_url
from catdog_pl.io.rows import LIMIT, RowFiles

STAGES: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("test",),
}
"""The folders that each stage of the Trainer reads."""


SHOWN, SIDE = 7, 96
"""Photographs of each class that a notebook shows, at most, and their height and width in pixels."""


class CatDogDataModule(LightningDataModule):
    """The folders ``root/{train,validation,test}/<class>/``, as the workshop's generators read them.

    Any two class folders will do; the labels 0 and 1 are their names in plain string order. Each photograph
    is decoded and resized once and kept as bytes, on the GPU where that has room. A batch is pixels
    (N, 3, S, S) in 0..255, labels (N,) and, on the host, sample indices (N,); training pixels come augmented
    as float32, the others as uint8, and labels of mixed photographs are float32 in 0..1. Training is shuffled
    by (seed, epoch), validation and test come in file order, and the short last batch is kept.

    Args:
        root: folder that holds the train, validation and test folders.
        image_size: side in pixels to which every photograph is resized, without keeping its aspect ratio; by
            default what the model takes.
        batch_size: photographs per batch, per device.
        resize: Pillow's filter for resizing, by default the model's; nearest is what Keras'
            flow_from_directory uses.
        augment: how training photographs are changed: ``keras`` by rotation, shifts, zoom and flip as in the
            workshop; ``crop`` by random crops and flip; ``strong`` by crops, rotation, flip and colour;
            ``none`` not at all. By default what the model says.
        rotation: of keras and strong, largest angle in degrees, in both directions.
        width_shift: of keras, largest shift as a fraction of the image; as in Keras 3, of the rows.
        height_shift: of keras, largest shift as a fraction of the image; as in Keras 3, of the columns.
        zoom: of keras, each axis is scaled by its own factor in 1 - zoom .. 1 + zoom.
        horizontal_flip: augmentation, whether half of the images are mirrored.
        crop_scale: of crop and strong, least part of a photograph's area that a crop shows.
        color_jitter: of strong, largest change of brightness, contrast and saturation, as a fraction.
        mixup: alpha of MixUp, which lays each photograph of a training batch over another; 0 is without.
        cutmix: alpha of CutMix, which sets a part of another photograph in; with mixup, one of the two.
        mix_probability: part of the training batches that mixup and cutmix change.
        views: augmentation, number of different views of each photograph; after so many epochs they come
            again. 0 samples a new one in every epoch, as Keras does. A model that caches the features of its
            views sets the attribute before the first step.
        seed: of the shuffling and the augmentation; both depend on it, the epoch and the sample alone.
        cache_gib: what decoded photographs may take, in GiB. A larger data set is decoded anew in every
            epoch.
        cache_dir: folder in which decoded photographs are kept for other processes and later runs, at most
            8 GiB or ``cache_gib``: auto is in the folder of torch.hub, and none keeps them in memory, for
            this process alone.
        num_workers: processes that make batches; by default none when the photographs are cached, else
            one per processor.

    Attributes:
        options: the arguments, by name.
        folders: the photographs of each split, once ``setup`` has found them.

    Raises:
        UsageError: a number lies outside its range.
    """

    def __init__(
        self,
        root: str | Path = "data",
        image_size: int | None = None,
        batch_size: int = 50,
        resize: ResizeRule | None = None,
        augment: Augment | None = None,
        rotation: float = 30.0,
        width_shift: float = 0.2,
        height_shift: float = 0.2,
        zoom: float = 0.2,
        horizontal_flip: bool = True,
        crop_scale: float = 0.35,
        color_jitter: float = 0.3,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        mix_probability: float = 1.0,
        views: int = 0,
        seed: int = 2018,
        cache_gib: float = 4.0,
        cache_dir: str | Path = "auto",
        num_workers: int | None = None,
    ) -> None:
        self.options = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        validate_range("image_size", image_size or 2, 2)
        validate_range("batch_size", batch_size, 1)
        validate_range("num_workers", num_workers or 0, 0)
        validate_range("cache_gib", cache_gib, 0)
        validate_range("seed", seed, 0)
        validate_range("views", views, 0)
        validate_range("zoom", zoom, 0, 1)
        validate_range("crop_scale", crop_scale, 0.01, most=1)
        validate_range("color_jitter", color_jitter, 0, 1)
        validate_range("mixup", mixup, 0)
        validate_range("cutmix", cutmix, 0)
        validate_range("mix_probability", mix_probability, 0, most=1)
        if augment not in (None, *get_args(Augment)):
            raise UsageError(f"augment {augment!r} is unknown; valid are {', '.join(get_args(Augment))}")
        if is_url(str(root)):
            raise UsageError(f"root {root} is a URL; give a folder of this machine, as prepare makes of it")
        self.root = Path(root)
        self.image_size = image_size
        self.batch_size = batch_size
        self.resize = resize
        self.augment = augment
        self.augmentations: dict[str, Augmentation | None] = {
            "keras": AffineRanges(rotation, width_shift, height_shift, zoom, horizontal_flip),
            "crop": RandomCrop(crop_scale, horizontal_flip=horizontal_flip),
            "strong": RandomCrop(crop_scale, rotation, color_jitter, horizontal_flip),
            "none": None,
        }
        self.mixing = Mixing(mixup, cutmix, mix_probability) if mixup or cutmix else None
        self.views = views
        self.seed = seed
        self.cache_bytes = int(cache_gib * 2**30)
        self.row_files = row_files(str(cache_dir), max(LIMIT, self.cache_bytes))
        self.num_workers = num_workers
        self.folders: dict[Split, CachedImageFolder] = {}
        self._sampled: tuple[Augmentation, int, Tensor] | None = None

    def setup(self, stage: str) -> None:
        """Find the photographs of a stage, check their classes, and decode them within ``cache_gib``.

        Raises:
            DatasetError: a folder is missing or empty, or its classes are not two, or not those of training.
            ImageError: a photograph cannot be decoded.
        """
        model: Any = getattr(self.trainer, "lightning_module", None)
        spec: Any = getattr(model, "data_spec", None)
        size: int = getattr(spec, "image_size", 150) if self.image_size is None else self.image_size
        resize = self.resize or resize_rule(getattr(spec, "resize", "nearest"))
        self.augmentation = self.augmentations[self.augment or str(getattr(model, "augment", "keras"))]
        for split in STAGES[stage]:
            found = self.folders.get(split)
            if found is None or (found.size, found.resize) != (size, resize):  # it served another model
                root = split_folder(self.root, split)
                self.folders[split] = CachedImageFolder(root, size, resize, self.row_files)
        folders = [self.folders[split] for split in STAGES[stage]]
        for folder in folders[1:]:
            if folder.classes != folders[0].classes:  # a label would mean two things
                raise DatasetError(
                    f"{folder.root} holds the classes {', '.join(folder.classes)}, {folders[0].root} holds "
                    f"{', '.join(folders[0].classes)}; give both the same class folders"
                )
        devices = self.trainer.world_size if self.trainer else 1
        for folder in folders:
            if len(folder) < devices:  # some would have nothing to do, and wait for ever or fail
                raise DatasetError(
                    f"{folder.root} holds {len(folder)} photographs, fewer than the {devices} devices; use "
                    "fewer devices, or give more photographs"
                )
        is_rank_zero = self.trainer is None or self.trainer.is_global_zero
        if is_rank_zero:
            for folder in folders:
                print(f"Found {len(folder)} images belonging to {len(folder.classes)} classes.")
            print(f"Class Indices : {folders[0].class_to_idx}")
        share = self.trainer.local_rank / self.trainer.num_devices if self.trainer else 0.0
        if sum(folder.nbytes for folder in folders) <= self.cache_bytes:
            for folder in folders:
                folder.decode(is_rank_zero, start=int(len(folder) * share))
                if self.num_workers:  # started processes get a copy, which is of the pixels alone after this
                    folder.check()
            if not self.num_workers:  # processes beside this one cannot read what lies on its GPU
                self._place(folders)

    def _place(self, folders: list[CachedImageFolder]) -> None:
        """Move decoded photographs to a GPU that has room, so that a step neither copies nor waits."""
        missing = sum(folder.nbytes for folder in folders if folder.device != self._device)
        device = self._device if has_room(self._device, missing) else torch.device("cpu")
        for folder in folders:
            folder.to(device)

    @property
    def data_spec(self) -> dict[str, Any]:
        """What a checkpoint notes of its data, in plain values; known once ``setup`` has run."""
        folder = next(iter(self.folders.values()))
        # The workshop resizes single pictures by another filter than its photographs.
        predict_resize = "lanczos" if folder.resize == "nearest" else folder.resize
        return {
            "class_names": tuple(folder.classes),
            "image_size": folder.size,
            "resize": folder.resize,
            "predict_resize": predict_resize,
        }

    def files(self, split: Split) -> list[Path]:
        """Return the photographs of a split in sample order."""
        return [Path(path) for path, _ in self.folders[split].samples]

    def _repr_html_(self) -> str | None:
        """Return what a notebook shows: how many photographs of each class there are, and some of them."""
        splits = [split for split in get_args(Split) if (self.root / split).is_dir()]
        try:
            folders = [CachedImageFolder(self.root / split, SIDE) for split in splits]
            rows = [f"<tr><th></th><th>{'</th><th>'.join(splits)}</th></tr>"] if folders else []
            for label, name in enumerate(folders[0].classes if folders else ()):
                counts = "".join(f"<td>{folder.targets.count(label)}</td>" for folder in folders)
                paths = [Path(path) for path, target in folders[0].samples if target == label]
                pictures = [load_pixels(path, SIDE, "nearest") for path in paths[:: -(-len(paths) // SHOWN)]]
                shown = picture_html(np.hstack(pictures), SIDE)
                rows.append(f"<tr><th>{escape(one_line(name))}</th>{counts}<td>{shown}</td></tr>")
        except (DatasetError, ImageError):  # which a training names
            return None
        return f"<table>{''.join(rows)}</table>" if rows else None

    def labels(self, split: Split) -> list[int]:
        """Return the labels of a split in sample order: 0 or 1, the position of the class folder."""
        return self.folders[split].labels.tolist()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the training photographs, shuffled anew in each epoch."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation photographs in file order."""
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test photographs in file order."""
        return self._loader("test")

    predict_dataloader = test_dataloader

    def _loader(self, split: Split) -> DataLoader[Batch]:
        folder = self.folders[split]
        workers = self.num_workers
        if workers is None:  # where the photographs are cached, a batch is no more than a copy from memory
            workers = 0 if folder.is_decoded else (os.cpu_count() or 1)
        return DataLoader(
            folder,
            batch_size=self.batch_size,
            sampler=self._sampler(folder, shuffle=split == "train"),
            num_workers=workers,
            collate_fn=tuple,  # which changes nothing: __getitems__ gives a batch, which is a tuple
            pin_memory=self._device.type == "cuda" and folder.device.type == "cpu",
            persistent_workers=workers > 0,
            # A loader takes a number per epoch, and Lightning starts the first epoch's before the epoch's
            # seed is set: from the global generator, a resumed run would drop other hidden units.
            generator=torch.Generator(),
        )

    def _sampler(self, folder: CachedImageFolder, shuffle: bool) -> "DistributedSampler[Any] | None":
        trainer = self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        if shuffle:
            # With one replica it is no more than a shuffle that knows its epoch, which is what makes a
            # resumed run see the order that the uninterrupted run would have seen.
            return DistributedSampler(folder, replicas, rank, shuffle=True, seed=self.seed)
        if replicas == 1:
            return None
        # Lightning's own choice repeats samples to even out the devices, and a crosstab would count them.
        return UnrepeatedDistributedSampler(folder, num_replicas=replicas, rank=rank)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch, but for its indices: who looks up a sample by them does not wait for the device."""
        pixels, labels, indices = batch
        pixels, labels = super().transfer_batch_to_device((pixels, labels), device, dataloader_idx)
        return pixels, labels, indices

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment and mix training batches on the device, to float32; other batches stay as they are."""
        trainer = self.trainer
        if trainer is None or not trainer.training or not (self.augmentation or self.mixing):
            return batch
        pixels, labels, indices = batch
        epoch = trainer.current_epoch
        if self.augmentation:
            parameters = self._parameters(self.augmentation, epoch, pixels.device)
            rows = parameters[indices.to(parameters.device, non_blocking=True)]
            pixels = self.augmentation.apply(pixels, rows)
        if self.mixing:
            batch_idx = trainer.fit_loop.batch_idx + 1  # which is that of the batch before
            seed = (self.seed, epoch, batch_idx, trainer.global_rank)
            pixels, labels = self.mixing(pixels, labels, seed)
        return pixels, labels, indices

    def view_key(self, epoch: int) -> str | None:
        """Return what training pixels depend on besides the photographs; None: no other epoch has them."""
        if self.mixing or (self.augmentation and not self.views):
            return None
        return f"{self.augmentation}, {self.seed}, {epoch % self.views}" if self.augmentation else ""

    def _parameters(self, augmentation: Augmentation, epoch: int, device: torch.device) -> Tensor:
        """Return an epoch's parameters, a row a sample, on the device, so that no step waits for the host."""
        view = epoch % self.views if self.views else epoch
        if self._sampled is None or self._sampled[:2] != (augmentation, view):
            parameters = augmentation.sample(self.seed, view, len(self.folders["train"]))
            # Apple's GPUs know no float64, in which the parameters are kept.
            parameters = parameters if device.type == "mps" else parameters.to(device)
            if isinstance(augmentation, AffineRanges):  # in each step, 24 kernels to start
                parameters = affine_matrices(parameters, self.folders["train"].size)
            self._sampled = (augmentation, view, parameters)
        return self._sampled[2]

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device


def row_files(cache_dir: str, limit: int = LIMIT) -> RowFiles | None:
    """Return where decoded photographs are kept; None where that is memory."""
    if cache_dir == "none":
        return None
    if is_url(cache_dir):
        raise UsageError(f"cache_dir {cache_dir} is a URL; give a folder of this machine, auto or none")
    folder = Path(hub.get_dir() if cache_dir == "auto" else cache_dir)
    return RowFiles("decoded photographs", folder / "catdog_pl" / "photographs", limit)


def has_room(device: torch.device, nbytes: int) -> bool:
    """Return whether so many bytes fit into a quarter of a GPU's free memory; the rest is for training."""
    return device.type == "cuda" and 4 * nbytes <= torch.cuda.mem_get_info(device)[0]
