"""What a checkpoint says of itself, and what may not differ from it."""

from pathlib import Path

import pytest
import torch

from catdog_pl.errors import CheckpointError
from catdog_pl.models.basic import Basic
from catdog_pl.models.checkpoint import compare, read_checkpoint, save_checkpoint
from tests.conftest import Run


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    save_checkpoint(Basic(image_size=32, filters=(2,), dense_units=4), tmp_path / "untrained.ckpt")
    return tmp_path / "untrained.ckpt"


def test_what_was_imported_has_no_epoch(untrained: Path) -> None:
    checkpoint = read_checkpoint(untrained)
    (line,) = compare(checkpoint, dict(checkpoint["hyper_parameters"]), untrained)
    assert line == f"From the checkpoint {untrained}: model basic, not trained here yet"


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
