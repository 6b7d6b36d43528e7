"""A frozen backbone under a head: what is frozen, what is kept, what moves."""

import os
import re
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from catdog_pl.callbacks.training import EpochSeed
from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.dataset import Batch
from catdog_pl.errors import CheckpointError, UsageError
from catdog_pl.models import VGG16, Basic, features, load_checkpoint, registry, transfer
from catdog_pl.models.backbones import Backbone, Normalization, create_backbone
from catdog_pl.models.backbones.vgg16 import VGG16Backbone
from catdog_pl.models.transfer import Bfloat16, TransferClassifier, Unfreeze
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]
PIXELS = torch.arange(2 * 3 * 32 * 32).remainder(251).to(torch.uint8).view(2, 3, 32, 32)


class ToyBackbone(Backbone):
    """What later backbones have and VGG16 has not: BatchNorm with its counter, pooled features, RGB means."""

    min_size: ClassVar[int] = 8

    def __init__(self, weights: str) -> None:
        super().__init__(weights)
        self.normalization = Normalization((120.0, 110.0, 100.0), (60.0, 61.0, 62.0), bgr=False)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
        self.block = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2))

    def load(self, weights: str) -> None:
        nn.init.constant_(self.block[1].bias, 0.5)  # type: ignore[arg-type]

    def forward_features(self, x: Tensor) -> Tensor:
        features: Tensor = self.block(self.stem(x))
        return features

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


class Toy(TransferClassifier):
    """A linear head over the toy backbone."""

    name: ClassVar[str] = "toy"

    def __init__(
        self,
        image_size: int = 32,
        weights: str = "toy",
        cached_views: int = 0,
        unfreeze: Unfreeze = 0,
        unfreeze_at: int = 0,
        backbone_learning_rate: float | None = None,
        optimizer: str = "SGD",
        lr_scheduler: str | None = None,
        lr_scheduler_args: dict[str, Any] | None = None,
        load_weights: bool = True,
    ) -> None:
        backbone = ToyBackbone(weights)
        if load_weights:
            backbone.load(weights)
        super().__init__(
            backbone,
            OrderedDict(linear=nn.Linear(6, 1)),
            normalization=backbone.normalization,
            bf16_backbone=False,
            cached_views=cached_views,
            image_size=image_size,
            unfreeze=unfreeze,
            unfreeze_at=unfreeze_at,
            backbone_learning_rate=backbone_learning_rate,
            learning_rate=0.1,
            optimizer=optimizer,
            optimizer_args=None,
            lr_scheduler=lr_scheduler,
            lr_scheduler_args=lr_scheduler_args,
        )
        self.save_hyperparameters(ignore=["load_weights"])


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.MODELS, "toy", f"{__name__}:Toy")


