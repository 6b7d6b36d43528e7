"""Optimizers, learning-rate schedulers and what else shapes a step: chosen by name, and resumed bit-equal."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from catdog_pl.models.schedulers import SCHEDULERS
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

pytestmark = pytest.mark.slow

MODEL = "--image_size 32 --batch_size 4 --accelerator cpu --patience 9"
BASIC = f"{MODEL} --model.filters [4,4] --model.dense_units 8"
Capture = pytest.CaptureFixture[str]

RECIPES = {
    "AdamW": "--optimizer AdamW --optimizer.weight_decay 0.1 --optimizer.lr 0.01",
    "SGD with momentum": "--optimizer SGD --optimizer.momentum 0.9",
    "StepLR": "--lr_scheduler StepLR --lr_scheduler.step_size 1 --lr_scheduler.gamma 0.5",
    "CosineAnnealingLR": "--lr_scheduler CosineAnnealingLR --lr_scheduler.T_max 4",
    "warm-up": "--lr_scheduler LinearLR --lr_scheduler.interval step --lr_scheduler.total_iters 10",
    "OneCycleLR": "--lr_scheduler OneCycleLR --lr_scheduler.total_steps 16",
    "OneCycleLR of Adam": "--optimizer Adam --lr_scheduler OneCycleLR --lr_scheduler.total_steps 16",
    "plateau": "--lr_scheduler ReduceLROnPlateau --lr_scheduler.patience 0 --lr_scheduler.threshold 1",
    "gradient clipping": "--trainer.gradient_clip_val 0.01",
    "crops and mixing": "--data.augment strong --data.mixup 0.2 --data.cutmix 1",
    "averaged weights": "--model.ema_decay 0.8 --model.label_smoothing 0.1 --model.dropout 0.3",
    "gradient accumulation": "--trainer.accumulate_grad_batches 2",
}


def checkpoint(which: str, root: str) -> dict[str, Any]:
    contents: dict[str, Any] = torch.load(find_checkpoint(which, root=Path(root)), weights_only=True)
    return contents


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_resumed_bit_equal(recipe: str, photos: Path, run: Run) -> None:
    for folder, stops in (("whole", [4]), ("parts", [2, 4])):
        for i, epochs in enumerate(stops):
            start = f"{BASIC} {RECIPES[recipe]} --root {photos} --trainer.default_root_dir {folder}"
            words = f"--ckpt_path {find_checkpoint('last', root=Path(folder))}" if i else start
            assert run(f"fit {words} --max_epochs {epochs}") == 0
    one, two = (checkpoint("last", root) for root in ("whole", "parts"))
    assert all(torch.equal(value, two["state_dict"][key]) for key, value in one["state_dict"].items())
    assert one["lr_schedulers"] == two["lr_schedulers"]
    rates = [state["optimizer_states"][0]["param_groups"][0]["lr"] for state in (one, two)]
    assert rates[0] == rates[1]


def rates(run: Run, photos: Path, words: str) -> list[float]:
    """The learning rate after each epoch."""
    assert run(f"fit {BASIC} --root {photos} {words}") == 0
    return [
        state["optimizer_states"][0]["param_groups"][0]["lr"]
        for path in sorted(find_checkpoint().parent.glob("epoch=*.ckpt"))
        for state in [torch.load(path, weights_only=True)]
    ]


def test_the_learning_rate_follows_the_schedule(photos: Path, run: Run) -> None:
    words = "--checkpoint.save_top_k -1 --max_epochs 3 --lr_scheduler StepLR --lr_scheduler.step_size 1"
    assert rates(run, photos, f"{words} --lr_scheduler.gamma 0.5") == [0.0005, 0.00025, 0.000125]


def test_a_plateau_is_looked_at_where_there_was_a_validation(photos: Path, run: Run) -> None:
    plateau = (
        f"--checkpoint.save_top_k -1 --max_epochs 4 --checkpoint.monitor train_loss {RECIPES['plateau']}"
    )
    halves = f"{plateau} --lr_scheduler.factor 0.5"
    assert rates(run, photos, halves) == [0.0005, 0.00025, 0.000125, 0.0000625]
    every_second = f"{halves} --trainer.check_val_every_n_epoch 2"
    assert rates(run, photos, every_second) == [0.001, 0.0005, 0.0005, 0.00025]


def test_what_a_schedule_must_know_is_filled_in(photos: Path, run: Run) -> None:
    for words, key, value in (
        ("--lr_scheduler OneCycleLR", "total_steps", 8),  # 2 epochs of 4 steps
        ("--lr_scheduler CosineAnnealingLR", "T_max", 2),
        ("--lr_scheduler CosineAnnealingLR --lr_scheduler.interval step", "T_max", 8),
        ("--lr_scheduler ReduceLROnPlateau --lr_scheduler.monitor val_acc", "mode", "max"),
    ):
        assert run(f"fit {BASIC} --root {photos} --max_epochs 2 {words}") == 0
        assert checkpoint("last", "checkpoints")["lr_schedulers"][0][key] == value


def test_a_schedule_that_has_ended_is_one_line(photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {BASIC} --root {photos} --max_epochs 2 --lr_scheduler OneCycleLR") == 0
    capsys.readouterr()
    assert run("fit --ckpt_path last --max_epochs 4") == 2
    error = capsys.readouterr().err
    assert (
        "lr_scheduler OneCycleLR has ended (Tried to step 9 times. The specified number of total steps is 8)"
        in error
    )
    assert error.count("\n") == 1


def test_only_what_trains_is_optimized(photos: Path, run: Run) -> None:
    words = "--model vgg16 --weights none --max_epochs 1 --optimizer AdamW --optimizer.weight_decay 0.5"
    assert run(f"fit {MODEL} {words} --lr_scheduler OneCycleLR", "--root", photos) == 0
    (group,) = checkpoint("last", "checkpoints")["optimizer_states"][0]["param_groups"]
    assert len(group["params"]) == 4  # two dense layers, each a kernel and a bias
    assert group["weight_decay"] == 0.5


def test_a_yaml_file_says_the_same(photos: Path, run: Run) -> None:
    options = {"optimizer": "SGD", "optimizer_args": {"momentum": 0.9}, "lr_scheduler": "ExponentialLR"}
    options["lr_scheduler_args"] = {"gamma": 0.5}
    Path("recipe.yaml").write_text(yaml.safe_dump({"model": {"init_args": options}}))
    assert run(f"fit {BASIC} --config recipe.yaml --max_epochs 1", "--root", photos) == 0
    state = checkpoint("last", "checkpoints")
    assert state["optimizer_states"][0]["param_groups"][0]["momentum"] == 0.9
    assert state["lr_schedulers"][0]["gamma"] == 0.5
    assert {key: state["hyper_parameters"][key] for key in options} == options


WRONG = {
    "--optimizer Adamm": "optimizer 'Adamm' is unknown; valid are keras_rmsprop",
    "--lr_scheduler Cosine": "lr_scheduler 'Cosine' is unknown; valid are StepLR",
    "--lr_scheduler LambdaLR": "lr_scheduler 'LambdaLR' is unknown",
    "--lr_scheduler StepLR": "lr_scheduler StepLR refuses lr_scheduler_args {}",
    "--optimizer.foo 2": "optimizer KerasRMSprop refuses learning_rate 0.001 with optimizer_args {'foo': 2}",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_does_not_exist_is_one_line(words: str, photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {BASIC} {words} --max_epochs 1", "--root", photos) == 2
    error = capsys.readouterr().err
    assert WRONG[words] in error
    assert error.count("\n") == 1


def test_only_what_a_word_can_name_is_offered() -> None:
    assert {"StepLR", "CosineAnnealingLR", "OneCycleLR", "ReduceLROnPlateau", "LinearLR"} <= SCHEDULERS.keys()
    assert not [name for name in SCHEDULERS if name.startswith("_")]
    assert not {"LambdaLR", "SequentialLR", "LRScheduler"} & SCHEDULERS.keys()


@pytest.mark.parametrize(
    "callback",
    [
        "EMAWeightAveraging",
        "StochasticWeightAveraging --trainer.callbacks.swa_lrs 0.01",
        "GradientAccumulationScheduler --trainer.callbacks.scheduling.1 2",
    ],
)
def test_averaging_callbacks_train_and_resume(callback: str, photos: Path, run: Run) -> None:
    words = f"--trainer.callbacks {callback}"
    assert run(f"fit {BASIC} {words} --max_epochs 2", "--root", photos) == 0
    assert run(f"fit --ckpt_path last {words} --max_epochs 3") == 0
    assert run("test") == 0
