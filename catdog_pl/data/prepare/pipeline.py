"""``prepare``: raw photographs -> checked and split folders. Each step is a module of this room."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from catdog_pl.data.prepare.archives import Limits
from catdog_pl.data.prepare.check import faults, mark_leaks, photo_faults, photos_of, quick_check
from catdog_pl.data.prepare.config import PrepareConfig
from catdog_pl.data.prepare.duplicates import mark_duplicates
from catdog_pl.data.prepare.inspection import inspect_photos, mark_too_small, processors
from catdog_pl.data.prepare.labels import label_photos
from catdog_pl.data.prepare.manifest import (
    CONTACT_SHEET,
    MANIFEST,
    REPORT,
    WRITTEN,
    counts,
    read_manifest,
    read_receipt,
    write_manifest,
    write_receipt,
)
from catdog_pl.data.prepare.photos import photo_table
from catdog_pl.data.prepare.placement import Staging, place
from catdog_pl.data.prepare.relabel import read_relabel, relabel
from catdog_pl.data.prepare.report import contact_sheet, count_table, page, summary
from catdog_pl.data.prepare.sources import DATASETS, SAMPLE, check_sources, find_photos, identity, is_path
from catdog_pl.data.prepare.splits import SPLITS, WORKSHOP, Amounts, Fractions, Sizes, assign_splits
from catdog_pl.errors import CatDogError, UsageError, one_line
from catdog_pl.io.http import mask

_RESULT = (*SPLITS, *WRITTEN)


def prepare(config: PrepareConfig) -> None:
    """Prepare a folder, and print what it holds; nothing is done where the same lies there untouched.

    Raises:
        CatDogError: a source or ROOT cannot be used; ROOT is then as it was.
        OSError: the disk cannot be read or written.
    """
    check_sources(config.sources, config.sha256)
    _check_places(config.sources, config.root)
    amounts = _amounts(config)
    changes = read_relabel(config.relabel) if config.relabel else {}
    request = _request(config, amounts, changes)
    with Staging(config.root) as staging:
        if staging.finished:
            print(f"Finished what an interrupted run had ready in {one_line(str(config.root))}.")
        if not config.overwrite and _is_done(config.root, request):
            return
        with photo_table(staging.table) as photos:
            limits = Limits(config.max_files, int(config.max_gigabytes * 10**9))
            sources = [one_line(mask(source)) for source in config.sources]
            find_photos(photos, config.sources, staging, limits, config.sha256)
            notes = label_photos(photos, config.classes, config.resplit, ", ".join(sources))
            inspect_photos(photos, config.jobs or processors())
            mark_too_small(photos, config.min_side)
            notes += relabel(photos, changes, one_line(str(config.relabel)))
            mark_duplicates(photos)
            if config.strict and (found := list(photo_faults(photos))):
                _print_lines(found)
                amount = f"{len(found)} of {photos.count()} photographs are bad"
                raise CatDogError(f"--strict: {amount}; nothing was prepared")
            earlier = _earlier(config.root, request)
            notes += assign_splits(photos, amounts, config.seed, earlier, ", ".join(sources))
            if copied := place(photos, staging.new, staging.free_bytes(), config.link):
                notes.append(f"Copied {copied} photographs: they cannot be linked from where they lie.")
            notes += [DATASETS[source].licence for source in config.sources if source in DATASETS]
            text = page(photos, counts(photos), sources, notes)
            (staging.new / REPORT).write_text(text, encoding="utf-8")
            contact_sheet(photos).save(staging.new / CONTACT_SHEET)
            write_manifest(photos, staging.new / MANIFEST)
            write_receipt(staging.new, request, photos)
            lines = [*summary(photos, counts(photos), str(config.root)), *notes]
        staging.commit(_RESULT)
    where = f"Listed in {config.root / MANIFEST}, shown in {config.root / REPORT} and {CONTACT_SHEET}."
    _print_lines([*lines, where])


def check(root: Path, jobs: int | None, min_side: int) -> bool:
    """Check a prepared folder without changing it, print what is wrong, and return whether nothing is.

    Raises:
        CatDogError: there is no such folder.
    """
    if not any((root / split).is_dir() for split in SPLITS):
        raise CatDogError(f"{root}: there is no {' or '.join(SPLITS)} folder in it")
    with photo_table() as photos:
        photos.add(photos_of(root))
        inspect_photos(photos, jobs or processors())
        mark_too_small(photos, min_side)
        mark_duplicates(photos)
        mark_leaks(photos)
        found = faults(root, photos)
        table = count_table(counts(photos), str(root))
    advice = f"Faults: {len(found)}. To be rid of them, prepare the source again with --overwrite."
    end = [*found, advice] if found else ["Nothing is wrong."]
    _print_lines([*table, *end])
    return not found


def _print_lines(lines: Iterable[str]) -> None:
    """Print lines without the control characters that names of files may hold."""
    print("\n".join(map(one_line, lines)))


def _check_places(sources: Sequence[str], root: Path) -> None:
    """Refuse a source that lies where the splits go, which would replace it."""
    splits = {(root / split).resolve() for split in SPLITS}
    for source in filter(is_path, sources):
        path = Path(source).resolve()
        if path == root.resolve() or splits & {path, *path.parents}:
            raise UsageError(
                f"{source} is where {root} keeps its splits; --check checks them, --root FOLDER prepares"
                " another folder"
            )


def _amounts(config: PrepareConfig) -> Amounts | None:
    """Return the amounts that are asked for; None where they depend on what is found."""
    if config.fractions:
        return Fractions(*config.fractions)
    if config.sizes:
        return Sizes(*config.sizes)
    if config.sources != (SAMPLE,):
        return None
    from catdog_pl.data.sample import SAMPLE_COUNTS  # brings what draws, which no other source needs

    return Sizes(**SAMPLE_COUNTS)


def _request(config: PrepareConfig, amounts: Amounts | None, changes: Mapping[str, str]) -> dict[str, Any]:
    """Return what decides the result, in plain values: the same again gives the same folder."""
    return {
        "sources": [[mask(source), identity(source, config.root)] for source in config.sources],
        "amounts": list(amounts or WORKSHOP),
        "seed": config.seed,
        "min_side": config.min_side,
        "strict": config.strict,
        "link": config.link,
        **({"resplit": True} if config.resplit else {}),
        **({"classes": list(config.classes)} if config.classes else {}),
        **({"relabel": changes} if changes else {}),
    }


def _is_done(root: Path, request: dict[str, Any]) -> bool:
    """Return whether the same was prepared before and lies there untouched, and print that.

    Raises:
        CatDogError: something else lies there.
    """
    receipt = read_receipt(root)
    is_there = all((root / split).is_dir() for split in receipt.get("counts", {}))
    if receipt.get("asked") == request and is_there and not quick_check(root):
        table = count_table(receipt["counts"], str(root))
        _print_lines([*table, "Prepared before from the same sources: nothing to do."])
        return True
    if present := [name for name in _RESULT if (root / name).exists()]:
        raise CatDogError(
            f"{root / present[0]} is already there and stays as it is; --overwrite replaces it, --root FOLDER"
            " prepares another folder"
        )
    return False


def _earlier(root: Path, request: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield hash and split of every photograph in ROOT, where the same amounts and seed were asked for."""
    before = read_receipt(root).get("asked", {})
    if all(before.get(key) == request.get(key) for key in ("seed", "amounts", "resplit")):
        yield from ((row["sha256"], row["split"]) for row in read_manifest(root) if row["split"] in SPLITS)
