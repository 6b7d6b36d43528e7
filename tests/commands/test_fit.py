"""The doors of fit, validate and test: help without torch, both spellings, shipped configurations."""

import gc
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from catdog_pl.commands.fit import pass_imports_by, shipped_configs
from catdog_pl.models.registry import model_name
from catdog_pl.short_forms import COMMON, Option
from tests.conftest import Run

Capture = pytest.CaptureFixture[str]
STAGES = ("fit", "validate", "test")


def printed_config(run: Run, capsys: Capture, line: str) -> Any:
    with pytest.raises(SystemExit) as end:
        run(f"{line} --print_config")
    assert end.value.code == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_garbage_collection_passes_by_what_fit_has_imported_once(run: Run, capsys: Capture) -> None:
    gc.unfreeze()
    pass_imports_by.cache_clear()
    printed_config(run, capsys, "fit")
    frozen = gc.get_freeze_count()
    assert frozen > 100_000
    printed_config(run, capsys, "fit")
    assert gc.get_freeze_count() <= frozen


@pytest.mark.parametrize("stage", STAGES)
def test_help_is_one_screen_and_says_where_the_rest_is(stage: str, run: Run, capsys: Capture) -> None:
    for words in ("--help", "-h", "--batch_size 4 --help"):
        assert run(f"{stage} {words}") == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 100
        for option in COMMON:
            assert any(line.split()[:1] == [f"--{option.name}"] for line in lines) == (stage in option.stages)
        assert lines[-2].endswith(f": python -m catdog_pl {stage} --help all")
        assert lines[-1].endswith(f": python -m catdog_pl {stage} --model vgg16 --help")


@pytest.mark.parametrize("stage", STAGES)
def test_help_imports_nothing_heavy(stage: str) -> None:
    program = (
        "import sys; from catdog_pl.__main__ import main\n"
        f"main(['{stage}', '--help'])\n"
        "heavy = {'torch', 'lightning', 'numpy', 'pandas', 'h5py', 'PIL', 'requests'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_the_help_page_says_what_the_parser_holds(stage: str, run: Run, capsys: Capture) -> None:
    config = printed_config(run, capsys, stage) | {"config": None}
    vgg16 = printed_config(run, capsys, f"{stage} --model vgg16")
    transfer = printed_config(run, capsys, f"{stage} --model transfer")
    for option in COMMON:
        if option.name == "model":
            assert model_name(config["model"]["class_path"]) == option.default
            continue
        group, _, name = option.key.rpartition(".")
        homes = (
            [parsed["model"]["init_args"] for parsed in (config, vgg16)] if group == "model" else
            [config[group] if group else config]
        )  # fmt: skip
        # The workshop's models come first; a default of transfer's is shown where they have no such option.
        values = [home[name] for home in homes if name in home] or [transfer["model"]["init_args"][name]]
        assert values, option
        assert all(value == option.default for value in values), option


def test_the_check_of_the_help_page_can_fail(
    run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Option("patience", "early_stopping.patience", 3, "")
    monkeypatch.setattr("tests.commands.test_fit.COMMON", (wrong,))
    with pytest.raises(AssertionError):
        test_the_help_page_says_what_the_parser_holds("fit", run, capsys)


def test_all_options_and_those_of_a_model(run: Run, capsys: Capture) -> None:
    shown = {"--help all": "--trainer.gradient_clip_val", "--model vgg16 --help": "--model.dropout"}
    for words, option in shown.items():
        with pytest.raises(SystemExit) as end:
            run(f"fit {words}")
        assert end.value.code == 0
        assert option in capsys.readouterr().out
    assert run("fit --help learning_rate") == 2
    assert (
        "--help learning_rate: see python -m catdog_pl fit --help, or --help all" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "words",
    [
        "--batch-size 7 --max-epochs 3 --print-config",
        "--data.batch-size=7 --trainer.max-epochs 3 --print-config",
        "--batch_size 7 --max_epochs=3 --print_config",
    ],
)
def test_both_spellings(words: str, run: Run, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        run(f"fit --root my-own-data {words}")
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config["data"]["batch_size"], config["trainer"]["max_epochs"]) == (7, 3)
    assert config["data"]["root"] == "my-own-data"


SHIPPED = "basic-best, basic, finetune, sample, transfer, vgg16"


def test_a_shipped_configuration_by_its_name(run: Run, capsys: Capture) -> None:
    assert ", ".join(path.stem for path in shipped_configs()) == SHIPPED
    Path("sample").write_text("data: {batch_size: 1}")
    Path("sample.yaml").write_text("data: {batch_size: 2}")
    for word, batch_size in (("sample", 25), ("sample.yaml", 2), ("./sample", 1)):
        with pytest.raises(SystemExit):
            run(f"fit -c {word} --print_config")
        out, err = capsys.readouterr()
        assert yaml.safe_load(out)["data"]["batch_size"] == batch_size
        shipped = next(path for path in shipped_configs() if path.stem == "sample")
        assert err == (f"[INFO]     Configuration: {shipped}\n" if word == "sample" else "")


def test_a_configuration_that_is_not_there(run: Run, capsys: Capture) -> None:
    assert run("fit --config smaple") == 2
    error = capsys.readouterr().err
    assert f"--config smaple: there is no such file; shipped are {SHIPPED}" in error
    assert error.count("\n") == 1


def test_the_wheel_carries_the_program_and_the_configurations() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, function = project["project"]["scripts"]["catdog"].partition(":")
    assert callable(getattr(import_module(module), function))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"configs": "catdog_pl/configs"}
