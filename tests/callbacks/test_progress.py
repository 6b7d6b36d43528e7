"""How far an epoch is: the running metrics, the time left, and the line where no bar is drawn."""

import math
import re
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from catdog_pl.callbacks.history import History
from catdog_pl.callbacks.progress import EpochProgress, duration
from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.models import Basic
from catdog_pl.models.classifier import Batch
from tests.conftest import Run

FIT = "fit --image_size 32 --batch_size 4 --accelerator cpu --model.filters [4,4] --model.dense_units 8"
MEANS = r" - loss: \d\.\d{4} - acc: \d\.\d{4} - at most 1 min left"
LINE = rf"Epoch 1/1 - \d of (4|2 validation) batches - \d+s({MEANS})?"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose steps last longer than the longest silence, before their loss is known and behind."""
    features, before_step = Basic.batch_features, History.on_before_optimizer_step

    def wait(self: Basic, batch: Batch, batch_idx: int, stage: str) -> Tensor:
        time.sleep(0.3)
        return features(self, batch, batch_idx, stage)

    def wait_again(*words: Any) -> None:
        time.sleep(0.3)
        before_step(*words)

    monkeypatch.setattr(Basic, "batch_features", wait)
    monkeypatch.setattr(History, "on_before_optimizer_step", wait_again)
    monkeypatch.setattr("catdog_pl.callbacks.progress.SILENCE", 0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("words", ["", "--trainer.enable_progress_bar false"])
def test_a_long_epoch_is_never_silent(words: str, photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"{FIT} --max_epochs 1 {words}", "--root", photos) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "batches" in line]
    assert all(re.fullmatch(LINE, line) for line in lines), lines
    starts = {line.split(" - ")[1] for line in lines}
    assert {"0 of 4 batches", "3 of 4 batches", "1 of 2 validation batches"} <= starts
    time.sleep(0.2)
    assert capsys.readouterr().out == ""  # the epoch has ended


@pytest.mark.slow
@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    "words", ["--trainer.callbacks TQDMProgressBar", "--trainer.enable_progress_bar true"]
)
def test_a_bar_takes_the_lines_place(words: str, photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"{FIT} --max_epochs 1 {words}", "--root", photos) == 0
    out = capsys.readouterr().out
    assert "batches" not in out
    assert ("left=at most 1 min" in out) == ("true" in words)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that fails in its first step."""

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("catdog_pl.callbacks.history.History.on_before_optimizer_step", fail)


