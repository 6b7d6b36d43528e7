"""``prepare``: raw photographs -> checked and split folders. Each step is a module of this room.

sources -> one `Photo` each -> looked at -> duplicates -> a split each -> placed in staging -> put into ROOT.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from catdog_pl.data.prepare.check import audit, audit_faults, layout_faults, manifest_faults, quick_check
from catdog_pl.data.prepare.config import Order, order, parser
from catdog_pl.data.prepare.contact_sheet import contact_sheet
from catdog_pl.data.prepare.duplicates import mark_duplicates
from catdog_pl.data.prepare.looking import look_at
from catdog_pl.data.prepare.manifest import (
    MANIFEST,
    RECEIPT,
    counts,
    read_manifest,
    read_receipt,
    write_manifest,
    write_receipt,
)
from catdog_pl.data.prepare.pets import LICENCE
from catdog_pl.data.prepare.photo import Photo, mark_too_small
from catdog_pl.data.prepare.placement import place
from catdog_pl.data.prepare.report import CONTACT_SHEET, REPORT, count_table, page, summary
from catdog_pl.data.prepare.sources import PETS, Intake, is_path
from catdog_pl.data.prepare.splits import SPLITS, Fractions, Sizes, assign_splits, scaled
from catdog_pl.data.prepare.staging import Staging, refuse_existing
from catdog_pl.errors import CatDogError, UsageError, one_line
from catdog_pl.io.http import mask

_RESULT = (*SPLITS, MANIFEST, RECEIPT, REPORT, CONTACT_SHEET)


def main(argv: Sequence[str]) -> int:
    """Run ``prepare``.

    Args:
        argv: the words after the command's name.

    Returns:
        0; with ``--check``, 1 where the folder has a fault.

    Raises:
        CatDogError: a source or ROOT cannot be used.
    """
    options = parser().parse_args(argv)
    try:
        if options.check:
            if options.sources:
                raise UsageError("--check looks at one prepared folder and takes no SOURCE")
            return check(options.check, options.jobs, options.min_side)
        wanted = order(options)
        prepare(wanted)
    except OSError as error:
        where = one_line(str(error.filename or options.root))
        raise CatDogError(
            f"{where} cannot be read or written ({error.strerror or error}); look at its rights and the free"
            " disk, or give another --root"
        ) from error
    root = "" if wanted.root == Path("data") else f" --root {wanted.root}"
    print(f"Next: python -m catdog_pl fit --model basic{root}")
    return 0


def prepare(wanted: Order) -> None:
    """Prepare a folder, and print what it holds.

    Where the same was prepared before and lies there untouched, nothing is done.

    Args:
        wanted: what to do.

    Raises:
        CatDogError: a source or ROOT cannot be used; ROOT is then as it was.
        OSError: the disk cannot be read or written.
    """
    _refuse_to_eat_the_source(wanted)
    with Staging(wanted.root) as staging:
        if staging.finished:
            print(f"Finished what an interrupted run had ready in {wanted.root}.")
        asked = wanted.asked()
        if not wanted.overwrite:
            if _is_done(wanted.root, asked):
                return
            refuse_existing(wanted.root, _RESULT)
        photos = _checked(wanted, staging)
        _assign(photos, wanted)
        _build(photos, wanted, staging, asked)
        staging.commit()
    print("\n".join([*summary(photos, counts(photos), str(wanted.root)), *_notes(wanted)]))
    print(f"Listed in {wanted.root / MANIFEST}, shown in {wanted.root / REPORT} and {CONTACT_SHEET}.")


def check(root: Path, jobs: int, min_side: int) -> int:
    """Check a prepared folder and print what is wrong with it; nothing is changed.

    Args:
        root: the folder with the splits.
        jobs: processes that decode.
        min_side: the shortest side that is not too small, in pixels.

    Returns:
        0 where nothing is wrong, else 1.

    Raises:
        CatDogError: there is no such folder.
    """
    if not any((root / split).is_dir() for split in SPLITS):
        raise CatDogError(f"{root}: there is no {' or '.join(SPLITS)} folder in it")
    photos = audit(root, jobs, min_side)
    faults = [*layout_faults(root), *manifest_faults(root, photos), *audit_faults(photos)]
    print("\n".join(count_table(counts(photos), str(root))))
    print("\n".join(faults) if faults else "Nothing is wrong.")
    if faults:
        print(f"Faults: {len(faults)}. To be rid of them, prepare the source again with --overwrite.")
    return 1 if faults else 0


def _refuse_to_eat_the_source(wanted: Order) -> None:
    """A source that lies where the splits go would be replaced by them."""
    root = wanted.root.resolve()
    for source in wanted.sources:
        if not is_path(source):
            continue
        path = Path(source).resolve()
        places = (root, *(root / split for split in SPLITS))
        if path == root or any(place in (path, *path.parents) for place in places[1:]):
            raise UsageError(
                f"{source} is where {wanted.root} keeps its splits; --check checks them, --root FOLDER"
                " prepares another folder"
            )


def _is_done(root: Path, asked: dict[str, Any]) -> bool:
    """Whether the same was prepared before and lies there untouched; says so."""
    receipt = read_receipt(root)
    there = all((root / split).is_dir() for split in SPLITS)
    if receipt.get("asked") != asked or not there or quick_check(root):
        return False
    print("\n".join(count_table(receipt["counts"], str(root))))
    print("Prepared before from the same sources: nothing to do.")
    return True


def _checked(wanted: Order, staging: Staging) -> list[Photo]:
    """The photographs of the sources, each with its verdict."""
    photos = Intake(staging, wanted.limits, wanted.sha256).find(wanted.sources)
    look_at(photos, wanted.jobs, staging.journal)
    mark_too_small(photos, wanted.min_side)
    mark_duplicates(photos)
    faults = list(audit_faults(photos))
    if wanted.strict and faults:
        print("\n".join(faults))
        raise CatDogError(
            f"--strict: {len(faults)} of {len(photos)} photographs are bad; nothing was prepared"
        )
    return photos


def _assign(photos: Iterable[Photo], wanted: Order) -> None:
    """Give every usable photograph its split."""
    classes: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        if photo.usable and photo.label:
            classes[photo.label].append(photo)
    where = ", ".join(map(mask, wanted.sources))
    _check_classes({label: len(members) for label, members in classes.items()}, wanted.amounts, where)
    amounts = _possible(wanted.amounts, min(map(len, classes.values())))
    earlier = _earlier(wanted)
    for members in classes.values():
        assign_splits(members, amounts, wanted.seed, earlier)
    _check_splits(photos, wanted.amounts, where)


def _check_classes(found: dict[str, int], amounts: Sizes | Fractions, where: str) -> None:
    if len(found) != 2:
        names = ", ".join(sorted(found)) or "none"
        raise CatDogError(
            f"{where}: photographs of two classes are needed, told by a folder for each or by Kaggle's file"
            f" names; there are good ones of {names}"
        )
    label = min(found, key=lambda name: found[name])
    splits = sum(amount > 0 for amount in amounts)
    if found[label] < splits:
        raise CatDogError(
            f"{where}: {found[label]} good photographs of class {label} do not make {splits} splits"
        )


def _possible(amounts: Sizes | Fractions, available: int) -> Sizes | Fractions:
    """The amounts to use, where the smaller class has so many photographs; says where they are others."""
    if isinstance(amounts, Fractions) or available >= sum(amounts):
        return amounts
    fewer = scaled(amounts, available)
    print(
        f"Fewer photographs than {' / '.join(map(str, amounts))} of each class:"
        f" {' / '.join(map(str, fewer))}, in the same proportions."
    )
    return fewer


def _earlier(wanted: Order) -> dict[str, str]:
    """The split of every photograph in ROOT, where the same amounts and the same seed were asked for."""
    asked = read_receipt(wanted.root).get("asked", {})
    if (asked.get("seed"), asked.get("amounts")) != (wanted.seed, list(wanted.amounts)):
        return {}
    return {row.sha256: row.split for row in read_manifest(wanted.root) if row.split in SPLITS}


def _check_splits(photos: Iterable[Photo], amounts: Sizes | Fractions, where: str) -> None:
    """Small fractions of few photographs may leave a split without a class, which cannot be read."""
    table = counts(photos)
    labels = {label for split in table.values() for label in split}
    for split, amount in zip(SPLITS, amounts, strict=True):
        missing = sorted(labels - set(table.get(split, {})))
        if amount and missing:
            raise CatDogError(
                f"{where}: no {missing[0]} falls into {split}; --sizes gives every split its share"
            )


def _build(photos: Sequence[Photo], wanted: Order, staging: Staging, asked: dict[str, Any]) -> None:
    """Everything that will lie in ROOT, in the staging folder."""
    copied = place(photos, staging.new, staging.free_bytes(), wanted.link)
    if copied:
        print(f"Copied {copied} photographs: they cannot be linked from where they lie.")
    table = counts(photos)
    text = page(photos, table, [mask(source) for source in wanted.sources], _notes(wanted))
    (staging.new / REPORT).write_text(text, encoding="utf-8")
    contact_sheet(photos).save(staging.new / CONTACT_SHEET)
    write_manifest(photos, staging.new / MANIFEST)
    write_receipt(staging.new, asked, photos)


def _notes(wanted: Order) -> list[str]:
    """What the sources ask to be said."""
    return [LICENCE] if PETS in wanted.sources else []
