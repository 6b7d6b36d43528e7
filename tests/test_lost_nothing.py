"""Whatever happens during a fit, the last complete checkpoint is there and goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.models import load_checkpoint
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run, draw_layout

pytestmark = pytest.mark.slow

MOMENTS = int(os.environ.get("CATDOG_KILLS", "4"))
"""How many times a fit is killed; CATDOG_KILLS=100 for the long run."""

TINY = "--image_size 32 --batch_size 4 --accelerator cpu --max_epochs 1000000 --patience 1000000"
Capture = pytest.CaptureFixture[str]


def start(words: str, root: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "catdog_pl", *words.split(), "--root", str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(pattern: str, seconds: float = 120) -> Path:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := list(Path().glob(pattern)):
            return found[0]
        time.sleep(0.02)
    raise TimeoutError(pattern)


def test_a_fit_killed_at_any_moment_goes_on_from_its_last_epoch(photos: Path) -> None:
    moments = random.Random(2018)
    epochs = 0
    for i in range(MOMENTS):
        process = start(f"fit {TINY}" + (" --ckpt_path last" if i else ""), photos)
        config = wait_for(f"checkpoints/basic/*/config{'' if i == 0 else f'-{i + 1}'}.yaml")
        wait_for("checkpoints/basic/*/last.ckpt")
        time.sleep(moments.uniform(0.0, 1.5))
        process.kill()
        _, error = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, error
        assert config.parent == find_checkpoint("last").parent
        for which in ("best", "last"):
            load_checkpoint(find_checkpoint(which))
        rows = pd.read_csv(config.parent / "metrics.csv")["epoch"].tolist()
        assert rows == list(range(1, len(rows) + 1))
        assert len(rows) >= epochs
        epochs = len(rows)
    assert epochs > 0


def test_a_training_that_diverges_fails_and_keeps_the_best(photos: Path, run: Run, capsys: Capture) -> None:
    assert run("fit --image_size 32 --max_epochs 1", "--root", photos) == 0
    assert run("fit --ckpt_path last --max_epochs 9 --learning_rate 1e30", "--root", photos) == 1
    best = find_checkpoint("best")
    out, error = capsys.readouterr()
    assert "Stopped because val_loss is NaN" in out
    assert error == (
        "[ERROR]    The training diverged in epoch 2: val_loss is NaN. No checkpoint holds that epoch; "
        f"try a smaller step: python -m catdog_pl fit --ckpt_path {best} --learning_rate 0.0001\n"
    )
    load_checkpoint(best)
    load_checkpoint(find_checkpoint("last"))


def test_a_changed_patience_is_obeyed_on_resume(photos: Path, run: Run) -> None:
    assert (
        run("fit --image_size 32 --max_epochs 2 --patience 99 --learning_rate 1e-30", "--root", photos) == 0
    )
    assert (
        run("fit --ckpt_path last --max_epochs 9 --patience 3 --learning_rate 1e-30", "--root", photos) == 0
    )
    rows = pd.read_csv(find_checkpoint("last").parent / "metrics.csv")
    assert len(rows) == 4  # the first epoch is the best, three more do not improve


def become_a_pipe(path: Path) -> None:
    """Reading it would wait for ever."""
    path.unlink()
    os.mkfifo(path)


LOST: dict[str, Callable[[Path], object]] = {
    "overwritten": lambda path: path.write_bytes(b"overwritten"),
    "deleted": Path.unlink,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-500]),
}
if hasattr(os, "mkfifo"):
    LOST["a pipe"] = become_a_pipe


def after_the_folders_were_listed(lose: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen between the start of a fit and its first batch."""
    original = CatDogDataModule.setup

    def setup(datamodule: CatDogDataModule, stage: str) -> None:
        original(datamodule, stage)
        lose()

    monkeypatch.setattr(CatDogDataModule, "setup", setup)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_photograph_lost_during_training_is_named_in_one_line(
    kind: str, num_workers: int, tmp_path: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = draw_layout(tmp_path / "data", {"train": 4, "validation": 2})
    line = f"fit --image_size 32 --data.cache_gib 0 --num_workers {num_workers} --max_epochs"
    assert run(f"{line} 1", "--root", data) == 0
    photo = data / "train" / "cat" / "cat.1.jpg"
    after_the_folders_were_listed(lambda: LOST[kind](photo), monkeypatch)
    capsys.readouterr()
    assert run(f"{line} 2 --ckpt_path last", "--root", data) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "cat.1.jpg" in error
    assert f"resume with: python -m catdog_pl fit --ckpt_path {find_checkpoint('last')}" in error


@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_a_worker_that_dies_is_one_line(tmp_path: Path) -> None:
    data = draw_layout(tmp_path / "data", {"train": 40, "validation": 2})
    process = start(f"fit {TINY} --data.cache_gib 0 --num_workers 2", data)
    wait_for("checkpoints/basic/*/last.ckpt")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, error = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "DataLoader worker" in error.splitlines()[-1]
    assert "resume with: python -m catdog_pl fit --ckpt_path" in error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
def test_a_lost_process_of_a_fit_on_two_devices_is_one_line(photos: Path) -> None:
    process = start(f"fit {TINY} --devices 2 --trainer.strategy ddp", photos)
    last = wait_for("checkpoints/basic/*/last.ckpt")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (other,) = (pid for pid in children if b"catdog_pl" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(int(other), signal.SIGKILL)
    _, error = process.communicate(timeout=90)
    assert process.returncode == 1
    line = error.splitlines()[-1]
    assert line.startswith("[ERROR]    another process of this training was lost (")
    assert line.endswith(f"resume with: python -m catdog_pl fit --ckpt_path {last}")
    assert "Traceback" not in error
    load_checkpoint(last)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_keeps_the_last_checkpoint(photos: Path) -> None:
    limited = (
        "import resource, signal, sys; from catdog_pl.__main__ import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = f"fit {TINY} --root {photos}".split()
    answer = subprocess.run(
        [sys.executable, "-c", limited, *words], capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 1
    assert "best.ckpt cannot be written" in answer.stderr.splitlines()[-1]
    assert "Traceback" not in answer.stderr
    assert not list(Path("checkpoints").rglob("*.ckpt*"))
