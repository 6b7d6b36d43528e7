"""The workshop's basic model: three convolution blocks, trained from scratch."""

from collections import OrderedDict
from typing import Any, ClassVar, get_args

import torch
from torch import nn

from catdog_pl.errors import UsageError, validate_range
from catdog_pl.keras.nn import KerasFlatten, glorot_uniform_
from catdog_pl.models.backbones import Normalization
from catdog_pl.models.classifier import Classifier, ClassWeight, Preprocessing
from catdog_pl.models.convolution import ConvBlocks
from catdog_pl.models.spec import WORKSHOP_SIZE

IMAGENET = Normalization((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), bgr=False)
"""Mean and deviation of ImageNet's pixels, with which torchvision's networks are trained."""


class Basic(Classifier):
    """The 3-block CNN: (3x3 convolution, 2x2 max-pooling, ReLU) per block, dense, one logit.

    With the default arguments 4,791,809 parameters, all trainable.

    Args:
        image_size: side of the square input in pixels; by default the workshop's 150.
        filters: output channels of each block's convolution.
        dense_units: width of the hidden dense layer.
        preprocessing: ``workshop`` feeds RGB times 1/255, as the workshop did. ``imagenet`` feeds RGB
            normalised by the mean and deviation of ImageNet.
        dropout: probability of dropping an input of each dense layer in training.
        learning_rate: step size of the optimizer.
        optimizer: ``keras_rmsprop`` (Keras 3's rule) or the name of a class in ``torch.optim``.
        optimizer_args: further arguments of the optimizer, for example ``{"alpha": 0.9, "eps": 1e-7}``
            with ``RMSprop``, which is the rule of the Keras of 2018.
        lr_scheduler: name of a class in ``torch.optim.lr_scheduler``; null keeps the learning rate.
        lr_scheduler_args: its arguments, and ``interval`` (epoch or step), ``frequency`` and ``monitor``.
        class_weight: ``balanced`` weighs the training loss of each photograph by n / (2 * n of its class),
            so that a rare class counts as much as a frequent one. By default all photographs count alike.
        label_smoothing: draws the labels of the training loss from 0 and 1 towards 0.5 by half of it.
        ema_decay: of the exponential moving average of the weights, such as 0.999: validation, checkpoints
            and predictions take the average. 0 is without.

    Raises:
        UsageError: the image is too small for that many blocks, the optimizer is unknown, or a number is out
            of its range.
    """

    name: ClassVar[str] = "basic"
    TUNABLE = Classifier.TUNABLE | {"dropout"}

    features: ConvBlocks

    def __init__(
        self,
        image_size: int | None = None,
        filters: tuple[int, ...] = (32, 64, 64),
        dense_units: int = 256,
        learning_rate: float = 1e-3,
        optimizer: str = "keras_rmsprop",
        optimizer_args: dict[str, Any] | None = None,
        lr_scheduler: str | None = None,
        lr_scheduler_args: dict[str, Any] | None = None,
        class_weight: ClassWeight | None = None,
        label_smoothing: float = 0.0,
        ema_decay: float = 0.0,
        dropout: float = 0.0,
        preprocessing: Preprocessing = "workshop",
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
        if preprocessing not in get_args(Preprocessing):
            raise UsageError(f"preprocessing {preprocessing!r} is unknown; valid are workshop, imagenet")
        self.normalization = IMAGENET if preprocessing == "imagenet" else None
        validate_range("filters", min(filters, default=1), 1)
        validate_range("dense_units", dense_units, 1)
        validate_range("dropout", dropout, 0, 1)
        side = output_side(image_size, len(filters))
        self.features = ConvBlocks(blocks(filters))
        layers = OrderedDict[str, nn.Module](
            flatten_1=KerasFlatten(),  # (N, C, h, w) -> (N, h * w * C)
            **({"dropout_1": nn.Dropout(dropout)} if dropout else {}),
            dense_1=nn.Linear(side * side * filters[-1], dense_units),
            relu=nn.ReLU(inplace=True),
            **({"dropout_2": nn.Dropout(dropout)} if dropout else {}),
            dense_2=nn.Linear(dense_units, 1),  # (N, dense_units) -> (N, 1)
        )
        self.head = nn.Sequential(layers)
        glorot_uniform_(self)
        self.to(memory_format=torch.channels_last)


def output_side(image_size: int, n_blocks: int) -> int:
    """Return height and width of the last block's output.

    A valid 3x3 convolution takes 2 pixels off, a 2x2 max-pooling halves and rounds down.
    """
    side = image_size
    for _ in range(n_blocks):
        side = (side - 2) // 2
    if side < 1 or n_blocks < 1:
        raise UsageError(
            f"image_size {image_size} with {n_blocks} convolution blocks leaves no pixels; "
            "give at least one block and larger images"
        )
    return side


def blocks(filters: tuple[int, ...]) -> "OrderedDict[str, nn.Module]":
    """Return the convolution blocks under the layer names of the workshop's Keras summary.

    Pooling comes before the ReLU: both are monotone, so the numbers and gradients are the same, and the
    ReLU runs on a quarter of the pixels.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (n_in, n_out) in enumerate(zip((3, *filters), filters, strict=False), start=1):
        layers[f"conv2d_{i}"] = nn.Conv2d(n_in, n_out, kernel_size=3)
        layers[f"max_pooling2d_{i}"] = nn.MaxPool2d(2)
        layers[f"relu_{i}"] = nn.ReLU(inplace=True)
    return layers
