"""A folder for the Hugging Face Hub: its card, and that no half of it is left anywhere."""

import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from catdog_pl.errors import CatDogError, CheckpointError
from catdog_pl.export import EXPORTERS, Pictures, export
from catdog_pl.models import Basic, Classifier, load_checkpoint
from catdog_pl.models.checkpoint import read_checkpoint, save_checkpoint
from catdog_pl.models.spec import DataSpec
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def saved() -> Path:
    torch.manual_seed(0)
    save_checkpoint(Basic(image_size=32, filters=(4, 4), dense_units=8), Path("model.ckpt"))
    return Path("model.ckpt")


def front_matter(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("---\n")
    found: dict[str, Any] = yaml.safe_load(text.split("\n---\n")[0])
    return found


def test_the_command_writes_a_folder_with_a_card_of_measured_numbers(
    saved: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    assert run("export model.ckpt --output my-cats/", "--root", photos) == 0
    counted = "accuracy 0.500 (3 of 6 test photographs; 95 % interval 0.19 to 0.81)"
    assert capsys.readouterr().out.splitlines() == [
        "Exported    basic from model.ckpt",
        "Note        read back: the same weights, to the bit",
        f"Note        README.md: {counted}",
        "Written     my-cats",
    ]
    assert {path.name for path in Path("my-cats").iterdir()} == {
        "model.safetensors", "config.json", "README.md",
    }  # fmt: skip
    about = front_matter(Path("my-cats/README.md"))
    assert about["library_name"] == "catdog_pl"
    assert about["pipeline_tag"] == "image-classification"
    (index,) = about["model-index"]
    assert index["name"] == "my-cats"
    assert index["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.5}]
    card = Path("my-cats/README.md").read_text(encoding="utf-8")
    assert counted.capitalize() in card
    rows = [line.split("|")[2:4] for line in card.splitlines() if line.startswith(("| `cat` ", "| `dog` "))]
    assert sum(int(number) for row in rows for number in row) == 6
    # What the card says is what test says.
    assert run("test --accelerator cpu --ckpt_path my-cats", "--root", photos) == 0
    assert "Accuracy: 0.5 (3 of 6; 95 % interval 0.19 to 0.81)" in capsys.readouterr().out


def test_the_hub_itself_takes_the_card(saved: Path, photos: Path, run: Run) -> None:
    hub = pytest.importorskip("huggingface_hub")  # which timm brings
    assert run("export model.ckpt --output hub", "--root", photos) == 0
    (result,) = hub.ModelCard.load("hub/README.md").data.eval_results
    assert (result.task_type, result.metric_type, result.metric_value) == (
        "image-classification",
        "accuracy",
        0.5,
    )


def test_the_three_lines_of_the_card_run(saved: Path, photos: Path, capsys: Capture) -> None:
    list(export(saved, "safetensors", Path("hub")))
    code = Path("hub/README.md").read_text(encoding="utf-8").split("```")[1].removeprefix("python")
    picture = next((photos / "test" / "dog").iterdir())
    exec(code.replace("picture.jpg", str(picture)), {})
    assert "probability=" in capsys.readouterr().out


def test_any_tool_reads_the_files(saved: Path) -> None:
    list(export(saved, "safetensors", Path("hub")))
    with safe_open("hub/model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == set(read_checkpoint(saved)["state_dict"])
    config = json.loads(Path("hub/config.json").read_text(encoding="utf-8"))
    assert config["library_name"] == "catdog_pl"
    assert (config["model"], config["threshold"], config["data"]["class_names"]) == (
        "basic",
        0.5,
        ["cat", "dog"],
    )
    assert config["hyper_parameters"]["filters"] == [4, 4]


def test_nothing_of_the_owner_is_written_into_it(saved: Path) -> None:
    checkpoint = torch.load(saved)
    checkpoint["catdog_pl"]["origin"] = {"file": "/home/ann/secret.h5"}
    torch.save(checkpoint, saved)
    list(export(saved, "safetensors", Path("hub")))
    config = read_checkpoint("hub")
    assert "origin" not in config["catdog_pl"]
    from catdog_pl.models.hub import config as values

    checkpoint["hyper_parameters"]["weights"] = r"C:\Users\ann\vgg16.h5"
    assert values(checkpoint, "")["hyper_parameters"]["weights"] == "vgg16.h5"
    checkpoint["hyper_parameters"]["weights"] = "/home/ann/vgg16.pth"
    assert values(checkpoint, "")["hyper_parameters"]["weights"] == "vgg16.pth"


def test_without_photographs_or_with_others_no_accuracy_is_told(
    saved: Path, photos: Path, run: Run, capsys: Capture
) -> None:
    line = "README.md: no measured accuracy; give the test photographs by --root FOLDER"
    assert run("export model.ckpt --output hub") == 0
    assert line in capsys.readouterr().out
    assert "metrics" not in front_matter(Path("hub/README.md"))
    assert "Nothing was measured" in Path("hub/README.md").read_text(encoding="utf-8")
    model = load_checkpoint(saved)
    model.data_spec = DataSpec(("ant", "bee"), 32)
    save_checkpoint(model, saved)
    assert run("export model.ckpt --output bees", "--root", photos) == 0
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("names", [("a|b", "c\n---\nd"), ("`x`", "<script>"), ("ант", "\u202ebee")])
def test_odd_class_names_do_not_break_the_card(names: tuple[str, str], saved: Path) -> None:
    model = load_checkpoint(saved)
    model.data_spec = DataSpec(names, 32)
    save_checkpoint(model, saved)
    list(export(saved, "safetensors", Path("hub"), photographs=labelled))
    assert load_checkpoint("hub").data_spec.class_names == names
    text = Path("hub/README.md").read_text(encoding="utf-8")
    assert text.count("\n---\n") == 1
    assert len(front_matter(Path("hub/README.md"))["model-index"]) == 1


def labelled(model: Classifier) -> Pictures:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    return Pictures(pixels, "pictures", np.array([0, 1, 1, 0]))


# Writing


def test_a_folder_that_is_there_is_replaced_only_when_asked(saved: Path, run: Run, capsys: Capture) -> None:
    assert run("export model.ckpt --output hub") == 0
    Path("hub/test.csv").write_text("mine", encoding="utf-8")
    before = Path("hub/model.safetensors").read_bytes()
    torch.manual_seed(1)
    save_checkpoint(Basic(image_size=32, filters=(4, 4), dense_units=8), saved)
    assert run("export model.ckpt --output hub") == 1
    assert "hub exists already; give another --output, or --overwrite" in capsys.readouterr().err
    assert Path("hub/model.safetensors").read_bytes() == before
    assert run("export model.ckpt --output hub --overwrite") == 0
    assert Path("hub/model.safetensors").read_bytes() != before
    assert Path("hub/test.csv").read_text(encoding="utf-8") == "mine"
    load_checkpoint("hub")


def test_a_folder_of_other_files_is_never_written_into(saved: Path, run: Run, capsys: Capture) -> None:
    Path("project").mkdir()
    Path("project/README.md").write_text("mine", encoding="utf-8")
    assert run("export model.ckpt --output project --overwrite") == 1
    assert capsys.readouterr().err == (
        "[ERROR]    project is a folder with other files; give another --output\n"
    )
    assert {path.name for path in Path("project").iterdir()} == {"README.md"}
    assert run("export model.ckpt --output model.ckpt --format safetensors --overwrite") == 1
    assert "cannot be written" in capsys.readouterr().err
    load_checkpoint(saved)


@pytest.mark.parametrize("failing", range(1, 4))
def test_a_full_disk_leaves_nothing_half_written(
    failing: int, saved: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Path.write_bytes, []

    def full(path: Path, content: bytes) -> int:
        calls.append(path)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run("export model.ckpt --output hub") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert {path.name for path in Path().iterdir()} - {"torch_home"} == {"model.ckpt"}

    monkeypatch.setattr(Path, "write_bytes", real)
    assert run("export model.ckpt --output hub") == 0
    before = {path: path.read_bytes() for path in Path("hub").iterdir()}
    calls.clear()
    monkeypatch.setattr(Path, "write_bytes", full)
    assert run("export model.ckpt --output hub --overwrite") == 1
    assert {path: path.read_bytes() for path in Path("hub").iterdir()} == before


def test_a_file_size_limit_is_one_line(saved: Path, run: Run, capsys: Capture) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        assert run("export model.ckpt --output hub") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "hub/model.safetensors cannot be written (File too large)" in capsys.readouterr().err
    assert not Path("hub").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_one_line(saved: Path, run: Run, capsys: Capture) -> None:
    Path("locked").mkdir(mode=0o500)
    assert run("export model.ckpt --output locked/hub") == 1
    assert "cannot be written (Permission denied)" in capsys.readouterr().err


def test_weights_and_settings_of_two_exports_do_not_mix(saved: Path) -> None:
    """What a machine that loses its power between two renames could leave."""
    list(export(saved, "safetensors", Path("a")))
    torch.manual_seed(1)
    save_checkpoint(Basic(image_size=32, filters=(4, 4), dense_units=8), saved)
    list(export(saved, "safetensors", Path("b")))
    Path("a/model.safetensors").replace("b/model.safetensors")
    with pytest.raises(CheckpointError, match=r"config.json belongs to other weights"):
        load_checkpoint("b")


def test_a_value_that_json_does_not_know_is_one_line(saved: Path, run: Run, capsys: Capture) -> None:
    checkpoint = torch.load(saved)
    for value in (float("nan"), torch.zeros(1), {1, 2}):
        checkpoint["hyper_parameters"]["optimizer_args"] = {"rho": value}
        torch.save(checkpoint, saved)
        assert run("export model.ckpt --output hub") == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "A hyper-parameter of the checkpoint cannot be written to config.json" in line
        assert not Path("hub").exists()


def test_a_missing_package_is_one_line(
    saved: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = EXPORTERS["safetensors"]._replace(packages=("no_such_package",))
    monkeypatch.setitem(EXPORTERS, "safetensors", missing)
    assert run("export model.ckpt --output hub") == 2
    line = "--format safetensors needs no_such_package: pip install 'catdog_pl[export]'"
    assert capsys.readouterr().err == f"[ERROR]    {line}\n"


def test_what_is_not_read_back_is_an_error(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(path: Path) -> tuple[None, dict[str, Any]]:
        found = read_checkpoint(path)
        found["state_dict"]["head.dense_2.bias"] = torch.ones(1)
        return None, found

    monkeypatch.setattr("catdog_pl.export.hub.load_with_contents", other)
    with pytest.raises(CatDogError, match=r"^hub does not give back what was written"):
        list(export(saved, "safetensors", Path("hub")))