@pytest.mark.slow
@pytest.mark.usefixtures("broken")
def test_an_error_stands_on_a_line_of_its_own_behind_a_bar(photos: Path, run: Run, capsys: Capture) -> None:
    with pytest.raises(MemoryError):
        run(f"{FIT} --trainer.enable_progress_bar true", "--root", photos)
    assert re.search(r"Epoch 1/25: +\| 0/4 .*\r +\r$", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.usefixtures("slow", "broken")
def test_an_epoch_that_breaks_off_prints_no_more(photos: Path, run: Run) -> None:
    before = threading.active_count()
    with pytest.raises(MemoryError):
        run(f"{FIT} --max_epochs 1", "--root", photos)
    time.sleep(0.2)
    assert threading.active_count() == before


class Comparison(Callback):
    """Compares the running metrics at the epoch's end with the logged ones, and these with the steps'."""

    def __init__(self, progress: EpochProgress) -> None:
        self.progress = progress
        self.compared = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.progress.metrics(trainer) == {}
        self.losses: list[tuple[float, int]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append((float(outputs["loss"]) * trainer.accumulate_grad_batches, len(batch[1])))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        mean = sum(loss * count for loss, count in self.losses) / sum(count for _, count in self.losses)
        assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(mean, rel=1e-6)
        for name, value in self.progress.metrics(trainer).items():
            assert value == pytest.approx(float(trainer.callback_metrics[name]), rel=1e-5)
            self.compared += 1


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_running_metrics_end_as_those_of_the_epoch(accumulated: int, photos: Path) -> None:
    progress = EpochProgress()
    comparison = Comparison(progress)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        accumulate_grad_batches=accumulated,
        callbacks=[progress, comparison],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Basic(image_size=32, filters=(4, 4), dense_units=8, ema_decay=0.9, label_smoothing=0.1)
    data = CatDogDataModule(photos, batch_size=3, mixup=0.2)  # the last batch holds one photograph of 16
    trainer.fit(model, data)
    assert comparison.compared == 4  # loss and accuracy of two epochs


def progress_of(times: list[float], last_times: list[float]) -> EpochProgress:
    progress = EpochProgress()
    progress._times, progress._last_times = times, last_times
    return progress


def trainer_of(**values: Any) -> Any:
    """An epoch of 4 + 2 batches, the second of five."""
    defaults = {"max_epochs": 5, "max_steps": -1, "current_epoch": 1, "callbacks": []}
    return SimpleNamespace(**defaults | {"num_training_batches": 4, "num_val_batches": [2]} | values)


@pytest.mark.parametrize(
    ("times", "last_times", "values", "left"),
    [
        # The first epoch of a process: 20 s a batch are 120 s an epoch, 80 s of which are left, and 3 more.
        ([20, 40], [], {}, 80 + 3 * 120),
        # The last one took 100 s, 40 s of them behind its second batch; this one is slower: 80 s so far.
        ([40, 80], [30, 60, 70, 80, 85, 90, 100], {}, 40 + 3 * 120),
        ([40, 80], [30, 60, 70, 80, 85, 90, 100], {"current_epoch": 4}, 40),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5], {"current_epoch": 4}, 0),  # the last one had no validation
        ([], [], {}, None),
        ([20, 40], [], {"max_epochs": -1}, None),
        ([20, 40], [], {"max_epochs": None}, None),
        ([20, 40], [], {"max_steps": 9}, None),
        ([20, 40], [], {"num_training_batches": math.inf}, None),
    ],
)
def test_the_time_left(
    times: list[float], last_times: list[float], values: dict[str, Any], left: int | None
) -> None:
    expected = None if left is None else f"at most {duration(left)}"
    assert progress_of(times, last_times).time_left(trainer_of(**values)) == expected


def test_a_finished_epoch_tells_how_long_the_others_take(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 60, 120, 180, 240, 250, 260, 300, 310])  # 40 s for what follows the last batch
    monkeypatch.setattr("catdog_pl.callbacks.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
    progress, model = EpochProgress(), Basic()
    trainer = trainer_of(is_global_zero=False, sanity_checking=False)
    progress.on_train_epoch_start(trainer, model)
    for i in range(4):
        progress.on_train_batch_end(trainer, model, {}, ([], []), i)
    for i in range(2):
        progress.on_validation_batch_end(trainer, model, None, ([], []), i)
    progress.on_train_epoch_start(trainer, model)
    progress.on_train_batch_end(trainer, model, {}, ([], []), 0)
    assert progress.time_left(trainer) == f"at most {duration(240 + 3 * 250)}"


def test_the_time_left_is_that_of_a_timer_where_it_ends_before() -> None:
    timer = Timer(timedelta(minutes=3))
    assert progress_of([20, 40], []).time_left(trainer_of(callbacks=[timer])) == "at most 3 min"
    assert progress_of([2, 4], []).time_left(trainer_of(callbacks=[timer])) == "at most 1 min"
    assert progress_of([], []).time_left(trainer_of(callbacks=[timer], max_epochs=-1)) == "at most 3 min"


def test_durations_are_rounded_up() -> None:
    assert [duration(seconds) for seconds in (0, 60, 61, 3600, 11_000)] == [
        "1 min", "1 min", "2 min", "1 h 0 min", "3 h 4 min"
    ]  # fmt: skip
