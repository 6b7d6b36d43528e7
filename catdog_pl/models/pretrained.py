"""Any pretrained network of torchvision or timm, frozen, under a small head."""

from collections import OrderedDict
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from catdog_pl.errors import UsageError, validate_range
from catdog_pl.models.backbones import Normalization, create_backbone
from catdog_pl.models.classifier import ClassWeight
from catdog_pl.models.transfer import Bfloat16, TransferClassifier, Unfreeze

Head = Literal["linear", "mlp"]


class Transfer(TransferClassifier):
    """The pooled features of a pretrained network, frozen; then normalisation, and one or two dense layers.

    Photographs are resized to the size and by the filter that the network's weights were made with, squashed
    to the square, and normalised by their mean and deviation.

    Args:
        backbone: a classification network of torchvision, such as ``resnet50``, or ``timm/`` and the name of
            one of timm's, which needs the package timm.
        weights: ``DEFAULT``, or another name of torchvision's such as ``IMAGENET1K_V1``: downloaded once into
            torch.hub's cache and checked. ``none``: random. Or the path of a state dict in the library's
            layout (.pth or .pt; for timm also .safetensors).
        head: ``linear``, or ``mlp`` with a hidden layer.
        dense_units: width of the hidden layer.
        dropout: probability of dropping a hidden unit in training.
        image_size: side of the square input in pixels; by default that of the weights.
        normalization: mean and deviation of R, G and B on 0..255, two lists of three; by default those of the
            weights.
        learning_rate: step size of the optimizer.
        optimizer: the name of a class in ``torch.optim``, or ``keras_rmsprop`` (Keras 3's rule).
        optimizer_args: further arguments of the optimizer.
        lr_scheduler: name of a class in ``torch.optim.lr_scheduler``; null keeps the learning rate.
        lr_scheduler_args: its arguments, and ``interval`` (epoch or step), ``frequency`` and ``monitor``.
        class_weight: ``balanced`` weighs the training loss of each photograph by n / (2 * n of its class),
            so that a rare class counts as much as a frequent one. By default all photographs count alike.
        label_smoothing: draws the labels of the training loss from 0 and 1 towards 0.5 by half of it.
        ema_decay: of the exponential moving average of the weights, such as 0.999: validation, checkpoints
            and predictions take the average. 0 is without.
        bf16_backbone: compute the frozen backbone in bfloat16 where the processor or GPU has units for it;
            ``always`` insists.
        cached_views: number of views of each training photograph whose features are kept. 1 is the photograph
            as it is, which passes the backbone once; more are augmented. 0 makes a new view in every epoch.
        unfreeze: number of the backbone's last stages that train with the head, or ``all``.
        unfreeze_at: epoch from which they do, counted from 0; until then the whole backbone is frozen.
        backbone_learning_rate: their learning rate, by default a tenth of the head's.
        load_weights: False builds the backbone without reading ``weights``, for a checkpoint that already
            holds them.

    Raises:
        UsageError: an argument is out of its range, or the backbone, the head or the optimizer is unknown.
        WeightsError: the weights are unknown, of another network, or cannot be downloaded or read.
    """

    name: ClassVar[str] = "transfer"
    TUNABLE = TransferClassifier.TUNABLE | {"dropout"}

    def __init__(
        self,
        backbone: str = "efficientnet_b0",
        weights: str = "DEFAULT",
        head: Head = "linear",
        dense_units: int = 256,
        dropout: float = 0.4,
        image_size: int | None = None,
        normalization: list[list[float]] | None = None,
        learning_rate: float = 3e-3,
        optimizer: str = "AdamW",
        optimizer_args: dict[str, Any] | None = None,
        lr_scheduler: str | None = None,
        lr_scheduler_args: dict[str, Any] | None = None,
        class_weight: ClassWeight | None = None,
        label_smoothing: float = 0.0,
        ema_decay: float = 0.0,
        bf16_backbone: Bfloat16 = False,
        cached_views: int = 1,
        unfreeze: Unfreeze = 0,
        unfreeze_at: int = 0,
        backbone_learning_rate: float | None = None,
        load_weights: bool = True,
    ) -> None:
        network = create_backbone(backbone, weights, load_weights=False)
        image_size = image_size or network.image_size
        # Both go into the checkpoint: what the library calls DEFAULT may change.
        if normalization is None:
            assert network.normalization is not None, "those of the libraries have one"
            normalization = [list(network.normalization.mean), list(network.normalization.std)]
        super().__init__(
            network,
            build_head(head, network.n_features(image_size), dense_units, dropout),
            normalization=build_normalization(normalization),
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
        self.is_pretrained = weights != "none"
        self.data_spec = replace(self.data_spec, resize=network.resize, predict_resize=network.resize)
        self.augment = "none" if cached_views == 1 and not unfreeze else "keras"
        # load_weights says how to build, not what was built: a checkpoint must not repeat it.
        self.save_hyperparameters(ignore=["load_weights"])
        if load_weights and weights != "none":
            network.load(weights)  # last, so that nothing is downloaded for other wrong arguments
        self.to(memory_format=torch.channels_last)


def build_normalization(values: list[list[float]]) -> Normalization:
    """Return the normalisation by the mean and the deviation of R, G and B."""
    if [len(row) for row in values] != [3, 3] or not all(value > 0 for value in values[1]):
        raise UsageError(f"normalization is {values}; it must be [[mean of R, G, B], [deviations above 0]]")
    (r, g, b), (sr, sg, sb) = values
    return Normalization((r, g, b), (sr, sg, sb))


def build_head(kind: str, n_features: int, dense_units: int, dropout: float) -> "OrderedDict[str, nn.Module]":
    """Return the layers from pooled features (N, n_features) to a logit (N, 1).

    The features of one network are ten times larger than another's. Normalised, all of them train with
    the same learning rate.
    """
    validate_range("dense_units", dense_units, 1)
    validate_range("dropout", dropout, 0, 1)
    norm = nn.LayerNorm(n_features, elementwise_affine=False)
    if kind == "linear":
        return OrderedDict(layer_norm_1=norm, dense_1=nn.Linear(n_features, 1))
    if kind != "mlp":
        raise UsageError(f"head {kind!r} is unknown; valid are linear, mlp")
    return OrderedDict(
        layer_norm_1=norm,
        dense_1=nn.Linear(n_features, dense_units),
        relu=nn.ReLU(inplace=True),
        dropout_1=nn.Dropout(dropout),
        dense_2=nn.Linear(dense_units, 1),
    )
