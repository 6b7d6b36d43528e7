"""Every classification network of torchvision's, without its classifier, under its own layer names."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from catdog_pl.errors import UsageError, WeightsError
from catdog_pl.models.backbones import Backbone, Normalization, nearest, parts
from catdog_pl.models.backbones.weights import TORCH_SUFFIXES, cached_file, existing_file, fill, read_state

CLASSIFIERS = (
    "aux1", "aux2", "AuxLogits", "avgpool", "dropout", "flatten", "classifier", "fc", "head", "heads",
)  # fmt: skip
"""What comes after the feature maps, in the words of all these networks."""


class TorchvisionBackbone(Backbone):
    """A network of torchvision's registry, as ``net``, from pixels to one vector of features.

    That vector is what its last layer takes, where pooling and normalisation alone lead there. Else it is
    the mean of the feature maps.

    Args:
        name: one of ``torchvision.models.list_models(module=torchvision.models)``.
        weights: ``DEFAULT`` or another of its published weights; ``none``, or the path of a state dict (.pth
            or .pt), which are preprocessed as ``DEFAULT``.

    Raises:
        UsageError: there is no such network.
        WeightsError: there are no such weights.
    """

    def __init__(self, name: str, weights: str) -> None:
        super().__init__(weights)
        known = models.list_models(module=models)
        if name not in known:
            raise UsageError(
                f"Backbone {name!r} is unknown{nearest(name, known)}; valid are the classification networks "
                "of torchvision, such as resnet50, and timm/NAME"
            )
        self.name = name
        self.weights_enum = models.get_model_weights(name)
        preset = self._published(weights).transforms()
        (self.image_size,), self.resize = preset.crop_size, preset.interpolation.value
        (r, g, b), (sr, sg, sb) = preset.mean, preset.std
        self.normalization = Normalization((255 * r, 255 * g, 255 * b), (255 * sr, 255 * sg, 255 * sb))
        self.net = self._build()
        self.published_keys = frozenset(self.net.state_dict())
        self._behead()

    def _published(self, weights: str) -> models.WeightsEnum:
        """Return the published weights of a name, and ``DEFAULT`` for a file or none."""
        if weights in self.weights_enum.__members__:
            return self.weights_enum[weights]
        if weights == "none" or Path(weights).suffix.lower() in TORCH_SUFFIXES:
            return self.weights_enum.DEFAULT
        raise WeightsError(
            f"weights {weights!r} is unknown for {self.name}; valid are "
            f"{', '.join(self.weights_enum.__members__)}, none, or the path of a .pth or .pt file"
        )

    def _build(self) -> nn.Module:
        """Return torchvision's whole network with random weights."""
        arguments: dict[str, object] = {}
        if self.name in ("googlenet", "inception_v3"):
            arguments = {"init_weights": True}  # the default, which warns that it will change
        if self.name.startswith("vit_"):  # of a fixed size, and that of some weights is not the default
            arguments = {"image_size": self.image_size}
        device = torch.get_default_device()
        # RegNet computes its widths by tensors, which a skeleton on the meta device could not read.
        with torch.device("cpu" if self.name.startswith("regnet") else device):
            net: nn.Module = models.get_model_builder(self.name)(**arguments)
        return net.to(device)

    def _behead(self) -> None:
        """Take away what comes after the features."""
        net = self.net
        for name in CLASSIFIERS:
            if name == "classifier" and isinstance(net, models.ConvNeXt | models.MaxVit):
                del net.classifier[-1]  # what is left normalises the pooled features
            elif hasattr(net, name):
                delattr(net, name)
        if isinstance(net, models.DenseNet):  # its forward applies it as a function
            net.features.add_module("relu", nn.ReLU())
        if isinstance(net, models.GoogLeNet | models.Inception3):  # their forward changes pixels to this
            self.normalization = Normalization((127.5,) * 3, (127.5,) * 3)

    def load(self, weights: str) -> None:
        """Fill in published weights by their name, or those of a state dict in torchvision's layout."""
        is_named = weights in self.weights_enum.__members__
        path = cached_file(weights, self.weights_enum[weights].url) if is_named else existing_file(weights)
        state = read_state(path)
        if isinstance(self.net, models.DenseNet):  # whose published files have the layer names of 2017
            state = {re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key): state[key] for key in state}
        fill(self.net, state, self.published_keys, f"weights {weights}", self.name)

    def layers(self) -> dict[str, nn.Module]:
        """Return the parts of the network that are called one after another, by their names in ``net``."""
        return dict(parts(self.net))

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised pixels (N, 3, S, S) -> feature maps (N, C, h, w), or tokens (N, L, C)."""
        net = self.net
        if isinstance(net, models.VisionTransformer):
            patches = net.conv_proj(x).flatten(2).transpose(1, 2)  # (N, L - 1, C)
            tokens: Tensor = net.encoder(torch.cat([net.class_token.expand(len(x), -1, -1), patches], dim=1))
            return tokens
        for name, layer in self.layers().items():
            if not name.startswith("classifier"):
                x = layer(x)
        return x

    def pool(self, features: Tensor) -> Tensor:
        """Feature maps -> their means, normalised where the network does it; tokens -> the class token."""
        if isinstance(self.net, models.VisionTransformer):
            return features[:, 0]
        pooled = features.mean((2, 3), keepdim=True)
        for layer in getattr(self.net, "classifier", ()):
            pooled = layer(pooled)
        return pooled.flatten(1)
