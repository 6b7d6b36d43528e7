"""A run remembers how it was made: test, validate and resume take it; what is typed now wins and is said."""

import os
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from catdog_pl.errors import CatDogError
from catdog_pl.runs import RunFolder, find_checkpoint
from tests.conftest import Run, draw_layout

pytestmark = pytest.mark.slow

MODEL = "--image_size 32 --accelerator cpu --model.filters [4,4] --model.dense_units 8"
MADE = "--seed 7 --batch_size 3 --data.rotation 0 --patience 9 --checkpoint.monitor val_acc --max_epochs 2"
Capture = pytest.CaptureFixture[str]


def config(run: Path) -> Any:
    newest = max(run.glob("config*.yaml"), key=lambda path: path.stat().st_mtime_ns)
    return yaml.safe_load(newest.read_text(encoding="utf-8"))


def hinted(text: str) -> str:
    """The command of the last line that advises one, without the program's name."""
    return text.splitlines()[-1].rpartition("python -m catdog_pl ")[2]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Photographs that are not in ``data``; there are others there."""
    draw_layout(tmp_path / "data", {"train": 2, "validation": 2, "test": 2})
    return draw_layout(tmp_path / "small", {"train": 8, "validation": 4, "test": 3}, seed=1)


def test_a_resumed_run_goes_on_as_it_was_made(small: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {MODEL} {MADE} --root small") == 0
    capsys.readouterr()
    assert run("fit --ckpt_path last --max_epochs 3") == 0
    out = capsys.readouterr().out
    assert "Found 16 images belonging to 2 classes." in out
    assert [line for line in out.splitlines() if line.startswith("  ")] == [
        "  trainer.max_epochs: 3 instead of the run's 2"
    ]
    made = config(find_checkpoint("last").parent)
    assert (made["seed_everything"], made["early_stopping"]["patience"]) == (7, 9)
    assert made["checkpoint"]["monitor"] == "val_acc"
    assert (made["data"]["root"], made["data"]["batch_size"], made["data"]["rotation"]) == ("small", 3, 0.0)


def test_a_resume_that_says_nothing_is_bit_equal(small: Path, run: Run) -> None:
    weights = []
    for folder, stops in (("whole", [4]), ("parts", [2, 4])):
        for i, epochs in enumerate(stops):
            if i:
                words = f"--ckpt_path {find_checkpoint('last', root=Path(folder))} --max_epochs {epochs}"
            else:
                words = (
                    f"{MODEL} {MADE} --root small --max_epochs {epochs} --trainer.default_root_dir {folder}"
                )
            assert run(f"fit {words}") == 0
        weights.append(
            torch.load(find_checkpoint("last", root=Path(folder)), weights_only=True)["state_dict"]
        )
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@pytest.mark.parametrize("command", ["test", "validate"])
def test_test_and_validate_take_the_runs_photographs(
    command: str, small: Path, run: Run, capsys: Capture
) -> None:
    assert run(f"fit {MODEL} {MADE} --root small") == 0
    capsys.readouterr()
    assert run(command) == 0
    images = {"test": 6, "validate": 8}[command]
    out = capsys.readouterr().out
    assert f"Found {images} images belonging to 2 classes." in out
    assert not [line for line in out.splitlines() if line.startswith("  ")]
    assert run(f"{command} --root data --batch_size 1") == 0
    out = capsys.readouterr().out
    assert "Found 4 images belonging to 2 classes." in out
    assert "  data.root: data instead of the run's small" in out
    assert "  data.batch_size: 1 instead of the run's 3" in out


def test_photographs_that_are_gone_are_one_line(small: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {MODEL} {MADE} --root small") == 0
    small.rename("elsewhere")
    for command in ("test", "validate", "fit --ckpt_path last"):
        capsys.readouterr()
        assert run(command) == 1
        error = capsys.readouterr().err
        assert error == "[ERROR]    small: the run's photographs are not there any more; give --root FOLDER\n"
    assert run("test --root elsewhere") == 0


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--trainer.default_root_dir exp",
        "--trainer.default_root_dir 'my runs'",
        "--checkpoint.filename mine",
        "--checkpoint.dirpath kept",
        "--checkpoint.save_top_k 0",
        "--trainer.limit_val_batches 0",
    ],
)
def test_the_advised_commands_take_this_run(words: str, small: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {MODEL} --max_epochs 1") == 0  # an older run, on other photographs
    capsys.readouterr()
    assert run(f"fit {MODEL} {MADE} --root small", *shlex.split(words)) == 0
    out = capsys.readouterr().out
    assert run(hinted(out).split()[0], *shlex.split(hinted(out))[1:]) == 0
    folder = next(line for line in out.splitlines() if line.startswith("Files of this run: "))[19:]
    shown = capsys.readouterr().out
    assert shown.startswith(f"From the checkpoint {Path(folder)}")
    assert "Found 6 images belonging to 2 classes." in shown
    assert shown.splitlines()[-1] == f"Predictions written to {Path(folder) / 'test.csv'}"


def test_best_and_last_are_looked_for_where_the_runs_are(small: Path, run: Run) -> None:
    assert run(f"fit {MODEL} {MADE} --root small --trainer.default_root_dir exp") == 0
    assert run("test --trainer.default_root_dir exp") == 0
    assert list(Path("exp").glob("basic/*/test.csv"))


def test_only_plain_values_are_remembered() -> None:
    Path("config.yaml").write_text(
        "seed_everything: 7\n"
        "data: {root: x, image_size: 99, resize: bilinear, zoom: 0.1, loader: {class_path: os.system}}\n"
        "trainer: {precision: 16-mixed, accelerator: gpu, devices: 8, max_epochs: 3,\n"
        "  gradient_clip_val: 1.0, logger: {class_path: evil.Logger}, callbacks: [{class_path: evil.C}]}\n"
        "early_stopping: {patience: 9}\ncheckpoint: {monitor: val_acc, dirpath: /old}\n"
        "model: {class_path: evil.Model}\nckpt_path: x.ckpt\n"
    )
    assert RunFolder(Path()).remembered() == {
        "seed_everything": 7,
        "data.root": "x",
        "data.zoom": 0.1,
        "trainer.precision": "16-mixed",
        "trainer.max_epochs": 3,
        "trainer.gradient_clip_val": 1.0,
        "early_stopping.patience": 9,
        "checkpoint.monitor": "val_acc",
    }


def test_an_empty_configuration_remembers_nothing() -> None:
    Path("config.yaml").touch()
    assert RunFolder(Path()).remembered() == {}


def test_the_newest_configuration_counts() -> None:
    for i, name in enumerate(("config-2.yaml", "config-10.yaml", "config.yaml")):
        Path(name).write_text(f"seed_everything: {i}")
        os.utime(name, (100 + i % 2, 100 + i % 2))
    assert RunFolder(Path()).remembered() == {"seed_everything": 1}


@pytest.mark.parametrize(
    "text", ["[1, 2", "- a list", "data: 3", "a: !!python/object/apply:os.system [ls]", "\x00"]
)
def test_a_configuration_that_cannot_be_read_is_one_line(text: str) -> None:
    Path("config.yaml").write_text(text)
    with pytest.raises(CatDogError, match=r"config\.yaml cannot be read \(.*unknown how the run was made"):
        RunFolder(Path()).remembered()


def test_an_option_of_another_version_is_ignored(small: Path, run: Run) -> None:
    assert run(f"fit {MODEL} {MADE} --root small") == 0
    file = find_checkpoint().parent / "config.yaml"
    file.write_text(file.read_text().replace("batch_size:", "batch_sise:"))
    assert run("test") == 0


def test_a_checkpoint_out_of_its_run_remembers_nothing(small: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {MODEL} {MADE} --root small") == 0
    shutil.copy(find_checkpoint(), "copied.ckpt")
    capsys.readouterr()
    assert run("test --ckpt_path copied.ckpt") == 0
    assert "Found 4 images belonging to 2 classes." in capsys.readouterr().out  # those in data


def test_of_two_resumes_at_once_one_works_and_the_other_is_told(
    small: Path, run: Run, capsys: Capture
) -> None:
    assert run(f"fit {MODEL} {MADE} --root small") == 0
    last = find_checkpoint("last")
    command = [sys.executable, "-m", "catdog_pl", "fit", "--ckpt_path", str(last)]
    first = subprocess.Popen([*command, "--max_epochs", "100000"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    while not first.stdout.readline().startswith("Files of this run"):
        assert first.poll() is None
    threading.Thread(target=first.stdout.read, daemon=True).start()
    try:
        capsys.readouterr()
        assert run("fit --ckpt_path last --max_epochs 5") == 1
        error = capsys.readouterr().err
        assert error.startswith(
            f"[ERROR]    Another process trains in {last.parent}; wait for its end, or start"
        )
        assert error.count("\n") == 1
    finally:
        first.kill()
        first.wait()
    epochs = pd.read_csv(last.parent / "metrics.csv")["epoch"].tolist()
    assert epochs == list(range(1, len(epochs) + 1))
    assert run(f"fit --ckpt_path last --max_epochs {len(epochs) + 1}") == 0  # a dead process holds nothing
