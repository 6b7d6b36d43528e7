"""Grad-CAM: captum's numbers for every kind of model, and the pictures that predict writes."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from catdog_pl.data.images import decode
from catdog_pl.errors import UsageError
from catdog_pl.models import VGG16, Basic, Sequential, Transfer
from catdog_pl.models.checkpoint import load_checkpoint, save_checkpoint
from catdog_pl.models.classifier import Classifier
from catdog_pl.prediction import explain, predictor
from catdog_pl.prediction.explain import grad_cam, overlay
from catdog_pl.prediction.predictor import predict
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]

CONV = {"class_name": "Conv2D", "name": "conv", "filters": 6, "kernel_size": [5, 5], "activation": "relu"}
MEAN = {"class_name": "GlobalAveragePooling2D", "name": "mean", "keepdims": True}
FLATTEN = {"class_name": "Flatten", "name": "flatten"}
DENSE = {"class_name": "Dense", "name": "dense", "units": 1, "activation": "sigmoid"}


class Maps(nn.Module):
    """Shows captum features in another order as maps (N, C, h, w), which pass unchanged."""

    def __init__(self, prefix: int = 0) -> None:
        super().__init__()
        self.prefix = prefix
        self.shown = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, L, C) or maps (N, h, w, C)."""
        if x.ndim == 4:
            return torch.as_tensor(self.shown(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        side = round((x.shape[1] - self.prefix) ** 0.5)
        maps = self.shown(x[:, self.prefix :].reshape(len(x), side, side, -1).permute(0, 3, 1, 2))
        return torch.cat([x[:, : self.prefix], maps.permute(0, 2, 3, 1).flatten(1, 2)], 1)


def chain(*layers: dict[str, Any]) -> Sequential:
    return Sequential([*layers, DENSE], image_size=32)


def transfer(backbone: str, size: int | None = 96, **options: Any) -> Transfer:
    model = Transfer(backbone, "none", image_size=size, **options)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = 1.0  # the statistics of random weights, without which all answers are the same
        norm.train()
    model(some_pixels(model))
    return model.eval()


def channels_last() -> Transfer:
    model = transfer("timm/test_mambaout", 128)
    net: Any = model.features.net
    net.stages.append(Maps())  # behind them all
    return model


def class_token() -> Transfer:
    model = transfer("timm/test_vit", None)
    net: Any = model.features.net
    net.blocks[-1] = nn.Sequential(Maps(prefix=1), net.blocks[-1])
    return model


def last_layer(model: Any) -> nn.Module:
    return list(model.features.layers().values())[-1]  # type: ignore[no-any-return]


MODELS: dict[str, tuple[Callable[[], Classifier], Callable[[Any], nn.Module]]] = {
    "basic": (lambda: Basic(image_size=64), lambda model: model.features),
    "vgg16": (lambda: VGG16(image_size=96, weights="none", dense_units=8), last_layer),
    "sequential": (lambda: chain(CONV, FLATTEN), lambda model: model.features),
    "oblong maps": (
        lambda: chain(CONV | {"filters": 28, "kernel_size": [5, 3]}, FLATTEN),
        lambda model: model.features,
    ),
    "a mean that is a map": (lambda: chain(CONV, MEAN, FLATTEN), lambda model: model.features.conv_relu),
    "squeezenet": (lambda: transfer("squeezenet1_1"), last_layer),
    "mobilenet": (lambda: transfer("mobilenet_v3_small", head="mlp"), last_layer),
    "unfrozen": (lambda: transfer("squeezenet1_1", unfreeze=2), last_layer),
    "channels last": (channels_last, lambda model: model.features.net.stages[-1].shown),
    "class token": (class_token, lambda model: model.features.net.blocks[-1][0].shown),
}
"""Of each kind one, and the layer that gives captum its feature maps (N, C, h, w)."""


@pytest.fixture(params=MODELS)
def kind(request: pytest.FixtureRequest) -> str:
    torch.manual_seed(1)
    return str(request.param)


def some_pixels(model: Classifier, count: int = 6) -> Tensor:
    coarse = torch.rand((count, 3, 5, 5), generator=torch.Generator().manual_seed(5)) * 255
    return functional.interpolate(coarse, model.data_spec.image_size, mode="bilinear").to(torch.uint8)


def referee(model: Classifier, layer: nn.Module, pixels: Tensor, is_second: Tensor) -> Tensor:
    """The heat by captum's Grad-CAM and PyTorch's resizing."""

    def score(pixels: Tensor) -> Tensor:
        logits: Tensor = model(pixels)
        return torch.where(is_second, logits, -logits)

    # Pixels with a gradient carry it through layers that are frozen.
    maps = LayerGradCam(score, layer).attribute(pixels.float().requires_grad_(), relu_attributions=True)
    heat: Tensor = functional.interpolate(maps.detach(), pixels.shape[2:], mode="bilinear").squeeze(1)
    heat /= heat.amax((1, 2), keepdim=True).clamp_min(1e-30)
    return heat


def test_the_heat_is_captums(kind: str) -> None:
    build, layer_of = MODELS[kind]
    model = build().eval()
    pixels = some_pixels(model)
    with torch.no_grad():  # of random weights, about half of the answers shall be each class
        middle = model(pixels).median() + 1e-6
        list(model.head.children())[-1].bias.sub_(middle)  # type: ignore[operator]
    heat, logits = grad_cam(model, pixels)
    assert heat.shape == (6, model.data_spec.image_size, model.data_spec.image_size)
    assert heat.dtype == torch.float32
    assert torch.allclose(logits, model(pixels), atol=1e-6)
    assert 0 < (logits > 0).sum() < 6
    assert heat.min() >= 0
    assert set(heat.amax((1, 2)).tolist()) <= {0.0, 1.0}
    assert heat.amax() == 1
    assert torch.allclose(heat, referee(model, layer_of(model), pixels, logits > 0), atol=1e-4)
    others, _ = grad_cam(model, pixels, logits <= 0)
    assert torch.allclose(others, referee(model, layer_of(model), pixels, logits <= 0), atol=1e-4)
    assert not torch.allclose(others, heat, atol=1e-4)


def test_the_model_stays_as_it_was(kind: str) -> None:
    model = MODELS[kind][0]()
    before = [parameter.requires_grad for parameter in model.parameters()]
    pixels = some_pixels(model, 2)
    expected = grad_cam(model, pixels)
    assert not any(module.training for module in model.modules())
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            was_enabled = torch.is_grad_enabled()
            again = grad_cam(model, pixels.clone())
            assert torch.is_grad_enabled() == was_enabled
        assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
        assert not any(tensor.requires_grad for tensor in again)
    assert [parameter.requires_grad for parameter in model.parameters()] == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("build", [lambda: VGG16(64, weights="none"), lambda: transfer("squeezenet1_1", 64)])
def test_a_backbone_in_bfloat16(build: Callable[[], Any]) -> None:
    torch.manual_seed(1)
    model = build()
    pixels = some_pixels(model, 2)
    exact, _ = grad_cam(model, pixels)
    model.bf16_backbone = "always"
    heat, logits = grad_cam(model, pixels)
    assert torch.equal(logits, model(pixels))
    assert heat.dtype == torch.float32
    assert 0 < (heat - exact).abs().mean() < 0.02


def test_what_cannot_be_explained() -> None:
    dense = chain(FLATTEN)
    for model, reason in {
        dense: "sequential cannot be explained: Grad-CAM needs convolutions, and it has none",
        transfer("timm/crossvit_9_240", None): (
            "timm/crossvit_9_240 cannot be explained: Grad-CAM needs feature maps, and it has none"
        ),
        transfer("timm/xcit_nano_12_p16_224", None): (
            "timm/xcit_nano_12_p16_224 cannot be explained: of its tokens, one alone reaches the head"
        ),
        transfer("timm/pit_ti_224", None): (
            "timm/pit_ti_224 cannot be explained: of its tokens, one alone reaches the head"
        ),
    }.items():
        with pytest.raises(UsageError, match=f"^{re.escape(reason)}$"):
            grad_cam(model, some_pixels(model, 1))
        assert torch.is_grad_enabled()


# Pictures


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
@pytest.mark.parametrize("size", [(40, 30), (1, 1), (3, 200)])
def test_an_overlay_has_the_pictures_size(mode: str, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, (102, 153, 51)).convert(mode)
    cold = overlay(picture, np.zeros((8, 8), np.float32))
    assert (cold.mode, cold.size) == ("RGB", size)
    assert cold.tobytes() == picture.convert("RGB").tobytes(), "where nothing was seen, the picture is left"
    hot = overlay(picture, np.ones((8, 8), np.float32))
    expected = 0.7 * np.array(explain.STOPS[-1]) + 0.3 * np.array(picture.convert("RGB").getpixel((0, 0)))
    assert np.abs(np.asarray(hot, float) - expected).max() < 2
    assert picture.mode == mode


def test_an_overlay_is_smooth_and_brighter_where_it_is_hotter() -> None:
    heat = np.array([[0, 0.5, 1, 0.5, 0]], np.float32)
    light = np.asarray(overlay(Image.new("RGB", (500, 9), "black"), heat).convert("L"), np.int64)[4]
    assert np.abs(np.diff(light)).max() <= 4
    assert light[0] == 0
    assert light.argmax() in range(240, 260)
    assert (np.diff(light[70:250:20]) > 0).all()


# The command


@pytest.fixture
def checkpoint() -> str:
    torch.manual_seed(1)
    save_checkpoint(Basic(image_size=32, filters=(4, 4), dense_units=8), Path("x.ckpt"))
    return "x.ckpt"


def picture(width: int = 50, height: int = 20) -> bytes:
    rng = np.random.default_rng(width)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    stream = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "kind"), [("out.png", "PNG"), ("new/out.JPG", "JPEG"), ("out.jpeg", "JPEG")]
)
def test_one_picture_to_a_file(name: str, kind: str, checkpoint: str, run: Run, capsys: Capture) -> None:
    Path("cat.png").write_bytes(picture())
    assert run(f"predict cat.png --ckpt_path {checkpoint}") == 0
    plain = capsys.readouterr()
    for tta in ([], ["--tta"]):
        assert run(f"predict cat.png --ckpt_path {checkpoint} --overwrite --explain", name, *tta) == 0
        assert tta or capsys.readouterr() == plain
    with Image.open(name) as image:
        assert (image.format, image.mode, image.size) == (kind, "RGB", (50, 20))
        shown = np.asarray(image, np.int64)
    (answer,) = predict("cat.png", checkpoint, accelerator="cpu", explain=True)
    assert answer.explanation is not None
    assert np.abs(shown - np.asarray(answer.explanation, np.int64)).mean() < (0.01 if kind == "PNG" else 5)
    assert not np.array_equal(shown, np.asarray(Image.open("cat.png")))


