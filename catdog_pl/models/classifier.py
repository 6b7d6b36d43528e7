"""The base of all models: preprocessing, loss, metrics, optimizer, and what a checkpoint notes."""

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from typing import Any, ClassVar, Literal, Self

import lightning
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torchmetrics import Metric

from catdog_pl import __version__
from catdog_pl.devices import hardware
from catdog_pl.errors import CatDogError, UsageError, validate_range
from catdog_pl.keras.nn import KerasRMSprop
from catdog_pl.models.backbones import Normalization
from catdog_pl.models.schedulers import check_scheduler, schedule
from catdog_pl.models.spec import DataSpec

Batch = tuple[Tensor, Tensor, Tensor]
"""Pixels (N, 3, S, S) uint8 or float in 0..255, labels (N,) 0..1, sample indices (N,).

A label is 0 or 1, and of photographs that are mixed the share of the second class.
"""

ClassWeight = Literal["balanced"]

Preprocessing = Literal["workshop", "imagenet"]
"""RGB times 1/255 as in the workshop, or normalised by the mean and deviation of ImageNet."""

NOTE = "catdog_pl"
"""The key under which a checkpoint notes what it is."""

FORMAT = 1
"""The version of that note; raised when older code could misread it."""

AVERAGED = "current_model_state"
"""The key under which Lightning's `WeightAveraging` saves the trained weights beside their averages."""

OPTIMIZERS: dict[str, type[Optimizer]] = {"keras_rmsprop": KerasRMSprop} | {
    name: cls
    for name, cls in vars(torch.optim).items()
    # LBFGS calls its closure several times a step, which one batch per step cannot serve.
    if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer and name != "LBFGS"
}
"""The valid values of ``optimizer``: Keras' rule, and PyTorch's own by class name."""


class EpochMean(Metric):
    """The mean of a value over the samples of an epoch, of all processes; Lightning begins it anew."""

    total: Tensor
    samples: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("samples", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, total: Tensor, samples: int) -> None:
        """Add the sum of the value over so many samples."""
        # Not in place, so that another thread reads both of the same step.
        self.total, self.samples = self.total + total, self.samples + samples

    def compute(self) -> Tensor:
        """Return the mean, a scalar."""
        return self.total / self.samples