def trainer(max_epochs: int = 2) -> Trainer:
    torch.manual_seed(5)
    return Trainer(
        callbacks=[EpochSeed()],
        accelerator="cpu",
        max_epochs=max_epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def moved(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.slow
def test_a_backbone_with_batch_norm_passes_through_fit_and_checkpoint(photos: Path) -> None:
    model = Toy()
    assert model.features.block[1].bias.unique() == 0.5  # type: ignore[index,union-attr]
    backbone, head = copied(model.features), copied(model.head)
    fit = trainer()
    fit.fit(model, CatDogDataModule(photos, image_size=32, batch_size=4))
    assert not any(layer.training for layer in model.features.modules())
    assert moved(model.features, backbone) == set()  # BatchNorm's statistics and counter among them
    assert moved(model.head, head) == set(head)
    fit.save_checkpoint("toy.ckpt")
    loaded = load_checkpoint("toy.ckpt")
    assert type(loaded) is Toy
    assert loaded.state_dict()["features.stem.1.num_batches_tracked"].dtype is torch.int64
    assert torch.equal(loaded(PIXELS), model.eval()(PIXELS))
    trainer(3).fit(loaded, CatDogDataModule(photos, image_size=32), ckpt_path="toy.ckpt", weights_only=True)


@pytest.mark.slow
def test_a_loaded_model_trains_with_its_dropout(photos: Path) -> None:
    modes: list[tuple[bool, bool]] = []

    class Seeing(VGG16):
        def on_train_batch_start(self, *_: object) -> None:
            modes.append((self.head.training, self.features.training))

    model = Seeing(image_size=32, weights="none", dense_units=4).eval()  # as load_checkpoint gives it
    trainer(1).fit(model, CatDogDataModule(photos, image_size=32, batch_size=8))
    assert modes == [(True, False)] * 2


@pytest.mark.parametrize("value", [torch.tensor(1.0), torch.tensor(True)])
def test_a_counter_of_another_kind_is_refused(value: Tensor) -> None:
    trainer().strategy.connect(model := Toy())
    fit = trainer()
    fit.strategy.connect(model)
    fit.save_checkpoint("toy.ckpt")
    checkpoint = torch.load("toy.ckpt", weights_only=True)
    key = "features.stem.1.num_batches_tracked"
    torch.save(checkpoint | {"state_dict": checkpoint["state_dict"] | {key: value}}, "toy.ckpt")
    with pytest.raises(CheckpointError, match=rf"{key} is torch.\w+, its model needs torch.int64"):
        load_checkpoint("toy.ckpt")


def test_an_image_too_small_for_the_backbone_is_refused() -> None:
    with pytest.raises(UsageError, match="image_size 7 is too small for Toy; give 8 or more"):
        Toy(image_size=7)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Backbone 'resnet5' is unknown \(did you mean resnet5.?\?\)"):
        create_backbone("resnet5", "none")


def test_the_stages_are_the_whole_network_in_order() -> None:
    backbone = VGG16Backbone("none")
    stages = backbone.stages()
    assert len(stages) == 5
    layers = [layer for stage in stages for layer in stage.children()]
    assert layers == list(backbone.children())
    x = torch.rand(1, 3, 32, 32)
    expected = backbone.forward_features(x)
    for layer in layers:
        x = layer(x)
    assert torch.equal(x, expected)


def test_the_model_has_the_datamodule_repeat_its_views(photos: Path) -> None:
    data = CatDogDataModule(photos, image_size=32, batch_size=4)
    seen: list[int] = []

    class Seeing(Toy):
        def on_train_start(self) -> None:
            seen.append(data.views)

    trainer(1).fit(Seeing(cached_views=2), data)
    assert (seen, data.views) == ([2], 0)  # another model makes its own
    with_views = CatDogDataModule(photos, image_size=32, views=2)
    trainer(1).fit(Seeing(cached_views=2), with_views)
    assert with_views.views == 2


def test_views_that_the_datamodule_cannot_repeat_are_refused(photos: Path) -> None:
    model = Toy(cached_views=2)
    with pytest.raises(UsageError, match=r"keeps 2 views \(cached_views\).* but its views are 3; leave"):
        trainer().fit(model, CatDogDataModule(photos, image_size=32, views=3))
    data = TensorDataset(PIXELS, torch.tensor([0, 1]), torch.arange(2))
    with pytest.raises(UsageError, match="but the data are not from a CatDogDataModule"):
        trainer().fit(model, DataLoader(data))
    trainer(1).fit(Basic(image_size=32, filters=(2,)), DataLoader(data, batch_size=2))


def test_the_frozen_backbone_stays_in_evaluation_mode_and_has_no_gradient() -> None:
    model = VGG16(image_size=32, weights="none").train()
    assert model.head.training
    assert not any(layer.training for layer in model.features.modules())
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is None for p in model.features.parameters())
    assert all(p.grad is not None for p in model.head.parameters())


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images in each pass of the toy backbone."""
    counts: list[int] = []
    extract = Toy.extract

    def count(model: Toy, pixels: Tensor, *backbone: nn.Module) -> Tensor:
        counts.append(len(pixels))
        return extract(model, pixels, *backbone)

    monkeypatch.setattr(Toy, "extract", count)
    return counts


def toy_data(photos: Path, **options: Any) -> CatDogDataModule:
    return CatDogDataModule(photos, batch_size=4, **options)


def seeded_toy(**options: Any) -> Toy:
    torch.manual_seed(3)
    return Toy(**options)


def test_a_second_fit_on_the_same_photographs_does_not_run_the_backbone(
    photos: Path, passes: list[int]
) -> None:
    first = seeded_toy(cached_views=2)
    trainer(4).fit(first, toy_data(photos))
    assert sum(passes) == 2 * 16 + 8
    passes.clear()
    second = seeded_toy(cached_views=2)
    trainer(4).fit(second, toy_data(photos))
    assert passes == []
    assert moved(second, copied(first)) == set()
    second.learning_rate = 0.2
    trainer(3).fit(second, toy_data(photos))
    assert passes == []
    trainer().test(second, toy_data(photos))
    assert sum(passes) == 6
    trainer().test(seeded_toy(), toy_data(photos))
    assert sum(passes) == 6


def test_without_augmentation_another_seed_has_the_same_features(photos: Path, passes: list[int]) -> None:
    trainer(3).fit(seeded_toy(), toy_data(photos, augment="none"))
    assert sum(passes) == 16 + 8
    trainer(3).fit(seeded_toy(), toy_data(photos, augment="none", seed=1))
    assert sum(passes) == 16 + 8


@pytest.mark.slow
def test_another_process_finds_the_features(photos: Path) -> None:
    trainer(1).fit(seeded_toy(cached_views=1), toy_data(photos))
    program = (
        "import sys; from pathlib import Path; import tests.models.test_transfer as t\n"
        "t.ToyBackbone.forward_features = None\n"  # calling it would fail
        "t.trainer(1).fit(t.seeded_toy(cached_views=1), t.toy_data(Path(sys.argv[1])))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", program, str(photos)]
    answer = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stderr


CHANGES: dict[str, Callable[[Toy, CatDogDataModule], object]] = {
    "a weight": lambda model, _: model.features.stem[0].bias.data.add_(1e-6),  # type: ignore[index,union-attr]
    "a statistic": lambda model, _: model.features.stem[1].running_mean.add_(1e-6),  # type: ignore[index,union-attr]
    "an option of a layer": lambda model, _: setattr(model.features.stem[1], "eps", 1e-4),  # type: ignore[index]
    "the normalisation": lambda model, _: setattr(model, "normalization", None),
    "bfloat16": lambda model, _: setattr(model, "bf16_backbone", "always"),
    "the photographs": lambda _, data: setattr(data, "resize", "bilinear"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_features_of_other_weights_numerics_or_photographs_are_computed(
    change: str, photos: Path, passes: list[int]
) -> None:
    data = toy_data(photos)
    trainer().validate(seeded_toy(), data, verbose=False)
    trainer().validate(seeded_toy(), data, verbose=False)
    assert sum(passes) == 8
    CHANGES[change](model := seeded_toy(), data)
    trainer().validate(model, data, verbose=False)
    assert sum(passes) == 16


def test_the_frozen_pass_has_the_batch_norm_in_the_convolutions(photos: Path) -> None:
    model = seeded_toy()
    model.features.stem[1].running_mean.add_(3)  # type: ignore[index,union-attr]
    keys = list(model.state_dict())
    seen: list[nn.Module] = []

    class Seeing(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append(model.frozen_backbone(PIXELS))

    fit = trainer()
    fit.callbacks.append(Seeing())  # type: ignore[attr-defined]
    (metrics,) = fit.validate(model, toy_data(photos), verbose=False)
    (faster,) = seen
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in faster.modules())
    torch.testing.assert_close(model.extract(PIXELS, faster), model.extract(PIXELS))
    assert list(model.state_dict()) == keys
    model.requires_grad_(True)  # then it is the backbone itself that runs
    (again,) = trainer().validate(model, toy_data(photos), verbose=False)
    assert again == pytest.approx(metrics, rel=1e-5)


@pytest.mark.parametrize("options", [{"seed": 1}, {"zoom": 0.1}, {"image_size": 31}])
def test_other_views_are_computed(options: dict[str, Any], photos: Path, passes: list[int]) -> None:
    trainer(1).fit(seeded_toy(cached_views=1), toy_data(photos))
    passes.clear()
    size = options.get("image_size", 32)
    trainer(1).fit(seeded_toy(cached_views=1, image_size=size), toy_data(photos, **options))
    assert sum(passes) == (16 + 8 if "image_size" in options else 16)


def test_photographs_beyond_the_memory_are_kept_for_this_run_alone(photos: Path, passes: list[int]) -> None:
    for _ in range(2):
        trainer(2).fit(seeded_toy(cached_views=1), toy_data(photos, cache_gib=0, num_workers=0))
    assert sum(passes) == 2 * (16 + 8)
    assert not list(features.files().folder.glob("*"))


def test_batches_that_are_not_the_photographs_are_computed(photos: Path, passes: list[int]) -> None:
    class Dark(CatDogDataModule):
        def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
            pixels, labels, indices = super().on_after_batch_transfer(batch, dataloader_idx)
            return pixels // 2, labels, indices

    fit = trainer()
    for data in (toy_data(photos), Dark(photos, batch_size=4)):
        fit.validate(seeded_toy(), data, verbose=False)
    assert sum(passes) == 2 * 8
    fit.fit(model := seeded_toy(), toy_data(photos))
    passes.clear()
    foreign = DataLoader(TensorDataset(PIXELS, torch.tensor([0, 1]), torch.arange(2)), batch_size=2)
    fit.validate(model, foreign, verbose=False)  # Lightning still names the loader of the fit
    assert sum(passes) == 2


@pytest.mark.slow
def test_a_bf16_backbone_is_near_the_exact_one_and_the_head_is_in_float32() -> None:
    torch.manual_seed(0)
    exact = VGG16(image_size=32, weights="none").eval()
    coarse = VGG16(image_size=32, weights="none", bf16_backbone="always").eval()
    coarse.load_state_dict(exact.state_dict())
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    expected, found = exact.extract(pixels), coarse.extract(pixels)
    assert found.dtype is torch.float32
    assert not torch.equal(found, expected)
    assert (found - expected).norm() < 0.02 * expected.norm()
    assert all(parameter.dtype is torch.float32 for parameter in coarse.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("choice", [False, True, "always"])
@pytest.mark.parametrize("is_fast", [False, True])
def test_bfloat16_is_used_where_it_is_fast_or_insisted_on(
    choice: Bfloat16, is_fast: bool, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(transfer, "bfloat16_is_fast", lambda device: is_fast)
    dtypes: list[torch.dtype] = []
    model = VGG16(image_size=32, weights="none", dense_units=4, bf16_backbone=choice)
    model.features.register_forward_hook(lambda *call: dtypes.append(call[2].dtype))
    trainer(1).fit(model, CatDogDataModule(photos, image_size=32, batch_size=8))
    in_bfloat16 = choice == "always" or (choice is True and is_fast)
    assert set(dtypes) == {torch.bfloat16 if in_bfloat16 else torch.float32}
    warning = "[WARNING]  bf16_backbone: this CPU has no bfloat16 units, and emulation is about"
    assert capsys.readouterr().err.count(warning) == (choice is True and not is_fast)


@pytest.mark.slow
def test_what_is_unfrozen_trains_and_nothing_of_it_is_kept(photos: Path) -> None:
    model = VGG16(image_size=32, weights="none", dense_units=4, cached_views=1)
    model.features.stages()[-1].requires_grad_(True)
    before = copied(model.features)
    trainer(2).fit(model, CatDogDataModule(photos, image_size=32, batch_size=8))
    trained = {f"block5_conv{i}.{name}" for i in (1, 2, 3) for name in ("weight", "bias")}
    assert moved(model.features, before) == trained
    assert not features.files().folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("bf16_backbone", [False, "always"])
def test_a_hook_gets_the_gradients_of_feature_maps(bf16_backbone: Bfloat16) -> None:
    """As Grad-CAM takes them: of a frozen layer's output, without gradients of its weights."""
    model = VGG16(image_size=64, weights="none", bf16_backbone=bf16_backbone).eval()
    maps: list[Tensor] = []
    layer = model.features.get_submodule("block5_conv3")
    layer.register_forward_hook(lambda *call: maps.append(call[2].requires_grad_()))
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    model(pixels).sum().backward()
    assert maps[0].grad is not None
    assert maps[0].grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.features.parameters())


