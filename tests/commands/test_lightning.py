"""What users of Lightning type from habit: loggers, callbacks, progress bars, precision, the environment."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

pytestmark = pytest.mark.slow

MODEL = "--model.filters [4,4] --model.dense_units 8"
TINY = f"--image_size 32 --batch_size 4 --accelerator cpu --max_epochs 1 {MODEL}"
Capture = pytest.CaptureFixture[str]


def fit(run: Run, photos: Path, *words: str) -> Path:
    """Fit with these words; returns the run's folder."""
    assert run(f"fit {TINY}", "--root", photos, *words) == 0
    return find_checkpoint("last").parent


def logged(folder: Path) -> dict[str, Any]:
    """The hyper-parameters of a CSVLogger."""
    text = (folder / "hparams.yaml").read_text(encoding="utf-8").replace("!!python/tuple", "")
    return dict(yaml.safe_load(text))


def check_csv(folder: Path) -> None:
    assert "val_loss" in (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    hparams = logged(folder)
    assert (hparams["learning_rate"], hparams["data.batch_size"], hparams["seed_everything"]) == (
        0.001,
        4,
        2018,
    )


@pytest.mark.parametrize("name", ["CSVLogger", "lightning.pytorch.loggers.CSVLogger", "true"])
def test_a_logger_by_name_writes_into_the_run(name: str, photos: Path, run: Run) -> None:
    folder = fit(run, photos, "--trainer.logger", name)
    assert {"config.yaml", "best.ckpt", "last.ckpt", "metrics.csv", "lightning_logs"} == {
        path.name for path in folder.iterdir()
    }
    if find_spec("tensorboard") is None or name != "true":
        check_csv(folder / "lightning_logs" / "version_0")
    saved = yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["logger"]
    assert saved is True or saved["init_args"]["save_dir"] is None  # the next run has a folder of its own


def test_a_logger_with_a_folder_of_its_own(photos: Path, run: Run) -> None:
    words = (
        "--trainer.logger",
        "CSVLogger",
        "--trainer.logger.save_dir",
        "logs",
        "--trainer.logger.name",
        "mine",
    )
    folder = fit(run, photos, *words)
    check_csv(Path("logs/mine/version_0"))
    assert (folder / "config.yaml").is_file()
    assert {path.name for path in Path().iterdir()} == {"checkpoints", "logs", "torch_home"}


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_several_loggers(form: str, photos: Path, run: Run) -> None:
    loggers = [
        {"class_path": "lightning.pytorch.loggers.CSVLogger"},
        {"class_path": "CSVLogger", "init_args": {"name": "second"}},
    ]
    Path("loggers.yaml").write_text(yaml.safe_dump({"trainer": {"logger": loggers}}))
    words = ("--config", "loggers.yaml") if form == "yaml" else ("--trainer.logger", json.dumps(loggers))
    folder = fit(run, photos, *words)
    check_csv(folder / "lightning_logs" / "version_0")
    check_csv(folder / "second" / "version_0")


def test_the_saved_configuration_gives_the_next_run_logs_of_its_own(photos: Path, run: Run) -> None:
    first = fit(run, photos, "--trainer.logger", "CSVLogger")
    assert run(f"fit --config {first / 'config.yaml'}") == 0
    second = find_checkpoint("last").parent
    assert second != first
    check_csv(second / "lightning_logs" / "version_0")
    assert not (first / "lightning_logs" / "version_1").exists()


LOGGERS = {
    "TensorBoardLogger": ("tensorboard", "lightning_logs/version_0/events.out.tfevents.*"),
    "MLFlowLogger": ("mlflow", "mlflow.db"),
    "WandbLogger": ("wandb", "wandb/offline-run-*/*.wandb"),
}


@pytest.mark.parametrize("name", LOGGERS)
def test_loggers_of_other_packages(
    name: str, photos: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, file = LOGGERS[name]
    monkeypatch.setenv("WANDB_MODE", "offline")
    if find_spec(package):
        assert list(fit(run, photos, "--trainer.logger", name).glob(file))
        return
    assert run(f"fit {TINY} --trainer.logger {name}", "--root", photos) == 2
    error = capsys.readouterr().err
    assert f"{name}: the package {package} is missing; install it with: pip install -U" in error
    assert error.count("\n") == 1
    assert not Path("checkpoints/basic").exists()


def test_a_logger_that_does_not_exist(run: Run, capsys: Capture) -> None:
    assert run("fit --trainer.logger TensorbordLogger") == 2
    error = capsys.readouterr().err
    assert (
        "--trainer.logger TensorbordLogger: valid is the name of a Logger, a list such as [a,b], true, false"
        in error
    )


BARS = ["TQDMProgressBar", "RichProgressBar", "lightning.pytorch.callbacks.TQDMProgressBar"]


@pytest.mark.parametrize("bar", BARS)
def test_a_progress_bar_of_the_users_takes_ours_place(
    bar: str, photos: Path, run: Run, capsys: Capture
) -> None:
    fit(run, photos, "--trainer.callbacks", bar)
    out = capsys.readouterr().out
    for start in ("Training on 1 x cpu", "Files of this run: ", "It takes ", "Best epoch: 1", "Next: "):
        assert any(line.startswith(start) for line in out.splitlines()), start


def test_a_bar_without_bars_is_one_line(run: Run, photos: Path, capsys: Capture) -> None:
    words = "--trainer.callbacks TQDMProgressBar --trainer.enable_progress_bar false"
    assert run(f"fit {TINY} {words}", "--root", photos) == 2
    assert "enable_progress_bar=False" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
def test_a_terminal_shows_every_line_and_a_bar(photos: Path) -> None:
    import termios

    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-m", "catdog_pl", "fit", *TINY.split(), "--root", str(photos)]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 10_000):
            shown += part
    except OSError:  # the other side is closed
        pass
    assert process.wait(60) == 0
    text = shown.decode()
    for words in ("Training on 1 x cpu", "Files of this run: ", "Epoch 1/1 - ", "Best epoch: 1", "Next: "):
        assert words in text
    bar = r"Epoch 1/1: █+\| 4/4 \[00:\d\d, loss=\d\.\d{3}, acc=\d\.\d{3}, left=at most 1 min\]"
    assert re.search(bar, text)
    assert re.search(r"\r +\rIt takes ", text)  # the bar is wiped away
    assert "Validation DataLoader 0: " in text


CALLBACKS = [
    "EarlyStopping --trainer.callbacks.monitor train_acc",
    "ModelCheckpoint --trainer.callbacks.monitor val_acc",
    "ModelSummary",
    "LearningRateMonitor --trainer.logger CSVLogger",
    "Timer --trainer.callbacks.duration 00:01:00:00",
    "TQDMProgressBar --trainer.callbacks+ LearningRateMonitor --trainer.logger CSVLogger",
]


@pytest.mark.parametrize("words", CALLBACKS)
def test_callbacks_by_name_stand_beside_ours(words: str, photos: Path, run: Run) -> None:
    folder = fit(run, photos, "--trainer.callbacks", *words.split())
    assert {"best.ckpt", "last.ckpt", "metrics.csv", "config.yaml"} <= {
        path.name for path in folder.iterdir()
    }
    assert run("test") == 0


@pytest.mark.parametrize("plugin", ["AsyncCheckpointIO", "TorchCheckpointIO"])
def test_a_checkpoint_plugin_takes_ours_place(plugin: str, photos: Path, run: Run) -> None:
    fit(run, photos, "--trainer.plugins", plugin)
    assert run("test") == 0
    assert run("fit --ckpt_path last --max_epochs 2") == 0


def test_a_precision_whose_package_is_missing_is_one_line(run: Run, capsys: Capture) -> None:
    if find_spec("transformer_engine"):
        pytest.skip("transformer_engine is there")
    assert run("fit --accelerator cpu --precision transformer-engine") == 2
    error = capsys.readouterr().err
    assert "the package transformer_engine is missing; install it with: pip install" in error
    assert error.count("\n") == 1


@pytest.mark.skipif(find_spec("psutil") is not None, reason="psutil is there")
def test_a_callbacks_missing_package_is_one_line(photos: Path, run: Run, capsys: Capture) -> None:
    words = "--trainer.callbacks DeviceStatsMonitor --trainer.logger CSVLogger"
    assert run(f"fit {TINY} {words}", "--root", photos) == 1
    error = capsys.readouterr().err
    assert "the package psutil is missing; install it with: pip install -U 'psutil'" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_bfloat16_is_not_emulated_unless_told_to(
    stage: str, photos: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(run, photos)
    monkeypatch.setattr("catdog_pl.cli.bfloat16_is_fast", lambda device: False)
    words = f"{stage} --ckpt_path last --accelerator cpu --precision bf16-mixed"
    words += " --max_epochs 2" if stage == "fit" else ""
    capsys.readouterr()
    assert run(words) == 0
    out, error = capsys.readouterr()
    assert error == (
        "[WARNING]  --precision bf16-mixed: this cpu computes bfloat16 about 100 times slower than float32, "
        "so that float32 is used; --force_bf16 true insists\n"
    )
    if stage == "fit":
        assert "precision 32-true" in out
    assert run(f"{words} --force_bf16 true".replace("epochs 2", "epochs 3")) == 0
    out, error = capsys.readouterr()
    assert not error
    if stage == "fit":
        assert "precision bf16-mixed" in out
    monkeypatch.setattr("catdog_pl.cli.bfloat16_is_fast", lambda device: True)
    assert run(words.replace("epochs 2", "epochs 4")) == 0
    assert not capsys.readouterr().err


def test_environment_variables_as_lightning_names_them(
    run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_FIT__DATA__BATCH_SIZE", "7")
    monkeypatch.setenv("PL_FIT__TRAINER__MAX_EPOCHS", "3")
    monkeypatch.setenv("PL_TEST__DATA__BATCH_SIZE", "9")
    Path("a.yaml").write_text("trainer: {max_epochs: 4}")
    with pytest.raises(SystemExit):
        run("fit --config a.yaml --print_config")
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config["data"]["batch_size"], config["trainer"]["max_epochs"]) == (7, 4)
    monkeypatch.setenv("PL_FIT__DATA__BATCH_SIZE", "many")
    assert run("fit") == 2
    error = capsys.readouterr().err
    assert "many" in error
    assert error.count("\n") == 1