class Classifier(LightningModule, ABC):
    """A network that tells two classes of RGB images apart, trained as Keras trains it.

    A subclass builds ``features`` and ``head``, whose modules carry the layer names of the workshop's
    Keras summary, and sets ``name``. It takes pixels in 0..255 and owns all further preprocessing, so
    that training, test, prediction and export cannot drift apart.

    ``Basic`` documents the arguments, which all models have.

    Raises:
        UsageError: the optimizer or the class weight is unknown, or a number is out of its range.
    """

    name: ClassVar[str]
    """The model's name on the command line and in checkpoints."""

    TUNABLE: ClassVar[frozenset[str]] = frozenset(
        {"learning_rate", "optimizer_args", "class_weight", "label_smoothing", "ema_decay"}
    )
    """Arguments that may differ from a checkpoint's; the others decide what its weights mean."""

    has_backbone: ClassVar[bool] = False
    """Whether ``features`` is a pretrained network, which the head stands on; in Keras a functional model."""

    augment: str = "keras"
    """How a datamodule augments for this model, unless it is told itself."""

    normalization: Normalization | None = None
    """What is done to pixels before the first layer; None is a factor of 1/255."""

    tta: bool = False
    """Whether validation and test answer by ``tta_logits``."""

    temperature: float | None = None
    """What calibrated probabilities divide the logits by (Guo et al. 2017); of these weights alone."""

    features: nn.Module
    head: nn.Sequential

    def __init__(
        self,
        image_size: int,
        learning_rate: float,
        optimizer: str,
        optimizer_args: dict[str, Any] | None,
        lr_scheduler: str | None = None,
        lr_scheduler_args: dict[str, Any] | None = None,
        class_weight: ClassWeight | None = None,
        label_smoothing: float = 0.0,
        ema_decay: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (("label_smoothing", label_smoothing), ("ema_decay", ema_decay)):
            validate_range(name, value, 0, 1)
        if class_weight not in (None, "balanced"):
            raise UsageError(f"class_weight {class_weight!r} is unknown; valid are balanced and null")
        if optimizer not in OPTIMIZERS:
            raise UsageError(f"optimizer {optimizer!r} is unknown; valid are {', '.join(OPTIMIZERS)}")
        check_scheduler(lr_scheduler)
        self.learning_rate = learning_rate
        self.optimizer_class = OPTIMIZERS[optimizer]
        self.optimizer_args = dict(optimizer_args or {})
        self.lr_scheduler = lr_scheduler
        self.lr_scheduler_args = dict(lr_scheduler_args or {})
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.ema_decay = ema_decay
        self.weight_by_label: tuple[float, float] | None = None
        self.means: dict[str, EpochMean] = {}
        """Loss and accuracy of the running epoch by name; of one process."""
        self.data_spec = DataSpec(image_size=image_size)

    @classmethod
    def skeleton(cls, **arguments: Any) -> Self:
        """Return the network without memory for its weights (on the meta device), for shapes and counts."""
        with torch.device("meta"):
            return cls(**cls.rebuild_arguments(arguments))

    @classmethod
    def rebuild_arguments(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that build the network without reading its pretrained weights."""
        return dict(arguments)

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, S, S) in 0..255, uint8 or float -> what the first layer takes, float; same shape."""
        if self.normalization is None:
            return self.rescale(pixels)
        return self.normalization(self.widen(pixels)).to(self.weight_dtype)

    def rescale(self, pixels: Tensor) -> Tensor:
        """Pixels in 0..255, uint8 or float -> 0..1 in the model's dtype, the shape stays.

        Multiplied by 1/255 in float32 or more, as ``ImageDataGenerator(rescale=1. / 255)`` does; 126 of the
        256 values differ by one unit in the last place from a division by 255.
        """
        return (self.widen(pixels) * (1 / 255)).to(self.weight_dtype)

    def widen(self, pixels: Tensor) -> Tensor:
        """Return pixels as float32, or float64 for a float64 model: preprocessing is never less precise."""
        return pixels.to(torch.float64 if self.weight_dtype is torch.float64 else torch.float32)

    @property
    def weight_dtype(self) -> torch.dtype:
        """The dtype of the model's weights, in which its layers compute."""
        return next(self.parameters()).dtype

    def forward(self, pixels: Tensor) -> Tensor:
        """RGB pixels (N, 3, S, S) in 0..255, uint8 or float -> logits of the second class (N,)."""
        logits: Tensor = self.head(self.extract(pixels))  # (N, 1)
        return logits.squeeze(1)

    def tta_logits(self, pixels: Tensor) -> Tensor:
        """Return the mean of four logits (N,): of pixels (N, 3, S, S), of their middle, and of both mirrored.

        Test-time augmentation: an answer takes four times the time. The middle, 80 % of each side, shows the
        animal as large as random crops do in training (Touvron et al. 2019, arXiv 1906.06423).
        """
        side = pixels.shape[3]
        inner = slice(side // 10, side - side // 10)
        whole = self.widen(pixels)
        middle = functional.interpolate(whole[:, :, inner, inner], size=(side, side), mode="bilinear")
        views = (whole, whole.flip(3), middle, middle.flip(3))
        return torch.stack([self(view) for view in views]).mean(0)

    def extract(self, pixels: Tensor, features: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Pixels (N, 3, S, S) in 0..255, uint8 or float -> what the head takes.

        ``features`` may be another way to compute what the network of that name does.
        """
        x = self.preprocess(pixels).contiguous(memory_format=torch.channels_last)
        return (self.features if features is None else features)(x)

    def batch_features(self, batch: Batch, batch_idx: int, stage: str) -> Tensor:
        """Return the features of a batch; a subclass may keep them, by stage: train, val or test."""
        return self.extract(batch[0])

    def shared_step(self, batch: Batch, batch_idx: int, stage: str) -> tuple[Tensor, Tensor]:
        """Compute loss and logits of one batch; ``{stage}_loss`` and ``{stage}_acc`` are logged per epoch.

        Both logged values are means over the samples of the epoch, so a short last batch weighs as much as
        it holds. Cross-entropy is taken from the logits without clipping, as Keras 3 does; a probability of
        exactly 0.5 counts as the first class, and so does a label of 0.5. Class weights and label smoothing
        count in training alone; as in Keras, the weighted losses are divided by the number of samples, and
        smoothing by a draws a label y to 0.5: y (1 - a) + a / 2.

        Returns:
            The mean loss of the batch, a scalar, and the detached logits (N,).
        """
        if self.tta and stage != "train":
            logits = self.tta_logits(batch[0])
        else:
            logits = self.head(self.batch_features(batch, batch_idx, stage)).squeeze(1)
        # Under bf16 autocast the logits come as bfloat16, in which a loss has two digits.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        labels, weight = batch[1].to(logits.dtype), None
        if stage == "train" and self.weight_by_label:
            first, second = self.weight_by_label
            weight = first * (1 - labels) + second * labels
        targets = labels
        if stage == "train" and self.label_smoothing:
            targets = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = functional.binary_cross_entropy_with_logits(logits, targets, weight)
        logits = logits.detach()
        hits = ((logits.sigmoid() > 0.5) == (labels > 0.5)).sum()
        self.add_to_mean(f"{stage}_loss", loss.detach() * len(labels), len(labels))
        self.add_to_mean(f"{stage}_acc", hits, len(labels))
        return loss, logits

    def add_to_mean(self, name: str, total: Tensor, samples: int) -> None:
        """Add a batch to the mean of the epoch, which Lightning takes at its end."""
        if name not in self.means:
            self.means[name] = EpochMean().to(total.device)
        mean = self.means[name]
        if not mean.update_called:  # in every step, it was a sixth of the host's time
            self.log(name, mean, on_step=False, on_epoch=True, metric_attribute=name)
        mean.update(total, samples)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one optimisation step, a scalar."""
        return self.shared_step(batch, batch_idx, "train")[0]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log ``val_loss`` and ``val_acc``."""
        self.shared_step(batch, batch_idx, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Log ``test_loss`` and ``test_acc``; return ``indices`` and ``logits``, both (N,)."""
        _, logits = self.shared_step(batch, batch_idx, "test")
        return {"indices": batch[2].to(logits.device), "logits": logits}

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the probabilities of the second class, (N,)."""
        return self(batch[0]).sigmoid()  # type: ignore[no-any-return]

    def configure_callbacks(self) -> list[Callback]:
        """Return what averages the weights in a fit: Lightning's callback, with ``ema_decay``."""
        is_fit = self.trainer.state.fn == TrainerFn.FITTING
        return [WeightAveraging(avg_fn=self.average)] if is_fit and self.ema_decay else []

    def average(self, average: Tensor, weight: Tensor, _: Any) -> Tensor:
        """Return the moving average after another step; what is frozen or a count stays as it is."""
        # EMAWeightAveraging's own sum of two products would change the last digits of frozen weights.
        return average.lerp(weight, 1 - self.ema_decay) if average.is_floating_point() else weight

    def configure_optimizers(self) -> Any:
        """The optimizer, or Lightning's description of the optimizer and its scheduler.

        Raises:
            UsageError: they do not take their arguments.
        """
        optimizer = self.create_optimizer()
        if self.lr_scheduler is None:
            return optimizer
        return schedule(optimizer, self.lr_scheduler, self.lr_scheduler_args, self.trainer)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Step the scheduler.

        Raises:
            UsageError: it has ended, as ``OneCycleLR`` does after its ``total_steps``.
        """
        if metric is not None:  # on_train_epoch_end did it
            return
        try:
            super().lr_scheduler_step(scheduler, metric)
        except ValueError as error:
            raise UsageError(
                f"lr_scheduler {self.lr_scheduler} has ended ({error}); a longer training needs a new run"
            ) from error

    def on_train_epoch_end(self) -> None:
        """Step a scheduler that follows a metric; Lightning would do it when the checkpoint is written."""
        for config in self.trainer.lr_scheduler_configs:
            is_due = (self.trainer.current_epoch + 1) % config.frequency == 0
            if config.reduce_on_plateau and is_due and config.monitor in self.trainer.callback_metrics:
                scheduler: Any = config.scheduler  # whose metric the types call an epoch
                scheduler.step(self.trainer.callback_metrics[config.monitor])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what the optimizer trains, in groups that have a learning rate each."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": self.learning_rate}]

    def create_optimizer(self) -> Optimizer:
        """Return the optimizer over the ``parameter_groups``.

        Raises:
            UsageError: the optimizer does not take ``optimizer_args``.
        """
        try:
            return self.optimizer_class(self.parameter_groups(), lr=self.learning_rate, **self.optimizer_args)  # type: ignore[call-arg]
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"optimizer {self.optimizer_class.__name__} refuses learning_rate {self.learning_rate} "
                f"with optimizer_args {self.optimizer_args}: {error}"
            ) from error

    def setup(self, stage: str) -> None:
        """Take over the datamodule's ``data_spec``, and before a fit count its classes."""
        self.means.clear()  # of a stage that failed
        datamodule: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and self.class_weight:
            if not hasattr(datamodule, "labels"):
                raise UsageError(
                    "class_weight balanced needs the labels of a CatDogDataModule; fit with one, or without "
                    "class_weight"
                )
            self.weight_by_label = balanced_weights(datamodule.labels("train"))
        described = getattr(datamodule, "data_spec", None)
        if described is None:
            return
        spec = DataSpec(**described)
        if spec.image_size != self.data_spec.image_size:
            raise UsageError(
                f"The model takes images of {self.data_spec.image_size} pixels, the datamodule gives "
                f"{spec.image_size}; set both to the same image_size"
            )
        self.data_spec = spec

    def on_train_start(self) -> None:
        """Train in training mode, and after a resume with this run's learning rate, not the checkpoint's."""
        self.temperature = None  # of the weights before
        self.train()  # Lightning keeps the mode that it finds, and load_checkpoint gives evaluation
        if self.trainer.ckpt_path and not self.trainer.lr_scheduler_configs:
            for optimizer in self.trainer.optimizers:
                for group, ours in zip(optimizer.param_groups, self.parameter_groups(), strict=True):
                    group["lr"] = ours["lr"]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the model's name, its data, the versions and the hardware, in plain values only."""
        checkpoint[NOTE] = {
            "format": FORMAT,
            "model": self.name,
            "data": asdict(self.data_spec) | {"class_names": list(self.data_spec.class_names)},
            "versions": versions(),
            "hardware": hardware(self.device),
        }
        if self.temperature is not None:
            checkpoint[NOTE]["temperature"] = float(self.temperature)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse other class names than the datamodule's: labels would silently change their meaning.

        And refuse to resume from averaged weights without the callback that knows the trained ones.
        """
        trained = tuple(checkpoint[NOTE]["data"]["class_names"])
        if trained != tuple(self.data_spec.class_names):
            raise CatDogError(
                f"The checkpoint was trained on the classes {', '.join(trained)}, the data folder has "
                f"{', '.join(self.data_spec.class_names)}; use a folder with the checkpoint's classes"
            )
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        averages = any(isinstance(callback, WeightAveraging) for callback in callbacks)
        if AVERAGED in checkpoint and self.trainer.state.fn == TrainerFn.FITTING and not averages:
            raise UsageError(
                "The checkpoint holds averages of the weights that were trained; resume with what made them: "
                "--model.ema_decay 0.999, or the callback"
            )


def balanced_weights(labels: Sequence[int]) -> tuple[float, float]:
    """Return the weights of label 0 and 1, n / (2 * n of the class), as scikit-learn balances classes."""
    second = sum(labels)
    return len(labels) / (2 * (len(labels) - second)), len(labels) / (2 * second)


@cache
def versions() -> dict[str, str]:
    """Return the versions of what decides a model's numbers, for its checkpoints."""
    return {
        "catdog_pl": __version__,
        "lightning": lightning.__version__,
        "PIL": version("pillow"),
        "torch": str(torch.__version__),
        "torchvision": version("torchvision"),
    }
