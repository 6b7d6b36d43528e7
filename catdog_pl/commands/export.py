"""``export``: a checkpoint as a file that runs without this package."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catdog_pl.arguments import ArgumentParser, local_path
from catdog_pl.errors import DatasetError, UsageError
from catdog_pl.export import EXPORTERS, Pictures
from catdog_pl.process import gc_paused, leave_out_unused
from catdog_pl.runs import RunFolder, find_checkpoint

if TYPE_CHECKING:
    from catdog_pl.models.classifier import Classifier

CHECKED = 1_000
"""Photographs that the written file is asked about, at most."""

ENDINGS = {".onnx": "onnx", ".pt2": "pt2", ".keras": "keras", ".h5": "keras", "": "safetensors"}
"""Of names that tell their format; one without an ending is a folder."""


def parser() -> ArgumentParser:
    """Return the command line."""
    parser = ArgumentParser(
        "export",
        description="Write a checkpoint as a file that runs without this package, and check its answers on "
        "the test photographs; or as a folder for the Hugging Face Hub.",
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="best or last of the newest run, or a path")
    add(
        "--output",
        type=local_path,
        required=True,
        metavar="PATH",
        help="model.onnx, model.pt2, a folder, ...",
    )
    add("--format", choices=EXPORTERS, help="default: what PATH's ending says; safetensors without")
    add(
        "--root",
        type=local_path,
        metavar="FOLDER",
        help="with the test photographs (default: that of the run)",
    )
    add("--overwrite", action="store_true", help="replace PATH where it exists")
    return parser


def main(argv: Sequence[str]) -> int:
    """Write the file, check it, and print what was done."""
    options = parser().parse_args(argv)
    form = options.format or ENDINGS.get(options.output.suffix.lower())
    if form is None:
        endings = ", ".join(filter(None, ENDINGS))
        raise UsageError(
            f"--output {options.output}: its ending tells no format; use {endings}, none for a "
            "folder, or give --format"
        )
    source = find_checkpoint(options.checkpoint)
    leave_out_unused()
    with gc_paused():
        from catdog_pl.export import export
    run = RunFolder.of(source)
    root = options.root or Path((run.remembered() if run else {}).get("data.root") or "data")
    for line in export(
        source, form, options.output, options.overwrite, lambda model: photographs(model, root)
    ):
        print(line, flush=True)
    return 0


def photographs(model: "Classifier", root: Path) -> Pictures:
    """Return the test photographs in a folder as a model takes them, or noise where there are none."""
    import numpy as np

    from catdog_pl.data.dataset import CachedImageFolder
    from catdog_pl.data.images import resize_rule
    from catdog_pl.data.layout import split_folder

    spec = model.data_spec
    try:
        folder = CachedImageFolder(split_folder(root, "test"), spec.image_size, resize_rule(spec.resize))
    except DatasetError:
        size = (32, spec.image_size, spec.image_size, 3)
        noise = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        return Pictures(noise, f"pictures of noise (no photographs in {root})")
    rows = np.linspace(0, len(folder) - 1, min(CHECKED, len(folder))).astype(int).tolist()
    pixels = np.ascontiguousarray(folder.__getitems__(rows)[0].permute(0, 2, 3, 1).numpy())
    labels = np.array(folder.targets)[rows] if tuple(folder.classes) == spec.class_names else None
    return Pictures(pixels, "test photographs", labels)
