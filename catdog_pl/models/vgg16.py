"""The workshop's advanced model: a frozen VGG16 backbone under a small head."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from catdog_pl.errors import UsageError
from catdog_pl.keras.nn import KerasFlatten, glorot_uniform_
from catdog_pl.models.backbones.weights import Normalization, load_backbone, normalization
from catdog_pl.models.classifier import Batch, Classifier
from catdog_pl.models.convolution import ConvReLU
from catdog_pl.models.feature_cache import FeatureCache

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions in each block: configuration D of Simonyan and Zisserman 2014."""

VIEW_BYTES = 4 * 2**30
"""What the features of cached views may take: 32 views of the workshop's 4,000 photographs."""

Preprocessing = Literal["workshop", "imagenet"]


class VGG16(Classifier):
    """VGG16 features, frozen; then flatten, dense, dropout, one logit.

    With the default arguments 16,812,353 parameters, of which 2,097,665 train.

    Args:
        image_size: side of the square input in pixels, at least 32.
        weights: where the backbone's weights come from. ``keras``: the file that Keras publishes and
            the workshop used, 59 MB, downloaded once into torch.hub's cache and checked. A name of
            torchvision's (``IMAGENET1K_V1``, ``IMAGENET1K_FEATURES``), 528 MB. ``none``: random, as
            Keras draws them. Or the path of a file of either kind (.h5; .pth or .pt).
        preprocessing: ``workshop`` feeds RGB times 1/255, as the workshop did. ``imagenet`` feeds what
            the weights were trained with: BGR minus the ImageNet mean for Keras' weights, RGB
            normalised by mean and deviation for torchvision's.
        dense_units: width of the hidden dense layer.
        dropout: probability of dropping a hidden unit in training.
        learning_rate: step size of the optimizer.
        optimizer: ``keras_rmsprop`` (Keras 3's rule) or the name of a class in ``torch.optim``.
        optimizer_args: further arguments of the optimizer, for example ``{"alpha": 0.9, "eps": 1e-7}``
            with ``RMSprop``, which is the rule of the Keras of 2018.
        bf16_backbone: compute the frozen backbone in bfloat16, the head in full precision. Several times
            faster where the processor or GPU has bfloat16 units; features keep 2 to 3 digits.
        cached_views: number of augmented views of each training photograph; from then on they come again,
            and their features are kept instead of computed (33 MB per 1,000 photographs and view). The
            datamodule's ``views`` must say the same. 0 draws new views in every epoch, as the workshop did.
        load_weights: False builds the backbone without reading ``weights``, for a checkpoint that
            already holds them.

    Raises:
        UsageError: an argument is out of its range, or the optimizer is unknown.
        WeightsError: the weights cannot be downloaded or read.
    """

    name: ClassVar[str] = "vgg16"
    has_backbone: ClassVar[bool] = True

    def __init__(
        self,
        image_size: int = 150,
        weights: str = "keras",
        preprocessing: Preprocessing = "workshop",
        dense_units: int = 256,
        dropout: float = 0.4,
        learning_rate: float = 1e-3,
        optimizer: str = "keras_rmsprop",
        optimizer_args: dict[str, Any] | None = None,
        bf16_backbone: bool = False,
        cached_views: int = 0,
        load_weights: bool = True,
    ) -> None:
        super().__init__(image_size, learning_rate, optimizer, optimizer_args)
        # load_weights says how to build, not what was built: a checkpoint must not repeat it.
        self.save_hyperparameters(ignore=["load_weights"])
        if image_size < 32:
            raise UsageError(f"image_size {image_size} is too small for VGG16; give 32 or more")
        if cached_views < 0:
            raise UsageError(f"cached_views is {cached_views}; it must be 0 (off) or more")
        self.bf16_backbone = bf16_backbone
        self.cached_views = cached_views
        self.normalization = choose_normalization(weights, preprocessing)
        self.features = nn.Sequential(blocks())
        side = image_size // 32
        self.head = nn.Sequential(
            OrderedDict(
                flatten_1=KerasFlatten(),  # (N, 512, h, w) -> (N, h * w * 512)
                dense_1=nn.Linear(side * side * 512, dense_units),
                relu=nn.ReLU(inplace=True),
                dropout_1=nn.Dropout(dropout),
                dense_2=nn.Linear(dense_units, 1),  # (N, dense_units) -> (N, 1)
            )
        )
        glorot_uniform_(self)
        if load_weights and weights != "none":
            load_backbone(self.features, weights)
        self.features.requires_grad_(False)
        self.validation_features = FeatureCache()
        self.view_features = FeatureCache(VIEW_BYTES)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def rebuild_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments for building a network whose weights come from elsewhere: ``weights`` is not read."""
        return {**arguments, "load_weights": False}

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) in 0..255 -> what the backbone's weights are fed, float.

        ``workshop``: 0..1. ``imagenet``: about -124..151 for Keras' weights, about -2.1..2.6 for
        torchvision's V1.
        """
        if self.normalization is None:
            return self.rescale(pixels)
        return self.normalization(self.widen(pixels)).to(self.weight_dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of the second class.

        Args:
            pixels: (N, 3, S, S), RGB, 0..255, uint8 or float.

        Returns:
            (N,), unbounded; ``sigmoid`` gives the probability of the second class.
        """
        logits: Tensor = self.head(self.backbone(pixels))
        return logits.squeeze(1)

    def batch_logits(self, batch: Batch, batch_idx: int, stage: str) -> Tensor:
        """Logits (N,) of a batch; what is kept of its features does not go through the backbone again."""
        if stage == "val":
            features = self.validation_features.batch(batch_idx, lambda: self.backbone(batch[0]))
        elif stage == "train" and self.cached_views:
            view = self.trainer.current_epoch % self.cached_views
            keys = [(view, index) for index in batch[2].tolist()]
            features = self.view_features.samples(keys, lambda: self.backbone(batch[0]))
        else:
            features = self.backbone(batch[0])
        logits: Tensor = self.head(features)
        return logits.squeeze(1)

    def setup(self, stage: str) -> None:
        """Take over what the datamodule says of its images, and forget an earlier run's features.

        Raises:
            UsageError: the datamodule's image size or number of views is not the model's.
        """
        super().setup(stage)
        self.validation_features.clear()
        self.view_features.clear()
        drawn = getattr(getattr(self.trainer, "datamodule", None), "views", None)
        if stage == "fit" and self.cached_views and drawn != self.cached_views:
            raise UsageError(
                f"the model keeps {self.cached_views} views (cached_views), the datamodule draws "
                f"{drawn or 'new ones in every epoch'} (views); set both to the same number"
            )

    @torch.no_grad()
    def backbone(self, pixels: Tensor) -> Tensor:
        """The frozen part: pixels (N, 3, S, S) in 0..255 -> features (N, 512, S // 32, S // 32), >= 0."""
        x = self.preprocess(pixels).contiguous(memory_format=torch.channels_last)
        if not self.bf16_backbone:
            return self.features(x)  # type: ignore[no-any-return]
        with torch.autocast(x.device.type, torch.bfloat16):
            features: Tensor = self.features(x)
        return features.to(self.weight_dtype)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; the frozen backbone stays in evaluation mode."""
        super().train(mode)
        self.features.eval()
        return self


def choose_normalization(weights: str, preprocessing: str) -> Normalization | None:
    """The normalisation that a pair of arguments asks for; None is the workshop's plain rescaling.

    Raises:
        UsageError: the preprocessing is unknown, or asks for ImageNet's on random weights.
    """
    if preprocessing == "workshop":
        return None
    if preprocessing != "imagenet":
        raise UsageError(f"preprocessing {preprocessing!r} is unknown; valid are workshop, imagenet")
    if weights == "none":
        raise UsageError("preprocessing imagenet needs pretrained weights, got none; use workshop")
    return normalization(weights)


def blocks() -> "OrderedDict[str, nn.Module]":
    """VGG16's 13 convolutions, each with its ReLU, and 5 poolings under Keras' layer names."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    n_in = 3
    for b, widths in enumerate(BLOCKS, start=1):
        for c, n_out in enumerate(widths, start=1):
            layers[f"block{b}_conv{c}"] = ConvReLU(n_in, n_out, kernel_size=3, padding=1)
            n_in = n_out
        layers[f"block{b}_pool"] = nn.MaxPool2d(2)
    return layers
