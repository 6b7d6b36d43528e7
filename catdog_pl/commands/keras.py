"""``python -m catdog_pl keras import|export``: weights exchanged with Keras, both ways."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catdog_pl import runs
from catdog_pl.arguments import ArgumentParser, local_path
from catdog_pl.errors import CatDogError

if TYPE_CHECKING:
    from catdog_pl.models.keras_import import Imported

IMPORT_HELP = (
    "Read a Keras file (.keras, .h5 or .weights.h5 of Keras 1.2 to 3, told by its content) into a checkpoint "
    "that test, predict and fit --ckpt_path take."
)
EXPORT_HELP = (
    "Write a checkpoint as a Keras file. The model in it takes what the workshop feeds, RGB times 1/255."
)


def main(argv: Sequence[str]) -> int:
    """Run ``keras import`` or ``keras export``; ``argv`` are the words behind ``keras``."""
    arguments = parser().parse_args(argv)
    if arguments.action == "import":
        run_import(arguments.file, arguments)
    else:
        run_export(arguments.checkpoint, arguments.output, arguments.overwrite)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = ArgumentParser("keras", description="Exchange weights with Keras.")
    actions = top.add_subparsers(dest="action", required=True)
    reading = actions.add_parser("import", description=IMPORT_HELP, help=IMPORT_HELP)
    reading.add_argument("file", type=local_path, help="the Keras file")
    reading.add_argument(
        "--output", type=local_path, help="checkpoint to write; by default best.ckpt of a new run"
    )
    reading.add_argument(
        "--image_size", type=int, help="side of the images in pixels, where the file does not tell it"
    )
    reading.add_argument(
        "--class_names",
        nargs=2,
        default=("cat", "dog"),
        metavar=("FIRST", "SECOND"),
        help="what the labels 0 and 1 stand for; cat dog by default",
    )
    writing = actions.add_parser("export", description=EXPORT_HELP, help=EXPORT_HELP)
    writing.add_argument("checkpoint", help="a checkpoint, or best or last of the newest run")
    writing.add_argument(
        "--output",
        type=local_path,
        required=True,
        help="file to write: model.keras, model.h5 or model.weights.h5",
    )
    for action in (reading, writing):
        action.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    return top


def run_import(file: Path, arguments: argparse.Namespace) -> None:
    """Read a Keras file, write the checkpoint, and say what was recognised.

    Raises:
        CatDogError: the file cannot be read, or the checkpoint not be written.
    """
    # Both import torch, which takes seconds that --help and a wrong word should not cost.
    from catdog_pl.models.checkpoint import save_checkpoint
    from catdog_pl.models.keras_import import import_file

    check_free(arguments.output, arguments.overwrite)
    found = import_file(file, arguments.image_size, tuple(arguments.class_names))
    target = arguments.output or runs.RunFolder.create(found.model.name).path / runs.BEST
    save_checkpoint(found.model, target, found.optimizer)
    for line in report(found):
        print(line)
    print(f"{'Written':<11} {target}")
    which = f" --ckpt_path {target}" if arguments.output else ""
    print(f"{'Next':<11} python -m catdog_pl test{which}")


def report(found: "Imported") -> Iterator[str]:
    """What was recognised, as lines to print."""
    yield f"{'Recognised':<11} {found.model.name}, from {found.source}"
    arguments = ", ".join(f"{key} {value}" for key, value in found.model.hparams.items() if value is not None)
    yield f"{'':<11} {arguments}"
    renamed = [(theirs, ours.rpartition(".")[2]) for theirs, ours in found.layers]
    pairs = ", ".join(theirs if theirs == ours else f"{theirs} as {ours}" for theirs, ours in renamed)
    yield f"{'Layers':<11} {pairs}"
    for note in found.notes:
        yield f"{'Note':<11} {note}"


def run_export(checkpoint: str, target: Path, overwrite: bool) -> None:
    """Write a checkpoint as a Keras file.

    Raises:
        CatDogError: the checkpoint cannot be read, or the file not be written.
    """
    check_free(target, overwrite)
    source = runs.find_checkpoint(checkpoint)
    # As in run_import: torch is behind these.
    from catdog_pl.keras.optimizer import rmsprop_state
    from catdog_pl.keras.saving import export_file
    from catdog_pl.models.checkpoint import load_checkpoint, read_checkpoint

    model = load_checkpoint(source)
    export_file(model, rmsprop_state(model, read_checkpoint(source)), target, overwrite)
    print(f"{'Exported':<11} {model.name} from {source}")
    print(f"{'Written':<11} {target}")


def check_free(target: Path | None, overwrite: bool) -> None:
    """Hold that nothing would be replaced that was not meant to be.

    Raises:
        CatDogError: the file is there, and ``--overwrite`` was not given.
    """
    if target is not None and target.exists() and not overwrite:
        raise CatDogError(f"{target} is there already; give another --output, or --overwrite")
