"""Levers beyond the workshop: label smoothing, dropout, averaged weights, four views at test time."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2.functional import normalize, resized_crop

from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.errors import CheckpointError, UsageError
from catdog_pl.models import VGG16, Basic
from catdog_pl.models.checkpoint import load_checkpoint, read_checkpoint
from catdog_pl.models.classifier import AVERAGED, Classifier
from catdog_pl.models.pretrained import Transfer
from catdog_pl.prediction.predictor import predict
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

SMALL = "--image_size 32 --batch_size 4 --accelerator cpu --patience 9 --model.filters [4,4]"
SMALL += " --model.dense_units 8 --max_epochs 1"
Capture = pytest.CaptureFixture[str]


def losses(model: Classifier, labels: Tensor) -> dict[str, float]:
    """The loss of each stage; logits are those of the model's own answer."""
    model.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    pixels = torch.randint(0, 256, (len(labels), 3, 32, 32), generator=torch.Generator().manual_seed(0))
    batch = (pixels.to(torch.uint8), labels, torch.arange(len(labels)))
    return {stage: float(model.shared_step(batch, 0, stage)[0]) for stage in ("train", "val", "test")}


def test_smoothed_labels_are_keras_and_count_in_training_alone() -> None:
    import keras

    torch.manual_seed(0)
    plain, smooth = (Basic(32, filters=(4,), label_smoothing=amount).eval() for amount in (0.0, 0.2))
    smooth.load_state_dict(plain.state_dict())
    labels = torch.tensor([0, 1, 1, 0])
    pixels = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)
    expected = float(keras_loss(labels.float(), plain(pixels)).detach())
    assert losses(smooth, labels)["train"] == pytest.approx(expected, abs=1e-6)
    assert losses(smooth, labels)["val"] == losses(plain, labels)["val"]
    assert losses(smooth, labels)["test"] == losses(plain, labels)["test"]


def test_mixed_labels_are_shares_in_the_loss_the_weights_and_the_accuracy() -> None:
    model = Basic(32, filters=(4,)).eval()
    model.weight_by_label = (2.0, 0.5)
    logged: dict[str, Tensor] = {}
    model.log_dict = lambda values, **_: logged.update(values)  # type: ignore[method-assign]
    pixels, shares = torch.randint(0, 256, (3, 3, 32, 32)), torch.tensor([0.0, 0.25, 0.75])
    loss, logits, _ = model.shared_step((pixels, shares, torch.arange(3)), 0, "train")
    probabilities = logits.sigmoid()
    each = functional.binary_cross_entropy(probabilities, shares, reduction="none")
    torch.testing.assert_close(loss, (each * torch.tensor([2.0, 1.625, 0.875])).mean())
    assert float(logged["train_acc"]) == pytest.approx(
        float(((probabilities > 0.5) == torch.tensor([False, False, True])).float().mean())
    )


def test_dropout_changes_neither_the_weights_nor_the_default() -> None:
    assert list(dict(Basic(32).head.named_children())) == ["flatten_1", "dense_1", "relu", "dense_2"]
    model, default = Basic(dropout=0.3), Basic()
    assert model.state_dict().keys() == default.state_dict().keys()
    assert sum(p.numel() for p in model.parameters()) == 4_791_809
    dropped = [name for name, layer in model.head.named_children() if isinstance(layer, nn.Dropout)]
    assert dropped == ["dropout_1", "dropout_2"]
    model.load_state_dict(default.state_dict())
    pixels = torch.randint(0, 256, (2, 3, 150, 150), dtype=torch.uint8)
    assert torch.equal(model.eval()(pixels), default.eval()(pixels))
    assert not torch.equal(model.train()(pixels), default(pixels))


def test_imagenets_preprocessing_is_torchvisions() -> None:
    from torchvision.models import ResNet18_Weights

    preset = ResNet18_Weights.DEFAULT.transforms()
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    expected = normalize(pixels / 255, preset.mean, preset.std)
    torch.testing.assert_close(Basic(32, preprocessing="imagenet").preprocess(pixels), expected)
    with pytest.raises(UsageError, match=r"^preprocessing 'plain' is unknown; valid are workshop, imagenet$"):
        Basic(32, preprocessing="plain")  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["label_smoothing", "ema_decay"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_numbers_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"^{option} is {value:g}; it must be at least 0 and below 1$"):
        Basic(32, **{option: value})  # type: ignore[arg-type]


