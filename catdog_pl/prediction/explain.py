"""Where a network saw its answer: Grad-CAM for every model here, as numbers and laid over the picture."""

from math import isqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from catdog_pl.errors import UsageError
from catdog_pl.models.backbones import Backbone
from catdog_pl.models.classifier import Classifier

STOPS = ((13, 8, 135), (126, 3, 168), (204, 71, 120), (248, 149, 64), (240, 249, 33))
"""Matplotlib's colour map ``plasma`` at 0, 1/4 .. 1: it gets brighter as evenly as warmer."""

OPACITY = 0.7
"""The share of the colour where the heat is 1; it falls with the heat, so that the picture is recognised."""


def grad_cam(model: Classifier, pixels: Tensor, is_second: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return where a class is seen, heat (N, S, S), and the logits (N,).

    Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): the last feature maps, each weighed by the mean of the
    logit's gradient in it, are summed, negative sums set to 0, and resized bilinearly. Of a transformer, the
    maps are the tokens before its last block: behind it, the class token alone may lead to the answer.

    Args:
        model: is put into evaluation mode.
        pixels: (N, 3, S, S) in 0..255, uint8 or float, on the model's device.
        is_second: (N,), whether the class is the second one (dog); by default the one that is answered.

    Returns:
        The heat as float32 in 0..1, in each picture 1 at its hottest place, or 0 everywhere; and the logits.

    Raises:
        UsageError: the model has no feature maps, or of its tokens one alone reaches the head.
    """
    network, name = model.features, model.hparams.get("backbone", model.name)
    found: list[Tensor] = []

    def begin(maps: Any) -> Tensor:
        """Record gradients from here on."""
        if not isinstance(maps, Tensor) or maps.ndim not in (3, 4):
            raise UsageError(f"{name} cannot be explained: Grad-CAM needs feature maps, and it has none")
        torch.set_grad_enabled(True)
        found.append(maps.detach().requires_grad_())
        return found[0]

    def begin_at_tokens(_: object, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x = inputs[0]
        is_tokens = isinstance(x, Tensor) and x.ndim == 3 and len(x) == len(pixels)
        return (begin(x), *inputs[1:]) if is_tokens else inputs

    def features(x: Tensor) -> Tensor:
        if isinstance(network, Backbone):
            last_block = next(network.stages()[-1].children())
            with last_block.register_forward_pre_hook(begin_at_tokens):
                maps = network.forward_features(x)
            return network.pool(maps if found else begin(maps))
        for layer in network.children():
            before, x = x, layer(x)
            if x.shape[2:] == (1, 1) and not found:  # a mean that is still a map
                x = layer(begin(before))
        return x if found else begin(x)

    if next(network.parameters(), None) is None:
        raise UsageError(f"{name} cannot be explained: Grad-CAM needs convolutions, and it has none")
    model.eval()
    with torch.inference_mode(False), torch.no_grad():
        logits = model.head(model.extract(pixels, features)).squeeze(1)
        is_second = logits > 0 if is_second is None else is_second.to(logits.device)
        (gradient,) = torch.autograd.grad(torch.where(is_second, logits, -logits).sum(), found)
    maps, gradient = found[0].detach().float(), gradient.float()
    if isinstance(network, Backbone):
        maps, gradient = as_maps(maps), as_maps(gradient)
    if found[0].ndim == 3 and (maps.shape[2] == 1 or not gradient.any()):
        raise UsageError(f"{name} cannot be explained: of its tokens, one alone reaches the head")
    heat = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    heat = functional.interpolate(heat, pixels.shape[2:], mode="bilinear").squeeze(1)
    peak = heat.amax((1, 2), keepdim=True)
    return heat / peak.clamp_min(torch.finfo(heat.dtype).tiny), logits.detach()


def as_maps(features: Tensor) -> Tensor:
    """Return a backbone's tokens (N, L, C), maps (N, h, h, C) or maps (N, C, h, h) as the last of these.

    The tokens of patches come behind those of the class and of registers.
    """
    if features.ndim == 3:
        side = isqrt(features.shape[1])
        features = features[:, -side * side :].reshape(len(features), side, side, -1)
    elif features.shape[2] == features.shape[3]:
        return features
    return features.movedim(3, 1)


def overlay(picture: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """Return a picture under the colours of its heat (h, w) in 0..1: mode RGB, the picture's size."""
    level = Image.fromarray(np.uint8(np.rint(heat * 255))).resize(picture.size, Image.Resampling.BICUBIC)
    opacity = level.point([round(OPACITY * value) for value in range(256)])
    places = np.linspace(0, len(STOPS) - 1, 256)
    channels = [np.interp(places, range(len(STOPS)), channel) for channel in zip(*STOPS, strict=True)]
    level.putpalette(np.array(channels).T.astype(np.uint8).tobytes())
    return Image.composite(level.convert("RGB"), picture.convert("RGB"), opacity)


def explanation(
    model: Classifier, pixels: NDArray[np.uint8], picture: Image.Image, is_second: bool
) -> Image.Image:
    """Return a picture under the heat of a class; ``pixels`` (S, S, 3) is what the model takes of it."""
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # (1, 3, S, S)
    heat, _ = grad_cam(model, batch.to(next(model.parameters()).device), torch.tensor([is_second]))
    return overlay(picture, heat[0].cpu().numpy())
