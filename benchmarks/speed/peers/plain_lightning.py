"""A plain port to Lightning: ImageFolder, torchvision's transforms, a DataLoader with workers, no cache."""

import os
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import models
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.speed.peers.arguments import training

WORKERS: dict[str, Any] = {"num_workers": os.cpu_count() or 1, "persistent_workers": True}


def basic_features() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
    )


def basic() -> nn.Module:
    head = (nn.Flatten(), nn.Linear(17 * 17 * 64, 256), nn.ReLU(), nn.Linear(256, 1))
    return nn.Sequential(basic_features(), *head)


def vgg16() -> nn.Module:
    backbone = models.vgg16(weights=None).features.requires_grad_(False)
    head = (nn.Flatten(), nn.Linear(4 * 4 * 512, 256), nn.ReLU(), nn.Dropout(0.4), nn.Linear(256, 1))
    return nn.Sequential(backbone, *head)


class Port(LightningModule):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def _loss(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        pixels, labels = batch
        logits = self.network(pixels).squeeze(1)
        loss = functional.binary_cross_entropy_with_logits(logits, labels.float())
        accuracy = ((logits > 0) == labels).float().mean()
        self.log_dict({f"{stage}_loss": loss, f"{stage}_acc": accuracy}, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._loss(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._loss(batch, "test")

    def predict_step(self, pixels: Tensor, batch_idx: int) -> Tensor:
        return self.network(pixels).squeeze(1).sigmoid()  # type: ignore[no-any-return]

    def on_train_epoch_end(self) -> None:
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        print(f"Epoch {self.current_epoch + 1} {metrics}", flush=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.RMSprop(trainable, lr=1e-3, alpha=0.9, eps=1e-7)


def transform(*augmentation: nn.Module) -> v2.Compose:
    """What a photograph goes through, to (3, 150, 150) in 0..1."""
    resize = v2.Resize((150, 150), v2.InterpolationMode.NEAREST)
    return v2.Compose([resize, *augmentation, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def main() -> None:
    options = training()
    augmentation = [
        v2.RandomAffine(
            30, translate=(0.2, 0.2), scale=(0.8, 1.2), interpolation=v2.InterpolationMode.BILINEAR
        ),
        v2.RandomHorizontalFlip(),
    ]
    train = ImageFolder(options.data / "train", transform(*augmentation))
    validation = ImageFolder(options.data / "validation", transform())
    trainer = Trainer(
        max_epochs=options.epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(
        Port({"basic": basic, "vgg16": vgg16}[options.model]()),
        DataLoader(train, batch_size=50, shuffle=True, **WORKERS),
        DataLoader(validation, batch_size=50, **WORKERS),
    )
    if options.save:
        trainer.save_checkpoint(options.save)


if __name__ == "__main__":
    main()
