"""VGG16 without its dense layers, and the files that hold its weights: Keras' and torchvision's."""

import re
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models import VGG16_Weights

from catdog_pl.errors import KerasFileError, WeightsError
from catdog_pl.keras.config import MEAN_BGR
from catdog_pl.keras.weights import conv_weights
from catdog_pl.models.backbones import Backbone, Normalization
from catdog_pl.models.backbones.weights import TORCH_SUFFIXES, cached_file, existing_file, read_state
from catdog_pl.models.convolution import ConvReLU

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the convolutions in each block: configuration D of Simonyan and Zisserman 2014."""

KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
"""The original Caffe weights of Simonyan and Zisserman as Keras publishes them, kernels for BGR; 59 MB."""

KERAS_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{KERAS_FILE}"
KERAS_DIGEST = "md5:6d6bbae143d832006294945121d1f1fc"
"""As listed in ``keras/src/applications/vgg16.py``; md5 is what Keras publishes."""

TORCHVISION_NAMES = tuple(VGG16_Weights.__members__)
KERAS_SUFFIXES = (".h5", ".hdf5")


class VGG16Backbone(Backbone):
    """VGG16's 13 convolutions, each with its ReLU, and 5 poolings, under Keras' layer names."""

    min_size: ClassVar[int] = 32

    def __init__(self, weights: str) -> None:
        super().__init__(weights)
        self.normalization = None if weights == "none" else normalization(weights)
        n_in = 3
        for b, widths in enumerate(BLOCKS, start=1):
            for c, n_out in enumerate(widths, start=1):
                self.add_module(f"block{b}_conv{c}", ConvReLU(n_in, n_out, kernel_size=3, padding=1))
                n_in = n_out
            self.add_module(f"block{b}_pool", nn.MaxPool2d(2))

    def load(self, weights: str) -> None:
        """Fill in the weights of ``keras``, of a name of torchvision's, or of a file of either kind."""
        convolutions = [layer for layer in self.children() if isinstance(layer, nn.Conv2d)]
        if convolutions[0].weight.is_meta:
            raise WeightsError(
                "weights cannot be loaded into a model on the meta device; set load_weights false"
            )
        pairs = keras_pairs(weights) if is_keras(weights) else torchvision_pairs(weights)
        if len(pairs) != len(convolutions):
            raise WeightsError(f"weights {weights}: {len(pairs)} convolutions, VGG16 has {len(convolutions)}")
        for layer, (kernel, bias) in zip(convolutions, pairs, strict=True):
            assert layer.bias is not None
            if kernel.shape != layer.weight.shape or bias.shape != layer.bias.shape:
                raise WeightsError(
                    f"weights {weights}: a kernel of shape {tuple(kernel.shape)} where VGG16 has "
                    f"{tuple(layer.weight.shape)}; this is not a VGG16 file"
                )
            with torch.no_grad():
                layer.weight.copy_(kernel)
                layer.bias.copy_(bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised pixels (N, 3, S, S) -> feature maps (N, 512, S // 32, S // 32), >= 0."""
        for layer in self.children():
            x = layer(x)
        return x

    def stages(self) -> list[nn.Module]:
        """Return the five blocks."""
        blocks = groupby(self.named_children(), key=lambda child: child[0].partition("_")[0])
        return [nn.ModuleList(layer for _, layer in block) for _, block in blocks]


def is_keras(weights: str) -> bool:
    """Return whether a value of ``weights`` names weights in Keras' form, not torchvision's."""
    suffix = Path(weights).suffix.lower()
    if weights == "keras" or suffix in KERAS_SUFFIXES:
        return True
    if weights in TORCHVISION_NAMES or suffix in TORCH_SUFFIXES:
        return False
    raise WeightsError(
        f"weights {weights!r} is unknown; valid are keras, {', '.join(TORCHVISION_NAMES)}, none, "
        f"or the path of a {', '.join(KERAS_SUFFIXES + TORCH_SUFFIXES)} file"
    )


def normalization(weights: str) -> Normalization:
    """Return what the weights were trained with; a .pth or .pt file counts as torchvision's IMAGENET1K_V1."""
    if is_keras(weights):
        return Normalization(MEAN_BGR[::-1], (1.0, 1.0, 1.0), bgr=True)
    name = weights if weights in TORCHVISION_NAMES else "IMAGENET1K_V1"
    preset = VGG16_Weights[name].transforms()
    r, g, b = (255 * value for value in preset.mean)
    sr, sg, sb = (255 * value for value in preset.std)
    return Normalization((r, g, b), (sr, sg, sb), bgr=False)


def keras_pairs(weights: str) -> list[tuple[Tensor, Tensor]]:
    """Return kernels (out, in, 3, 3) and biases (out,) of a Keras file, in layer order."""
    path = cached_file(weights, KERAS_URL, KERAS_DIGEST) if weights == "keras" else existing_file(weights)
    try:
        return conv_weights(path)
    except KerasFileError as error:
        raise WeightsError(f"weights {weights}: {error}") from error


def torchvision_pairs(weights: str) -> list[tuple[Tensor, Tensor]]:
    """Return kernels (out, in, 3, 3) and biases (out,) of ``features.*`` in torchvision's state dict."""
    url = VGG16_Weights[weights].url if weights in TORCHVISION_NAMES else None
    state = read_state(cached_file(weights, url) if url else existing_file(weights))
    kernels = [key for key in state if re.fullmatch(r"features\.[0-9]{1,3}\.weight", key)]
    kernels.sort(key=lambda key: int(key.split(".")[1]))
    try:
        return [(state[key], state[key.removesuffix("weight") + "bias"]) for key in kernels]
    except KeyError as error:
        raise WeightsError(f"weights {weights}: {error} is missing; this is not a VGG16 file") from error
