"""Answers in parts: interrupted, shared, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from catdog_pl.devices import use_own_device
from catdog_pl.models.basic import Basic
from catdog_pl.models.checkpoint import save_checkpoint
from catdog_pl.prediction.parts import Share
from catdog_pl.prediction.predictor import Predictor
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]
COUNT, SIZE = 23, 5
"""Pictures and answers of a part: five parts, the last one of three."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, two of which cannot be read; one has a name that is not text."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / f"{i:02}.png")
    (folder / "07.png").write_bytes(b"")
    (folder / "21.png").write_text("no picture")
    (folder / "00.png").rename(os.fsdecode(os.fsencode(folder) + b'/\xff,\n"0.png'))
    return folder


@pytest.fixture
def words(pictures: Path, checkpoint: Path) -> tuple[object, ...]:
    return (pictures, "--part_size", SIZE, "--ckpt_path", checkpoint)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("part-*"))}


def names(folder: Path) -> list[str]:
    """The pictures that the JSON Lines of a folder answer, in order."""
    return [
        json.loads(line)["source"]
        for file in sorted(folder.glob("part-*.jsonl"))
        for line in file.read_text().splitlines()
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_parts_hold_every_answer_once_and_are_not_done_again(
    form: str, words: tuple[object, ...], run: Run, own_folder: Path, capsys: Capture
) -> None:
    assert run("predict --output out/ --format", form, *words) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"out/part-0000{i}.{form}: {answers} answers, {errors} errors, written"
        for i, (answers, errors) in enumerate([(5, 0), (5, 1), (5, 0), (5, 0), (3, 1)])
    ]
    before = contents(own_folder / "out")
    (own_folder / "out" / f"part-00002.{form}").unlink()
    assert run("predict --output out --format", form, *words) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(", ")[2] for line in lines] == ["there already"] * 2 + ["written"] + [
        "there already"
    ] * 2
    if form != "parquet":
        assert contents(own_folder / "out") == before
        assert run("predict --output whole.csv", *words[:1], *words[3:]) == 1
    else:
        rows = pyarrow.parquet.read_table(own_folder / "out").to_pylist()
        assert len({row["source"] for row in rows}) == COUNT
    if form == "csv":
        whole = (own_folder / "whole.csv").read_bytes().split(b"\n", 1)
        assert whole[1] == b"".join(part.split(b"\n", 1)[1] for part in before.values())


def test_nothing_is_computed_again(
    words: tuple[object, ...], run: Run, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("predict --output out/", *words)

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Predictor, "__call__", fail)
    assert run("predict --output out/", *words) == 1


