"""``--model transfer``: any network of torchvision's under a head, from the command line to prediction."""

import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from torchvision import models

from catdog_pl.errors import CheckpointError, UsageError, WeightsError
from catdog_pl.models import Transfer, load_checkpoint
from catdog_pl.models.checkpoint import save_checkpoint
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
        "[ERROR]    model transfer cannot be exchanged with Keras; basic, vgg16 and sequential can\n"
    )


def test_a_checkpoint_keeps_its_preprocessing_when_the_library_changes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Transfer("squeezenet1_1", "none", image_size=32)
    assert model.hparams["normalization"][0] == pytest.approx([123.675, 116.28, 103.53])
    save_checkpoint(model, tmp_path / "a.ckpt")
    preset = models.get_model_weights("squeezenet1_1").DEFAULT.transforms
    monkeypatch.setitem(preset.keywords, "mean", (0.0, 0.0, 0.0))
    assert Transfer.skeleton(backbone="squeezenet1_1").hparams["normalization"][0] == [0.0, 0.0, 0.0]
    pixels = torch.full((1, 3, 32, 32), 100.0)
    assert torch.equal(load_checkpoint(tmp_path / "a.ckpt").preprocess(pixels), model.preprocess(pixels))


@pytest.mark.parametrize("values", [[[1.0, 2.0, 3.0]], [[1.0] * 3, [0.0] * 3], [[1.0] * 2, [1.0] * 2]])
def test_a_normalization_has_three_means_and_three_deviations(values: list[list[float]]) -> None:
    with pytest.raises(UsageError, match=r"^normalization is .*; it must be \[\[mean of R, G, B\], "):
        Transfer.skeleton(backbone="squeezenet1_1", normalization=values)


def test_the_head_takes_pooled_features_of_any_scale() -> None:
    linear = Transfer.skeleton(backbone="squeezenet1_1")
    assert [type(layer).__name__ for layer in linear.head] == ["LayerNorm", "Linear"]
    assert sum(p.numel() for p in linear.parameters() if p.requires_grad) == 513
    mlp = Transfer.skeleton(backbone="squeezenet1_1", head="mlp", dense_units=8, dropout=0.25)
    assert [tuple(p.shape) for p in mlp.head.parameters()] == [(8, 512), (8,), (1, 8), (1,)]
    assert mlp.head.get_submodule("dropout_1").p == 0.25
    with pytest.raises(UsageError, match=r"^head 'deep' is unknown; valid are linear, mlp$"):
        Transfer.skeleton(backbone="squeezenet1_1", head="deep")


def test_size_filter_and_augmentation_are_those_of_the_weights() -> None:
    model = Transfer.skeleton(backbone="efficientnet_b2")
    spec = model.data_spec
    assert (spec.image_size, spec.resize, spec.predict_resize) == (288, "bicubic", "bicubic")
    assert model.hparams["image_size"] == 288
    assert model.augment == "none"  # a photograph passes the backbone once
    assert Transfer.skeleton(backbone="resnet18", cached_views=2).augment == "keras"


def test_wrong_arguments_are_told_before_weights_are_looked_for() -> None:
    for options, message in (
        ({"image_size": 16}, "image_size 16 does not fit the backbone; its weights were made for 224"),
        ({"optimizer": "Adamm"}, "optimizer 'Adamm' is unknown"),
        ({"cached_views": -1}, "cached_views is -1"),
    ):
        with pytest.raises(UsageError, match=message):
            Transfer("squeezenet1_1", weights="missing.pth", **options)
    with pytest.raises(WeightsError, match=r"weights missing\.pth: there is no such file"):
        Transfer("squeezenet1_1", weights="missing.pth")


def tampered(name: str) -> Path:
    """A good checkpoint whose backbone has another name."""
    path = Path("transfer.ckpt")
    save_checkpoint(Transfer("squeezenet1_1", weights="none"), path)
    contents = torch.load(path, weights_only=True)
    contents["hyper_parameters"]["backbone"] = name
    torch.save(contents, path)
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "it does not hold the layers of its model; use another copy"),
        (
            "timm/hf-hub:a/b",
            "its hyper-parameters do not fit its model: Backbone 'timm/hf-hub:a/b'",
        ),
        (
            "timm/local-dir:.",
            "its hyper-parameters do not fit its model: Backbone 'timm/local-dir:.' is unknown",
        ),
    ],
)
def test_a_checkpoint_of_another_backbone_is_refused_and_nothing_fetched(name: str, message: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tampered(name))
    assert str(error.value).startswith(f"Checkpoint transfer.ckpt: {message}")


@pytest.mark.parametrize("backbone", ["timm/test_resnet", "mnasnet0_5"])
def test_statistics_of_batch_norm_travel_in_checkpoints(backbone: str) -> None:
    model = Transfer(backbone, weights="none", image_size=160).eval()
    for name, buffer in model.features.named_buffers():
        buffer.copy_(torch.full_like(buffer, 3 if name.endswith("tracked") else 1.5))
    save_checkpoint(model, Path("transfer.ckpt"))
    loaded = load_checkpoint("transfer.ckpt")
    assert loaded.state_dict().keys() == model.state_dict().keys()
    pixels = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)
    assert torch.equal(loaded(pixels), model(pixels))


@pytest.mark.parametrize("weights", ["none", "DEFAULT"])
def test_only_random_weights_learn_new_statistics_of_batch_norm(weights: str) -> None:
    model = Transfer("mnasnet0_5", weights, unfreeze="all", load_weights=False).train()
    norms = [layer for layer in model.features.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert {layer.training for layer in norms} == {weights == "none"}
    assert all(layer.training for layer in model.features.modules() if isinstance(layer, torch.nn.Conv2d))


@pytest.mark.parametrize(
    ("words", "row"),
    [
        ("--backbone resnet18", "layer4 (Sequential)          (None, 7, 7, 512)         8393728   "),
        ("--backbone swin_t", "features.7 (Sequential)      (None, 7, 7, 768)         14183856  "),
        ("--backbone timm/test_vit", "blocks.5 (Block)             (None, 101, 64)           41728     "),
    ],
)
def test_the_summary_shows_the_stages(words: str, row: str, run: Run, capsys: Capture) -> None:
    assert run(f"summary --model transfer {words}") == 0
    out = capsys.readouterr().out.splitlines()
    assert row in out
    assert any(line.startswith("layer_norm_1 (LayerNorm)") for line in out)


def test_only_transfer_has_a_choice_of_backbones(run: Run, capsys: Capture) -> None:
    assert run("summary --model vgg16 --backbone resnet18") == 2
    assert capsys.readouterr().err == (
        "[ERROR]    --backbone resnet18: only --model transfer has a choice of backbones\n"
    )
