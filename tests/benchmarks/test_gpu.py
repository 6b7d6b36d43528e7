"""The benchmark of a GPU, tried on the processor; how fast anything is, no test says."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks import gpu


@pytest.mark.slow
def test_figures_are_kept_as_they_come_and_what_is_left_out_is_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "gpu.json"
    words = ["--data", str(photos), "--accelerator", "cpu", "--output", str(output), "--epochs", "2"]
    small = ["--also=--image_size 32 --batch_size 8"]
    monkeypatch.setattr(gpu, "TRAININGS", gpu.TRAININGS[:1])
    gpu.main([*words, *small])
    found = {(one["who"], one["figure"]): one["values"] for one in json.loads(output.read_text())["records"]}
    assert len(found["basic, TF32", "later epochs, s"]) == 1
    assert found["basic, TF32", "2 epochs, s"] == [2 * found["basic, TF32", "later epochs, s"][0]]
    assert 0.1 < found["basic, cpu", "train_loss"][0] < 2
    assert ("basic", "pictures a second") in found  # of six photographs, chance
    capsys.readouterr()
    gpu.main([*words, *small, "--minutes", "0"])
    assert "basic, TF32: left out, 0 minutes are over" in capsys.readouterr().out


def test_weights_are_taken_from_their_folder_or_random(tmp_path: Path) -> None:
    words = Namespace(weights_dir=tmp_path, data=tmp_path, also="")
    assert "--weights none" in " ".join(gpu.fit(words, "--model vgg16 --weights {vgg16}", "gpu"))
    (tmp_path / "vgg16-notop.h5").touch()
    assert f"--weights {tmp_path}/vgg16-notop.h5" in " ".join(
        gpu.fit(words, "--model vgg16 --weights {vgg16}", "gpu")
    )
