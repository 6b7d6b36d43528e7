"""When a fit stops, what it takes for the best, and what it says of both."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from catdog_pl.callbacks.checkpoint import ModelCheckpoint
from catdog_pl.callbacks.training import EarlyStopping, divergence
from catdog_pl.errors import UsageError
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

pytestmark = pytest.mark.slow

TINY = "--image_size 32 --batch_size 4 --accelerator cpu --model.filters [4,4] --model.dense_units 8"
STILL = "--learning_rate 1e-30"  # no epoch is better than the first
Capture = pytest.CaptureFixture[str]


def rows() -> pd.DataFrame:
    return pd.read_csv(find_checkpoint("last").parent / "metrics.csv")


def epoch_of(path: Path) -> int:
    """The epoch in a checkpoint, from 1."""
    return int(torch.load(path, weights_only=True)["epoch"]) + 1


def stopped(capsys: Capture) -> str:
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Stopped because"))
    return line.removeprefix("Stopped because ")


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val_acc", "max"), ("train_acc", "max"), ("val_loss", "min"), ("train_loss", "min")],
)
def test_an_accuracy_is_best_when_largest(monitor: str, mode: str) -> None:
    assert EarlyStopping(monitor).mode == mode
    assert ModelCheckpoint(monitor).mode == mode


@pytest.mark.parametrize("group", ["early_stopping", "checkpoint"])
def test_the_worst_for_the_best_is_refused(group: str, run: Run, capsys: Capture) -> None:
    assert run(f"fit --{group}.monitor val_acc --{group}.mode min") == 2
    error = capsys.readouterr().err
    assert f"--{group}.mode min would take the worst val_acc for the best; give auto or max" in error
    assert run(f"fit --{group}.monitor accuracy") == 2
    assert f"--{group}.monitor accuracy is not a metric; valid are train_loss" in capsys.readouterr().err
    with pytest.raises(UsageError):
        EarlyStopping("val_loss", mode="max")


def test_a_rising_accuracy_goes_on_and_the_highest_is_best(photos: Path, run: Run, capsys: Capture) -> None:
    monitors = "--early_stopping.monitor val_acc --checkpoint.monitor val_acc"
    assert (
        run(f"fit {TINY} {monitors} --max_epochs 6 --patience 2 --learning_rate 0.01", "--root", photos) == 0
    )
    accuracies = rows()["val_acc"].tolist()
    best = accuracies.index(max(accuracies)) + 1
    assert epoch_of(find_checkpoint("best")) == best
    out = capsys.readouterr().out
    assert f"Best epoch: {best} (" in out
    since = len(accuracies) - best
    assert ("val_acc had not improved for 2 epochs" in out) == (since == 2)
    assert since <= 2


@pytest.mark.parametrize(("save_top_k", "kept"), [(2, 2), (-1, 4)])
def test_several_of_the_best_are_kept_and_best_is_the_best(
    save_top_k: int, kept: int, photos: Path, run: Run, capsys: Capture
) -> None:
    # Epoch 1 is the best: the others tie with it and are no improvement.
    words = f"--checkpoint.save_top_k {save_top_k} --max_epochs 4 --patience 9 {STILL}"
    assert run(f"fit {TINY} {words}", "--root", photos) == 0
    best = find_checkpoint()
    assert epoch_of(best) == 1
    assert "Best epoch: 1 (" in capsys.readouterr().out
    names = {path.name for path in best.parent.glob("*.ckpt")} - {"best.ckpt", "last.ckpt"}
    assert len(names) == kept
    assert "epoch=0-step=4.ckpt" in names
    assert best.samefile(best.parent / "epoch=0-step=4.ckpt")
    assert run("fit --ckpt_path last --max_epochs 5", "--root", photos) == 0
    assert epoch_of(find_checkpoint()) == 1


def test_a_name_of_ones_own_has_best_beside_it(photos: Path, run: Run, capsys: Capture) -> None:
    words = "--checkpoint.filename mine-{epoch}-{val_acc:.1f} --max_epochs 1"
    assert run(f"fit {TINY} {words}", "--root", photos) == 0
    best = find_checkpoint()
    assert best.samefile(best.parent / "mine-epoch=0-val_acc=0.5.ckpt")
    assert best.samefile(best.parent / "last.ckpt")  # written once
    assert capsys.readouterr().out.splitlines()[-1] == "Next: python -m catdog_pl test"


@pytest.mark.parametrize(
    ("option", "files"),
    [
        ("save_top_k 0", {"last.ckpt"}),
        ("monitor null", {"best.ckpt", "last.ckpt"}),
        ("save_last true", {"best.ckpt", "last.ckpt"}),
        ("save_last link", {"best.ckpt", "last.ckpt"}),
        ("every_n_epochs 2", {"best.ckpt", "last.ckpt"}),
        ("every_n_train_steps 2", {"best.ckpt", "last.ckpt"}),
        ("train_time_interval 0:0:0.001", {"best.ckpt", "last.ckpt"}),
        ("save_on_train_epoch_end false", {"best.ckpt", "last.ckpt"}),
        ("enable_version_counter true", {"best.ckpt", "last.ckpt"}),
        ("auto_insert_metric_name false", {"best.ckpt", "last.ckpt"}),
        ("save_on_exception true", {"best.ckpt", "last.ckpt"}),
        ("verbose true", {"best.ckpt", "last.ckpt"}),
    ],
)
def test_each_option_of_the_checkpoint_keeps_its_meaning(
    option: str, files: set[str], photos: Path, run: Run
) -> None:
    assert run(f"fit {TINY} --checkpoint.{option} --max_epochs 2 --patience 9 {STILL}", "--root", photos) == 0
    last = find_checkpoint("last")
    assert epoch_of(last) == 2
    assert {path.name for path in last.parent.glob("*.ckpt")} == files
    assert rows()["epoch"].tolist() == [1, 2]
    if "best.ckpt" in files:
        # Without a monitor the last is the best; every second epoch is the second.
        assert epoch_of(find_checkpoint()) == (2 if option in ("monitor null", "every_n_epochs 2") else 1)
    assert run(f"fit --ckpt_path {last} --max_epochs 3", "--root", photos) == 0
    assert rows()["epoch"].tolist() == [1, 2, 3]


def test_weights_alone_are_tested_but_not_resumed(photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {TINY} --checkpoint.save_weights_only true --max_epochs 1", "--root", photos) == 0
    assert run("test") == 0
    capsys.readouterr()
    assert run("fit --ckpt_path best --max_epochs 2") == 1
    error = capsys.readouterr().err
    assert (
        "holds only weights (save_weights_only), with which no training resumes; use the run's last" in error
    )
    assert error.count("\n") == 1
    assert run("fit --ckpt_path last --max_epochs 2") == 0


def test_a_folder_of_ones_own_is_the_runs(photos: Path, run: Run, capsys: Capture) -> None:
    words = f"fit {TINY} --checkpoint.dirpath mine --max_epochs 1"
    assert run(words, "--root", photos) == 0
    folder = Path("mine").resolve()
    assert {path.name for path in folder.iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "config.yaml",
        "metrics.csv",
    }
    hint = capsys.readouterr().out.splitlines()[-1]
    assert hint == "Next: python -m catdog_pl test --ckpt_path mine/best.ckpt"
    assert run(hint.partition("catdog_pl ")[2]) == 0
    assert (folder / "test.csv").is_file()
    capsys.readouterr()
    assert run(words, "--root", photos) == 1
    error = capsys.readouterr().err
    assert "holds a run already; give another folder, or resume it with: python -m catdog_pl fit" in error
    assert run(f"fit --ckpt_path {folder / 'last.ckpt'} --max_epochs 2") == 0
    assert rows_of(folder) == [1, 2]


def rows_of(folder: Path) -> Any:
    return pd.read_csv(folder / "metrics.csv")["epoch"].tolist()


EARLY = {
    "min_delta 9": "val_loss had not improved for 1 epoch",
    "stopping_threshold 9": "val_loss reached 9 (stopping_threshold)",
    "divergence_threshold 0.001": "val_loss passed 0.001 (divergence_threshold)",
    "check_on_train_epoch_end false": "val_loss had not improved for 1 epoch",
    "strict false": "val_loss had not improved for 1 epoch",
    "verbose true": "val_loss had not improved for 1 epoch",
    "log_rank_zero_only true": "val_loss had not improved for 1 epoch",
    "patience 3": "val_loss had not improved for 3 epochs",
    "monitor train_acc": "train_acc had not improved for 1 epoch",
}


@pytest.mark.parametrize("option", EARLY)
def test_each_option_of_early_stopping_keeps_its_meaning(
    option: str, photos: Path, run: Run, capsys: Capture
) -> None:
    words = f"--patience 1 --early_stopping.{option} --max_epochs 9 --data.rotation 0 --data.zoom 0"
    words += f" --data.width_shift 0 --data.height_shift 0 --data.horizontal_flip false {STILL}"
    assert run(f"fit {TINY} {words}", "--root", photos) == 0
    assert stopped(capsys) == EARLY[option]


LENGTH = {
    "--max_epochs 1": "1 epoch was done (max_epochs)",
    "--max_epochs 2": "2 epochs were done (max_epochs)",
    "--trainer.max_steps 3": "3 steps were done (max_steps)",
    "--trainer.max_steps 1": "1 step was done (max_steps)",
    "--trainer.max_steps 0": "0 steps were done (max_steps)",
    "--trainer.limit_train_batches 0": "it was to train on no batch (limit_train_batches)",
    "--patience 999 --max_epochs 99999 --trainer.max_time 00:00:00:01": "its time was over (max_time)",
    "--max_epochs 9 --patience 99 --trainer.callbacks EarlyStopping --trainer.callbacks.monitor train_acc "
    "--trainer.callbacks.stopping_threshold -1": "train_acc reached -1 (stopping_threshold)",
}


@pytest.mark.parametrize("words", LENGTH)
def test_the_reason_to_stop_is_the_true_one(words: str, photos: Path, run: Run, capsys: Capture) -> None:
    if "EarlyStopping" in words:
        words = words.replace("stopping_threshold -1", "stopping_threshold -1 --trainer.callbacks.mode max")
    assert run(f"fit {TINY} {words}", "--root", photos) == 0
    assert stopped(capsys) == next(reason for key, reason in LENGTH.items() if words.startswith(key))


def test_epochs_without_validation(photos: Path, run: Run, capsys: Capture) -> None:
    words = f"--trainer.check_val_every_n_epoch 2 --max_epochs 9 --patience 1 {STILL}"
    assert run(f"fit {TINY} {words}", "--root", photos) == 0
    out = capsys.readouterr().out
    assert "Best epoch: 2 (" in out
    assert "Stopped because val_loss had not improved for 1 epoch\n" in out
    assert rows()["val_loss"].notna().tolist() == [False, True, False, True]
    assert epoch_of(find_checkpoint()) == 2
    assert epoch_of(find_checkpoint("last")) == 4


@pytest.mark.parametrize("words", ["--trainer.limit_val_batches 0 --max_epochs 2", "--trainer.max_steps 3"])
def test_no_validation_at_all(words: str, photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {TINY} {words}", "--root", photos) == 0
    out = capsys.readouterr().out.splitlines()
    last = find_checkpoint("last")
    assert not (last.parent / "best.ckpt").exists()
    assert rows()["val_loss"].isna().all()
    assert "There was no validation, so that no epoch is known to be the best" in out
    assert out[-1] == f"Next: python -m catdog_pl test --ckpt_path {last}"
    assert run(out[-1].partition("catdog_pl ")[2]) == 0


def test_an_epoch_that_was_cut_short_has_one_row(photos: Path, run: Run) -> None:
    assert run(f"fit {TINY} --trainer.max_steps 3", "--root", photos) == 0
    assert run("fit --ckpt_path last --trainer.max_steps 10", "--root", photos) == 0
    assert rows()["epoch"].tolist() == [1, 2, 3]


def test_what_counts_as_divergence() -> None:
    assert divergence({"train_loss": 0.5, "val_loss": float("nan")}) == "val_loss is NaN"
    assert divergence({"train_loss": float("inf")}) == "train_loss is infinite"
    assert divergence({"train_loss": 0.5}) is None


@pytest.mark.parametrize("start", ["best", "last", None])
@pytest.mark.parametrize("monitor", ["val_loss", "val_acc"])
def test_a_training_that_diverges_fails_and_keeps_the_good_epochs(
    start: str | None, monitor: str, photos: Path, run: Run, capsys: Capture
) -> None:
    if start:
        assert (
            run(f"fit {TINY} --max_epochs 2 --patience 9 --checkpoint.monitor {monitor}", "--root", photos)
            == 0
        )
    before = {path: path.read_bytes() for path in Path().rglob("*.ckpt")}
    words = f"--ckpt_path {start}" if start else f"{TINY} --root {photos} --checkpoint.monitor {monitor}"
    good = find_checkpoint() if start else None
    capsys.readouterr()
    assert run(f"fit {words} --max_epochs 9 --learning_rate 1e30") == 1
    out, error = capsys.readouterr()
    epoch = 3 if start == "last" else (epoch_of(good) + 1 if good else 1)
    assert "Stopped because train_loss is" in out
    assert "Next:" not in out
    assert error.count("\n") == 1
    assert error.startswith(f"[ERROR]    The training diverged in epoch {epoch}: train_loss is")
    command = "fit " + (f"--ckpt_path {good} " if good else "") + "--learning_rate 0.0001"
    assert error.endswith(f"try a smaller step: python -m catdog_pl {command}\n")
    assert {path: path.read_bytes() for path in Path().rglob("*.ckpt")} == before
    if good:
        assert run(f"{command} --max_epochs 4") == 0
