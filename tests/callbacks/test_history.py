"""What ``metrics.csv`` holds."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

pytestmark = pytest.mark.slow

FIT = "fit --image_size 32 --batch_size 4 --accelerator cpu --model.filters [4,4] --model.dense_units 8"


def metrics() -> pd.DataFrame:
    return pd.read_csv(find_checkpoint("last").parent / "metrics.csv")


def one_cycle(last_steps: list[int]) -> list[float]:
    """PyTorch's own schedule over 8 steps, at these steps."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)])
    scheduler = OneCycleLR(optimizer, max_lr=0.001, total_steps=8)
    rates = []
    for _ in range(8):
        rates.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        if len(rates) < 8:
            scheduler.step()
    return [rates[step] for step in last_steps]


@pytest.mark.parametrize(
    ("words", "rates"),
    [
        ("", [0.001, 0.001]),
        ("--lr_scheduler StepLR --lr_scheduler.step_size 1 --lr_scheduler.gamma 0.5", [0.001, 0.0005]),
        ("--lr_scheduler OneCycleLR", one_cycle([3, 7])),
        ("--lr_scheduler OneCycleLR --batch_size 2 --trainer.accumulate_grad_batches 2", one_cycle([3, 7])),
    ],
    ids=["constant", "StepLR", "OneCycleLR", "OneCycleLR, accumulated"],
)
def test_the_learning_rate_is_that_of_the_epochs_last_step(
    words: str, rates: list[float], photos: Path, run: Run
) -> None:
    assert run(f"{FIT} --max_epochs 2 {words}", "--root", photos) == 0
    assert list(metrics()) == [
        "epoch", "seconds", "train_loss", "train_acc", "val_loss", "val_acc", "learning_rate"
    ]  # fmt: skip
    assert metrics()["learning_rate"].tolist() == pytest.approx(rates, rel=1e-12)


def test_an_older_run_is_resumed_whose_rows_have_no_learning_rate(photos: Path, run: Run) -> None:
    assert run(f"{FIT} --max_epochs 1", "--root", photos) == 0
    last = find_checkpoint("last")
    checkpoint = torch.load(last, weights_only=True)
    del checkpoint["callbacks"]["History"]["rows"][0]["learning_rate"]
    torch.save(checkpoint, last)
    assert run("fit --ckpt_path last --max_epochs 2") == 0
    assert metrics()["learning_rate"].isna().tolist() == [True, False]
