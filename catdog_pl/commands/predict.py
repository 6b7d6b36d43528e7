"""``python -m catdog_pl predict``: cat or dog, for files, folders, standard input and URLs."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from catdog_pl.arguments import ArgumentParser, local_path
from catdog_pl.data.images import silence_pillow
from catdog_pl.devices import ACCELERATORS
from catdog_pl.errors import CatDogError, UsageError
from catdog_pl.io.source import WebOptions, is_single
from catdog_pl.predict.formats import FORMATS, SINGLE, error_line, write
from catdog_pl.predict.predictor import BATCH_SIZE, Prediction, predict
from catdog_pl.process import keep_memory, wait_passively

EPILOG = """\
exit codes: 0 every picture was answered, 1 some could not be read, 2 wrong usage, 130 interrupted.
Answers are written as they come: what an interrupted run leaves is complete up to there, as CSV and JSON
Lines whatever ended it; a JSON array is closed by Ctrl-C, but not by a killed process.
EXIF orientation is ignored, of an animation the first frame counts, transparent pixels become white."""


def main(argv: Sequence[str]) -> int:
    """Answer each source on standard output or in a file.

    Args:
        argv: the words after the command's name.

    Returns:
        0 every picture was answered, 1 some could not be read.

    Raises:
        CatDogError: the checkpoint, the accelerator or the output cannot be used.
    """
    options = _parser().parse_args(argv)
    if options.output and os.path.lexists(options.output) and not options.overwrite:
        raise UsageError(f"{options.output} exists; give another --output, or --overwrite")
    silence_pillow()
    keep_memory()
    wait_passively()
    predictions = predict(
        options.sources,
        ckpt_path=options.ckpt_path,
        accelerator=options.accelerator,
        batch_size=options.batch_size,
        public_only=options.public_only,
        seconds=options.timeout,
    )
    is_text_shown = options.format == "text" and not options.output
    form = SINGLE if options.format == "text" and is_single(options.sources) else FORMATS[options.format]
    with _output(options.output, options.overwrite) as file:
        return int(write(predictions if is_text_shown else _with_errors_shown(predictions), form, file) > 0)


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        "predict",
        description="Tell cats from dogs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "sources", nargs="+", metavar="SOURCE", help="file, folder, http(s) or data URL, - for standard input"
    )
    add(
        "--ckpt_path",
        default="best",
        metavar="PATH",
        help="best (default) or last of the newest run, or a file",
    )
    add("--format", default="text", choices=FORMATS, help="default text")
    add("--output", type=local_path, metavar="FILE", help="write there instead of standard output")
    add("--overwrite", action="store_true", help="replace FILE when it exists")
    add("--accelerator", default="auto", choices=ACCELERATORS, help="default auto: a GPU where there is one")
    add("--batch_size", type=_positive(int), default=BATCH_SIZE, metavar="N", help=f"default {BATCH_SIZE}")
    add(
        "--timeout",
        type=_positive(float),
        default=WebOptions().seconds,
        metavar="SECONDS",
        help=f"for one download as a whole, default {WebOptions().seconds:g}",
    )
    add("--public_only", "--public-only", action="store_true", help="refuse URLs to private addresses")
    return parser


def _positive(kind: type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < 1_000_000:  # beyond, and for nan, the clocks of threads fail
            raise ValueError
        return value

    parse.__name__ = f"{kind.__name__} above 0"  # what argparse calls a value that is none
    return parse


def _with_errors_shown(predictions: Iterator[Prediction]) -> Iterator[Prediction]:
    """The same predictions; those that are errors are told on standard error, too."""
    for prediction in predictions:
        if prediction.error is not None:
            print(error_line(prediction), file=sys.stderr)
        yield prediction


@contextmanager
def _output(path: Path | None, overwrite: bool) -> Iterator[TextIO]:
    """The file to write to, or standard output.

    Raises:
        CatDogError: it cannot be written.
    """
    try:
        if path is None:
            yield _standard_output()
        else:
            with path.open("w" if overwrite else "x", encoding="utf-8", newline="") as file:
                yield file
    except BrokenPipeError:  # the reader, such as head, has seen enough
        raise
    except OSError as error:
        name = path or "standard output"
        raise CatDogError(
            f"{name} cannot be written ({error.strerror}); make room, or give another --output"
        ) from error


def _standard_output() -> TextIO:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has every letter
    return sys.stdout
