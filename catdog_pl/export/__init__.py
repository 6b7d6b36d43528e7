"""A checkpoint written in another tool's format."""

from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Protocol

from catdog_pl.io.files import refuse_existing

if TYPE_CHECKING:
    from catdog_pl.models.classifier import Classifier


class Exporter(Protocol):
    """A function that writes a model to a file."""

    def __call__(self, model: "Classifier", checkpoint: dict[str, Any], target: Path) -> Iterator[str]:
        """Write the model, replacing a file that is there; return what a user should know, as lines."""


EXPORTERS: dict[str, tuple[str, str | None]] = {"keras": ("catdog_pl.export.keras:export_keras", None)}
"""Format -> its `Exporter` as ``module:function``, and the extra of the package that it needs."""


def export(checkpoint: Path, format: str, target: Path, overwrite: bool = False) -> Iterator[str]:
    """Write a checkpoint in a format of `EXPORTERS` and yield what to print.

    Raises:
        CatDogError: the checkpoint cannot be read, or the target exists or cannot be written.
    """
    from catdog_pl.models.checkpoint import load_with_contents

    if not overwrite:
        refuse_existing(target)
    exporter: Exporter = resolve_name(EXPORTERS[format][0])
    model, contents = load_with_contents(checkpoint)
    notes = exporter(model, contents, target)
    yield f"{'Exported':<11} {model.name} from {checkpoint}"
    yield from (f"{'Note':<11} {note}" for note in notes)
    yield f"{'Written':<11} {target}"
