"""Classes of different size: their weights, where they count, and how they are asked for."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.errors import UsageError
from catdog_pl.models import Basic
from catdog_pl.models.classifier import balanced_weights
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run, draw_layout

SMALL = "--image_size 32 --model.filters [4] --model.dense_units 4 --accelerator cpu --batch_size 4"


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """9 cats and 3 dogs to train with."""
    root = draw_layout(tmp_path / "data", {"train": 9, "validation": 2, "test": 2})
    for i in range(3, 9):
        (root / "train" / "dog" / f"dog.{i}.jpg").unlink()
    return root


def trainer() -> Trainer:
    return Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )


def test_weights_are_those_of_scikit_learn() -> None:
    labels = [0] * 9 + [1] * 3
    assert balanced_weights(labels) == (12 / 18, 12 / 6)
    assert sum(balanced_weights(labels)[label] for label in labels) == len(labels)


def test_the_training_loss_alone_is_weighted(uneven: Path) -> None:
    model = Basic(image_size=32, filters=(4,), class_weight="balanced")
    trainer().fit(model, CatDogDataModule(uneven, image_size=32))
    model.eval()
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    labels = torch.tensor([0, 0, 0, 1])
    losses = functional.binary_cross_entropy_with_logits(model(pixels), labels.float(), reduction="none")
    weights = torch.tensor([12 / 18, 12 / 18, 12 / 18, 12 / 6])
    model.log = lambda *_, **__: None  # type: ignore[method-assign]
    batch = (pixels, labels, torch.arange(4))
    torch.testing.assert_close(model.shared_step(batch, 0, "train")[0], (weights * losses).sum() / 4)
    for stage in ("val", "test"):
        torch.testing.assert_close(model.shared_step(batch, 0, stage)[0], losses.mean())


@pytest.mark.slow
def test_they_are_an_option_and_go_on_after_a_resume(uneven: Path, run: Run) -> None:
    def weights() -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = torch.load(find_checkpoint("last"), weights_only=True)["state_dict"]
        return state

    fit = f"fit {SMALL} --root {uneven} --model.class_weight balanced --patience 9"
    assert run(f"{fit} --max_epochs 2") == 0
    whole = weights()
    assert run(f"{fit} --max_epochs 1") == 0
    one = torch.load(last := find_checkpoint("last"), weights_only=True)
    assert one["hyper_parameters"]["class_weight"] == "balanced"
    assert run(f"fit --root {uneven} --batch_size 4 --accelerator cpu --max_epochs 2 --ckpt_path {last}") == 0
    assert all(torch.equal(value, whole[key]) for key, value in weights().items())
    assert run(f"{fit} --max_epochs 2 --model.class_weight null") == 0
    assert not all(torch.equal(value, whole[key]) for key, value in weights().items())


def test_what_cannot_be_weighted_is_refused() -> None:
    with pytest.raises(UsageError, match="class_weight 'even' is unknown; valid are balanced and null"):
        Basic(class_weight="even")  # type: ignore[arg-type]
    data = TensorDataset(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]), torch.arange(2))
    with pytest.raises(UsageError, match="class_weight balanced needs the labels of a CatDogDataModule"):
        trainer().fit(Basic(image_size=32, class_weight="balanced"), DataLoader(data))