@pytest.mark.parametrize(
    "variables",
    [
        "TORCHELASTIC_RUN_ID=none WORLD_SIZE=4 LOCAL_WORLD_SIZE=2 RANK=3 LOCAL_RANK=1",
        "SLURM_STEP_NUM_TASKS=4 SLURM_STEP_NUM_NODES=2 SLURM_NTASKS=8 SLURM_PROCID=3 SLURM_LOCALID=1",
        "MASTER_ADDR=h WORLD_SIZE=4 RANK=3",
        "WORLD_SIZE=4 RANK=3",
    ],
)
def test_every_launcher_tells_a_process_its_share(variables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Share.of_process() == (0, 1)
    monkeypatch.setattr(os, "environ", dict(word.split("=") for word in variables.split()))
    assert Share.of_process() == (3, 4)


def test_several_processes_share_the_parts(
    words: tuple[object, ...], run: Run, own_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert run("predict --output alone/ --format jsonl", *words) == 1
    for name in ("STEP_NUM_TASKS", "NTASKS", "NTASKS_PER_NODE"):
        monkeypatch.setenv(f"SLURM_{name}", "2")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "1")
    monkeypatch.setenv("SLURM_LOCALID", "0")
    monkeypatch.setenv("SLURM_PROCID", "1")
    # 0 although a picture is bad: torchrun would end the other process.
    assert run("predict --output out/ --format jsonl", *words) == 0
    assert list(contents(own_folder / "out")) == ["part-00001.jsonl", "part-00003.jsonl"]
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert run("predict --output out/ --format jsonl", *words) == 0
    assert contents(own_folder / "out") == contents(own_folder / "alone")
    capsys.readouterr()
    assert run("predict --output out/ --format jsonl --overwrite", *words) == 2
    error = "--overwrite with 2 processes: remove out by hand before"
    assert capsys.readouterr().err == f"[ERROR]    {error}\n"


def test_another_model_or_option_does_not_go_on(
    words: tuple[object, ...], run: Run, own_folder: Path, capsys: Capture
) -> None:
    run("predict --output out/ --format jsonl", *words)
    before = contents(own_folder / "out")
    save_checkpoint(Basic(image_size=32), own_folder / "other.ckpt")
    assert run("predict --output out/ --format jsonl", *words, "--tta") == 2
    assert capsys.readouterr().err == (
        "[ERROR]    --output out holds answers with tta False; give another --output, or --overwrite\n"
    )
    assert run("predict --output out/ --format jsonl", *words[:-1], "other.ckpt") == 2
    assert "holds answers with model " in capsys.readouterr().err
    assert contents(own_folder / "out") == before
    assert run("predict --output out/ --format jsonl --overwrite", *words[:-1], "other.ckpt") == 1
    assert contents(own_folder / "out") != before


def test_other_pictures_or_a_damaged_part_are_one_line(
    words: tuple[object, ...], run: Run, own_folder: Path, capsys: Capture
) -> None:
    run("predict --output out/", *words)
    shutil.copytree(str(words[0]), "more")
    Image.new("RGB", (9, 9)).save("more/05b.png")
    capsys.readouterr()
    assert run("predict more --output out/", *words[1:]) == 1
    reason = "answers other pictures than now; give another --output, or --overwrite"
    assert capsys.readouterr().err == f"[ERROR]    out/part-00000.csv {reason}\n"
    Path("out/part-00003.csv").write_text("nonsense\n1\n")
    assert run("predict --output out/", *words) == 1
    assert capsys.readouterr().err == "[ERROR]    out/part-00003.csv cannot be read ('source'); remove it\n"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("--output full/", "--output full holds other files; give a new or empty folder"),
        (
            "--output out/ --format text",
            "--format text does not go with a folder as --output; use csv, jsonl, parquet",
        ),
        (
            "--output out/ --explain x.png",
            "--explain does not go with a folder as --output; use csv, jsonl, parquet",
        ),
    ],
)
def test_wrong_words_are_one_line(
    line: str, error: str, words: tuple[object, ...], run: Run, capsys: Capture
) -> None:
    Path("full").mkdir()
    Path("full/notes.txt").touch()
    assert run(f"predict {line}", *words) == 2
    assert capsys.readouterr().err == f"[ERROR]    {error}\n"


@pytest.mark.slow
def test_a_killed_run_goes_on_and_answers_every_picture_once(
    words: tuple[object, ...], run: Run, own_folder: Path, pictures: Path
) -> None:
    command = [sys.executable, "-m", "catdog_pl", "predict", "--output", "out/", "--format", "jsonl"]
    many = own_folder / "many"
    for i in range(40):
        shutil.copytree(pictures, many / f"{i:02}")
    with subprocess.Popen([*command, str(many), *map(str, words[1:])], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    done = len(contents(own_folder / "out"))
    assert 0 < done < 40 * COUNT // SIZE
    assert run("predict --output out/ --format jsonl", many, *words[1:]) == 1
    found = names(own_folder / "out")
    assert len(found) == len(set(found)) == 40 * COUNT


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr("catdog_pl.devices.find_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.setattr(torch.accelerator, "set_device_index", taken.append)
    for name, value in {"STEP_NUM_TASKS": 8, "STEP_NUM_NODES": 2, "PROCID": 7, "LOCALID": 3}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    use_own_device("auto")
    assert taken == [3]
