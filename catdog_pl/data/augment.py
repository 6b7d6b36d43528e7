"""How training photographs are changed: by Keras' warp, by crops and colour, and by mixing two of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from catdog_pl.data.transforms import uniform_numbers

Augment = Literal["keras", "crop", "strong", "none"]
"""Keras' affine warp, random crops, these with rotation and colour, or no change."""

ASPECT = 4 / 3
"""Largest ratio of a crop's sides, as in torchvision's ``RandomResizedCrop``."""

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue give to grey (ITU-R BT.601), as in torchvision."""


class Augmentation(Protocol):
    """Parameters are sampled apart from applying them: on the host once an epoch, by sample index."""

    def sample(self, seed: int, epoch: int, count: int) -> Tensor:
        """Return a row of parameters for every photograph; row i depends on ``(seed, epoch, i)`` alone."""

    def apply(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        """Return a batch (N, 3, S, S) in 0..255, uint8 or float, changed by its rows: float32 in 0..255."""


@dataclass(frozen=True)
class RandomCrop:
    """Crops of random place, area and shape, resized to the whole; flip, rotation and colour.

    What torchvision's ``RandomResizedCrop``, ``RandomHorizontalFlip`` and ``ColorJitter`` do, but for a whole
    batch in one bilinear warp and one pass of arithmetic, so that a GPU waits for nothing. A crop has at
    most as many pixels as the output has: there is nothing that antialiasing would change.

    Attributes:
        scale: least part of the photograph's area that a crop shows.
        rotation: largest angle in degrees, in both directions; what lies outside is mirrored.
        color: brightness, contrast and saturation are multiplied by factors in 1 - color .. 1 + color.
        horizontal_flip: whether half of the images are mirrored.
    """

    scale: float
    rotation: float = 0.0
    color: float = 0.0
    horizontal_flip: bool = True

    def sample(self, seed: int, epoch: int, count: int) -> Tensor:
        """Return (count, 9) float64.

        Width and height as fractions of the photograph, x and y of the centre in -1..1, angle in degrees,
        flip (0 or 1), and the factors of brightness, contrast and saturation.
        """
        u = uniform_numbers(seed, epoch, count, 9)
        area, ratio = self.scale + (1 - self.scale) * u[:, 0], ASPECT ** (2 * u[:, 1] - 1)
        sides = np.sqrt(np.stack([area * ratio, area / ratio], axis=1)).clip(max=1)
        centre = (2 * u[:, 2:4] - 1) * (1 - sides)
        angle = self.rotation * (2 * u[:, 4:5] - 1)
        flip = (u[:, 5:6] < 0.5) & self.horizontal_flip
        factors = 1 + self.color * (2 * u[:, 6:] - 1)
        return torch.from_numpy(np.hstack([sides, centre, angle, flip, factors]))

    def apply(self, pixels: Tensor, parameters: Tensor) -> Tensor:
        """Return the crops, (N, 3, S, S) float32, 0..255, not rounded."""
        parameters = parameters.to(torch.float32).to(pixels.device, non_blocking=True)
        width, height, x, y, angle, flip = parameters[:, :6].unbind(1)
        cos, sin = torch.cos(angle * (math.pi / 180)), torch.sin(angle * (math.pi / 180))
        width = width * (1 - 2 * flip)
        rows = [
            torch.stack([width * cos, -height * sin, x], 1),
            torch.stack([width * sin, height * cos, y], 1),
        ]
        grid = functional.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
        crops = functional.grid_sample(
            pixels.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )
        return jitter(crops, parameters[:, 6:]) if self.color else crops


def jitter(pixels: Tensor, factors: Tensor) -> Tensor:
    """Return pixels after changes of brightness, contrast and saturation, in this order, in 0..255.

    With the factors b, c and s, the pixel p, its grey g and the image's mean grey m, torchvision's functions
    are, one after the other, ``b p``, ``c p + (1 - c) m`` and ``s p + (1 - s) g``; together
    ``b c (s p + (1 - s) g) + (1 - c) b m``. What leaves 0..255 is cut off once, at the end.

    Args:
        pixels: (N, 3, S, S) float, 0..255.
        factors: (N, 3), b, c and s of each image.
    """
    b, c, s = factors.view(-1, 3, 1, 1, 1).unbind(1)
    red, green, blue = (share * pixels[:, i : i + 1] for i, share in enumerate(LUMA))
    grey = red + green + blue  # (N, 1, S, S)
    rest = grey * (b * c * (1 - s)) + grey.mean((2, 3), keepdim=True) * (b * (1 - c))
    return torch.addcmul(rest, pixels, b * c * s).clamp_(0, 255)


@dataclass(frozen=True)
class Mixing:
    """MixUp and CutMix of torchvision: each photograph of a batch is mixed with the one before it.

    Attributes:
        mixup: alpha of the Beta distribution of MixUp's shares; 0 is without.
        cutmix: the same of CutMix; with both, each batch gets one of them.
        probability: of a batch to be mixed at all.
    """

    mixup: float
    cutmix: float
    probability: float

    def __call__(self, pixels: Tensor, labels: Tensor, seed: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return pixels (N, 3, S, S) and labels (N,) of a batch mixed, both float32; labels in 0..1.

        Args:
            pixels: (N, 3, S, S), uint8 or float.
            labels: (N,), 0 or 1.
            seed: numbers on which the mixture depends alone, such as seed, epoch and batch.
        """
        given = [(v2.MixUp, self.mixup), (v2.CutMix, self.cutmix)]
        either = v2.RandomChoice([kind(alpha=alpha) for kind, alpha in given if alpha])
        mix = v2.RandomApply([either], self.probability)
        with torch.random.fork_rng(devices=[]):  # they sample on the host, whatever the device
            torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            # A column of shares of the second class, so that the labels are not made one-hot.
            pixels, shares = mix(pixels.float(), labels.float().unsqueeze(1))
        return pixels, shares.squeeze(1)
