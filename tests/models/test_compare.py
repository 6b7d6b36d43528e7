"""What a checkpoint says of itself, and what may not differ from it."""

from pathlib import Path

import pytest
import torch

from catdog_pl.errors import CheckpointError, UsageError
from catdog_pl.models.basic import Basic
from catdog_pl.models.checkpoint import compare, read_checkpoint, restore_arguments, save_checkpoint
from tests.conftest import Run


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    save_checkpoint(Basic(image_size=32, filters=(2,), dense_units=4), tmp_path / "untrained.ckpt")
    return tmp_path / "untrained.ckpt"


def test_what_was_imported_has_no_epoch(untrained: Path) -> None:
    checkpoint = read_checkpoint(untrained)
    (line,) = compare(checkpoint, dict(checkpoint["hyper_parameters"]), untrained)
    assert line == f"From the checkpoint {untrained}: model basic, not trained here yet"


@pytest.mark.slow
def test_the_first_epoch_is_the_first(photos: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit --image_size 32 --max_epochs 1 --accelerator cpu", "--root", photos) == 0
    capsys.readouterr()
    assert run("validate --accelerator cpu", "--root", photos) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("best.ckpt: model basic, epoch 1")


@pytest.mark.parametrize("key", ["epoch", "global_step"])
@pytest.mark.parametrize("value", [None, "1", 1.5])
def test_a_count_that_is_none_is_refused(untrained: Path, key: str, value: object) -> None:
    checkpoint = torch.load(untrained, weights_only=True)
    torch.save(checkpoint | {key: value}, untrained)
    with pytest.raises(CheckpointError, match="epoch and global_step must be whole numbers"):
        read_checkpoint(untrained)


def test_arguments_that_an_old_checkpoint_lacks_have_their_defaults(untrained: Path) -> None:
    checkpoint = read_checkpoint(untrained)
    arguments = dict(checkpoint["hyper_parameters"])
    del checkpoint["hyper_parameters"]["dense_units"], checkpoint["hyper_parameters"]["optimizer_args"]
    (first, *_) = compare(checkpoint, arguments | {"dense_units": 256}, untrained)
    lines = compare(checkpoint, arguments | {"dense_units": 256, "optimizer_args": {"rho": 0.5}}, untrained)
    assert lines == [first, "  optimizer_args: {'rho': 0.5} instead of the checkpoint's None"]
    with pytest.raises(UsageError, match=r"dense_units is 4, the checkpoint .* was trained with 256"):
        compare(checkpoint, arguments, untrained)


def test_a_checkpoint_without_its_image_size_is_tested_with_the_default(
    photos: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(Basic(filters=(2,), dense_units=4), Path("x.ckpt"))
    checkpoint = torch.load("x.ckpt", weights_only=True)
    del checkpoint["hyper_parameters"]["image_size"]
    torch.save(checkpoint, "x.ckpt")
    assert restore_arguments(read_checkpoint("x.ckpt"))["image_size"] == 150
    assert run("validate --accelerator cpu --ckpt_path x.ckpt", "--root", photos) == 0
    assert "val_loss" in capsys.readouterr().out
