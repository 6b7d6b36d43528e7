"""The recipe for Ray Data, run on a Ray of its own on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from catdog_pl.models.basic import Basic
from catdog_pl.models.checkpoint import save_checkpoint
from catdog_pl.prediction.predictor import predict
from tests.conftest import draw_layout

EXAMPLE = Path(__file__).parents[2] / "examples" / "predict_ray.py"


@pytest.mark.slow
def test_ray_gives_the_answers_of_predict_and_a_row_for_a_bad_picture(own_folder: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(Basic(image_size=32), own_folder / "best.ckpt")
    pictures = draw_layout(own_folder / "pictures", {"test": 3})
    (pictures / "bad.jpg").write_bytes(b"")
    words = (EXAMPLE, pictures, own_folder / "out", own_folder / "best.ckpt")
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(EXAMPLE.parents[1])}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = pd.read_parquet(own_folder / "out").sort_values("source").reset_index(drop=True)
    expected = sorted(predict([pictures], own_folder / "best.ckpt"), key=lambda answer: answer.source)
    assert rows["source"].tolist() == [answer.source for answer in expected]
    assert rows["error"].tolist()[0] == expected[0].error == "it is empty"
    assert rows["probability"][1:].tolist() == pytest.approx(
        [one.probability for one in expected[1:]], abs=1e-5
    )
    assert rows["label"].tolist()[1:] == [one.label for one in expected[1:]]
