"""What ``prepare`` writes down beside the splits, and reads again.

``manifest.csv`` has a row for every photograph that was found, used or left out. ``prepare.json`` is the
receipt: what was asked for and how many photographs it gave. The receipt is small and quick to read; it tells
a second run that there is nothing to do, and ``fit`` that the folder is as it was prepared.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from catdog_pl.data.prepare.photo import Photo
from catdog_pl.errors import CatDogError

MANIFEST = "manifest.csv"
RECEIPT = "prepare.json"


class Row(NamedTuple):
    """One line of the manifest, as text.

    Attributes:
        file: path under ROOT, with ``/``; empty for a photograph that was left out.
        source: where it came from.
        split: train, validation, test, or empty.
        class_: its class; empty where nothing tells.
        sha256: of its bytes, in hexadecimal; empty where they could not be read.
        size: bytes.
        width: pixels, height likewise; 0 where the header could not be read.
        mode: Pillow's word for its pixels.
        verdict: one of `Verdict`.
        reason: the verdict in words; empty where there is nothing to say.
    """

    file: str
    source: str
    split: str
    class_: str
    sha256: str
    size: str
    width: str
    height: str
    mode: str
    verdict: str
    reason: str


COLUMNS = tuple(name.rstrip("_") for name in Row._fields)


def write_manifest(photos: Iterable[Photo], path: Path) -> None:
    """Write a row for every photograph, in the order given."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(_row(photo) for photo in photos)


def read_manifest(root: Path) -> Iterator[Row]:
    """The rows of a prepared folder's manifest; none where it has no manifest.

    Raises:
        CatDogError: the file is no manifest.
    """
    path = root / MANIFEST
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != COLUMNS:
            raise CatDogError(
                f"{path} does not begin with {','.join(COLUMNS)}; move it away and prepare again"
            )
        yield from (Row(*row) for row in rows if len(row) == len(COLUMNS))


def counts(photos: Iterable[Photo]) -> dict[str, dict[str, int]]:
    """How many photographs of each class each split has."""
    table: dict[str, dict[str, int]] = {}
    for (split, label), count in sorted(Counter((p.split, p.label) for p in photos if p.split).items()):
        table.setdefault(str(split), {})[str(label)] = count
    return table


def write_receipt(folder: Path, asked: dict[str, Any], photos: Iterable[Photo]) -> None:
    """Write what was asked for, in plain values, and the counts that it gave."""
    text = json.dumps({"asked": asked, "counts": counts(photos)}, indent=2)
    (folder / RECEIPT).write_text(text + "\n", encoding="utf-8")


def read_receipt(root: Path) -> dict[str, Any]:
    """The receipt of a prepared folder; empty where it has none that can be read."""
    try:
        receipt = json.loads((root / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return receipt if isinstance(receipt, dict) else {}


def _row(photo: Photo) -> Row:
    seen = photo.seen
    numbers = (str(seen.size), str(seen.width), str(seen.height))
    return Row(
        photo.file, photo.origin, photo.split or "", photo.label or "", seen.sha256, *numbers, seen.mode,
        photo.verdict, photo.reason,
    )  # fmt: skip
