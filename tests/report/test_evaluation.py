import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.errors import CatDogError
from catdog_pl.report.evaluation import crosstab, evaluation_table, predicted_labels, report
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]


def test_the_workshops_own_table() -> None:
    true = [0] * 100 + [1] * 100
    probabilities = [0.2] * 65 + [0.8] * 35 + [0.3] * 11 + [0.9] * 89
    predicted = predicted_labels(probabilities)
    assert str(crosstab(true, predicted)) == "\n".join(
        [
            "Pred   0    1  All",
            "True              ",
            "0     65   35  100",
            "1     11   89  100",
            "All   76  124  200",
        ]
    )


def test_a_class_that_was_never_predicted_keeps_its_column() -> None:
    table = crosstab([0, 0, 1], [0, 0, 0])
    assert table.columns.tolist() == [0, 1, "All"]
    assert table.T["All"].tolist() == [3, 0, 3]


def test_the_report_names_classes_counts_and_interval() -> None:
    table = pd.DataFrame({"true": ["cat"] * 3 + ["owl"] * 3, "predicted": ["cat"] * 4 + ["owl"] * 2})
    assert report(table, ["cat", "owl"]).splitlines() == [
        "Accuracy: 0.8333 (5 of 6; 95 % interval 0.44 to 0.97)",
        "Pred   0 cat  1 owl  All",
        "True                    ",
        "0 cat      3      0    3",
        "1 owl      1      2    3",
        "All        4      2    6",
    ]


def test_nan_is_an_error_and_no_cat(photos: Path) -> None:
    datamodule = CatDogDataModule(photos, image_size=8)
    datamodule.setup("test")
    folder, answers = datamodule.folders["test"], dict.fromkeys(range(6), -1.0)
    assert evaluation_table(folder, answers)["predicted"].tolist() == ["cat"] * 6
    with pytest.raises(CatDogError, match=r"^1 of 6 answers of the model are NaN; test another"):
        evaluation_table(folder, answers | {3: math.nan})


def test_exactly_one_half_is_the_first_class() -> None:
    assert predicted_labels([0.5, 0.5000001, 0.4999999]) == [0, 1, 0]


def test_the_csv_holds_every_photograph_in_file_order(trained: Path) -> None:
    table = pd.read_csv(trained / "test.csv")
    files = [f"{name}/{name}.{i}.jpg" for name in ("cat", "dog") for i in range(3)]
    assert table.columns.tolist() == ["file", "probability", "predicted", "true", "logit"]
    assert table["file"].tolist() == files
    assert table["true"].tolist() == ["cat"] * 3 + ["dog"] * 3
    assert ((table["probability"] > 0.5) == (table["predicted"] == "dog")).all()
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-table["logit"])), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_of_any_bytes_are_tested_and_escaped(
    trained: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    shutil.copytree(photos, "leaky")
    cats = Path("leaky/test/cat")
    for old, new in (("cat.0.jpg", b"caf\xe9.jpg"), ("cat.1.jpg", b"\x1b[31m\r\xe2\x80\xae.jpg")):
        (cats / old).rename(os.fsdecode(os.fsencode(cats) + b"/" + new))
    shutil.copy("leaky/test/cat/cat.2.jpg", "leaky/train/cat/another.jpg")
    capsys.readouterr()
    assert run("test --root leaky") == 0
    out, err = capsys.readouterr()
    assert " of 6; 95 % interval " in out
    assert (out + err).replace("\n", "").isprintable()
    assert err == (
        "[WARNING]  1 of 6 test photographs is in leaky/train, too, the first as leaky/test/cat/cat.2.jpg; "
        "the accuracy is not that of unseen photographs\n"
    )
    names = [
        line.partition(",")[0] for line in (trained / "test.csv").read_text(encoding="utf-8").splitlines()
    ]
    assert sorted(names[1:4]) == [r"cat/\x1b[31m\r\u202e.jpg", r"cat/caf\udce9.jpg", "cat/cat.2.jpg"]


@pytest.mark.slow
def test_photographs_of_the_runs_own_training_are_told_in_another_folder(
    trained: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    shutil.copytree(photos / "train", "other/test")
    capsys.readouterr()
    assert run("test --root other") == 0
    assert capsys.readouterr().err.startswith(
        f"[WARNING]  16 of 16 test photographs are in {photos}/train, too"
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["test", "validate"])
def test_two_devices_print_once(stage: str, trained: Path, photos: Path) -> None:
    line = f"-m catdog_pl {stage} --devices 2 --accelerator cpu --root"
    words = [sys.executable, *line.split(), str(photos)]
    answer = subprocess.run(words, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    counted = {"test": 6, "validate": 8}[stage]
    assert lines[0].startswith(f"From the checkpoint {trained}")
    assert lines[1] == f"Found {counted} images belonging to 2 classes."
    assert len(lines) == len(set(lines)) == {"test": 10, "validate": 4}[stage]


@pytest.fixture
def trained(run: Run, photos: Path) -> Path:
    """The folder of a run that was trained for an epoch and tested."""
    assert run("fit --max_epochs 1 --image_size 32 --batch_size 4", "--root", photos) == 0
    assert run("test", "--root", photos) == 0
    (folder,) = Path("checkpoints/basic").iterdir()
    return folder
