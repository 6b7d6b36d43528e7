"""Networks without their last layers, pretrained or random, for a head to stand on."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import deepcopy
from difflib import get_close_matches
from importlib import import_module
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from catdog_pl.errors import UsageError

LIBRARIES: dict[str, str] = {
    "": "catdog_pl.models.backbones.torchvision:TorchvisionBackbone",
    "timm": "catdog_pl.models.backbones.timm:TimmBackbone",
}
"""What stands before the slash of a backbone's name -> ``module:Class``, imported when it is asked for."""

CONTAINERS = ("features", "stages", "blocks", "layers", "trunk_output", "encoder", "classifier")
"""What the libraries call the parts of a network that hold its stages or blocks."""


class Normalization(NamedTuple):
    """``(pixels - mean) / std`` of R, G and B in 0..255, given to the network in RGB or BGR order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bgr: bool = False

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise float pixels (N, 3, S, S) in 0..255, RGB; the shape stays."""
        mean = pixels.new_tensor(self.mean).view(3, 1, 1)
        std = pixels.new_tensor(self.std).view(3, 1, 1)
        normalised = (pixels - mean) / std
        return normalised.flip(1) if self.bgr else normalised


class Backbone(nn.Module, ABC):
    """A network from normalised pixels to features.

    Its parameters carry the layers' names, because checkpoints hold them as ``features.<layer>.*``. It is
    built with random values, but with the preprocessing of the ``weights`` that it is going to hold.
    """

    min_size: ClassVar[int] = 1
    """Side in pixels of the smallest image from which features are left."""

    normalization: Normalization | None
    """What its weights were trained with, None for none in particular; the classifier applies it."""

    image_size: int = 224
    """Side in pixels of the images that its weights were made for."""

    resize: str = "bilinear"
    """Pillow's filter that makes these images."""

    @abstractmethod
    def __init__(self, weights: str) -> None:
        super().__init__()

    @abstractmethod
    def load(self, weights: str) -> None:
        """Fill in pretrained weights, which are downloaded when they are named and not in the cache.

        Raises:
            WeightsError: they cannot be found, downloaded or read, or are another network's.
        """

    def layers(self) -> dict[str, nn.Module]:
        """Return the parts of the network from input to output, by the names that its table shows."""
        return dict(self.named_children())

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised pixels (N, 3, S, S) -> feature maps (N, C, h, w), or tokens (N, L, C)."""

    def pool(self, features: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) -> what the head takes and caches keep; by default these maps."""
        return features

    def stages(self) -> list[nn.Module]:
        """Return the parts that can be trained separately, from input to output; together the network.

        Each begins with a convolution, a dense layer or a block of them. What has no such weights, as
        BatchNorm or pooling, belongs to the stage before; what lies in no layer, as a class token, to the
        first.
        """
        stages = [nn.ModuleList()]
        for layer in self.layers().values():
            if len(stages[-1]) and any(parameter.ndim > 1 for parameter in layer.parameters()):
                stages.append(nn.ModuleList())
            stages[-1].append(layer)
        held = {id(parameter) for stage in stages for parameter in stage.parameters()}
        loose = [parameter for parameter in self.parameters() if id(parameter) not in held]
        stages[0].append(nn.ParameterList(loose))
        return list(stages)

    def n_features(self, image_size: int) -> int:
        """Return how many features an image has after pooling, found without computing them.

        Raises:
            UsageError: the network takes no images of that size.
        """
        skeleton = deepcopy(self).to("meta").eval()
        try:
            return int(skeleton(torch.empty(1, 3, image_size, image_size, device="meta")).shape[1])
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UsageError(
                f"image_size {image_size} does not fit the backbone; its weights were made for "
                f"{self.image_size}"
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pixels (N, 3, S, S) -> what the head takes."""
        return self.pool(self.forward_features(x))


def parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of a network by their names, those in its containers one by one."""
    for name, part in module.named_children():
        if name in CONTAINERS:
            yield from parts(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", part


def nearest(name: str, known: Sequence[str]) -> str:
    """Return `` (did you mean resnet50?)`` for the known name most like this one, or nothing."""
    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def create_backbone(name: str, weights: str, load_weights: bool = True) -> Backbone:
    """Return a backbone by its name.

    Args:
        name: of a network of torchvision's, or ``timm/`` and the name of one of timm's.
        weights: ``none``, or what the library knows by name, or the path of a file.
        load_weights: False leaves it with random values, for a checkpoint to fill in.

    Raises:
        UsageError: there is no such network.
        WeightsError: the weights are not known, or cannot be found, downloaded or read.
    """
    library, _, network = name.rpartition("/")
    if library not in LIBRARIES:
        raise UsageError(f"Backbone {name!r} is unknown; before the slash may stand timm")
    module, _, attribute = LIBRARIES[library].partition(":")
    backbone: Backbone = getattr(import_module(module), attribute)(network, weights)
    if load_weights and weights != "none":
        backbone.load(weights)
    return backbone
