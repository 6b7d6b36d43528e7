"""Corrections by hand: a CSV with a row for each photograph that gets another class, or is left out.

A photograph is known by the sha256 of its bytes, so that a row holds whatever its name and folder become. The
column ``change`` has its class, or `DROP`; a row in which it is empty changes nothing. Only these two columns
are read; the others are for whoever edits the file.
"""

import csv
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from catdog_pl.data.prepare.photo import Verdict
from catdog_pl.data.prepare.photos import Photos
from catdog_pl.data.prepare.placement import safe_label
from catdog_pl.data.prepare.table import open_table
from catdog_pl.errors import CatDogError, ImageError, UsageError
from catdog_pl.io.files import atomic_write, file_fault, refuse_existing
from catdog_pl.io.source import read_file

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("file", "sha256", "class", "probability", "suggestion", "change")

DROP = "drop"
"""Leaves a photograph out; where a class has this name, it means the class."""


def write_relabel(path: Path, root: Path, rows: "pd.DataFrame") -> int:
    """Write answers of a model as corrections to fill in.

    ``suggestion`` is the class that was predicted. ``change`` is empty: most suggestions are the model's
    mistakes, and a file that is used as it was written must not spoil good labels.

    Args:
        path: the new file.
        root: the data folder.
        rows: answers with the columns file (below ``root``), probability, predicted and true.

    Returns:
        How many were written; a photograph that cannot be read has no row.

    Raises:
        CatDogError: the file exists, or it cannot be written.
    """
    refuse_existing(path, advice="it may hold your corrections; give another name")
    written = 0
    # With a byte order mark, without which Excel takes the letters of other languages for others.
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        columns = (rows[name] for name in ("file", "true", "probability", "predicted"))
        for name, label, probability, suggestion in zip(*columns, strict=True):
            try:
                content = read_file(str(root / name))
            except ImageError:
                continue
            table.writerow((name, hashlib.sha256(content).hexdigest(), label, probability, suggestion, ""))
            written += 1
    return written


def read_relabel(path: Path) -> dict[str, str]:
    """Return sha256 -> class or `DROP`; commas, semicolons and tabs are read, as spreadsheets save them.

    Raises:
        UsageError: there is no such file.
        CatDogError: it is no such table, or gives one photograph two answers.
    """
    if fault := file_fault(path):
        raise UsageError(f"--relabel {path}: {fault}")
    changes: dict[str, str] = {}
    with open_table(path) as table:
        if not {"sha256", "change"} <= set(table.fieldnames or ()):
            raise CatDogError(
                f"{path} is no table of corrections: its first line must name the columns sha256 and change,"
                f" as in {','.join(COLUMNS)}"
            )
        for row in table:
            sha256, change = ((row[name] or "").strip() for name in ("sha256", "change"))
            label = safe_label(change)
            if change and changes.setdefault(sha256.lower(), label) != label:
                raise CatDogError(
                    f"{path}, line {table.line_num}: the photograph {row.get('file') or sha256} is to be"
                    f" {changes[sha256.lower()]} and {label}; keep one of its rows"
                )
    return changes


def relabel(photos: Photos, changes: Mapping[str, str], name: str) -> list[str]:
    """Give photographs the class in ``changes``, or leave them out; return lines to print.

    Errors and reasons call the table of corrections ``name``.

    Raises:
        CatDogError: a class is none of the photographs'.
    """
    if not changes:
        return []
    classes = sorted(photos.classes())
    if wrong := sorted({*changes.values()} - {*classes, DROP}):
        valid = f"{' or '.join(classes)}, {DROP} to leave it out, or nothing to leave it as it is"
        raise CatDogError(f"{name}: {wrong[0]!r} is not a class; give a photograph {valid}")
    missing = {*changes}
    for photo in photos.select():
        sha256 = photo.inspection.sha256
        missing.discard(sha256)
        change = changes.get(sha256)
        if not change or not photo.is_usable or not photo.label:
            continue
        if change not in classes:
            photo.judge(Verdict.DROPPED, f"{DROP} in {name}")
        elif change != photo.label:
            photo.remark(Verdict.RELABELLED, f"{photo.label} in its source, {change} in {name}")
            photo.label = change
        photos.save([photo])
    count = f"{len(missing)} of {len(changes)} photographs"
    return [f"Not in the source: {count} in {name}."] if missing else []
