"""``python -m catdog_pl predict``: cat or dog, for files, folders, standard input and URLs."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TextIO

from catdog_pl.arguments import ArgumentParser, add_options, local_path, option, positive
from catdog_pl.devices import ACCELERATORS, use_own_device
from catdog_pl.errors import UsageError
from catdog_pl.io.files import atomic_write, is_image_name, refuse_existing, write_error
from catdog_pl.io.inputs import expand, is_single
from catdog_pl.io.parquet import check_parquet
from catdog_pl.io.source import WebOptions
from catdog_pl.prediction import BATCH_SIZE, PART_SIZE, formats
from catdog_pl.process import gc_paused, keep_memory, leave_out_unused, wait_passively
from catdog_pl.runs import find_checkpoint

if TYPE_CHECKING:
    from catdog_pl.prediction.predictor import Prediction

IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""What ``--explain`` writes, by a file's ending."""

PART_FORMATS = ("csv", "jsonl", formats.PARQUET)
"""Of the files in a folder, which must be read again when the run goes on."""

EPILOG = """\
exit codes: 0 every picture was answered, 1 some could not be read, 2 wrong usage, 130 interrupted.
Answers are written as they come: what an interrupted run leaves is complete up to there, as CSV and JSON
Lines whatever ended it; JSON and Parquet are closed by Ctrl-C, but not by a killed process.
EXIF orientation is ignored, of an animation the first frame counts, transparent pixels become white."""


def file_or_folder(word: str) -> str:
    """Return a word as it is, because a path would lose its last slash; a URL is refused."""
    local_path(word)
    return word


@dataclass(frozen=True)
class PredictOptions:
    """The options of ``predict``."""

    ckpt_path: str = option(
        "best", "best or last of the newest run, a file or folder, or model.onnx", metavar="PATH"
    )
    format: str | None = option(
        None, "of the answers (default: what FILE's ending says, else text)", choices=formats.FORMAT_NAMES
    )
    output: str | None = option(
        None,
        "write there instead of standard output; a folder (out/) gets files of --part_size answers each, and "
        "a second run goes on where the first one ended",
        metavar="FILE",
        type=file_or_folder,
    )
    part_size: int = option(PART_SIZE, "answers of a file in a folder", metavar="N", type=positive(int))
    overwrite: bool = option(False, "replace FILE when it exists")
    explain: Path | None = option(  # noqa: RUF009
        None,
        "write the picture (.png or .jpg) under the places where the network saw the answer; of several "
        "pictures each into this folder",
        metavar="FILE",
    )
    accelerator: str = option("auto", "auto is a GPU where there is one", choices=ACCELERATORS)
    batch_size: int = option(
        BATCH_SIZE, "pictures given to the model at once", metavar="N", type=positive(int)
    )
    tta: bool = option(
        False,
        "answer by four views of each picture: it, its middle, both mirrored; takes four times the time",
    )
    calibrated: bool = option(False, "divide the logits by the checkpoint's temperature; no class changes")
    timeout: float = option(
        WebOptions().seconds,
        "for one download as a whole",
        metavar="SECONDS",
        type=positive(float),
    )
    public_only: bool = option(False, "refuse URLs to private addresses")


def parser() -> ArgumentParser:
    """Return the command line."""
    parser = ArgumentParser(
        "predict",
        description="Tell cats from dogs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="file, folder, zip, http(s) or data URL, s3:// and the like, pattern such as 'photos/*.jpg', "
        "@names.txt with a name a line, - for standard input",
    )
    add_options(parser, PredictOptions)
    return parser


def main(argv: Sequence[str]) -> int:
    """Answer each source on standard output or in a file; return 1 where some could not be read, else 0."""
    # Pictures may stand on both sides of an option, but argparse cannot do this and "--" at once.
    options = parser().parse_args(argv) if "--" in argv else parser().parse_intermixed_args(argv)
    is_folder = options.output and (options.output.endswith(("/", os.sep)) or os.path.isdir(options.output))
    options.output = Path(options.output) if options.output else None
    form = options.format or (formats.format_of(options.output) if options.output else formats.TEXT)
    if is_folder:
        return _predict_parts(options, options.format or "csv")
    if form == formats.PARQUET:
        check_parquet()
        if not options.output:
            raise UsageError("--format parquet is not for a terminal; give --output FILE")
    if options.output and not options.overwrite:
        refuse_existing(options.output, UsageError)
    if options.explain:
        _check_explain(options.explain, is_single(options.sources), options.overwrite)
    _start()
    from catdog_pl.prediction.predictor import predict

    predictions: Iterable[Prediction] = predict(
        options.sources,
        options.ckpt_path,
        accelerator=options.accelerator,
        batch_size=options.batch_size,
        tta=options.tta,
        calibrated=options.calibrated,
        explain=options.explain is not None,
        public_only=options.public_only,
        seconds=options.timeout,
    )
    if options.explain:
        predictions = _with_explanations_written(predictions, options.explain)
    if options.output or form != formats.TEXT:  # as text on standard output, errors are seen anyway
        predictions = _with_errors_shown(predictions)
    is_plain = form == formats.TEXT and is_single(options.sources)
    with _output(options.output, options.overwrite) as file:
        if form == formats.PARQUET:
            return int(formats.write_parquet(predictions, file.buffer) > 0)
        layout = formats.SINGLE if is_plain else formats.OUTPUT_FORMATS[form]
        return int(formats.write(predictions, layout, file) > 0)


