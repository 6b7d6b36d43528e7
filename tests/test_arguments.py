"""A dataclass's fields become the options of a command."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from catdog_pl.arguments import (
    ArgumentParser,
    add_options,
    local_path,
    option,
    positive,
    spellings,
    with_underscores,
)
from catdog_pl.errors import UsageError

DATA = Path("data")


@dataclass(frozen=True)
class Config:
    """As a command declares its options."""

    source: str
    batch_size: int = option(32, "pictures at once", type=positive(int), group="speed")
    root: Path = option(DATA, "where to write")  # noqa: RUF009  # a field
    jobs: int | None = option(None, "processes")
    overwrite: bool = option(False, "replace what is there")
    sizes: tuple[int, int, int] | None = option(None, "photographs", metavar="N")
    names: tuple[str, ...] = option((), "any number")
    form: str = option("text", "how to print", choices=("text", "csv"))
    seconds: float = option(30.0, "how long to wait")
    kept: int = 3


def parse(line: str) -> argparse.Namespace:
    parser = ArgumentParser("try")
    add_options(parser, Config)
    return parser.parse_args(line.split())


def test_defaults_are_the_fields() -> None:
    options = vars(parse(""))
    assert options == {
        "batch_size": 32,
        "root": Path("data"),
        "jobs": None,
        "overwrite": False,
        "sizes": None,
        "names": (),
        "form": "text",
        "seconds": 30.0,
    }


@pytest.mark.parametrize("spelling", ["--batch_size 4", "--batch-size 4", "--batch-size=4"])
def test_both_spellings(spelling: str) -> None:
    assert parse(spelling).batch_size == 4


def test_types_come_from_the_annotations() -> None:
    options = parse("--root x --jobs 2 --overwrite --sizes 1 2 3 --names a b --form csv")
    assert (options.root, options.jobs, options.overwrite) == (Path("x"), 2, True)
    assert (options.sizes, options.names, options.form) == ([1, 2, 3], ["a", "b"], "csv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--batch_siz 4", "unrecognized arguments: --batch_siz 4; see python -m catdog_pl try --help"),
        ("--batch_size 0", "--batch_size 0: valid is a whole number above 0 and below 1,000,000; see"),
        (
            "--batch_size 1000000",
            "--batch_size 1000000: valid is a whole number above 0 and below",
        ),
        ("--batch_size nan", "--batch_size nan: valid is a whole number above 0"),
        ("--sizes 1 2", "argument --sizes: expected 3 arguments"),
        ("--jobs many", "--jobs many: valid is a whole number; see"),
        ("--root s3://bucket/x", "argument --root: s3://bucket/x is a URL; give a path of this machine"),
        ("--form cvs", "--form cvs: valid is text or csv (did you mean csv?); see"),
        ("--overwrite=yes", "--overwrite takes no value, got yes; see"),
        ("--form xml", "--form xml: valid is text or csv; see"),
    ],
)
def test_wrong_words_are_one_error(line: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(line)
    assert message in str(error.value)


def test_options_stand_under_their_headings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert "\nspeed:\n  --batch_size" in shown
    assert "where to write (default: data)" in shown


def test_help_tells_the_defaults_that_are_values(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    for ending in ("at once (default: 32)", "print (default: text)", "wait (default: 30)"):
        assert f"{ending}\n" in shown
    for ending in ("processes", "replace what is there", "photographs", "any number"):
        assert f"{ending}\n" in shown


def test_hyphens_of_names_become_underscores_and_values_stay() -> None:
    words = ["--batch-size=a-b", "--data.image-size", "my-data", "-h", "--root"]
    assert with_underscores(words) == ["--batch_size=a-b", "--data.image_size", "my-data", "-h", "--root"]


def test_spellings() -> None:
    assert spellings("batch_size") == ["--batch_size", "--batch-size"]
    assert spellings("root") == ["--root"]


def test_a_float_above_zero() -> None:
    seconds = positive(float)
    assert seconds("0.5") == 0.5
    for text in ("0", "-1", "nan", "inf", "1e9"):
        with pytest.raises(ValueError):  # noqa: PT011  # argparse's contract; the message is its own
            seconds(text)


def test_a_local_path() -> None:
    assert local_path("a/b") == Path("a/b")
    with pytest.raises(argparse.ArgumentTypeError, match="is a URL"):
        local_path("https://host/x")


def test_the_command_is_named_as_the_user_typed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/catdog"])
    assert ArgumentParser("try").prog == "catdog try"
