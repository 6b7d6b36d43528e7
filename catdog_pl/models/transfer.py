"""Transfer learning: a frozen backbone under a head that trains."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from catdog_pl.devices import bfloat16_is_fast
from catdog_pl.errors import UsageError
from catdog_pl.models.backbones import Backbone, Normalization
from catdog_pl.models.classifier import Batch, Classifier

Bfloat16 = bool | Literal["always"]
"""Whether to compute in bfloat16 where it is fast, or everywhere."""

VIEW_BYTES = 4 * 2**30
"""Limit of the features of cached views: 32 views of the workshop's 4,000 photographs."""


class TransferClassifier(Classifier):
    """A pretrained backbone, frozen and in evaluation mode, under a head that trains.

    Features of photographs that come again unchanged are computed once. A subclass builds the backbone and
    the head, from features to a logit (N, 1); without a ``normalization`` the backbone takes RGB times 1/255.
    """

    has_backbone: ClassVar[bool] = True
    TUNABLE = Classifier.TUNABLE | {"bf16_backbone", "cached_views"}

    features: Backbone

    def __init__(
        self,
        backbone: Backbone,
        head: "OrderedDict[str, nn.Module]",
        normalization: Normalization | None,
        bf16_backbone: Bfloat16,
        cached_views: int,
        image_size: int,
        **options: Any,
    ) -> None:
        super().__init__(image_size, **options)
        if image_size < backbone.min_size:
            name, least = type(self).__name__, backbone.min_size
            raise UsageError(f"image_size {image_size} is too small for {name}; give {least} or more")
        if cached_views < 0:
            raise UsageError(f"cached_views is {cached_views}; it must be 0 (off) or more")
        self.normalization = normalization
        self.bf16_backbone = bf16_backbone
        self.cached_views = cached_views
        self.features = backbone.requires_grad_(False).eval()
        self.head = nn.Sequential(head)
        self.validation_features = FeatureCache()
        self.view_features = FeatureCache(VIEW_BYTES)

    @classmethod
    def rebuild_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that build the network without reading its pretrained weights."""
        return {**arguments, "load_weights": False}

    def extract(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) in 0..255 -> the backbone's pooled features, in the head's dtype."""
        if not self.takes_bfloat16(pixels.device):
            return super().extract(pixels)
        with torch.autocast(pixels.device.type, torch.bfloat16):
            features = super().extract(pixels)
        return features.to(self.weight_dtype)

    def batch_features(self, batch: Batch, batch_idx: int, stage: str) -> Tensor:
        """Return the features of a batch; those of a frozen backbone may come from a cache."""
        pixels, _, indices = batch
        if self.is_frozen and stage == "val":
            return self.validation_features.batch(batch_idx, lambda: self.extract(pixels))
        if self.is_frozen and stage == "train" and self.cached_views:
            view = self.trainer.current_epoch % self.cached_views
            keys = [(view, index) for index in indices.tolist()]
            return self.view_features.samples(keys, lambda: self.extract(pixels))
        return self.extract(pixels)

    def takes_bfloat16(self, device: torch.device) -> bool:
        """Return whether the backbone is computed in bfloat16 on this device."""
        return self.bf16_backbone == "always" or (self.bf16_backbone and bfloat16_is_fast(device))

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter of the backbone trains."""
        return not any(parameter.requires_grad for parameter in self.features.parameters())

    def setup(self, stage: str) -> None:
        """Forget an earlier run's features, and have the datamodule repeat its views.

        Raises:
            UsageError: it gives images of another size, or cannot repeat the views.
        """
        super().setup(stage)
        self.validation_features.clear()
        self.view_features.clear()
        device = self.trainer.strategy.root_device
        if self.bf16_backbone and not self.takes_bfloat16(device) and self.trainer.is_global_zero:
            print(
                f"{'[WARNING]':<10} bf16_backbone: this {device.type.upper()} has no bfloat16 units, and "
                "emulation is about 100 times slower; float32 is used. To use bfloat16 anyway: "
                "--model.bf16_backbone always",
                file=sys.stderr,
            )
        if stage != "fit" or not self.cached_views:
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
        """Give the datamodule its own number of views back, for another model."""
        if stage == "fit" and self.cached_views:
            datamodule: Any = getattr(self.trainer, "datamodule", None)
            datamodule.views = self._views_before

    def train(self, mode: bool = True) -> Self:
        """Set training mode; what is frozen stays in evaluation mode, BatchNorm's statistics with it."""
        super().train(mode)
        for module in self.features.modules():
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()
        return self


class FeatureCache:
    """A frozen backbone's features up to a limit in bytes; beyond it they are computed anew.

    Validation photographs come in the same batches in every epoch, so that their features are kept by batch:
    66 MB for the workshop's 2,000. Training photographs come in other batches each time: one by one.
    """

    def __init__(self, limit: int = 2**30) -> None:
        self.limit = limit
        self.clear()

    def clear(self) -> None:
        """Forget everything, for other photographs or other weights."""
        self._features: dict[Hashable, Tensor] = {}
        self._bytes = 0

    def batch(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Return the features of a batch that always holds the same samples, computed where not kept."""
        if key not in self._features:
            return self._keep([key], compute().unsqueeze(0))[0]
        return self._features[key]

    def samples(self, keys: Sequence[Hashable], compute: Callable[[], Tensor]) -> Tensor:
        """Return the features (N, ...) of samples that may have come in other batches before, a key each."""
        if all(key in self._features for key in keys):
            return torch.stack([self._features[key] for key in keys])
        return self._keep(keys, compute())

    def _keep(self, keys: Sequence[Hashable], features: Tensor) -> Tensor:
        """Keep what is new and fits of ``features``, one slice for each key; return all of them."""
        new = [i for i, key in enumerate(keys) if key not in self._features]
        size = features[0].nbytes * len(new)
        if self._bytes + size <= self.limit:
            self._features.update({keys[i]: features[i] for i in new})
            self._bytes += size
        return features
