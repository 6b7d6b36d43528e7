"""A checkpoint written in another tool's format."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from catdog_pl.errors import CatDogError, UsageError
from catdog_pl.io.files import refuse_existing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from catdog_pl.models.classifier import Classifier


class Exporter(Protocol):
    """A function that writes a model to a file."""

    def __call__(
        self,
        model: "Classifier",
        checkpoint: dict[str, Any],
        target: Path,
        photographs: "Photographs | None" = None,
    ) -> Iterator[str]:
        """Write the model, replacing a file that is there; return what a user should know, as lines.

        Of the photographs, the accuracy is told by a format with a place for it.
        """


class Format(NamedTuple):
    """How a format is written, and how a file of it answers.

    Attributes:
        write: its `Exporter`, as ``module:function``.
        answer: a function of the file and of pixels (N, S, S, 3), uint8, that gives the probability of the
            second class (N,), as ``module:function``; None where files of the format are not asked here.
        packages: what must be installed, by the names that are imported; the extra ``export`` has them.
    """

    write: str
    answer: str | None = None
    packages: tuple[str, ...] = ()


EXPORTERS = {
    "keras": Format("catdog_pl.export.keras:export_keras"),
    "onnx": Format(
        "catdog_pl.export.onnx:export_onnx",
        "catdog_pl.export.onnx:answer",
        ("onnx", "onnxscript", "onnxruntime"),
    ),
    "pt2": Format("catdog_pl.export.pt2:export_pt2", "catdog_pl.export.pt2:answer"),
    "safetensors": Format("catdog_pl.export.hub:export_hub", packages=("safetensors",)),
}


class Pictures(NamedTuple):
    """Pixels (N, S, S, 3) for a model to be checked with, what they are, and their labels (N,) if known."""

    pixels: "npt.NDArray[np.uint8]"
    what: str
    labels: "npt.NDArray[np.int64] | None" = None


Photographs = Callable[["Classifier"], Pictures]


def export(
    checkpoint: Path,
    format: str,
    target: Path,
    overwrite: bool = False,
    photographs: Photographs | None = None,
) -> Iterator[str]:
    """Write a checkpoint in a format of `EXPORTERS` and yield what to print.

    Args:
        checkpoint: the file.
        format: a key of the table.
        target: the file to write, or the folder.
        overwrite: replace it where it is there.
        photographs: what the written file is asked about; its answers must be the model's.

    Raises:
        UsageError: a package is missing.
        CatDogError: the checkpoint cannot be read, the target exists or cannot be written, or the written
            file answers otherwise.
    """
    from catdog_pl.models.checkpoint import load_with_contents

    chosen = EXPORTERS[format]
    if missing := [name for name in chosen.packages if find_spec(name) is None]:
        raise UsageError(f"--format {format} needs {', '.join(missing)}: pip install 'catdog_pl[export]'")
    if not overwrite:
        refuse_existing(target)
    exporter: Exporter = resolve_name(chosen.write)
    model, contents = load_with_contents(checkpoint)
    notes = exporter(model, contents, target, photographs)
    yield f"{'Exported':<11} {model.name} from {checkpoint}"
    yield from (f"{'Note':<11} {note}" for note in notes)
    yield f"{'Written':<11} {target}"
    if chosen.answer and photographs:
        yield f"{'Checked':<11} {check(model, target, resolve_name(chosen.answer), photographs)}"


def check(
    model: "Classifier",
    target: Path,
    answer: Callable[[Path, "npt.NDArray[np.uint8]"], "npt.NDArray[np.float32]"],
    photographs: Photographs,
) -> str:
    """Return by how much a written file's answers differ from the model's, at most.

    Raises:
        CatDogError: an answer is another class.
    """
    from catdog_pl.export.portable import probabilities

    pixels, what, _ = photographs(model)
    ours, theirs = probabilities(model, pixels), answer(target, pixels)
    difference = float(abs(ours - theirs).max())
    # Nearer to 0.5 than two computations agree, the class is chance.
    if other := int((((ours > 0.5) != (theirs > 0.5)) & (abs(ours - 0.5) > 1e-4)).sum()):
        raise CatDogError(
            f"{target} answers {other} of {len(pixels)} {what} otherwise than the checkpoint (probabilities "
            f"differ by up to {difference:.2g}); do not use it, and report this with the versions installed"
        )
    return f"{len(pixels):,} {what}: the same answers, largest difference of a probability {difference:.1g}"
