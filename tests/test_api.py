"""The commands as functions: the same training, the same safety, in a call."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning import seed_everything

from catdog_pl import Basic, CatDogDataModule, Run, fit, load_checkpoint, prepare
from catdog_pl.api import words
from catdog_pl.errors import CatDogError, UsageError
from tests.conftest import Run as RunCommand

Capture = pytest.CaptureFixture[str]

SMALL = {"filters": (4, 4), "dense_units": 8}


def small(learning_rate: float = 1e-3) -> Basic:
    seed_everything(2018, verbose=False)
    return Basic(image_size=32, filters=(4, 4), dense_units=8, learning_rate=learning_rate)


def test_fit_trains_the_model_as_the_command_does_to_the_bit(photos: Path, run: RunCommand) -> None:
    model = small()
    done = fit(model, CatDogDataModule(photos, batch_size=4, rotation=10), max_epochs=2, accelerator="cpu")
    assert (
        run(
            "fit --model basic --model.filters [4,4] --model.dense_units 8 --image_size 32 --batch_size 4 "
            "--data.rotation 10 --max_epochs 2 --accelerator cpu --checkpoint.dirpath typed",
            "--root",
            photos,
        )
        == 0
    )
    typed = load_checkpoint(Path("typed/last.ckpt")).state_dict()
    assert all(torch.equal(weight, typed[name]) for name, weight in model.state_dict().items())
    pd.testing.assert_frame_equal(
        done.history.drop(columns="seconds"), pd.read_csv("typed/metrics.csv").drop(columns="seconds")
    )
    assert done.remembered() == Run(Path("typed")).remembered()


def test_a_run_tests_its_best_epoch_and_goes_on(photos: Path, capsys: Capture) -> None:
    data = CatDogDataModule(photos, batch_size=4)
    done = fit(small(), data, max_epochs=1, accelerator="cpu")
    table = done.test(accelerator="cpu", tta=True)
    assert "Accuracy: " in capsys.readouterr().out
    assert list(table.columns) == ["file", "probability", "predicted", "true", "logit"]
    assert len(table) == 6
    again = fit(small(), data, max_epochs=3, accelerator="cpu", ckpt_path=done.last)
    assert again == done
    assert again.history["epoch"].tolist() == [1, 2, 3]


def test_options_are_typed_as_the_command_has_them() -> None:
    values = {
        "root": Path("my data"),
        "precision": "16-mixed",
        "zoom": 0.1,
        "a": None,
        "b": True,
        "c": [1, 2],
    }
    assert words(values | {"plot": True, "tta": False}) == [
        "--root=my data", "--precision=16-mixed", "--zoom=0.1", "--a=null", "--b=true", "--c=[1, 2]", "--plot"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{"learning_rate": 0.1}, {"batch_size": 3}, {"data.zoom": 0.1}, {"seed": 1}, {"config": "sample"}],
)
def test_fit_refuses_what_belongs_to_the_model_or_the_data(options: dict[str, float], photos: Path) -> None:
    (name,) = options
    message = f"fit takes no {name}; give it to the model or to the CatDogDataModule"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        fit(small(), CatDogDataModule(photos), **options)
    assert not Path("checkpoints").exists()


def test_a_run_shows_its_curves_once_there_are_some(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run._repr_png_() is None
    row = "1,2.0,0.7,0.5,0.6,0.75,0.001\n"
    (tmp_path / "metrics.csv").write_text(
        "epoch,seconds,train_loss,train_acc,val_loss,val_acc,learning_rate\n" + row
    )
    picture = run._repr_png_()
    assert picture is not None
    assert picture.startswith(b"\x89PNG")


def test_prepare_prepares(photos: Path, capsys: Capture) -> None:
    prepare(photos / "train", root="mine", sizes=(2, 1, 1))
    assert "used 8." in capsys.readouterr().out
    assert len(list(Path("mine/train/cat").iterdir())) == 2
    with pytest.raises(CatDogError):
        prepare("missing", root="other")


def test_a_notebook_shows_an_error_of_ours_as_one_line() -> None:
    error = UsageError("give another")
    assert error._render_traceback_() == ["[ERROR]    give another"]