def test_gradients_reach_the_pixels() -> None:
    model = VGG16(image_size=32, weights="none").eval()
    pixels = PIXELS.float().requires_grad_()
    model(pixels).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def trained(part: str) -> set[str]:
    """What moves of a part of the toy backbone that trains: not BatchNorm's statistics."""
    return {f"{part}.{layer}.{name}" for layer in (0, 1) for name in ("weight", "bias")}


@pytest.mark.slow
@pytest.mark.parametrize("unfreeze", [0, 1, "all"])
def test_what_is_frozen_stays_bit_identical_and_what_is_not_moves(unfreeze: Unfreeze, photos: Path) -> None:
    model = seeded_toy(unfreeze=unfreeze)
    backbone, head = copied(model.features), copied(model.head)
    trainer(2).fit(model, toy_data(photos))
    parts: dict[Unfreeze, list[str]] = {0: [], 1: ["block"], "all": ["stem", "block"]}
    expected = set[str]().union(*map(trained, parts[unfreeze]))
    assert moved(model.features, backbone) == expected
    assert moved(model.head, head) == set(head)


def test_frozen_stages_stay_in_evaluation_mode_and_others_do_not() -> None:
    model = seeded_toy(unfreeze=1).train()
    stem, block = model.features.children()
    assert {layer.training for layer in stem.modules()} == {False}
    assert [layer.training for layer in block.children()] == [True, False, True, True]  # not BatchNorm
    model.is_pretrained = False
    model.train()
    assert {layer.training for layer in block.modules()} == {True}
    block[1].requires_grad_(False)  # type: ignore[index]
    model.train()
    assert [layer.training for layer in block.children()] == [True, False, True, True]
    assert not any(layer.training for layer in model.eval().modules())
    later = seeded_toy(unfreeze="all", unfreeze_at=1).train()
    assert not any(layer.training for layer in later.features.modules())


