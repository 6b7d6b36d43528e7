"""``--model transfer``: any network of torchvision's under a head, from the command line to prediction."""

import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from torchvision import models

from catdog_pl.models import Transfer, load_checkpoint
from catdog_pl.models.pretrained import Head
from catdog_pl.prediction.predictor import predict
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]
TINY = "--model transfer --backbone squeezenet1_1 --image_size 32 --batch_size 4 --accelerator cpu"


def squeezenet_file(name: str = "squeezenet1_1") -> str:
    """A random state dict in torchvision's layout, in the test's folder."""
    torch.manual_seed(0)
    torch.save(models.get_model_builder(name)().state_dict(), f"{name}.pth")
    return f"{name}.pth"


@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_fit_resume_test_and_predict(head: Head, photos: Path, run: Run, capsys: Capture) -> None:
    file = squeezenet_file()
    words = f"fit {TINY} --weights {file} --head {head} --max_epochs 2 --patience 9"
    assert run(words, "--root", photos) == 0
    os.remove(file)  # a checkpoint holds all that it needs
    assert run("fit --ckpt_path last --max_epochs 3") == 0
    assert run("test --ckpt_path last") == 0
    path = find_checkpoint("last")
    model = load_checkpoint(path)
    assert isinstance(model, Transfer)
    assert model.hparams["image_size"] == 32
    assert model.data_spec.resize == model.data_spec.predict_resize == "bilinear"
    tested = pd.read_csv(path.parent / "test.csv")
    answers = predict([photos / "test" / file for file in tested["file"]], path, accelerator="cpu")
    assert [answer.probability for answer in answers] == pytest.approx(tested["probability"].tolist())
    capsys.readouterr()
    assert run(f"keras export {path} --output a.keras") == 1
    assert capsys.readouterr().err == (
        "[ERROR]    model transfer cannot be exchanged with Keras; basic and vgg16 can\n"
    )
