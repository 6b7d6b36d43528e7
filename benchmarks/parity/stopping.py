"""Which epoch early stopping chooses and when it stops: Keras' callback against the one that fit uses.

A loss that is not finite ends a fit at once here, while Keras goes on counting. Both keep the same best
epoch, unless the loss becomes finite again and better than ever.
"""

import tempfile
from collections.abc import Iterator, Sequence
from math import nan
from typing import Any

import keras
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.parity.check import Check
from benchmarks.parity.training import QUIET, Listed
from catdog_pl.callbacks.checkpoint import ModelCheckpoint
from catdog_pl.callbacks.training import EarlyStopping

BASIC = [
    0.8040, 0.6717, 0.6078, 0.6095, 0.5453, 0.6343, 0.5321, 0.5221, 0.5522, 0.5210, 0.5311, 0.5119, 0.5058,
    0.4769, 0.4607, 0.5298, 0.4897, 0.4500,
]  # fmt: skip
"""val_loss of the workshop's printed run of the basic model, and one better epoch that it never reached."""

VGG16 = [0.3416, 0.3518, 0.2483, 0.2786, 0.2862, 0.2]
"""The same of its VGG16."""

HISTORIES = {
    "the workshop's basic run (17 epochs, best 15)": BASIC,
    "the workshop's vgg16 run (5 epochs, best 3)": VGG16,
    "ties": [0.5, 0.5, 0.5, 0.4],
    "a tie after an improvement": [0.6, 0.5, 0.5, 0.4, 0.4, 0.4, 0.3],
    "improving to the end": [0.5, 0.4, 0.3],
    "rising from the start": [0.5, 0.6, 0.7, 0.1],
    "NaN for good": [0.6, 0.5, nan, nan, nan],
    "NaN from the start": [nan, nan, nan],
}


class Scripted(LightningModule):
    """A model whose val_loss is written down beforehand."""

    def __init__(self, losses: Sequence[float]) -> None:
        super().__init__()
        self.losses = losses
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Anything differentiable."""
        return self.layer(batch).sum()  # type: ignore[no-any-return]

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """The written loss of this epoch."""
        self.log("val_loss", torch.tensor(self.losses[self.current_epoch], dtype=torch.float64))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Any."""
        return torch.optim.SGD(self.parameters(), lr=0.0)


def checks() -> Iterator[Check]:
    """The best epoch on every history, and the number of epochs on those without NaN."""
    for name, losses in HISTORIES.items():
        (epochs, best), (our_epochs, our_best) = keras_choice(losses), our_choice(losses)
        yield Check(f"best epoch, {name}", abs(best - our_best), 0)
        if not any(loss != loss for loss in losses):
            yield Check(f"epochs run, {name}", abs(epochs - our_epochs), 0)


def keras_choice(losses: Sequence[float]) -> tuple[int, int]:
    """Epochs run and the best one, from 1, by Keras' callback with the workshop's patience."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    stopper = keras.callbacks.EarlyStopping(monitor="val_loss", patience=2)
    stopper.set_model(model)
    stopper.on_train_begin()
    model.stop_training = False
    epochs = 0
    for epoch, loss in enumerate(losses):
        stopper.on_epoch_end(epoch, {"val_loss": loss})
        epochs += 1
        if model.stop_training:
            break
    return epochs, stopper.best_epoch + 1


def our_choice(losses: Sequence[float]) -> tuple[int, int]:
    """Epochs run and the one in ``best.ckpt``, from 1, by the callbacks that ``fit`` has by default."""
    stopper = EarlyStopping()
    with tempfile.TemporaryDirectory() as folder:
        keeper = ModelCheckpoint(dirpath=folder)
        options: dict[str, Any] = QUIET | {"enable_checkpointing": True}
        trainer = Trainer(**options, max_epochs=len(losses), callbacks=[stopper, keeper])
        data: DataLoader[Tensor] = DataLoader(Listed([torch.zeros(1)]))
        trainer.fit(Scripted(losses), data, data)
        # Of losses that are all NaN none is best: no file is written here, and Keras' counter stays at 0.
        path = keeper.best_model_path
        best = torch.load(path, weights_only=True)["epoch"] if path else 0
    return trainer.current_epoch, best + 1