@pytest.mark.slow
def test_until_its_epoch_the_backbone_is_frozen_and_kept(photos: Path, passes: list[int]) -> None:
    data = toy_data(photos)
    seen: list[tuple[int, bool, int]] = []

    class Seeing(Toy):
        def on_train_epoch_end(self) -> None:
            super().on_train_epoch_end()
            seen.append((sum(passes), bool(moved(self.features, backbone)), data.views))
            passes.clear()

    torch.manual_seed(3)
    model = Seeing(cached_views=1, unfreeze=1, unfreeze_at=2)
    backbone = copied(model.features)
    trainer(4).fit(model, data)
    # The validation of an epoch comes before the hook.
    assert seen == [(24, False, 1), (0, False, 1), (24, True, 0), (24, True, 0)]
    trainer(1).fit(model, data)  # again from the first epoch
    assert model.is_frozen


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resume_before_at_and_after_the_unfreezing_is_bit_equal(stop: int, photos: Path) -> None:
    options: dict[str, Any] = {"cached_views": 2, "unfreeze": 1, "unfreeze_at": 2, "optimizer": "AdamW"}
    whole, first, second = (trainer(epochs) for epochs in (4, stop, 4))
    whole.fit(one := seeded_toy(**options), toy_data(photos))
    first.fit(seeded_toy(**options), toy_data(photos))
    first.save_checkpoint("stop.ckpt")
    second.fit(two := seeded_toy(**options), toy_data(photos), ckpt_path="stop.ckpt", weights_only=True)
    assert moved(two, copied(one)) == set()
    states = [fit.optimizers[0].state_dict()["state"] for fit in (whole, second)]
    assert states[0].keys() == states[1].keys()
    for index, entries in states[0].items():
        assert all(torch.equal(value, states[1][index][name]) for name, value in entries.items())


