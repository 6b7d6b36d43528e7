"""Answers of very many pictures, in files of so many answers each; a finished file is not done again.

Part k holds the answers of the pictures k * size to (k + 1) * size - 1, in their order, whoever computes it:
one process, another one after it was interrupted, or several side by side.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from catdog_pl.devices import launched
from catdog_pl.errors import CatDogError, UsageError, first_line
from catdog_pl.io.files import atomic_write
from catdog_pl.io.source import ImageSource
from catdog_pl.prediction import formats
from catdog_pl.prediction.predictor import Prediction

ABOUT = "_about.json"
"""Says of which model and with which options the answers are; pyarrow and Spark pass its first letter by."""


class Share(NamedTuple):
    """Which of several processes this is; of so many parts as there are processes, one is its own."""

    rank: int = 0
    processes: int = 1

    @classmethod
    def of_process(cls) -> Self:
        """Return what a launcher says in the environment; without one, this process does all."""
        launch = launched(is_training=False)
        return cls(launch.rank, launch.nodes * launch.per_node) if launch else cls()


class Part(NamedTuple):
    """One file of answers, and whether it was there before."""

    path: Path
    answers: int
    errors: int
    is_old: bool


def begin(folder: Path, about: dict[str, Any], overwrite: bool, share: Share) -> None:
    """Make the folder of the parts, or check that those in it are of the same model and options.

    Args:
        folder: of the parts.
        about: plain values that decide the answers.
        overwrite: remove the parts that are there.
        share: one of several processes must not overwrite what another one writes.

    Raises:
        UsageError: the folder holds other answers or other files, or several processes are to overwrite.
    """
    if overwrite:
        if share.processes > 1:
            raise UsageError(f"--overwrite with {share.processes} processes: remove {folder} by hand before")
        for old in [folder / ABOUT, *folder.glob("part-*")]:
            old.unlink(missing_ok=True)
    file = folder / ABOUT
    try:
        there = json.loads(file.read_text()) if file.exists() else None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read ({first_line(error)}); give another --output") from error
    if there is None:
        # Another process may have begun a moment ago.
        names = {path.name for path in folder.iterdir()} - {ABOUT} if folder.is_dir() else ()
        if any(not name.startswith(".") for name in names):
            raise UsageError(f"--output {folder} holds other files; give a new or empty folder")
        with atomic_write(file) as part:
            part.write_text(json.dumps(about, indent=1))
    elif there != about:
        differing = [f"{key} {there.get(key)}" for key in about if there.get(key) != about[key]]
        raise UsageError(
            f"--output {folder} holds answers with {', '.join(differing)}; "
            "give another --output, or --overwrite"
        )


def write_parts(
    sources: Iterable[ImageSource],
    predict: Callable[[Iterable[ImageSource]], Iterator[Prediction]],
    folder: Path,
    form: str,
    size: int,
    share: Share,
) -> Iterator[Part]:
    """Answer the pictures of this process's parts that are not there yet; yield each part when it is there.

    Memory does not grow with the number of pictures.

    Args:
        sources: all pictures, in the same order for every process.
        predict: gives the predictions of a part's pictures, in order.
        folder: of the parts.
        form: of the files: ``csv``, ``jsonl`` or ``parquet``.
        size: answers of a part; the last one has fewer.
        share: which parts are this process's.

    Raises:
        CatDogError: a part that is there answers other pictures, or one cannot be read or written.
    """
    remaining = iter(sources)
    for number in count():
        pictures = list(islice(remaining, size))
        if not pictures:
            return
        if number % share.processes == share.rank:
            path = folder / f"part-{number:05}.{form}"
            is_old = path.exists()
            errors = _old_errors(path, pictures, form) if is_old else write(predict(pictures), path, form)
            yield Part(path, len(pictures), errors, is_old)


def write(predictions: Iterable[Prediction], path: Path, form: str) -> int:
    """Write a part, whole or not at all; return how many are errors."""
    with atomic_write(path) as part:
        if form == formats.PARQUET:
            with part.open("wb") as file:
                return formats.write_parquet(predictions, file)
        with part.open("w", encoding="utf-8", newline="") as text:
            return formats.write(predictions, formats.OUTPUT_FORMATS[form], text)


def _old_errors(path: Path, pictures: list[ImageSource], form: str) -> int:
    """Return how many answers of a part are errors, once it is sure that they are those of the pictures."""
    try:
        rows = formats.read_back(path, form)
    except Exception as error:  # of csv, json or pyarrow
        raise CatDogError(f"{path} cannot be read ({first_line(error)}); remove it") from error
    if [name for name, _ in rows] != [formats.written_name(source.name, form) for source in pictures]:
        raise CatDogError(f"{path} answers other pictures than now; give another --output, or --overwrite")
    return sum(is_error for _, is_error in rows)
