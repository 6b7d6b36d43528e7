"""The workshop's advanced model: a frozen VGG16 backbone under a small head."""

from collections import OrderedDict
from typing import Any, ClassVar

import torch
from torch import nn

from catdog_pl.errors import UsageError, validate_range
from catdog_pl.keras.nn import KerasFlatten, glorot_uniform_
from catdog_pl.models.backbones import Backbone, Normalization
from catdog_pl.models.backbones.vgg16 import VGG16Backbone
from catdog_pl.models.classifier import ClassWeight, Preprocessing
from catdog_pl.models.spec import WORKSHOP_SIZE
from catdog_pl.models.transfer import Bfloat16, TransferClassifier, Unfreeze


class VGG16(TransferClassifier):
    """VGG16 features, frozen; then flatten, dense, dropout, one logit.

    With the default arguments 16,812,353 parameters, of which 2,097,665 train.

    Args:
        image_size: side of the square input in pixels, at least 32; by default the workshop's 150.
        weights: where the backbone's weights come from. ``keras``: the file that Keras publishes and
            the workshop used, 59 MB, downloaded once into torch.hub's cache and checked. A name of
            torchvision's (``IMAGENET1K_V1``, ``IMAGENET1K_FEATURES``), 528 MB. ``none``: random, as
            Keras makes them. Or the path of a file of either kind (.h5; .pth or .pt).
        preprocessing: ``workshop`` feeds RGB times 1/255, as the workshop did. ``imagenet`` feeds what
            the weights were trained with: BGR minus the ImageNet mean for Keras' weights, RGB
            normalised by mean and deviation for torchvision's.
        dense_units: width of the hidden dense layer.
        dropout: probability of dropping a hidden unit in training.
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
        bf16_backbone: compute the frozen backbone in bfloat16, the head in full precision. Several times
            faster where the processor or GPU has bfloat16 units; features keep 2 to 3 digits. Elsewhere it
            would be about 100 times slower, and float32 is used; ``always`` insists.
        cached_views: number of augmented views of each training photograph; then they come again, and
            their features are kept instead of computed (33 MB per 1,000 photographs and view). 0 makes new
            views in every epoch, as the workshop did.
        unfreeze: number of the backbone's last blocks that train with the head, or ``all``.
        unfreeze_at: epoch from which they do, counted from 0; until then the whole backbone is frozen.
        backbone_learning_rate: their learning rate, by default a tenth of the head's.
        load_weights: False builds the backbone without reading ``weights``, for a checkpoint that
            already holds them.

    Raises:
        UsageError: an argument is out of its range, or the optimizer is unknown.
        WeightsError: the weights cannot be downloaded or read.
    """

    name: ClassVar[str] = "vgg16"
    TUNABLE = TransferClassifier.TUNABLE | {"dropout"}

    def __init__(
        self,
        image_size: int | None = None,
        weights: str = "keras",
        preprocessing: Preprocessing = "workshop",
        dense_units: int = 256,
        dropout: float = 0.4,
        learning_rate: float = 1e-3,
        optimizer: str = "keras_rmsprop",
        optimizer_args: dict[str, Any] | None = None,
        lr_scheduler: str | None = None,
        lr_scheduler_args: dict[str, Any] | None = None,
        class_weight: ClassWeight | None = None,
        label_smoothing: float = 0.0,
        ema_decay: float = 0.0,
        bf16_backbone: Bfloat16 = False,
        cached_views: int = 0,
        unfreeze: Unfreeze = 0,
        unfreeze_at: int = 0,
        backbone_learning_rate: float | None = None,
        load_weights: bool = True,
    ) -> None:
        image_size = image_size or WORKSHOP_SIZE
        backbone = VGG16Backbone(weights)
        validate_range("dense_units", dense_units, 1)
        validate_range("dropout", dropout, 0, 1)
        side = image_size // 32
        head = OrderedDict[str, nn.Module](
            flatten_1=KerasFlatten(),  # (N, 512, h, w) -> (N, h * w * 512)
            dense_1=nn.Linear(side * side * 512, dense_units),
            relu=nn.ReLU(inplace=True),
            dropout_1=nn.Dropout(dropout),
            dense_2=nn.Linear(dense_units, 1),  # (N, dense_units) -> (N, 1)
        )
        super().__init__(
            backbone,
            head,
            normalization=choose_normalization(backbone, preprocessing),
            bf16_backbone=bf16_backbone,
            cached_views=cached_views,
            unfreeze=unfreeze,
            unfreeze_at=unfreeze_at,
            backbone_learning_rate=backbone_learning_rate,
            image_size=image_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            optimizer_args=optimizer_args,
            lr_scheduler=lr_scheduler,
            lr_scheduler_args=lr_scheduler_args,
            class_weight=class_weight,
            label_smoothing=label_smoothing,
            ema_decay=ema_decay,
        )
        # load_weights says how to build, not what was built: a checkpoint must not repeat it.
        self.save_hyperparameters(ignore=["load_weights"])
        glorot_uniform_(self)
        if load_weights and weights != "none":
            backbone.load(weights)
        self.to(memory_format=torch.channels_last)


def choose_normalization(backbone: Backbone, preprocessing: str) -> Normalization | None:
    """Return the normalisation that ``preprocessing`` stands for; None is the workshop's plain rescaling."""
    if preprocessing == "workshop":
        return None
    if preprocessing != "imagenet":
        raise UsageError(f"preprocessing {preprocessing!r} is unknown; valid are workshop, imagenet")
    if backbone.normalization is None:
        raise UsageError("preprocessing imagenet needs pretrained weights, got none; use workshop")
    return backbone.normalization