def rates(model: Toy, photos: Path) -> list[list[float]]:
    """The learning rates of the groups at the start, and after each of two epochs."""
    seen: list[list[float]] = []

    class Seeing(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])

        on_train_end = on_train_epoch_start

    fit = trainer(2)
    fit.callbacks.append(Seeing())  # type: ignore[attr-defined]
    fit.fit(model, toy_data(photos))
    return seen


@pytest.mark.slow
def test_the_backbone_has_a_learning_rate_of_its_own(photos: Path) -> None:
    assert rates(Toy(unfreeze=1), photos) == [[0.1, pytest.approx(0.01)]] * 3
    assert rates(Toy(unfreeze=1, backbone_learning_rate=0.03), photos) == [[0.1, 0.03]] * 3
    (alone,) = (frozen := Toy()).parameter_groups()
    assert [id(p) for p in alone["params"]] == [id(p) for p in frozen.head.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheduler", "options"),
    [
        ("OneCycleLR", {}),
        ("OneCycleLR", {"max_lr": 0.4}),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.4, "step_size_up": 3}),
        ("CosineAnnealingLR", {}),
        ("LinearLR", {"total_iters": 2}),
    ],
)
def test_a_schedule_keeps_the_ratio_of_the_learning_rates(
    scheduler: str, options: dict[str, Any], photos: Path
) -> None:
    model = Toy(unfreeze=1, backbone_learning_rate=0.025, lr_scheduler=scheduler, lr_scheduler_args=options)
    seen = rates(model, photos)
    assert len({head for head, _ in seen}) == 3
    assert all(backbone == pytest.approx(head / 4) for head, backbone in seen)


