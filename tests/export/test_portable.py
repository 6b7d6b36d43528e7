"""Files that run without the package: every model gives the same answers there, and in the example."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from catdog_pl.errors import CatDogError
from catdog_pl.export import EXPORTERS, Pictures, check, export
from catdog_pl.export.portable import probabilities
from catdog_pl.models import VGG16, Basic, Classifier, Sequential, Transfer
from catdog_pl.models.checkpoint import save_checkpoint
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]

CHAIN: list[dict[str, Any]] = [
    {"class_name": "Conv2D", "name": "conv2d", "filters": 4, "kernel_size": [3, 3], "activation": "relu"},
    {"class_name": "BatchNormalization", "name": "batch_normalization"},
    {"class_name": "GlobalAveragePooling2D", "name": "pool"},
    {"class_name": "Dense", "name": "dense", "units": 1, "activation": "sigmoid"},
]
MODELS: dict[str, Callable[[], Classifier]] = {
    "basic": lambda: Basic(image_size=32, dropout=0.5),
    "basic, imagenet": lambda: Basic(image_size=32, preprocessing="imagenet"),
    "sequential": lambda: Sequential(CHAIN, image_size=32, grey=True, preprocessing="symmetric"),
    "vgg16": lambda: VGG16(image_size=32, preprocessing="imagenet", load_weights=False),
    "vgg16, bfloat16": lambda: VGG16(image_size=32, weights="none", bf16_backbone="always"),
    "squeezenet": lambda: Transfer("squeezenet1_1", "none", image_size=64),
    "mobilenet": lambda: Transfer("mobilenet_v3_small", "none", image_size=64, head="mlp"),
    "timm": lambda: Transfer("timm/resnet10t", "none", image_size=64),
}


@pytest.fixture(params=MODELS)
def checkpoint(request: pytest.FixtureRequest) -> Path:
    torch.manual_seed(0)
    model = MODELS[request.param]()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.mul_(3)  # answers of both classes
    save_checkpoint(model, Path("model.ckpt"))
    return Path("model.ckpt")


def noise(model: Classifier) -> Pictures:
    size = model.data_spec.image_size
    return Pictures(np.random.default_rng(0).integers(0, 256, (35, size, size, 3), np.uint8), "pictures")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_every_model_answers_alike_in_every_format(format: str, checkpoint: Path) -> None:
    lines = list(export(checkpoint, format, Path(f"model.{format}"), photographs=noise))
    assert lines[-1].startswith("Checked     35 pictures: the same answers, largest difference")
    assert float(lines[-1].rpartition(" ")[2]) < 1e-5
    assert {path.name for path in Path().glob("model.*")} == {"model.ckpt", f"model.{format}"}  # one file


@pytest.fixture
def saved() -> Path:
    torch.manual_seed(0)
    save_checkpoint(Basic(image_size=32), Path("model.ckpt"))
    return Path("model.ckpt")


def test_an_onnx_file_takes_any_batch_and_tells_how_to_use_it(saved: Path) -> None:
    assert len(list(export(saved, "onnx", Path("model.onnx")))) == 3  # nothing was checked
    session = onnxruntime.InferenceSession("model.onnx")
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("pixels", "tensor(uint8)", [32, 32, 3])
    assert (given.name, given.type) == ("probability", "tensor(float)")
    assert session.get_modelmeta().custom_metadata_map == {
        "model": "basic", "class_names": "cat,dog", "threshold": "0.5", "image_size": "32",
        "resize": "lanczos",
    }  # fmt: skip
    for count in (1, 2, 7):
        assert session.run(None, {"pixels": np.zeros((count, 32, 32, 3), np.uint8)})[0].shape == (count,)


def test_a_pt2_file_tells_how_to_use_it(saved: Path) -> None:
    list(export(saved, "pt2", Path("model.pt2")))
    about = {"metadata.txt": ""}
    torch.export.load("model.pt2", extra_files=about)
    assert about["metadata.txt"].splitlines()[1:3] == ["class_names: cat,dog", "threshold: 0.5"]


def test_the_example_gives_the_numbers_of_predict(
    saved: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    pictures = sorted((photos / "test" / "dog").iterdir())
    assert run("export model.ckpt --output model.onnx", "--root", photos) == 0
    out = capsys.readouterr().out
    assert "Checked     6 test photographs: the same answers" in out
    example = Path(__file__).parents[2] / "examples" / "onnx_predict.py"
    words = [sys.executable, str(example), "model.onnx", *map(str, pictures)]
    answer = subprocess.run(words, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert run("predict --ckpt_path model.ckpt --format csv", *pictures) == 0
    ours = [line.split(",") for line in capsys.readouterr().out.splitlines()[1:]]
    theirs = [line.split() for line in answer.stdout.splitlines()]
    assert [line[1] for line in theirs] == [line[2] for line in ours]
    np.testing.assert_allclose(
        [float(line[2]) for line in theirs], [float(line[1]) for line in ours], atol=2e-6
    )


def test_a_file_that_answers_otherwise_is_an_error(saved: Path) -> None:
    model = Basic(image_size=32)

    def other(_: Path, pixels: np.ndarray) -> np.ndarray:
        return 1 - probabilities(model, pixels)

    with pytest.raises(
        CatDogError, match=r"^a.onnx answers 3\d of 35 pictures otherwise than the checkpoint"
    ):
        check(model, Path("a.onnx"), other, noise)


def test_without_photographs_noise_is_asked_and_said(saved: Path, run: Run, capsys: Capture) -> None:
    assert run("export model.ckpt --output model.pt2") == 0
    assert "Checked     32 pictures of noise (no photographs in data): the same" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("best --output a.onnx", "No trained model found in checkpoints"),
        (
            "model.ckpt --output a.bin",
            "--output a.bin: its ending tells no format; use .onnx, .pt2, .keras, .h5, none for a folder,",
        ),
        (
            "model.ckpt --output there.onnx",
            "there.onnx exists already; give another --output, or --overwrite",
        ),
        ("model.ckpt --output https://a.org/b.onnx", "argument --output: https://a.org/b.onnx is a URL"),
        ("there.onnx --output a.onnx", "Checkpoint there.onnx"),
        ("model.ckpt --output there.onnx/a.onnx", "there.onnx/a.onnx cannot be written ("),
        (
            "model.ckpt --output a.onnx --format tflite",
            "--format tflite: valid is keras, onnx, pt2 or safetensors",
        ),
    ],
)
def test_bad_input_is_one_line(words: str, message: str, saved: Path, run: Run, capsys: Capture) -> None:
    Path("there.onnx").write_text("something", encoding="utf-8")
    assert run("export", *words.split()) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert Path("there.onnx").read_text(encoding="utf-8") == "something"


def test_a_missing_package_is_one_line(
    saved: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPORTERS, "onnx", EXPORTERS["onnx"]._replace(packages=("onnx", "no_such_package")))
    assert run("export model.ckpt --output a.onnx") == 2
    line = "--format onnx needs no_such_package: pip install 'catdog_pl[export]'"
    assert capsys.readouterr().err == f"[ERROR]    {line}\n"
