"""``python -m catdog_pl COMMAND``: the table of commands, each imported only when it is called."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from catdog_pl import __version__
from catdog_pl.errors import CatDogError, UsageError


class Command(NamedTuple):
    """One row of the table.

    Attributes:
        target: ``module:function``; the function takes the arguments after the command's name and
            returns the exit code.
        summary: what ``--help`` says of it.
    """

    target: str
    summary: str


COMMANDS = {
    "prepare": Command("catdog_pl.data.preparation.prepare:main", "photographs -> checked and split folders"),
    "fit": Command("catdog_pl.cli:fit", "train a model (basic or vgg16)"),
    "validate": Command("catdog_pl.cli:validate", "loss and accuracy on the validation photographs"),
    "test": Command("catdog_pl.cli:test", "accuracy, crosstab and CSV on the test photographs"),
    "predict": Command("catdog_pl.predict:main", "cat or dog, for files, folders and URLs"),
    "keras": Command("catdog_pl.keras.command:main", "exchange weights with Keras files, both ways"),
    "summary": Command("catdog_pl.reports.summary:main", "a model's layer table with its parameter counts"),
}


def usage() -> str:
    """The text of ``--help``."""
    rows = "\n".join(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items())
    return (
        "usage: python -m catdog_pl [-h] [--version] COMMAND ...\n\n"
        f"Cats and dogs in PyTorch Lightning. Commands:\n\n{rows}\n\n"
        "python -m catdog_pl COMMAND --help tells what a command takes."
    )


def load(name: str) -> Callable[[Sequence[str]], int]:
    """The function behind a command.

    Raises:
        UsageError: there is no command of that name.
    """
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name!r}; valid are {', '.join(COMMANDS)}, or --help")
    module, function = COMMANDS[name].target.split(":")
    target: Callable[[Sequence[str]], int] = getattr(import_module(module), function)
    return target


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``python -m catdog_pl``; the process's own by default.

    Returns:
        The exit code: 0 done, 1 something named on standard error could not be used, 2 the command
        line is wrong, 130 interrupted, 141 nobody reads the output any more.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # A file's name may hold what the terminal's encoding lacks; printing it must not end a run.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not words or words[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        print(f"catdog_pl {__version__}")
        return 0
    try:
        return load(words[0])(words[1:])
    except CatDogError as error:
        print(f"{'[ERROR]':<10} {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader, such as head, has enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(f"{'[ERROR]':<10} interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