def test_several_pictures_to_a_folder(checkpoint: str, run: Run, capsys: Capture) -> None:
    names = ["a/1.png", "b/1.png", "a/..png", "-x.png", "a/nul?*.png", f"{'y' * 150}.png"]
    for i, name in enumerate(names):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(picture(30 + i))
    Path("broken.png").write_bytes(b"")
    sources = ["a/1.png", "broken.png", *names[1:], "none.png"]
    words = ["--ckpt_path", checkpoint, "--format", "csv", "--batch_size", "1"]  # as with --explain
    assert run("predict", *words, "--", *sources) == 1
    plain = capsys.readouterr()
    assert run("predict", *words, "--explain", "out", "--", *sources) == 1
    assert capsys.readouterr() == plain
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "0001-1.jpg",
        "0003-1.jpg",
        "0004-.jpg",
        "0005--x.jpg",
        "0006-nul__.jpg",
        f"0007-{'y' * 95}.jpg",
    ]
    assert [Image.open(file).width for file in sorted(Path("out").iterdir())] == [*range(30, 36)]


def test_what_is_there_is_not_overwritten_silently(checkpoint: str, run: Run, capsys: Capture) -> None:
    Path("cat.png").write_bytes(picture())
    Path("out.png").write_text("precious", encoding="utf-8")
    Path("full").mkdir()
    Path("full/x.txt").touch()
    Path("empty").mkdir()
    words = f"predict cat.png --ckpt_path {checkpoint} --explain"
    for target in ("out.png", "full"):
        assert run(words, target) == 2
        expected = f"[ERROR]    {target} exists already; give another --explain, or --overwrite\n"
        assert capsys.readouterr() == ("", expected)
    assert Path("out.png").read_text(encoding="utf-8") == "precious"
    assert run(words, "empty") == 0
    assert run(words, "full", "--overwrite") == 0
    assert [path.name for path in Path("empty").iterdir()] == ["0001-cat.jpg"]
    assert sorted(path.name for path in Path("full").iterdir()) == ["0001-cat.jpg", "x.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a.png --explain o.gif", "--explain o.gif: valid are .png, .jpg, .jpeg, or a folder"),
        (
            "a.png b.png --explain o.png",
            "--explain o.png is one file, for what may be several pictures; give a folder",
        ),
        (
            "*.png --explain o.jpg",
            "--explain o.jpg is one file, for what may be several pictures; give a folder",
        ),
    ],
)
def test_places_that_are_refused(words: str, message: str, run: Run, capsys: Capture) -> None:
    assert run(f"predict {words}") == 2
    assert capsys.readouterr().err == f"[ERROR]    {message}\n"


