"""``python -m catdog_pl COMMAND``: the table of commands, each imported only when it is called."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from typing import NamedTuple, NoReturn

from catdog_pl import __version__
from catdog_pl.errors import CatDogError, UsageError, disk_line
from catdog_pl.process import exit_fast, gc_paused, program


class Command(NamedTuple):
    """``module:function``, which takes the words after the command's name, and its line of ``--help``."""

    target: str
    summary: str


COMMANDS = {
    "prepare": Command("catdog_pl.commands.prepare:main", "photographs -> checked and split folders"),
    "fit": Command("catdog_pl.commands.fit:fit", "train a model (basic, vgg16 or transfer)"),
    "validate": Command("catdog_pl.commands.fit:validate", "loss and accuracy on the validation photographs"),
    "test": Command("catdog_pl.commands.fit:test", "accuracy, crosstab and CSV on the test photographs"),
    "report": Command("catdog_pl.commands.report:main", "a page: curves, mistakes, certainty, Grad-CAM"),
    "predict": Command("catdog_pl.commands.predict:main", "cat or dog, for files, folders and URLs"),
    "serve": Command("catdog_pl.commands.serve:main", "a page and an HTTP API that answer pictures"),
    "export": Command("catdog_pl.commands.export:main", "for other programs: ONNX, pt2, the Hub's folder"),
    "keras": Command("catdog_pl.commands.keras:main", "exchange models with Keras files, both ways"),
    "summary": Command("catdog_pl.commands.summary:main", "a model's layer table with its parameter counts"),
    "new": Command("catdog_pl.commands.new:main", "a project of your own, with a train.py to change"),
}


def usage() -> str:
    """Return the text of ``--help``."""
    rows = "\n".join(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items())
    return (
        f"usage: {program()} [-h] [--version] COMMAND ...\n\n"
        f"Cats and dogs in PyTorch Lightning. Commands:\n\n{rows}\n\n"
        f"{program()} COMMAND --help tells what a command takes."
    )


def load(name: str) -> Callable[[Sequence[str]], int]:
    """Return the function behind a command."""
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name!r}; valid are {', '.join(COMMANDS)}, or --help")
    with gc_paused():
        target: Callable[[Sequence[str]], int] = resolve_name(COMMANDS[name].target)
    return target


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of these words, or of the process's own, and return its exit code.

    0 done, 1 something named on standard error could not be used, 2 the command line is wrong,
    130 interrupted, 143 terminated, 141 nobody reads the output any more.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # A file's name may hold what the terminal's encoding lacks; printing it must not end a run.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return flushed(answer(words))


def answer(words: Sequence[str]) -> int:
    """Run the command; an error that the user can mend becomes a line on standard error."""
    try:
        if not words or words[0] in ("-h", "--help"):
            print(usage(), file=sys.stdout if words else sys.stderr)
            return 0 if words else 2
        if words[0] == "--version":
            print(f"catdog_pl {__version__}")
            return 0
        return load(words[0])(words[1:])
    except CatDogError as error:
        return print_error(str(error), error.exit_code)
    except BrokenPipeError:
        return 141  # the reader, such as head, has enough
    except OSError as error:  # what a command asks of the disk may fail anywhere in the libraries below it
        return print_error(disk_line(error), 1)
    except KeyboardInterrupt:
        return print_error("interrupted", 130)


def print_error(message: str, code: int) -> int:
    """Print an error; returns its exit code."""
    print(f"{'[ERROR]':<10} {message}", file=sys.stderr)
    return code


def flushed(code: int) -> int:
    """Write out what standard output still holds; returns the exit code, another one where that fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # What could not be written stays in the buffer, and Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        return code or print_error(disk_line(error), 1)
    return code


def run() -> NoReturn:
    """Run the process's command and end the process with its exit code."""
    try:
        code = main()
    except SystemExit as end:  # argparse's way to end after --help and after a wrong word
        if not isinstance(end.code, int):
            raise
        code = flushed(end.code)
    exit_fast(code)


if __name__ == "__main__":
    run()
