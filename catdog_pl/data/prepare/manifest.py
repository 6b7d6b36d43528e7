"""What ``prepare`` writes down beside the splits, and reads again.

``manifest.csv`` has a row for every photograph that was found, used or left out. ``prepare.json``, the
receipt, has the request and the counts: by it a second run knows that there is nothing to do, and ``fit``
that the folder is as it was prepared.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from catdog_pl.data.prepare.photos import Photos
from catdog_pl.errors import CatDogError

MANIFEST = "manifest.csv"
RECEIPT = "prepare.json"
REPORT = "report.md"
CONTACT_SHEET = "contact_sheet.png"
WRITTEN = (MANIFEST, RECEIPT, REPORT, CONTACT_SHEET)
"""The files that ``prepare`` writes into ROOT, beside the splits."""

COLUMNS = (
    "file", "source", "split", "class", "sha256", "size", "width", "height", "mode", "verdict", "reason",
)  # fmt: skip
"""``file`` is the path under ROOT, empty for a photograph that was left out; ``source`` where it came from;
the others are as in `Photo` and `Inspection`, empty or 0 where they are unknown."""

_ROWS = (
    "SELECT file, name, coalesce(split, ''), coalesce(label, ''), sha256, size, width, height, mode, verdict,"
    " reason FROM photos ORDER BY number"
)

Counts = Mapping[str, Mapping[str, int]]
"""Split -> class -> photographs."""


def write_manifest(photos: Photos, path: Path) -> None:
    """Write a row for every photograph, in the order given."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(photos.query(_ROWS))


def read_manifest(root: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a prepared folder's manifest, by column; none where it has no manifest.

    Raises:
        CatDogError: the file is no manifest.
    """
    path = root / MANIFEST
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != COLUMNS:
            columns = ",".join(COLUMNS)
            raise CatDogError(f"{path} does not begin with {columns}; move it away and prepare again")
        yield from (dict(zip(COLUMNS, row, strict=True)) for row in rows if len(row) == len(COLUMNS))


def counts(photos: Photos) -> Counts:
    """Count the photographs of each class in each split."""
    table: dict[str, dict[str, int]] = {}
    of_each = "SELECT split, label, count(*) FROM photos WHERE split IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"
    for split, label, count in photos.query(of_each):
        table.setdefault(split, {})[str(label)] = count
    return table


def write_receipt(folder: Path, request: dict[str, Any], photos: Photos) -> None:
    """Write the request, in plain values, and the counts that it gave."""
    text = json.dumps({"asked": request, "counts": counts(photos)}, indent=2)
    (folder / RECEIPT).write_text(text + "\n", encoding="utf-8")


def read_receipt(root: Path) -> dict[str, Any]:
    """Return the receipt of a prepared folder; empty where it has none that can be read."""
    try:
        receipt = json.loads((root / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return receipt if isinstance(receipt, dict) else {}
