"""Any plain chain of Keras layers, described by plain values."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from catdog_pl.errors import UsageError
from catdog_pl.keras.config import MEAN_BGR, KerasLayer
from catdog_pl.keras.layers import Spec, build_chain, read_layer
from catdog_pl.keras.nn import KerasRescaling, glorot_uniform_
from catdog_pl.models.classifier import Classifier, ClassWeight
from catdog_pl.models.spec import WORKSHOP_SIZE

Pixels = Literal["rescale", "raw", "symmetric", "caffe"]
PIXELS: tuple[Pixels, ...] = get_args(Pixels)

MAX_LAYERS = 1_000  # of a chain; a checkpoint of somebody else could name millions

LUMA = (19_595, 38_470, 7_471)
"""65,536 times the shares of R, G and B in grey (ITU-R 601-2), as Pillow's ``convert("L")`` has them."""


class Sequential(Classifier):
    """A chain of Keras layers that ends in one unit with a sigmoid, as ``keras import`` makes it.

    Args:
        layers: each layer by its class and options in the words of Keras 3, those at Keras' defaults left
            out: ``{"class_name": "Conv2D", "name": "conv2d", "filters": 32, "kernel_size": [5, 5]}``.
        image_size: side of the square input in pixels; by default the workshop's 150.
        preprocessing: what the first layer takes: ``rescale`` RGB times 1/255, ``raw`` 0..255, ``symmetric``
            -1..1, ``caffe`` BGR minus the ImageNet mean.
        grey: whether the first layer takes one channel, the brightness.
        learning_rate: step size of the optimizer.
        optimizer: ``keras_rmsprop`` (Keras 3's rule) or the name of a class in ``torch.optim``.
        optimizer_args: further arguments of the optimizer.
        lr_scheduler: name of a class in ``torch.optim.lr_scheduler``; null keeps the learning rate.
        lr_scheduler_args: its arguments, and ``interval`` (epoch or step), ``frequency`` and ``monitor``.
        class_weight: ``balanced`` weighs the training loss of each photograph by n / (2 * n of its class),
            so that a rare class counts as much as a frequent one. By default all photographs count alike.
        label_smoothing: draws the labels of the training loss from 0 and 1 towards 0.5 by half of it.
        ema_decay: of the exponential moving average of the weights, such as 0.999: validation, checkpoints
            and predictions take the average. 0 is without.

    Raises:
        UsageError: there are no layers, they do not end in one sigmoid, or an argument is unknown.
        KerasFileError: a layer is unknown, has an option that is not valid, or does not fit the one before.
    """

    name: ClassVar[str] = "sequential"

    def __init__(
        self,
        layers: list[dict[str, Any]] | None = None,
        image_size: int | None = None,
        preprocessing: Pixels = "rescale",
        grey: bool = False,
        learning_rate: float = 1e-3,
        optimizer: str = "keras_rmsprop",
        optimizer_args: dict[str, Any] | None = None,
        lr_scheduler: str | None = None,
        lr_scheduler_args: dict[str, Any] | None = None,
        class_weight: ClassWeight | None = None,
        label_smoothing: float = 0.0,
        ema_decay: float = 0.0,
    ) -> None:
        image_size = image_size or WORKSHOP_SIZE
        super().__init__(
            image_size,
            learning_rate,
            optimizer,
            optimizer_args,
            lr_scheduler,
            lr_scheduler_args,
            class_weight,
            label_smoothing,
            ema_decay,
        )
        self.save_hyperparameters()
        self.grey = grey
        self.pixels = pixels_rule(preprocessing, grey)
        self.features, self.head = network(read_layers(layers), image_size, 1 if grey else 3)
        glorot_uniform_(self)
        self.to(memory_format=torch.channels_last)

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) in 0..255 -> (N, 3 or 1, S, S), what the first layer takes."""
        x = self.widen(luma(pixels) if self.grey else pixels)
        return self.pixels(x).to(self.weight_dtype)  # type: ignore[no-any-return]


def read_layers(layers: Sequence[dict[str, Any]] | None) -> list[Spec]:
    """Return the layers with all their options."""
    if not layers or len(layers) > MAX_LAYERS:
        count = "none" if not layers else len(layers)
        raise UsageError(f"layers are {count}; valid are 1 to {MAX_LAYERS}, which keras import makes")
    specs = [
        read_layer(KerasLayer(str(entry.get("class_name")), str(entry.get("name")), entry))
        for entry in layers
    ]
    names = [spec["name"] for spec in specs]
    if wrong := [name for i, name in enumerate(names) if name in names[:i] or not is_valid(name)]:
        raise UsageError(f"layers have the name {wrong[0]!r}, twice or not possible in PyTorch; give another")
    if specs[-1].get("activation") != "sigmoid":
        raise UsageError(f"layers end in {names[-1]}; the last one needs the activation sigmoid")
    return specs


def is_valid(name: str) -> bool:
    """Whether a module may have this name."""
    return bool(name) and "." not in name and not hasattr(nn.Sequential, name)


def network(specs: Sequence[Spec], size: int, channels: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the layers up to the last feature map, and those behind it, which give a logit."""
    specs = [*specs[:-1], specs[-1] | {"activation": "linear"}]  # the loss has the sigmoid
    built = list(build_chain(specs, (size, size, channels)))
    if (last := built[-1][1]) != (1,):
        raise UsageError(f"layers end in the shape {last}; valid is one unit")
    end = max((i for i, (_, shape) in enumerate(built, start=1) if len(shape) == 3), default=0)
    features, head = OrderedDict[str, nn.Module](), OrderedDict[str, nn.Module]()
    for i, (modules, _) in enumerate(built):
        (features if i < end else head).update(modules)
    return nn.Sequential(features), nn.Sequential(head)


def pixels_rule(preprocessing: str, grey: bool) -> nn.Module:
    """Return what turns pixels 0..255 into what the first layer takes."""
    if preprocessing not in PIXELS or (grey and preprocessing == "caffe"):
        valid = ", ".join(PIXELS[:3] if grey else PIXELS)
        raise UsageError(f"preprocessing {preprocessing!r} is unknown{' for grey' * grey}; valid are {valid}")
    if preprocessing == "caffe":
        return KerasRescaling([1.0], [-value for value in MEAN_BGR], bgr=True)
    factor, summand = {"rescale": (1 / 255, 0.0), "symmetric": (1 / 127.5, -1.0)}.get(
        preprocessing, (1.0, 0.0)
    )
    return nn.Identity() if preprocessing == "raw" else KerasRescaling([factor], [summand])


def luma(pixels: Tensor) -> Tensor:
    """RGB (N, 3, S, S) -> grey (N, 1, S, S): of bytes what Pillow's ``convert("L")`` gives."""
    if pixels.is_floating_point():
        return (pixels * pixels.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True) / 2**16
    shares = torch.tensor(LUMA, device=pixels.device).view(3, 1, 1)
    return ((pixels * shares).sum(1, keepdim=True) + 2**15) >> 16