def test_a_place_that_cannot_be_written(checkpoint: str, run: Run, capsys: Capture) -> None:
    Path("cat.png").write_bytes(picture())
    Path("file").touch()
    for target in ("file/out.png", "file/out"):
        assert run(f"predict cat.png --ckpt_path {checkpoint} --explain {target}") == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(rf"\[ERROR\]    {target}\S* cannot be written \(.*\); make room, .*\n", err)


def test_a_picture_that_cannot_be_read_leaves_no_file(checkpoint: str, run: Run, capsys: Capture) -> None:
    assert run(f"predict none.png --ckpt_path {checkpoint} --explain out.png") == 1
    assert capsys.readouterr().out.startswith("[ERROR]    Cannot find image from none.png")
    assert not Path("out.png").exists()


def test_a_model_that_cannot_be_explained(run: Run, capsys: Capture) -> None:
    Path("cat.png").write_bytes(picture())
    save_checkpoint(chain(FLATTEN), Path("x.ckpt"))
    assert run("predict cat.png --ckpt_path x.ckpt --explain out.png") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "sequential cannot be explained: Grad-CAM needs convolutions" in err


# In Python


def test_a_picture_is_read_once(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Mock(wraps=decode)
    monkeypatch.setattr(predictor, "decode", decoder)
    stream = io.BytesIO(picture())
    first, second, third = predict([stream, b"no picture", picture(9, 40)], checkpoint, explain=True)
    assert first.explanation is not None
    assert third.explanation is not None
    assert first.explanation.size == (50, 20)
    assert second.explanation is None
    assert second.error is not None
    assert third.explanation.size == (9, 40)
    assert decoder.call_count == 3
    assert stream.read() == b"", "nobody went back to its start"
    assert [answer.explanation for answer in predict(picture(), checkpoint)] == [None]


def test_transparent_pixels_are_white_in_the_explanation_too(checkpoint: str) -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(stream, "PNG")
    (answer,) = predict(stream.getvalue(), checkpoint, explain=True)
    (plain,) = predict(stream.getvalue(), checkpoint)
    assert answer == plain
    assert answer.explanation is not None
    assert np.asarray(answer.explanation).min() > 20


def test_with_tta_the_class_that_is_answered_is_explained(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = Mock(wraps=explain.explanation)
    monkeypatch.setattr(explain, "explanation", explainer)
    model = load_checkpoint(checkpoint)
    for logit in (-9.0, 9.0):
        monkeypatch.setattr(
            model, "tta_logits", lambda pixels, logit=logit: torch.full((len(pixels),), logit)
        )
        (answer,) = predict(picture(), model, tta=True, explain=True)
        assert answer.label == ("dog" if logit > 0 else "cat")
    assert [call.args[-1] for call in explainer.call_args_list] == [False, True]
