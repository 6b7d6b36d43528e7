"""``import catdog_pl`` as a notebook uses it: light at first, then a plain Trainer."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image

import catdog_pl
from catdog_pl import VGG16, Basic, CatDogDataModule, Prediction, load_checkpoint, predict

HEAVY = {"torch", "lightning", "numpy", "pandas", "h5py", "PIL", "requests", "jsonargparse"}


def python(program: str) -> str:
    """Run a program in a process of its own, and return what it prints."""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def test_the_import_is_light_and_tells_its_names() -> None:
    program = (
        f"import sys, catdog_pl, catdog_pl.prediction; heavy = {HEAVY} & set(sys.modules)\n"
        "print(heavy or '', *[name for name in catdog_pl.__all__ if name not in dir(catdog_pl)])"
    )
    assert python(program) == ""


@pytest.mark.parametrize("name", catdog_pl.__all__)
def test_every_name_is_there(name: str) -> None:
    found = getattr(catdog_pl, name)
    assert callable(found)
    assert found.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'catdog_pl' has no attribute 'Resnet'"):
        catdog_pl.Resnet  # noqa: B018


def test_predict_is_the_function_also_after_its_modules_were_imported() -> None:
    importlib.import_module("catdog_pl.prediction.predictor")
    importlib.import_module("catdog_pl.commands.predict")
    assert catdog_pl.predict is predict
    assert list(catdog_pl.predict([], model=Basic(image_size=32))) == []


def test_fit_save_load_predict(photos: Path, tmp_path: Path) -> None:
    datamodule = CatDogDataModule(photos, image_size=32, batch_size=4)
    model = Basic(image_size=32, filters=(4, 4), dense_units=8)
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(model, datamodule=datamodule)
    (metrics,) = trainer.validate(model, datamodule=datamodule, verbose=False)
    trainer.save_checkpoint(tmp_path / "basic.ckpt")

    loaded = load_checkpoint(str(tmp_path / "basic.ckpt"))
    assert isinstance(loaded, Basic)
    assert not isinstance(loaded, VGG16)
    assert loaded.data_spec.class_names == ("cat", "dog")
    for name, weights in loaded.state_dict().items():
        assert torch.equal(weights, model.state_dict()[name]), name
    assert 0 <= metrics["val_acc"] <= 1

    path = photos / "test" / "dog" / "dog.0.jpg"
    image = Image.open(path)
    array = np.asarray(image)
    inputs: list[Any] = [
        path,
        str(path),
        path.read_bytes(),
        image,
        array,
        torch.from_numpy(array.copy()).permute(2, 0, 1),
    ]
    answers = list(predict([*inputs, "missing.jpg"], loaded))
    assert all(isinstance(answer, Prediction) for answer in answers)
    assert [answer.label is None for answer in answers] == [False] * len(inputs) + [True]
    assert [answer.probability for answer in answers[:-1]] == [answers[0].probability] * len(inputs)
    assert answers[0].source == str(path)
    (alone,) = predict(image, tmp_path / "basic.ckpt", accelerator="cpu")
    assert alone.label == answers[0].label
