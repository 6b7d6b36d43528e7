"""A run that was moved goes on as if it had not been."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint as Lightnings

from catdog_pl.callbacks.checkpoint import ModelCheckpoint, moved_path
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

pytestmark = pytest.mark.slow

TINY = "--image_size 32 --batch_size 4 --accelerator cpu --patience 99"
WORSE = "--max_epochs 4 --learning_rate 0.5"  # so large that the loss explodes


def best_state(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint knows of the best one."""
    callbacks = torch.load(checkpoint, weights_only=True)["callbacks"]
    state: dict[str, Any] = callbacks[ModelCheckpoint(monitor="val_loss").state_key]
    return state


def test_lightning_does_not_look_into_the_runs_folder() -> None:
    name = "_ModelCheckpoint__warn_if_dir_not_empty"  # which would load s3fs where it is installed
    assert getattr(ModelCheckpoint, name) is not getattr(Lightnings, name)


@pytest.fixture
def two_epochs(photos: Path, run: Run) -> Path:
    """The folder of a run of two epochs."""
    assert run(f"fit {TINY} --max_epochs 2", "--root", photos) == 0
    return find_checkpoint("last").parent


@pytest.mark.slow
@pytest.mark.parametrize("what", ["the folder", "the user", "the parent"])
def test_a_moved_run_keeps_its_best(
    what: str, two_epochs: Path, photos: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "the folder":
        folder = two_epochs.rename(tmp_path / "elsewhere")
    elif what == "the parent":  # the same words mean another place
        (tmp_path / "elsewhere").mkdir()
        Path("checkpoints").rename(tmp_path / "elsewhere" / "checkpoints")
        monkeypatch.chdir(tmp_path / "elsewhere")
        folder = two_epochs
    else:
        folder = two_epochs.resolve()
        monkeypatch.chdir("/")
    best = (folder / "best.ckpt").read_bytes()
    score = best_state(folder / "last.ckpt")["best_model_score"]
    assert run(f"fit {TINY} --ckpt_path {folder / 'last.ckpt'} {WORSE}", "--root", photos) == 0
    losses = pd.read_csv(folder / "metrics.csv")["val_loss"]
    assert len(losses) == 4
    assert losses[2:].min() > losses[:2].min()
    assert (folder / "best.ckpt").read_bytes() == best
    state = best_state(folder / "last.ckpt")
    assert state["best_model_score"] == score
    assert list(state["best_k_models"]) == [str(folder / "best.ckpt")]
    assert {state[f"{which}_model_path"] for which in ("best", "kth_best")} == {str(folder / "best.ckpt")}


@pytest.mark.slow
def test_a_moved_run_still_finds_a_better_one(
    two_epochs: Path, photos: Path, run: Run, tmp_path: Path
) -> None:
    folder = two_epochs.rename(tmp_path / "elsewhere")
    assert run(f"fit {TINY} --ckpt_path {folder / 'last.ckpt'} --max_epochs 12", "--root", photos) == 0
    losses = pd.read_csv(folder / "metrics.csv")["val_loss"]
    assert losses[2:].min() < losses[:2].min()
    best = torch.load(folder / "best.ckpt", weights_only=True)
    assert best["epoch"] == losses.argmin()
    assert {path.name for path in folder.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}


@pytest.mark.slow
def test_a_best_that_stayed_behind_is_no_best(
    two_epochs: Path, photos: Path, run: Run, tmp_path: Path
) -> None:
    folder = two_epochs.rename(tmp_path / "elsewhere")
    (folder / "best.ckpt").unlink()
    assert run(f"fit {TINY} --ckpt_path {folder / 'last.ckpt'} {WORSE}", "--root", photos) == 0
    losses = pd.read_csv(folder / "metrics.csv")["val_loss"]
    assert torch.load(folder / "best.ckpt", weights_only=True)["epoch"] == 2 + losses[2:].argmin()


@pytest.mark.slow
def test_a_new_run_has_a_best_of_its_own(two_epochs: Path, photos: Path, run: Run) -> None:
    old = (two_epochs / "best.ckpt").read_bytes()
    assert run(f"fit {TINY} --ckpt_path best {WORSE}", "--root", photos) == 0
    new = find_checkpoint("best")
    assert new.parent != two_epochs
    assert (two_epochs / "best.ckpt").read_bytes() == old
    assert list(best_state(new)["best_k_models"]) == [str(new)]


@pytest.mark.slow
def test_anothers_best_in_the_folder_is_replaced(two_epochs: Path, photos: Path, run: Run) -> None:
    Path("full").mkdir()
    shutil.copy(two_epochs / "best.ckpt", "full")
    words = f"--ckpt_path {two_epochs / 'best.ckpt'} --checkpoint.dirpath full"
    assert run(f"fit {TINY} {words} {WORSE}", "--root", photos) == 0
    assert torch.load("full/best.ckpt", weights_only=True)["epoch"] >= 2


def test_the_states_of_existing_checkpoints_are_found() -> None:
    assert ModelCheckpoint(monitor="val_loss").state_key == Lightnings(monitor="val_loss").state_key


@pytest.mark.parametrize(
    ("path", "old", "there"),
    [
        ("/a/run/best.ckpt", "/a/run", "/b/best.ckpt"),
        ("/a/run/x/best.ckpt", "/a/run", "/b/x/best.ckpt"),
        (r"C:\a\run\best.ckpt", r"C:\a\run", "/b/best.ckpt"),
        ("/a/other/best.ckpt", "/a/run", "/a/other/best.ckpt"),
        ("/a/run/../../etc/passwd", "/a/run", "/a/run/../../etc/passwd"),
        ("./best.ckpt", ".", "/b/best.ckpt"),
        ("", ".", ""),
    ],
)
def test_only_what_lay_in_the_folder_moves(path: str, old: str, there: str) -> None:
    assert moved_path(path, old, "/b").replace("\\", "/") == there
