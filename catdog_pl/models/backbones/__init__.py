"""Networks without their last layers, pretrained or random, for a head to stand on."""

from abc import ABC, abstractmethod
from importlib import import_module
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from catdog_pl.errors import UsageError

BACKBONES: dict[str, str] = {"vgg16": "catdog_pl.models.backbones.vgg16:VGG16Backbone"}
"""Name -> ``module:Class``, imported when it is asked for."""


class Normalization(NamedTuple):
    """``(pixels - mean) / std`` of R, G and B in 0..255, given to the network in RGB or BGR order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise float pixels (N, 3, S, S) in 0..255, RGB; the shape stays."""
        mean = pixels.new_tensor(self.mean).view(3, 1, 1)
        std = pixels.new_tensor(self.std).view(3, 1, 1)
        normalised = (pixels - mean) / std
        return normalised.flip(1) if self.bgr else normalised


class Backbone(nn.Module, ABC):
    """A network from normalised pixels to features.

    Its parameters carry the layers' names, because checkpoints hold them as ``features.<layer>.*``. It is
    built with random values, but with the normalisation of the ``weights`` that it is going to hold.
    """

    min_size: ClassVar[int]
    """Side in pixels of the smallest image from which features are left."""

    normalization: Normalization | None
    """What its weights were trained with, None for random ones; the classifier applies it."""

    @abstractmethod
    def __init__(self, weights: str) -> None:
        super().__init__()

    @abstractmethod
    def load(self, weights: str) -> None:
        """Fill in pretrained weights, which are downloaded when they are named and not in the cache.

        Raises:
            WeightsError: they cannot be found, downloaded or read, or are another network's.
        """

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised pixels (N, 3, S, S) -> feature maps (N, C, h, w)."""

    def pool(self, features: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) -> what the head takes and caches keep; by default these maps."""
        return features

    def stages(self) -> list[nn.Module]:
        """Return the parts that can be trained separately, from input to output; together the network."""
        return list(self.children())

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pixels (N, 3, S, S) -> what the head takes."""
        return self.pool(self.forward_features(x))


def create_backbone(name: str, weights: str, load_weights: bool = True) -> Backbone:
    """Return a backbone by its name.

    Args:
        name: a key of ``BACKBONES``.
        weights: ``none``, or what the backbone knows by name, or the path of a file.
        load_weights: False leaves it with random values, for a checkpoint to fill in.
    """
    if name not in BACKBONES:
        raise UsageError(f"Backbone {name!r} is unknown; valid are {', '.join(BACKBONES)}")
    module, _, attribute = BACKBONES[name].partition(":")
    backbone: Backbone = getattr(import_module(module), attribute)(weights)
    if load_weights and weights != "none":
        backbone.load(weights)
    return backbone
