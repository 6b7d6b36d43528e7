"""Every network of timm's, without its classifier, under its own layer names."""

import logging
from importlib import import_module
from pathlib import Path

from torch import Tensor, nn

from catdog_pl.errors import UsageError, WeightsError, first_line
from catdog_pl.models.backbones import Backbone, Normalization, nearest, parts
from catdog_pl.models.backbones.weights import SAFETENSORS, TORCH_SUFFIXES, existing_file, fill, read_state

SUFFIXES = (*TORCH_SUFFIXES, SAFETENSORS)


class TimmBackbone(Backbone):
    """A network of timm's, as ``net``, from pixels to the features that its last layer takes.

    Args:
        name: as ``timm.create_model`` takes it, with or without the tag of its weights.
        weights: ``DEFAULT``, downloaded as timm does it; ``none``, or the path of a state dict in timm's
            layout (.pth, .pt or .safetensors). Size, filter and normalisation are those of ``DEFAULT``.

    Raises:
        UsageError: timm is not installed, or has no such network.
        WeightsError: there are no such weights.
    """

    def __init__(self, name: str, weights: str) -> None:
        super().__init__(weights)
        try:
            timm = import_module("timm")
        except ImportError as error:
            raise UsageError(
                f"--backbone timm/{name} needs timm, which is not installed: pip install 'catdog_pl[timm]'"
            ) from error
        known = {*timm.list_models(), *timm.list_models(include_tags=True)}
        if name not in known:  # create_model downloads what some other names say, and checkpoints hold names
            proposal = nearest(f"timm/{name}", [f"timm/{each}" for each in known])
            raise UsageError(
                f"Backbone 'timm/{name}' is unknown{proposal}; valid are the names of timm.list_models()"
            )
        if weights not in ("DEFAULT", "none") and Path(weights).suffix.lower() not in SUFFIXES:
            raise WeightsError(
                f"weights {weights!r} is unknown for timm/{name}; valid are DEFAULT, none, or the path of a "
                f"{', '.join(SUFFIXES)} file; other published weights have a name of their own, such as "
                "timm/resnet50.a1_in1k"
            )
        self.name = name
        self.net = timm.create_model(name)
        config = self.net.pretrained_cfg
        self.image_size, self.resize = config["input_size"][-1], config["interpolation"]
        (r, g, b), (sr, sg, sb) = config["mean"], config["std"]
        self.normalization = Normalization((255 * r, 255 * g, 255 * b), (255 * sr, 255 * sg, 255 * sb))
        self.published_keys = frozenset(self.net.state_dict())
        self.net.reset_classifier(0)

    def load(self, weights: str) -> None:
        """Fill in timm's published weights, or those of a state dict in its layout."""
        state = published_state(self.name) if weights == "DEFAULT" else read_state(existing_file(weights))
        fill(self.net, state, self.published_keys, f"weights {weights}", self.name)

    def layers(self) -> dict[str, nn.Module]:
        """Return the parts of the network, by their names in ``net``."""
        return dict(parts(self.net))

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised pixels (N, 3, S, S) -> maps, or tokens (N, L, C); some have channels last."""
        features: Tensor = self.net.forward_features(x)
        return features

    def pool(self, features: Tensor) -> Tensor:
        """Feature maps or tokens -> the features (N, C) that the network's last layer would take."""
        pooled: Tensor = self.net.forward_head(features, pre_logits=True)
        return pooled


def published_state(name: str) -> dict[str, Tensor]:
    """Return the weights that timm publishes for a network, from its cache or downloaded into it."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells each attempt to get through
    try:
        net: nn.Module = import_module("timm").create_model(name, pretrained=True)
    except Exception as error:  # timm's own, huggingface_hub's, and those of what they download with
        raise WeightsError(
            f"weights DEFAULT of timm/{name} cannot be downloaded ({first_line(error)}); give a file of them "
            "with --model.weights PATH, or train without: --model.weights none"
        ) from error
    return net.state_dict()
