"""fit, validate and test as a user types them, on tiny photographs."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from catdog_pl.models import VGG16, load_checkpoint
from catdog_pl.models.classifier import AVERAGED
from catdog_pl.models.registry import MODELS, class_path, model_class
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run, draw_layout

REPOSITORY = Path(__file__).parents[1]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
TINY = "--image_size 32 --batch_size 4 --accelerator cpu"
VGG = f"--model vgg16 --weights none {TINY}"
Capture = pytest.CaptureFixture[str]


def lines(capsys: Capture) -> list[str]:
    return capsys.readouterr().out.splitlines()


def state(path: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def printed_config(run: Run, capsys: Capture, line: str) -> Any:
    with pytest.raises(SystemExit) as end:
        run(f"{line} --print_config")
    assert end.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_parses(config: Path, run: Run, capsys: Capture) -> None:
    parsed = printed_config(run, capsys, f"fit --config {config}")
    for group, values in yaml.safe_load(config.read_text(encoding="utf-8")).items():
        if group in ("data", "trainer", "early_stopping", "checkpoint"):
            assert values.items() <= parsed[group].items()


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_trains_tests_and_predicts(config: Path, photos: Path, run: Run) -> None:
    model = yaml.safe_load(config.read_text(encoding="utf-8"))["model"]
    words = "--image_size 32 --batch_size 4 --accelerator cpu --max_epochs 1"
    words += "" if model["class_path"].endswith("Basic") else " --weights none"
    words += " --backbone squeezenet1_1" if "backbone" in model["init_args"] else ""  # small
    assert run(f"fit --config {config} {words} --root {photos}") == 0
    assert run("test --tta") == 0
    assert run("predict --tta", photos / "test") == 0


@pytest.mark.slow
def test_the_best_basic_recipe_is_resumed_bit_equal(photos: Path, run: Run) -> None:
    words = f"--config basic-best --image_size 32 --batch_size 4 --accelerator cpu --root {photos}"
    words += " --model.filters [4,4] --model.dense_units 8 --lr_scheduler.total_steps 8 --data.cutmix 1"
    assert run(f"fit {words} --trainer.default_root_dir whole --max_epochs 2") == 0
    assert run(f"fit {words} --trainer.default_root_dir parts --max_epochs 1") == 0
    assert run(f"fit --ckpt_path {find_checkpoint('last', root=Path('parts'))} --max_epochs 2") == 0
    whole, parts = (state(find_checkpoint("last", root=Path(root))) for root in ("whole", "parts"))
    for key in ("state_dict", AVERAGED):
        assert all(torch.equal(value, parts[key][name]) for name, value in whole[key].items())


@pytest.mark.parametrize("model", ["basic", "vgg16"])
def test_the_model_alone_equals_its_config(model: str, run: Run, capsys: Capture) -> None:
    alone = printed_config(run, capsys, f"fit --model {model}")
    alone["data"] |= {"image_size": 150, "resize": "nearest"}  # what both models say
    config = printed_config(run, capsys, f"fit --config {REPOSITORY / 'configs' / model}.yaml")
    assert alone == config


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_its_own_defaults(name: str, run: Run, capsys: Capture) -> None:
    Path("model.yaml").write_text(f"model: {{class_path: {class_path(name)}}}")
    for words in (f"--model {name}", "--config model.yaml"):
        arguments = printed_config(run, capsys, f"fit {words}")["model"]["init_args"]
        for key, parameter in signature(model_class(name)).parameters.items():
            default = parameter.default
            if key != "image_size":  # which is that of the data
                assert arguments[key] == (list(default) if isinstance(default, tuple) else default)


def test_workshop_defaults(run: Run, capsys: Capture) -> None:
    config = printed_config(run, capsys, "fit")
    assert config["model"]["class_path"] == "catdog_pl.models.Basic"
    assert config["trainer"]["max_epochs"] == 25
    assert (config["early_stopping"]["monitor"], config["early_stopping"]["patience"]) == ("val_loss", 2)
    assert config["data"]["batch_size"] == 50


def test_the_command_line_beats_the_file_whatever_the_order(run: Run, capsys: Capture) -> None:
    Path("a.yaml").write_text("data: {batch_size: 7, zoom: 0.1}\ntrainer: {accelerator: gpu}")
    config = printed_config(run, capsys, "fit --batch_size=9 --accelerator cpu --config a.yaml")
    assert (config["data"]["batch_size"], config["data"]["zoom"]) == (9, 0.1)
    assert config["trainer"]["accelerator"] == "cpu"


def test_a_fit_prints_keras_lines_and_leaves_its_files(photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit --model basic {TINY} --max_epochs 2 --patience 9", "--root", photos) == 0
    out = lines(capsys)
    assert out[:6] == [
        "Total params: 122,369",
        "Trainable params: 122,369",
        "Non-trainable params: 0",
        "Found 16 images belonging to 2 classes.",
        "Found 8 images belonging to 2 classes.",
        "Class Indices : {'cat': 0, 'dog': 1}",
    ]
    assert out[6].startswith("Training on 1 x cpu")
    epochs = [line for line in out if line.startswith("Epoch")]
    number = r"\d+\.\d{4}"
    pattern = rf"Epoch \d/2 - \d+s - loss: {number} - acc: {number} - val_loss: {number} - val_acc: {number}"
    assert [bool(re.fullmatch(pattern, line)) for line in epochs] == [True, True]  # short: none in between
    assert re.fullmatch(r"It takes \d+\.\d\d min to train the model", out[-4])
    assert re.match(r"Best epoch: \d \(val_loss", out[-3])
    assert out[-2:] == ["Stopped because 2 epochs were done (max_epochs)", "Next: python -m catdog_pl test"]
    (folder,) = Path("checkpoints/basic").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "config.yaml",
        "metrics.csv",
    }
    assert {path.name for path in Path().iterdir()} == {"checkpoints", "torch_home"}
    table = pd.read_csv(folder / "metrics.csv")
    assert table["epoch"].tolist() == [1, 2]
    assert f"{table['val_loss'][1]:.4f}" in epochs[1]


def test_logged_values_are_means_over_the_samples(photos: Path, run: Run) -> None:
    # 8 validation images in batches of 3, 3 and 2: a mean of batch means would differ.
    assert run("fit --image_size 32 --batch_size 3 --max_epochs 1", "--root", photos) == 0
    (folder,) = Path("checkpoints/basic").iterdir()
    row = pd.read_csv(folder / "metrics.csv").iloc[0]
    model = load_checkpoint(folder / "last.ckpt")
    from catdog_pl.data.dataset import CachedImageFolder

    data = CachedImageFolder(photos / "validation", 32)
    pixels, labels, _ = data.__getitems__(range(len(data)))
    logits = model(pixels).detach()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    assert row["val_loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert row["val_acc"] == pytest.approx(((logits > 0) == labels).float().mean().item())


@pytest.mark.slow
def test_validate_and_test_take_the_newest_runs_best(photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {VGG} --max_epochs 1", "--root", photos) == 0
    capsys.readouterr()
    assert run("validate", "--root", photos) == 0
    out = lines(capsys)
    assert out[0].startswith("From the checkpoint checkpoints/vgg16/")
    assert re.fullmatch(r"val_loss: \d\.\d{4} - val_acc: \d\.\d{4}", out[-1])
    assert run("test", "--root", photos) == 0
    out = lines(capsys)
    assert "Found 6 images belonging to 2 classes." in out
    assert re.fullmatch(r"Accuracy: [01]\.\d+ \(\d of 6; 95 % interval [01]\.\d\d to [01]\.\d\d\)", out[3])
    assert out[4].split() == ["Pred", "0", "cat", "1", "dog", "All"]
    assert out[-2].split()[-1] == "6"
    assert out[-1] == f"Predictions written to {find_checkpoint().parent / 'test.csv'}"


@pytest.mark.slow
def test_a_resumed_run_is_bit_equal_to_an_uninterrupted_one(photos: Path, run: Run) -> None:
    for folder, stops in (("whole", [4]), ("parts", [2, 4])):
        for i, epochs in enumerate(stops):
            resume = f"--ckpt_path {find_checkpoint('last', root=Path(folder))}" if i else ""
            line = (
                f"fit {VGG} {resume} --max_epochs {epochs} --patience 9 --trainer.default_root_dir {folder}"
            )
            assert run(line, "--root", photos) == 0
    whole, parts = (find_checkpoint("last", root=Path(name)) for name in ("whole", "parts"))
    assert parts.parent.parent == Path("parts/vgg16")
    one, two = state(whole), state(parts)
    for key, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][key]), key
    moments = [optimizer["optimizer_states"][0]["state"] for optimizer in (one, two)]
    for index, value in moments[0].items():
        assert torch.equal(value["mean_square"], moments[1][index]["mean_square"])
    assert list(one["callbacks"]) == list(two["callbacks"])
    columns = ["epoch", "train_loss", "train_acc", "val_loss", "val_acc"]
    tables = [pd.read_csv(path.parent / "metrics.csv")[columns] for path in (whole, parts)]
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)
    assert {path.name for path in parts.parent.glob("config*")} == {"config.yaml", "config-2.yaml"}


def test_a_run_of_version_0_1_0_resumes(photos: Path, run: Run, capsys: Capture) -> None:
    folder = shutil.copytree(REPOSITORY / "tests/models/fixtures/run", "checkpoints/basic/old")
    assert run("fit --ckpt_path last --max_epochs 5 --patience 9", "--root", photos) == 0
    assert [line.partition(" - ")[0] for line in lines(capsys) if line.startswith("Epoch")] == [
        "Epoch 4/5",
        "Epoch 5/5",
    ]
    assert pd.read_csv(Path(folder) / "metrics.csv")["epoch"].tolist() == [1, 2, 3, 4, 5]
    load_checkpoint(Path(folder) / "last.ckpt")


@pytest.mark.slow
def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(photos: Path, run: Run) -> None:
    losses = []
    for seed in (1, 1, 2):
        assert run(f"fit {TINY} --max_epochs 1 --seed {seed}", "--root", photos) == 0
        losses.append(state(find_checkpoint("last"))["state_dict"]["head.dense_1.weight"])
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


@pytest.mark.slow
def test_the_frozen_backbone_is_bit_identical_after_a_fit_and_the_head_moved(photos: Path, run: Run) -> None:
    assert run(f"fit {VGG} --max_epochs 1", "--root", photos) == 0
    before, after = state(find_checkpoint("last"))["state_dict"], None
    assert run(f"fit {VGG} --max_epochs 2 --ckpt_path last --patience 9", "--root", photos) == 0
    after = state(find_checkpoint("last"))["state_dict"]
    for key, value in before.items():
        assert torch.equal(value, after[key]) == key.startswith("features."), key


@pytest.mark.slow
@pytest.mark.parametrize("progress", ["epoch_progress", "epoch_loop.batch_progress"])
def test_a_record_of_epochs_that_fit_did_not_write_is_one_line(
    progress: str, photos: Path, run: Run, capsys: Capture
) -> None:
    assert run(f"fit {TINY} --max_epochs 1", "--root", photos) == 0
    last = find_checkpoint("last")
    checkpoint = state(last)
    checkpoint["loops"]["fit_loop"][progress] = "all of it"
    torch.save(checkpoint, last)
    capsys.readouterr()
    assert run(f"fit {TINY} --max_epochs 2 --ckpt_path {last}", "--root", photos) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"Checkpoint {last} cannot be resumed: its record of epochs and steps" in error


@pytest.mark.slow
def test_cached_views_give_the_numbers_of_views_that_come_again(
    photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    extract = VGG16.extract

    def count(model: VGG16, pixels: torch.Tensor, *backbone: torch.nn.Module) -> torch.Tensor:
        passes.append(len(pixels))
        return extract(model, pixels, *backbone)

    monkeypatch.setattr(VGG16, "extract", count)
    views = f"fit {VGG} --max_epochs 4 --patience 9"
    with monkeypatch.context() as patch:
        patch.setattr(VGG16, "feature_cache", lambda *_: None)
        assert run(f"{views} --data.views 2", "--root", photos) == 0
    again = state(find_checkpoint("last"))["state_dict"]
    assert sum(passes) == 4 * (16 + 8)
    passes.clear()
    assert run(f"{views} --model.cached_views 2", "--root", photos) == 0
    assert sum(passes) == 2 * 16 + 8
    for key, value in state(find_checkpoint("last"))["state_dict"].items():
        torch.testing.assert_close(value, again[key])
    assert run(views, "--root", photos) == 0
    other = state(find_checkpoint("last"))["state_dict"]
    assert not torch.allclose(again["head.dense_1.weight"], other["head.dense_1.weight"])


@pytest.mark.slow
def test_last_is_the_last_epoch_even_when_it_was_not_the_best(photos: Path, run: Run) -> None:
    # A learning rate that changes nothing: later epochs tie with the first, and a tie is no improvement.
    assert run(f"fit {TINY} --max_epochs 3 --patience 9 --learning_rate 1e-30", "--root", photos) == 0
    assert state(find_checkpoint("last"))["epoch"] == 2
    assert state(find_checkpoint("best"))["epoch"] == 0


@pytest.mark.slow
def test_early_stopping_names_its_reason(photos: Path, run: Run, capsys: Capture) -> None:
    # A learning rate that cannot lower the loss: the second epoch is no better than the first.
    assert run(f"fit {TINY} --patience 1 --learning_rate 1e-30", "--root", photos) == 0
    out = lines(capsys)
    assert sum(line.startswith("Epoch") for line in out) == 2
    assert "Stopped because val_loss had not improved for 1 epoch" in out


@pytest.mark.slow
def test_a_changed_learning_rate_is_obeyed_and_announced(photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {TINY} --max_epochs 1", "--root", photos) == 0
    capsys.readouterr()
    assert (
        run("fit --ckpt_path last --max_epochs 2 --learning_rate 0.0625 --batch_size 4", "--root", photos)
        == 0
    )
    assert "  learning_rate: 0.0625 instead of the checkpoint's 0.001" in lines(capsys)
    assert state(find_checkpoint("last"))["optimizer_states"][0]["param_groups"][0]["lr"] == 0.0625


@pytest.mark.slow
def test_the_file_beats_the_checkpoint(photos: Path, run: Run, capsys: Capture) -> None:
    assert run(f"fit {TINY} --max_epochs 1 --learning_rate 0.002", "--root", photos) == 0
    Path("a.yaml").write_text("model: {init_args: {learning_rate: 0.004}}")
    capsys.readouterr()
    assert run("fit --ckpt_path last --max_epochs 1 --config a.yaml", "--root", photos) == 0
    assert "  learning_rate: 0.004 instead of the checkpoint's 0.002" in lines(capsys)


@pytest.fixture
def basic(photos: Path, run: Run, capsys: Capture) -> Path:
    """A basic checkpoint in ``checkpoints``."""
    assert run(f"fit {TINY} --max_epochs 1", "--root", photos) == 0
    capsys.readouterr()
    return find_checkpoint()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("test --model vgg16 --ckpt_path {}", "holds the model basic, --model asks for vgg16"),
        ("test --ckpt_path {} --image_size 64", "image_size is 64, the checkpoint .* was trained with 32"),
        (
            "fit --ckpt_path {} --model.dense_units 9",
            "dense_units is 9, the checkpoint .* was trained with 256",
        ),
        ("test --ckpt_path no.ckpt", "no.ckpt: there is no such file"),
        ("test --model vgg16", "No trained vgg16 model found"),
    ],
)
def test_what_does_not_fit_the_checkpoint_is_refused(
    words: str, message: str, basic: Path, run: Run, capsys: Capture
) -> None:
    assert run(words.format(basic)) in (1, 2)
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1


@pytest.mark.slow
def test_other_classes_than_the_checkpoints_are_refused(
    basic: Path, photos: Path, tmp_path: Path, run: Run, capsys: Capture
) -> None:
    other = shutil.copytree(photos, tmp_path / "other")
    (other / "test" / "cat").rename(other / "test" / "zebra")
    assert run("test", "--root", other) == 1
    assert "was trained on the classes cat, dog, the data folder has dog, zebra" in capsys.readouterr().err


WRONG = {
    "fit --model resnet": "Model 'resnet' is unknown; valid are basic, vgg16, transfer, sequential",
    "fit --max_epochs abc": "--trainer.max_epochs abc: valid is a whole number or null",
    "fit --modle basic": "did you mean --model?",
    "fit --batchsize 4": "did you mean --batch_size",
    "fit --lr 0.1": "--lr is no option (did you mean --learning_rate?)",
    "fit --data.batch_siz 4": "did you mean --data.batch_size",
    "fit --model.cached_views 2 --model basic": "--model.cached_views is no option of this model; see",
    "fit --model vgg16 --model.dropuot 0.2": "no option of this model (did you mean --model.dropout?)",
    "fit --preprocessing imagent": "imagent: valid is workshop or imagenet (did you mean imagenet?)",
    "fit --model transfer --model.unfreeze alll": "alll: valid is a whole number or all (did you mean all?)",
    "fit --precision bf16mixed": "bf16 or null (did you mean bf16-mixed?)",
    "fit --model.dropout": "--model.dropout: expected one argument",
    "fit --tta yes": "--tta takes no value, got yes",
    "fit --data no.yaml": "--data no.yaml: valid is a YAML file of its options, or one as --data.NAME VALUE",
    "fit --model vgg16 --model.dropout x": "--model.dropout x: valid is a number",
    "fit --accelerator abacus": "--accelerator abacus: there is no such accelerator; valid are auto, cpu",
    "fit --devices 99x": "--devices 99x: valid is auto, a number such as 2, or the GPUs' own as in 0,1",
    "fit --devices 0": "--devices 0: valid is auto, a number such as 2",
    "fit --devices -1 --accelerator cpu": "--devices -1 means GPUs; on the CPU, valid is auto or a number",
    "fit --trainer.enable_checkpointing false": "--trainer.enable_checkpointing false: a fit always keeps",
    "fit --trainer.barebones true": "--trainer.barebones true: a fit always keeps its checkpoints; leave the",
    "fit --model.filters [4,0]": "filters is 0; it must be at least 1",
    "fit --model.dense_units -1": "dense_units is -1; it must be at least 1",
    "fit --model vgg16 --weights none --model.dense_units 0": "dense_units is 0; it must be at least 1",
    "fit --model.dropout 1": "dropout is 1; it must be at least 0 and below 1",
    "fit --trainer.accumulate_grad_batches 0": "accumulate_grad_batches is 0; it must be at least 1",
    "fit --trainer.check_val_every_n_epoch 0": "check_val_every_n_epoch is 0; it must be at least 1",
    "fit --trainer.val_check_interval 0": "val_check_interval is 0; it must be a number of batches",
    "fit --root nowhere": "There is no folder nowhere; make it with python -m catdog_pl prepare",
    "fit --config no.yaml": "no.yaml",
    "fit --model.optimizer Adamm": "optimizer 'Adamm' is unknown; valid are keras_rmsprop",
    "fit --early_stopping.monitor loss": "monitor loss is not a metric; valid are train_loss, train_acc",
    "fit --seed -1": "must lie in 0..4294967295",
    "fit stray": "'stray' is no option",
    "fit --model vgg16 --weights no.h5": "no.h5: there is no such file",
    "fit --model vgg16 --weights foo": "weights 'foo' is unknown; valid are keras",
    "test": "No trained model found in checkpoints; run fit first",
    "validate --ckpt_path last": "No trained model found in checkpoints; run fit first",
    "summary --model resnet": "Model 'resnet' is unknown; valid are basic, vgg16, transfer, sequential",
    "tset": "there is no command 'tset'; valid are prepare, fit",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_get_one_line(words: str, run: Run, capsys: Capture) -> None:
    assert run(words) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("[ERROR]    ")
    assert WRONG[words] in error.replace(os.sep, "/")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line(run: Run, capsys: Capture) -> None:
    assert run("fit --accelerator gpu") == 2
    assert "PyTorch finds no GPU on this machine; use cpu or auto" in capsys.readouterr().err


@pytest.mark.slow
def test_a_profiler_that_is_asked_for_is_heard(
    photos: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    line = f"fit {TINY} --max_epochs 1"
    assert run(line, "--root", photos) == 0
    assert not caplog.messages  # what Lightning says at each start is not
    assert run(f"{line} --trainer.profiler simple", "--root", photos) == 0
    assert "run_training_batch" in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_fit_says_how_to_go_on(signum: int, code: int, photos: Path) -> None:
    command = [sys.executable, "-m", "catdog_pl", *f"fit {TINY} --max_epochs 1000 --patience 999".split()]
    process = subprocess.Popen(
        [*command, "--root", str(photos)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(Path("checkpoints").glob("basic/*/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signum)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    last = find_checkpoint("last")
    assert error.splitlines()[-1].endswith(f"resume with: python -m catdog_pl fit --ckpt_path {last}")
    assert "Traceback" not in error
    load_checkpoint(last)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_two_devices_count_every_test_photograph_once(strategy: str, tmp_path: Path) -> None:
    # 5 + 4 photographs on 2 processes with batches of 4: an evened-out shard would repeat some.
    data = draw_layout(tmp_path / "data", {"train": 6, "validation": 3, "test": 5})
    (data / "test" / "dog" / "dog.4.jpg").unlink()
    common = f"--accelerator cpu --devices 2 --trainer.strategy {strategy} --root {data}"
    for words in (f"fit --image_size 32 --batch_size 4 --max_epochs 1 {common}", f"test {common}"):
        answer = subprocess.run(
            [sys.executable, "-m", "catdog_pl", *words.split()], capture_output=True, text=True, timeout=240
        )
        assert answer.returncode == 0, answer.stderr
        lines = answer.stdout.splitlines()
        assert len(lines) == len(set(lines)), "both processes print"
    assert lines[-2].split()[-1] == "9"
    table = pd.read_csv(find_checkpoint().parent / "test.csv")
    names = [f"{name}/{name}.{i}.jpg" for name in ("cat", "dog") for i in range(5)]
    assert table["file"].tolist() == names[:9]
