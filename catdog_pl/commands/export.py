"""``export``: a checkpoint as a file that runs without this package."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catdog_pl.arguments import ArgumentParser, local_path
from catdog_pl.errors import DatasetError, UsageError
from catdog_pl.export import EXPORTERS
from catdog_pl.process import gc_paused, leave_out_matplotlib
from catdog_pl.runs import RunFolder, find_checkpoint

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from catdog_pl.models.classifier import Classifier

CHECKED = 1_000
"""Photographs that the written file is asked about, at most."""

ENDINGS = {".onnx": "onnx", ".pt2": "pt2", ".keras": "keras", ".h5": "keras"}
"""Of files that tell their format."""


def parser() -> ArgumentParser:
    """Return the command line."""
    parser = ArgumentParser(
        "export",
        description="Write a checkpoint as a file that runs without this package, and check its answers on "
        "the test photographs.",
    )
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="best or last of the newest run, or a file")
    add("--output", type=local_path, required=True, metavar="FILE", help="such as model.onnx or model.pt2")
    add("--format", choices=EXPORTERS, help="default: what FILE's ending says")
    add(
        "--root",
        type=local_path,
        metavar="FOLDER",
        help="with the test photographs (default: that of the run)",
    )
    add("--overwrite", action="store_true", help="replace FILE where it exists")
    return parser


def main(argv: Sequence[str]) -> int:
    """Write the file, check it, and print what was done."""
    options = parser().parse_args(argv)
    form = options.format or ENDINGS.get(options.output.suffix.lower())
    if form is None:
        endings = ", ".join(ENDINGS)
        raise UsageError(
            f"--output {options.output}: its ending tells no format; use {endings}, or give --format"
        )
    source = find_checkpoint(options.checkpoint)
    leave_out_matplotlib()
    with gc_paused():
        from catdog_pl.export import export
    run = RunFolder.of(source)
    root = options.root or Path((run.remembered() if run else {}).get("data.root") or "data")
    for line in export(
        source, form, options.output, options.overwrite, lambda model: photographs(model, root)
    ):
        print(line, flush=True)
    return 0


def photographs(model: "Classifier", root: Path) -> tuple["npt.NDArray[np.uint8]", str]:
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
        return np.random.default_rng(0).integers(
            0, 256, size, np.uint8
        ), f"pictures of noise (no photographs in {root})"
    rows = np.linspace(0, len(folder) - 1, min(CHECKED, len(folder))).astype(int).tolist()
    return np.ascontiguousarray(folder.__getitems__(rows)[0].permute(0, 2, 3, 1).numpy()), "test photographs"