class Steps(Callback):
    """The weights after each step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.weights.append({key: value.clone() for key, value in pl_module.state_dict().items()})


def trainer(*callbacks: Callback) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=list(callbacks),
    )


def test_averages_are_those_of_the_formula(photos: Path) -> None:
    steps, model = Steps(), Basic(32, filters=(4,), dense_units=4, ema_decay=0.7)
    trainer(steps).fit(model, CatDogDataModule(photos, batch_size=4))
    average = steps.weights[0]
    for weights in steps.weights[1:]:
        average = {key: 0.7 * average[key] + 0.3 * weights[key] for key in average}
    assert len(steps.weights) == 8
    for key, value in model.state_dict().items():  # which a fit leaves behind
        torch.testing.assert_close(value, average[key])
        assert not torch.equal(value, steps.weights[-1][key])


def test_averaging_leaves_a_frozen_backbone_as_it_is(photos: Path) -> None:
    torch.manual_seed(1)
    model = Transfer("resnet18", weights="none", image_size=32, ema_decay=0.7, cached_views=0)
    before = {key: value.clone() for key, value in model.features.state_dict().items()}
    trainer().fit(model, CatDogDataModule(photos, batch_size=4))
    assert all(torch.equal(value, before[key]) for key, value in model.features.state_dict().items())


def test_a_second_fit_and_a_test_need_no_other_callback(photos: Path) -> None:
    model, module = Basic(32, filters=(4,), dense_units=4, ema_decay=0.7), CatDogDataModule(photos)
    one = trainer()
    one.fit(model, module)
    (metrics,) = one.test(model, module, verbose=False)
    assert metrics["test_loss"] > 0
    one.fit(model, module)


@pytest.mark.slow
def test_checkpoints_hold_the_averages_that_were_validated(photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {SMALL} --model.ema_decay 0.8 --root {photos}") == 0
    best = find_checkpoint()
    checkpoint = read_checkpoint(best)
    kept, trained = checkpoint["state_dict"], checkpoint[AVERAGED]
    assert not any(torch.equal(kept[key], trained[key]) for key in kept)
    assert all(torch.equal(kept[key], value) for key, value in load_checkpoint(best).state_dict().items())
    row = pd.read_csv(best.parent / "metrics.csv").iloc[0]
    capsys.readouterr()
    assert run("validate") == 0
    assert f"val_loss: {row.val_loss:.4f} - val_acc: {row.val_acc:.4f}" in capsys.readouterr().out


@pytest.mark.slow
def test_lightnings_callback_is_an_option_too(photos: Path, run: Run, capsys: Capture) -> None:
    callback = "--trainer.callbacks+=EMAWeightAveraging --trainer.callbacks.decay 0.8"
    assert run(f"fit {SMALL} {callback} --root {photos}") == 0
    states = [read_checkpoint(find_checkpoint())]
    assert run(f"fit {SMALL} --model.ema_decay 0.8 --root {photos}") == 0
    states.append(read_checkpoint(find_checkpoint()))
    for key in ("state_dict", AVERAGED):
        for name, value in states[0][key].items():
            torch.testing.assert_close(value, states[1][key][name])


@pytest.mark.slow
def test_a_resume_without_what_averages_is_refused(photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {SMALL} --model.ema_decay 0.8 --root {photos}") == 0
    capsys.readouterr()
    assert run("fit --ckpt_path last --max_epochs 2 --model.ema_decay 0") == 2
    assert capsys.readouterr().err == (
        "[ERROR]    The checkpoint holds averages of the weights that were trained; resume with what made "
        "them: --model.ema_decay 0.999, or the callback\n"
    )


@pytest.mark.slow
def test_trained_weights_beside_averages_are_checked(photos: Path, run: Run) -> None:
    assert run(f"fit {SMALL} --model.ema_decay 0.8 --root {photos}") == 0
    checkpoint = torch.load(find_checkpoint(), weights_only=True)
    for state in ({}, {"n_averaged": torch.zeros(2)}, {"n": torch.tensor(1)}, None):
        torch.save(checkpoint | {"averaging_state": state}, "bad.ckpt")
        with pytest.raises(CheckpointError, match="averages without their number"):
            read_checkpoint("bad.ckpt")
    checkpoint[AVERAGED]["head.dense_1.bias"][0] = float("nan")
    torch.save(checkpoint, "bad.ckpt")
    with pytest.raises(CheckpointError, match=r"head\.dense_1\.bias is NaN"):
        read_checkpoint("bad.ckpt")
    del checkpoint[AVERAGED]["head.dense_1.bias"]
    torch.save(checkpoint, "bad.ckpt")
    with pytest.raises(CheckpointError, match="does not hold the layers"):
        read_checkpoint("bad.ckpt")


MODELS = [
    lambda: Basic(32, filters=(4,), dense_units=4),
    lambda: VGG16(32, weights="none", dense_units=4, cached_views=1),
]


@pytest.mark.parametrize("make", MODELS, ids=["basic", "vgg16"])
def test_four_views_of_a_photograph_count_alike(make: Any, photos: Path) -> None:
    torch.manual_seed(3)
    model: Classifier = make()
    module = CatDogDataModule(photos, batch_size=3)
    one = trainer()
    one.fit(model, module)  # with caches filled
    plain = [one.validate(model, module, verbose=False)[0], one.test(model, module, verbose=False)[0]]
    model.tta = True
    both = [one.validate(model, module, verbose=False)[0], one.test(model, module, verbose=False)[0]]
    for split, own, viewed in zip(("validation", "test"), plain, both, strict=True):
        folder = module.folders[split]  # type: ignore[index]
        pixels, labels, _ = folder.__getitems__(range(len(folder)))
        with torch.inference_mode():
            logits = model.eval()(pixels)
            edge, side = pixels.shape[3] // 10, pixels.shape[3]
            inner = side - 2 * edge
            middle = resized_crop(pixels.float(), edge, edge, inner, inner, [side, side], antialias=False)
            views = [pixels, pixels.flip(3), middle, middle.flip(3)]
            mean = sum(model(view) for view in views) / 4
        name = {"validation": "val_loss", "test": "test_loss"}[split]
        for found, expected in ((own, logits), (viewed, mean)):
            loss = functional.binary_cross_entropy_with_logits(expected, labels.float())
            assert found[name] == pytest.approx(float(loss), abs=1e-5)
        assert own[name] != pytest.approx(viewed[name], abs=1e-7)


@pytest.mark.slow
def test_tta_is_an_option_of_the_commands_that_answer(photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {SMALL} --data.resize bilinear --root {photos}") == 0
    model, files = load_checkpoint(find_checkpoint()), sorted((photos / "test").rglob("*.jpg"))
    answers = [answer.probability for answer in predict(files, model, tta=True)]
    assert answers != [answer.probability for answer in predict(files, model)]
    assert run("test --tta") == 0
    tested = pd.read_csv(find_checkpoint().parent / "test.csv").probability.tolist()
    assert tested == pytest.approx(answers, abs=1e-6)  # the filter is one, in training and prediction
    capsys.readouterr()
    assert run("validate --tta") == 0
    assert "val_acc" in capsys.readouterr().out
    assert run("predict --tta --format csv", photos / "test") == 0
    printed = [float(line.split(",")[1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert printed == pytest.approx(answers, abs=1e-6)


@pytest.mark.slow
def test_a_fit_may_validate_by_four_views(photos: Path, run: Run) -> None:
    losses = []
    for words in ("", "--tta"):
        assert run(f"fit {SMALL} {words} --root {photos}") == 0
        losses.append(
            pd.read_csv(find_checkpoint().parent / "metrics.csv").iloc[0][["train_loss", "val_loss"]]
        )
    assert losses[0].train_loss == losses[1].train_loss
    assert losses[0].val_loss != losses[1].val_loss
