"""``keras import`` and ``keras export``: weights exchanged with Keras, both ways."""

import argparse
import shlex
from collections.abc import Iterator, Sequence

from catdog_pl import runs
from catdog_pl.arguments import ArgumentParser, local_path, spellings
from catdog_pl.io.files import refuse_existing
from catdog_pl.process import gc_paused, leave_out_unused, program

IMPORT_HELP = (
    "Read a Keras file (.keras, .h5 or .weights.h5 of Keras 1.2 to 3, told by its content) into a checkpoint "
    "that test, predict and fit --ckpt_path take."
)
EXPORT_HELP = (
    "Write a checkpoint as a Keras file. Its model takes what the workshop feeds, RGB times 1/255; one that "
    "was imported takes what it took before."
)


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    top = ArgumentParser("keras", description="Exchange weights with Keras.")
    actions = top.add_subparsers(dest="action", required=True)
    reading = actions.add_parser("import", description=IMPORT_HELP, help=IMPORT_HELP)
    reading.add_argument("file", type=local_path, help="the Keras file")
    reading.add_argument(
        "--output", type=local_path, help="checkpoint to write; by default best.ckpt of a new run"
    )
    reading.add_argument(
        *spellings("image_size"),
        type=int,
        help="side of the images in pixels, where the file does not tell it",
    )
    reading.add_argument(
        "--preprocessing",
        choices=("rescale", "raw", "symmetric", "caffe", "workshop", "imagenet"),
        help="what is done to pixels before the model, where the file does not tell it: rescale (or "
        "workshop) multiplies by 1/255, raw leaves 0..255, symmetric gives -1..1, caffe (or imagenet) calls "
        "keras.applications.vgg16.preprocess_input",
    )
    reading.add_argument(
        "--architecture",
        type=local_path,
        metavar="JSON",
        help="for a file of weights only: the model as model.to_json() gives it",
    )
    reading.add_argument(
        "--resize",
        choices=("nearest", "bilinear", "bicubic", "lanczos", "tf_nearest", "tf_bilinear"),
        help="how photographs were resized: nearest is Pillow's and the default of Keras' load_img and "
        "flow_from_directory; tf_bilinear is tf.image.resize and image_dataset_from_directory",
    )
    reading.add_argument(
        *spellings("class_names"),
        nargs=2,
        default=("cat", "dog"),
        metavar=("FIRST", "SECOND"),
        help="what the labels 0 and 1 stand for; cat dog by default",
    )
    reading.set_defaults(run=run_import)
    writing = actions.add_parser("export", description=EXPORT_HELP, help=EXPORT_HELP)
    writing.add_argument("checkpoint", help="a checkpoint, or best or last of the newest run")
    writing.add_argument(
        "--output",
        type=local_path,
        required=True,
        help="file to write: model.keras, model.h5 or model.weights.h5",
    )
    writing.set_defaults(run=run_export)
    for action in (reading, writing):
        action.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    return top


def main(argv: Sequence[str]) -> int:
    """Run ``keras import`` or ``keras export``."""
    arguments = parser().parse_args(argv)
    if arguments.output and not arguments.overwrite:
        refuse_existing(arguments.output)
    for line in arguments.run(arguments):
        print(line)
    return 0


def run_import(arguments: argparse.Namespace) -> Iterator[str]:
    """Read a Keras file, write the checkpoint, and yield what was recognised."""
    leave_out_unused()
    with gc_paused():
        from catdog_pl.models.checkpoint import save_checkpoint
        from catdog_pl.models.keras_import import import_file

    class_names = tuple(arguments.class_names)
    found = import_file(
        arguments.file,
        arguments.image_size,
        class_names,
        arguments.preprocessing,
        arguments.architecture,
        arguments.resize,
    )
    target = arguments.output or runs.RunFolder.create(found.model.name).path / runs.BEST
    origin = {"file": str(arguments.file), "kind": found.source, "notes": found.notes}
    save_checkpoint(found.model, target, found.optimizer, origin)
    yield f"{'Recognised':<11} {found.model.name}, from {found.source}"
    hparams = {key: value for key, value in found.model.hparams.items() if value is not None}
    if "layers" in hparams:
        hparams["layers"] = len(hparams["layers"])
    yield f"{'':<11} {', '.join(f'{key} {value}' for key, value in hparams.items())}"
    renamed = [(theirs, ours.rpartition(".")[2]) for theirs, ours in found.layers]
    pairs = ", ".join(theirs if theirs == ours else f"{theirs} as {ours}" for theirs, ours in renamed)
    yield f"{'Layers':<11} {pairs}"
    yield from (f"{'Note':<11} {note}" for note in found.notes)
    yield f"{'Written':<11} {target}"
    which = f" --ckpt_path {shlex.quote(str(target))}" if arguments.output else ""
    yield f"{'Next':<11} {program()} test{which}"


def run_export(arguments: argparse.Namespace) -> Iterator[str]:
    """Write a checkpoint as a Keras file, and yield what was done."""
    source = runs.find_checkpoint(arguments.checkpoint)
    leave_out_unused()
    with gc_paused():
        from catdog_pl.export import export

    yield from export(source, "keras", arguments.output, arguments.overwrite)
