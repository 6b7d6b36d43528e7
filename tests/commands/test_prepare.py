import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from catdog_pl.commands.prepare import parser
from catdog_pl.data.prepare.config import PrepareConfig
from catdog_pl.data.prepare.sources import NAMED
from catdog_pl.errors import UsageError
from tests.conftest import Run
from tests.data.prepare.photographs import kaggle

HEAVY = {"numpy", "PIL", "requests", "torch", "tqdm", "filelock"}


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from catdog_pl.commands.prepare import parser; parser().format_help();"
        f" sys.exit(f'loaded {{loaded}}' if (loaded := {HEAVY} & set(sys.modules)) else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_every_option_has_both_spellings_and_its_default_is_the_dataclass() -> None:
    known = parser()._option_string_actions
    for field in dataclasses.fields(PrepareConfig)[1:]:
        action = known[f"--{field.name}"]
        assert known[f"--{field.name.replace('_', '-')}"] is action
        assert action.default == field.default
        assert action.help


def test_every_default_can_be_typed_and_an_archive_of_millions_allowed() -> None:
    numbers = {
        f"--{field.name}": field.default
        for field in dataclasses.fields(PrepareConfig)[1:]
        if isinstance(field.default, int | float) and not isinstance(field.default, bool)
    }
    for name, default in (numbers | {"--max_files": 10_000_000}).items():
        assert vars(parser().parse_args([name, str(default)]))[name[2:]] == default


def test_every_named_source_is_in_the_help() -> None:
    assert all(name in parser().format_help() for name in NAMED)


@pytest.mark.parametrize("option", ["--min_side 60", "--min-side 60"])
def test_either_spelling_is_obeyed(option: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    kaggle(Path("photos"), 5)  # of 64 x 48
    assert run(f"prepare photos {option}") == 1
    assert "none of 5 photographs of class cat can be used (5 too small)" in capsys.readouterr().err


def test_sizes_and_fractions_together_are_refused() -> None:
    options = parser().parse_args(["x", "--sizes", "1", "1", "1", "--fractions", "0.8", "0.1", "0.1"])
    with pytest.raises(UsageError, match="give one of them"):
        PrepareConfig.from_options(options)


def test_the_next_command_works_when_pasted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    kaggle(Path("photos"), 5)
    assert run("prepare photos --root", "my data") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" fit --model basic --root 'my data'")