def _start() -> None:
    """Have the process compute as fast as it can, and Pillow print nothing of its own."""
    keep_memory()
    wait_passively()
    leave_out_unused()
    with gc_paused():
        from catdog_pl.data.images import silence_pillow
        from catdog_pl.prediction import predictor  # noqa: F401  # brings numpy
    silence_pillow()


def _predict_parts(options: argparse.Namespace, form: str) -> int:
    """Answer into a folder; return 1 where one process did it and some could not be read, else 0."""
    if options.explain or form not in PART_FORMATS:
        wrong = "--explain" if options.explain else f"--format {form}"
        raise UsageError(f"{wrong} does not go with a folder as --output; use {', '.join(PART_FORMATS)}")
    if form == formats.PARQUET:
        check_parquet()
    _start()
    from catdog_pl.prediction.parts import Share, begin, write_parts
    from catdog_pl.prediction.predictor import open_predictor

    share = Share.of_process()
    checkpoint = find_checkpoint(options.ckpt_path)
    about = {
        "model": sha256(checkpoint.read_bytes()).hexdigest(),
        "part_size": options.part_size,
        "format": form,
        "tta": options.tta,
        "calibrated": options.calibrated,
    }
    begin(options.output, about, options.overwrite, share)
    if share.processes > 1:
        use_own_device(options.accelerator)
    predictor = open_predictor(
        checkpoint,
        accelerator=options.accelerator,
        batch_size=options.batch_size,
        tta=options.tta,
        calibrated=options.calibrated,
    )
    sources = expand(options.sources, WebOptions(options.public_only, options.timeout))
    errors = 0
    for part in write_parts(sources, predictor, options.output, form, options.part_size, share):
        errors += part.errors
        done = "there already" if part.is_old else "written"
        print(f"{part.path}: {part.answers:,} answers, {part.errors:,} errors, {done}", flush=True)
    # torchrun ends all processes when one of them fails, and an answer with a reason is no failure.
    return int(errors > 0 and share.processes == 1)


def _check_explain(target: Path, is_one: bool, overwrite: bool) -> None:
    """Check that there may be written: one picture to a file, others to a folder that is new or empty."""
    is_file = target.suffix.lower() in IMAGE_FORMATS
    if is_image_name(target.name) and not is_file:
        raise UsageError(f"--explain {target}: valid are {', '.join(IMAGE_FORMATS)}, or a folder")
    if is_file and not is_one:
        raise UsageError(f"--explain {target} is one file, for what may be several pictures; give a folder")
    if not overwrite and (is_file or not target.is_dir() or any(target.iterdir())):
        refuse_existing(target, UsageError, "give another --explain, or --overwrite")


def _with_explanations_written(predictions: "Iterable[Prediction]", target: Path) -> "Iterator[Prediction]":
    """Yield the same predictions, each when its explanation is written; in a folder by number and name."""
    from catdog_pl.data.prepare.placement import safe_name  # brings numpy, which --help does not need

    for i, prediction in enumerate(predictions, start=1):
        if prediction.explanation is not None:
            file, kind = target, IMAGE_FORMATS.get(target.suffix.lower())
            if kind is None:
                file = target / safe_name(f"{i:04}-{PurePath(prediction.source).stem}", ".jpg")
            with atomic_write(file) as part:
                prediction.explanation.save(part, kind or "JPEG", quality=90)
        yield prediction


def _with_errors_shown(predictions: "Iterable[Prediction]") -> "Iterator[Prediction]":
    """Yield the same predictions; those that are errors are printed on standard error, too."""
    for prediction in predictions:
        if prediction.error is not None:
            print(formats.error_line(prediction), file=sys.stderr)
        yield prediction


@contextmanager
def _output(path: Path | None, overwrite: bool) -> Iterator[TextIO]:
    """Give the file to write to, or standard output."""
    try:
        if path is None:
            yield sys.stdout
        else:
            with path.open("w" if overwrite else "x", encoding="utf-8", newline="") as file:
                yield file
    except BrokenPipeError:  # the reader, such as head, has seen enough
        raise
    except OSError as error:
        advice = "make room, or give another --output"
        raise write_error(path or "standard output", error, advice) from error
