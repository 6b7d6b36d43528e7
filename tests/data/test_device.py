"""What a GPU asks for, on PyTorch's meta device: its tensors hold no numbers, so nobody can wait for one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from catdog_pl.callbacks.progress import EpochProgress
from catdog_pl.data import datamodule
from catdog_pl.data.datamodule import CatDogDataModule, has_room
from catdog_pl.data.dataset import CachedImageFolder
from catdog_pl.models import VGG16, Basic, Classifier
from catdog_pl.models.classifier import Batch
from catdog_pl.models.features import FeatureCache

META = torch.device("meta")


class MetaAccelerator(CPUAccelerator):
    """Lets Lightning's loop run on a device that is none."""

    def setup_device(self, device: torch.device) -> None:
        assert device == META


class MetaStrategy(SingleDeviceStrategy):
    """Leaves out what Lightning asks the device for before the first step and after the last."""

    def __init__(self) -> None:
        super().__init__(META, accelerator=MetaAccelerator())

    def reduce(self, *args: Any, **kwargs: Any) -> Tensor:
        return torch.ones(())  # whether the loaders have batches

    def teardown(self) -> None:
        """Nothing is brought back to the CPU."""


class Steps(Callback):
    """Counts the steps that end."""

    def __init__(self) -> None:
        self.training = self.validation = 0

    def on_train_batch_end(self, *args: Any) -> None:
        self.training += 1

    def on_validation_batch_end(self, *args: Any) -> None:
        self.validation += 1


class Asking(Basic):
    """A model that looks at its loss in every step."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        loss.item()
        return loss


def steps_until_a_number_is_asked_for(model: Classifier, module: CatDogDataModule) -> Steps:
    """Fit on the meta device for an epoch; its end fails at the latest, when the means are brought back."""
    steps = Steps()
    trainer = Trainer(
        strategy=MetaStrategy(),
        callbacks=[EpochProgress(), steps],
        max_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with pytest.raises((RuntimeError, NotImplementedError), match="meta tensor"):
        trainer.fit(model, module)
    return steps


@pytest.fixture
def module(photos: Path, monkeypatch: pytest.MonkeyPatch) -> CatDogDataModule:
    """A datamodule to which the meta device is a GPU with room; 16 training and 8 validation photographs."""
    monkeypatch.setattr(datamodule, "has_room", lambda device, nbytes: device == META)
    return CatDogDataModule(photos, image_size=32, batch_size=4)


MODELS = [
    lambda: Basic(image_size=32),
    lambda: VGG16(image_size=32, weights="none"),
    lambda: VGG16(image_size=32, weights="none", cached_views=1),
]


@pytest.mark.parametrize("model", MODELS, ids=["basic", "vgg16", "cached views"])
def test_no_step_waits_for_the_device(
    model: Callable[[], Classifier], module: CatDogDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_features(self: VGG16, batch: Batch, dataset: CachedImageFolder, view: str) -> FeatureCache:
        return FeatureCache(None, len(dataset), META)  # it finds its file before the first step of an epoch

    monkeypatch.setattr(VGG16, "open_features", open_features)
    steps = steps_until_a_number_is_asked_for(model(), module)
    assert (steps.training, steps.validation) == (4, 2)
    assert {folder.device for folder in module.folders.values()} == {META}


def test_no_step_with_crops_and_mixing_waits_for_the_device(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "has_room", lambda device, nbytes: device == META)
    module = CatDogDataModule(photos, batch_size=4, augment="strong", mixup=1.0, cutmix=1.0)
    assert steps_until_a_number_is_asked_for(Basic(image_size=32), module).training == 4


def test_a_step_that_waits_is_seen(module: CatDogDataModule) -> None:
    assert steps_until_a_number_is_asked_for(Asking(image_size=32), module).training == 0


def test_the_photographs_are_moved_once(module: CatDogDataModule) -> None:
    steps_until_a_number_is_asked_for(Basic(image_size=32), module)
    pixels = module.folders["train"].pixels
    steps_until_a_number_is_asked_for(Basic(image_size=32), module)
    assert module.folders["train"].pixels is pixels


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"num_workers": 2}, {"cache_gib": 0}, {}], ids=str)
def test_the_photographs_stay_where_the_device_cannot_take_them(
    options: dict[str, Any], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "has_room", lambda device, nbytes: bool(options))
    module = CatDogDataModule(photos, image_size=32, batch_size=4, **options)
    assert steps_until_a_number_is_asked_for(Basic(image_size=32), module).training == 4
    assert {folder.device.type for folder in module.folders.values()} == {"cpu"}


def test_a_quarter_of_a_gpus_free_memory_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    gpu = torch.device("cuda", 0)
    assert [has_room(gpu, nbytes) for nbytes in (0, 250, 251)] == [True, True, False]
    assert not has_room(torch.device("cpu"), 0)
