"""Transfer learning: a pretrained backbone, frozen or tuned, under a head that trains."""

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, Self

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from catdog_pl.devices import bfloat16_is_fast
from catdog_pl.errors import UsageError, validate_range
from catdog_pl.models.backbones import Backbone, Normalization
from catdog_pl.models.classifier import Batch, Classifier, versions
from catdog_pl.models.convolution import fold_batch_norm
from catdog_pl.models.features import MEMORY, FeatureCache, network_digest

Bfloat16 = bool | Literal["always"]
"""Whether to compute in bfloat16 where it is fast, or everywhere."""

Unfreeze = int | Literal["all"]
"""How many of a backbone's last stages train."""


class TransferClassifier(Classifier):
    """A pretrained backbone, frozen and in evaluation mode, under a head that trains.

    ``unfreeze`` has the last stages of the backbone train as well, from the epoch ``unfreeze_at`` on and with
    a learning rate of their own, by default a tenth of the head's. What is frozen stays in evaluation mode,
    and so does BatchNorm of a pretrained network.

    Features of photographs that come again unchanged are computed once, and kept for later runs. A subclass
    builds the backbone and the head, from features to a logit (N, 1); without a ``normalization`` the
    backbone takes RGB times 1/255.
    """

    has_backbone: ClassVar[bool] = True
    is_pretrained = True
    """Whether the backbone began with trained weights, whose BatchNorm keeps its statistics."""

    TUNABLE = Classifier.TUNABLE | {
        "bf16_backbone",
        "cached_views",
        "unfreeze",
        "unfreeze_at",
        "backbone_learning_rate",
    }

    features: Backbone

    def __init__(
        self,
        backbone: Backbone,
        head: "OrderedDict[str, nn.Module]",
        normalization: Normalization | None,
        bf16_backbone: Bfloat16,
        cached_views: int,
        image_size: int,
        unfreeze: Unfreeze = 0,
        unfreeze_at: int = 0,
        backbone_learning_rate: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(image_size, **options)
        count = len(backbone.stages())
        if unfreeze != "all" and not 0 <= unfreeze <= count:
            raise UsageError(
                f"unfreeze is {unfreeze}; the backbone has {count} stages: give 0 to {count}, or all"
            )
        if unfreeze_at < 0:
            raise UsageError(f"unfreeze_at is {unfreeze_at}; it must be 0, for the first epoch, or more")
        if backbone_learning_rate is not None and not backbone_learning_rate > 0:
            raise UsageError(f"backbone_learning_rate is {backbone_learning_rate:g}; it must be above 0")
        if image_size < backbone.min_size:
            name, least = type(self).__name__, backbone.min_size
            raise UsageError(f"image_size {image_size} is too small for {name}; give {least} or more")
        validate_range("cached_views", cached_views, 0)
        self.normalization = normalization
        self.bf16_backbone = bf16_backbone
        self.cached_views = cached_views
        self.unfrozen = unfreeze  # Lightning's modules have a method of the option's name
        self.unfreeze_at = unfreeze_at
        self.backbone_learning_rate = backbone_learning_rate
        self.features = backbone.requires_grad_(False).eval()
        self.set_trainable(unfreeze_at == 0)
        self.head = nn.Sequential(head)
        self._frozen: tuple[nn.Module] | None = None  # a tuple, because modules become parts of the model
        self._views_before: int | None = None
        self._keeps_features = False
        self.feature_caches: dict[tuple[str, str], FeatureCache | None] = {}
        """The features of a stage's photographs, in training those of a view."""

    @classmethod
    def rebuild_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that build the network without reading its pretrained weights."""
        return {**arguments, "load_weights": False}

    def extract(self, pixels: Tensor, features: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Pixels (N, 3, S, S) in 0..255 -> the backbone's pooled features, in the head's dtype.

        ``features`` may be a faster copy of the backbone.
        """
        is_coarse = self.takes_bfloat16(pixels.device)
        with torch.autocast(pixels.device.type, torch.bfloat16) if is_coarse else nullcontext():
            x = self.preprocess(pixels).contiguous(memory_format=torch.channels_last)
            pooled: Tensor = (self.features if features is None else features)(x)
        return pooled.to(self.weight_dtype) if is_coarse else pooled

    def batch_features(self, batch: Batch, batch_idx: int, stage: str) -> Tensor:
        """Return the features of a batch; a frozen backbone computes each photograph once where it can."""
        pixels, _, indices = batch
        if batch_idx == 0:  # to ask 200 layers takes longer than a step of the head
            self._keeps_features = self.is_frozen
        if not self._keeps_features:
            return self.extract(pixels)
        with torch.no_grad():
            cache = self.feature_cache(batch, stage)
            if cache is None:
                return self.extract(pixels, self.frozen_backbone(pixels))
            features = cache.batch(
                indices.cpu(),
                lambda missing: self.extract(
                    pixels[missing.to(pixels.device, non_blocking=True)], self.frozen_backbone(pixels)
                ),
            )
        return features.to(self.weight_dtype)

    def frozen_backbone(self, pixels: Tensor) -> nn.Module:
        """Return the backbone, or a faster copy of it, which is made once in a stage of the trainer."""
        if self._frozen is None:
            x = self.preprocess(pixels[:2]).contiguous(memory_format=torch.channels_last)
            self._frozen = (fold_batch_norm(self.features, x),)
        return self._frozen[0]

    def feature_cache(self, batch: Batch, stage: str) -> FeatureCache | None:
        """Return where the features of a batch are kept, or None.

        Kept are those of a ``CachedImageFolder`` as it is, and of the views that its datamodule repeats.
        """
        trainer = self.trainer
        view: str | None = ""
        if stage == "train":
            datamodule: Any = getattr(trainer, "datamodule", None)
            view = datamodule.view_key(trainer.current_epoch) if hasattr(datamodule, "view_key") else None
        if view is None:
            return None
        if (stage, view) not in self.feature_caches:
            loaders = {"train": trainer.train_dataloader, "val": trainer.val_dataloaders}
            dataset = getattr(loaders.get(stage, trainer.test_dataloaders), "dataset", None)
            self.feature_caches[stage, view] = self.open_features(batch, dataset, view)
        return self.feature_caches[stage, view]

    def open_features(self, batch: Batch, dataset: Any, view: str) -> FeatureCache | None:
        """Return the cache of a data set's features in a view, or None where its batches are not its own."""
        pixels, _, indices = batch
        if not hasattr(dataset, "digest"):
            return None
        # A datamodule may change its batches, and Lightning may name the loader of an earlier run.
        if not view and not torch.equal(dataset.__getitems__(indices.tolist())[0].to(pixels.device), pixels):
            return None
        # Photographs that are decoded anew each time have no digest: their features are for this run alone.
        key = self.feature_key(pixels, dataset.digest, view) if dataset.digest else None
        in_memory = sum(cache.memory_bytes for cache in self.feature_caches.values() if cache)
        return FeatureCache(key, len(dataset), pixels.device, MEMORY - in_memory)

    def feature_key(self, pixels: Tensor, photographs: str, view: str) -> str:
        """Return a digest of all that features depend on: network, numerics, photographs and their view."""
        device = pixels.device
        autocast = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
        numerics = (device.type, self.takes_bfloat16(device), autocast, torch.get_float32_matmul_precision())
        network = (type(self).__name__, self.normalization, network_digest(self.features))
        parts = (versions(), numerics, network, photographs, view, pixels.dtype, pixels.shape[1:])
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def takes_bfloat16(self, device: torch.device) -> bool:
        """Return whether the backbone is computed in bfloat16 on this device."""
        return self.bf16_backbone == "always" or (self.bf16_backbone and bfloat16_is_fast(device))

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter of the backbone trains."""
        return not any(parameter.requires_grad for parameter in self.features.parameters())

    def tuned_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the stages that ``unfreeze`` has train, at once or later."""
        if self.unfrozen == "all":
            return list(self.features.parameters())
        stages = self.features.stages()
        return [p for stage in stages[len(stages) - self.unfrozen :] for p in stage.parameters()]

    def set_trainable(self, trains: bool) -> None:
        """Have the ``tuned_parameters`` train, or freeze them until their epoch."""
        for parameter in self.tuned_parameters():
            parameter.requires_grad_(trains)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the head's group and that of the ``tuned_parameters``, if there are any.

        They are in it before they train: optimizers pass over what has no gradient.
        """
        tuned = self.tuned_parameters()
        others = [p for p in self.parameters() if p.requires_grad and not any(p is q for q in tuned)]
        groups = [{"params": others, "lr": self.learning_rate}]
        if tuned:
            groups.append({"params": tuned, "lr": self.backbone_learning_rate or self.learning_rate / 10})
        return groups

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Start with a new optimizer where the checkpoint's trained other layers."""
        super().on_load_checkpoint(checkpoint)
        sizes = [len(group["params"]) for group in self.parameter_groups()]
        for state in checkpoint["optimizer_states"]:
            if [len(group["params"]) for group in state["param_groups"]] != sizes:
                checkpoint.update(optimizer_states=[], lr_schedulers=[])
                line = "The optimizer starts anew: the checkpoint's trained other layers"
                rank_zero_only(print)(f"{'[INFO]':<10} {line}")

    def on_train_epoch_start(self) -> None:
        """Unfreeze what ``unfreeze`` says when its epoch has come; from then on, all views are new."""
        if self.unfrozen and self.trainer.current_epoch >= self.unfreeze_at:
            self.set_trainable(True)
            self.train()
            self.release_features()

    def setup(self, stage: str) -> None:
        """Have the datamodule repeat the views whose features are kept.

        Raises:
            UsageError: it gives images of another size, or cannot repeat the views.
        """
        super().setup(stage)
        self.feature_caches.clear()  # of a stage that failed
        self._frozen = None
        device = self.trainer.strategy.root_device
        if self.bf16_backbone and not self.takes_bfloat16(device) and self.trainer.is_global_zero:
            print(
                f"{'[WARNING]':<10} bf16_backbone: this {device.type.upper()} has no bfloat16 units, and "
                "emulation is about 100 times slower; float32 is used. To use bfloat16 anyway: "
                "--model.bf16_backbone always",
                file=sys.stderr,
            )
        if stage != "fit":
            return
        self.set_trainable(self.unfreeze_at == 0)
        if self.unfrozen and self.unfreeze_at and self.trainer.world_size > 1:
            raise UsageError(
                f"unfreeze_at {self.unfreeze_at} needs a single device, because several must know from the "
                "start what trains; use --trainer.devices 1, or unfreeze_at 0"
            )
        if not self.cached_views or not self.is_frozen:
            return
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        views = getattr(datamodule, "views", None)
        if views not in (0, self.cached_views):
            given = "the data are not from a CatDogDataModule" if views is None else f"its views are {views}"
            raise UsageError(
                f"the model keeps {self.cached_views} views (cached_views), which the datamodule has to "
                f"repeat, but {given}; leave the datamodule's views at 0, or set cached_views to 0"
            )
        self._views_before = views
        datamodule.views = self.cached_views

    def teardown(self, stage: str) -> None:
        """Write and close the features, and give the datamodule its own number of views back."""
        self.release_features()

    def release_features(self) -> None:
        """Write and close the features, and give the datamodule its own number of views back."""
        for cache in self.feature_caches.values():
            if cache:
                cache.write()
        self.feature_caches.clear()
        self._frozen = None
        if self._views_before is not None:
            datamodule: Any = getattr(self.trainer, "datamodule", None)
            datamodule.views, self._views_before = self._views_before, None

    def train(self, mode: bool = True) -> Self:
        """Set training mode; what is frozen stays in evaluation mode, BatchNorm and dropout with it.

        A pretrained BatchNorm stays in it when its weights train, too, as in Keras' guide to fine-tuning: the
        statistics of small batches would undo what the network has learned.
        """
        super().train(mode)
        self.features.eval()
        for stage in self.features.stages():
            trains = any(parameter.requires_grad for parameter in stage.parameters())
            for module in stage.modules():
                own = list(module.parameters())
                keeps = self.is_pretrained and isinstance(module, _BatchNorm)
                trains_itself = not own or any(p.requires_grad for p in own)
                module.training = mode and trains and trains_itself and not keeps
        return self
