"""Options that are declared once: a dataclass field, with its help, makes the option of the command line."""

import argparse
import dataclasses
import re
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from catdog_pl.errors import PLAIN, UsageError, wrong_value
from catdog_pl.io.files import is_url
from catdog_pl.process import program

T = TypeVar("T")


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser, whose errors are a `UsageError`; options must not be shortened.

    Args:
        command: what the user types behind the program's name; argparse passes none for its sub-parsers.
        words: as for argparse.
    """

    def __init__(self, command: str | None = None, **words: Any) -> None:
        if command:
            words["prog"] = f"{program()} {command}"
        super().__init__(**({"allow_abbrev": False} | words))

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError`."""
        raise UsageError(f"{plain_message(message)}; see {self.prog} --help")


def plain_message(message: str) -> str:
    """Return what argparse says of a value with what would be valid, and any other message as it is."""
    text = re.sub(r"^argument ([^\s/:]+)\S*:", r"\1", message)  # of several spellings the first
    if wrong := re.fullmatch(r"(\S+) invalid (.*) value: '(.*)'", text):
        return wrong_value(wrong[1], wrong[3], [PLAIN.get(wrong[2], wrong[2])])
    if choice := re.fullmatch(r"(\S+) invalid choice: '(.*)' \(choose from (.*)\)", text):
        return wrong_value(choice[1], choice[2], choice[3].replace("'", "").split(", "))
    if flag := re.fullmatch(r"(\S+) ignored explicit argument '(.*)'", text):
        return f"{flag[1]} takes no value, got {flag[2]}"
    return message


def option(default: T, help: str, **words: Any) -> T:
    """Declare a dataclass field that is an option of the command line.

    Args:
        default: its default; a string, number or path is added to the help.
        help: one sentence for ``--help``.
        words: for ``add_argument``, and ``group``, the heading under which ``--help`` lists the option.
    """
    field: T = dataclasses.field(default=default, metadata={"help": help, **words})
    return field


def add_options(parser: argparse.ArgumentParser, config: type) -> None:
    """Add an option for every field of a dataclass that was declared by `option`.

    ``batch_size: int`` becomes ``--batch_size`` and ``--batch-size``; a bool that is False a flag; a tuple
    an option with so many values.
    """
    types_of = typing.get_type_hints(config)
    groups: dict[str | None, Any] = {None: parser}
    for field in dataclasses.fields(config):
        words = dict(field.metadata)
        if "help" not in words:
            continue
        heading = words.pop("group", None)
        if heading not in groups:
            groups[heading] = parser.add_argument_group(heading)
        if isinstance(field.default, str | int | float | Path) and not isinstance(field.default, bool):
            shown = f"{field.default:g}" if isinstance(field.default, float) else field.default
            words["help"] += f" (default: {shown})"
        groups[heading].add_argument(
            *spellings(field.name),
            dest=field.name,
            default=field.default,
            **(_by_type(types_of[field.name]) | words),
        )


def spellings(name: str) -> list[str]:
    """Return both spellings of an option: ``batch_size`` -> ``--batch_size``, ``--batch-size``."""
    return list(dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"]))


def with_underscores(words: Sequence[str]) -> list[str]:
    """Return the words with the hyphens of option names as underscores; their values stay as they are."""
    option_name = re.compile("(?<=^--)[^=]+")
    return [option_name.sub(lambda name: name[0].replace("-", "_"), word) for word in words]


def local_path(word: str) -> Path:
    """Return a word as a path; a URL, of which ``pathlib`` would make folders, is refused."""
    if is_url(word):
        raise argparse.ArgumentTypeError(f"{word} is a URL; give a path of this machine")
    return Path(word)


def positive(kind: type[int] | type[float], limit: int = 1_000_000) -> Callable[[str], float]:
    """Return a type for argparse: an int or float above 0 and below a limit.

    A million seconds are what the clocks of threads count, and a million pixels more than any image has.
    """

    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < limit:  # for nan as well
            raise ValueError
        return value

    # argparse's word for the value
    parse.__name__ = f"{PLAIN[kind.__name__]} above 0 and below {limit:,}"
    return parse


def _by_type(annotation: Any) -> dict[str, Any]:
    """Return the words for ``add_argument`` that a field's type asks for."""
    if annotation is bool:
        return {"action": "store_true"}
    if isinstance(annotation, types.UnionType):  # int | None: the value is an int
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is tuple:
        members = typing.get_args(annotation)
        return {"type": members[0], "nargs": "+" if members[-1] is Ellipsis else len(members)}
    return {"type": local_path if annotation is Path else annotation}