@pytest.mark.slow
def test_a_checkpoint_starts_a_run_that_trains_other_layers(photos: Path, run: Run, capsys: Capture) -> None:
    small = "--model vgg16 --weights none --image_size 32 --model.dense_units 4 --batch_size 8 --patience 9"
    assert run(f"fit {small} --accelerator cpu --max_epochs 1", "--root", photos) == 0
    start = torch.load(find_checkpoint("best"), weights_only=True)
    capsys.readouterr()
    assert run("fit --ckpt_path best --model.unfreeze 1 --accelerator cpu --max_epochs 2") == 0
    printed = capsys.readouterr().out
    assert "  unfreeze: 1 instead of the checkpoint's 0\n" in printed
    assert printed.count("[INFO]     The optimizer starts anew: the checkpoint's trained other layers") == 1
    tuned = torch.load(find_checkpoint("last"), weights_only=True)
    assert [len(group["params"]) for group in tuned["optimizer_states"][0]["param_groups"]] == [4, 6]
    changed = {
        k for k, value in tuned["state_dict"].items() if not torch.equal(value, start["state_dict"][k])
    }
    assert {key.rpartition(".")[0] for key in changed} == {
        "head.dense_1",
        "head.dense_2",
        *(f"features.block5_conv{i}" for i in (1, 2, 3)),
    }
    assert run("fit --ckpt_path last --accelerator cpu --max_epochs 3") == 0
    assert "starts anew" not in capsys.readouterr().out


WRONG_TUNING: dict[str, dict[str, Any]] = {
    "unfreeze is 3; the backbone has 2 stages: give 0 to 2, or all": {"unfreeze": 3},
    "unfreeze is -1; the backbone has 2 stages: give 0 to 2, or all": {"unfreeze": -1},
    "unfreeze_at is -1; it must be 0, for the first epoch, or more": {"unfreeze_at": -1},
    "backbone_learning_rate is 0; it must be above 0": {"backbone_learning_rate": 0.0},
}


@pytest.mark.parametrize("message", WRONG_TUNING)
def test_tuning_out_of_range_is_refused(message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        Toy(**WRONG_TUNING[message])


def test_several_devices_cannot_unfreeze_later(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "world_size", 2)
    with pytest.raises(UsageError, match="unfreeze_at 1 needs a single device"):
        trainer().fit(Toy(unfreeze=1, unfreeze_at=1), toy_data(photos))


@pytest.mark.slow
def test_a_bf16_backbone_has_near_gradients() -> None:
    torch.manual_seed(0)
    exact = VGG16(image_size=32, weights="none", unfreeze=2)
    coarse = VGG16(image_size=32, weights="none", unfreeze=2, bf16_backbone="always")
    coarse.load_state_dict(exact.state_dict())
    gradients = []
    for model in (exact, coarse):
        torch.manual_seed(1)
        model(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)).sum().backward()
        gradients.append([p.grad for p in model.tuned_parameters()])
    assert len(gradients[0]) == 12
    for mine, other in zip(*gradients, strict=True):
        assert mine is not None
        assert other is not None
        assert other.dtype is torch.float32
        assert not torch.equal(mine, other)
        assert (mine - other).norm() < 0.2 * mine.norm()  # ReLUs near 0 flip
