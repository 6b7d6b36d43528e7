"""A prepared folder looked at again: all of it, or in the blink that ``fit`` has. Nothing is changed."""

import filecmp
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from catdog_pl.data.prepare.contents import file_content
from catdog_pl.data.prepare.duplicates import mark_duplicates
from catdog_pl.data.prepare.looking import look_at
from catdog_pl.data.prepare.manifest import read_manifest, read_receipt
from catdog_pl.data.prepare.photo import FAULTS, Photo, Verdict, mark_too_small
from catdog_pl.data.prepare.splits import SPLITS
from catdog_pl.data.prepare.staging import FOLDER
from catdog_pl.errors import one_line
from catdog_pl.io.files import is_image_name


def quick_check(root: Path, seconds: float = 0.5) -> str | None:
    """The part of the checks that needs no decoding.

    A ``prepare`` that was interrupted, files of zero bytes, photographs that were added or removed since,
    and the same file under the same name in two splits.

    Args:
        root: the folder with the splits.
        seconds: after which no further file is looked at.

    Returns:
        One line on the first fault found, with what to do; None where there is none, or no such folder.
    """
    if (root / FOLDER / "ready").exists():
        return (
            f"{root} is half exchanged by a prepare that was interrupted; run that prepare again to finish it"
        )
    fault = next(_quick_faults(root, time.monotonic() + seconds), None)
    return f"{fault}; python -m catdog_pl prepare --check {root} tells more" if fault else None


def audit(root: Path, jobs: int, min_side: int) -> list[Photo]:
    """Every photograph of the splits, checked as ``prepare`` checks them; `Photo.split` stays where it lies.

    Args:
        root: the folder with the splits.
        jobs: processes that decode.
        min_side: the shortest side that is not too small, in pixels.
    """
    photos = [
        Photo(f"{split}/{label}/{name}", file_content(path), False, label, split=split)
        for split in SPLITS
        for label in class_folders(root / split)
        for name, path in _images(root / split / label)
    ]
    look_at(photos, jobs)
    mark_too_small(photos, min_side)
    mark_duplicates(photos)
    _mark_leaks(photos)
    for photo in photos:
        photo.split = photo.origin.partition("/")[0]
    return photos


def layout_faults(root: Path) -> Iterator[str]:
    """What is wrong with the folders themselves."""
    classes = class_folders(root / SPLITS[0])
    for split in SPLITS:
        here = class_folders(root / split)
        if not (root / split).is_dir():
            yield f"{root / split} is missing"
        elif len(here) != 2:
            yield f"{root / split} holds {len(here)} class folders ({', '.join(here) or 'none'}), not two"
        elif here != classes and len(classes) == 2:
            yield f"{root / split} has the classes {', '.join(here)}, not {', '.join(classes)}"
        for label in here:
            if next(_images(root / split / label), None) is None:
                yield f"{root / split / label} holds no photograph"


def manifest_faults(root: Path, photos: Iterable[Photo]) -> Iterator[str]:
    """Where the photographs are not those of the manifest; nothing where there is no manifest."""
    listed = {row.file: row.sha256 for row in read_manifest(root) if row.file}
    if not listed:
        return
    for photo in photos:
        sha256 = listed.pop(photo.origin, None)
        if sha256 is None:
            yield f"{photo.origin} is not in the manifest"
        elif photo.seen.sha256 and sha256 != photo.seen.sha256:
            yield f"{photo.origin} is another file than the one in the manifest"
    yield from (f"{file} of the manifest is missing" for file in listed)


def audit_faults(photos: Iterable[Photo]) -> Iterator[str]:
    """A line for each photograph that ``prepare`` would have left out."""
    for photo in photos:
        if photo.verdict in FAULTS:
            yield f"{photo.verdict:<16} {photo.origin}: {photo.reason}"


def class_folders(split: Path) -> list[str]:
    """The class folders of a split, sorted; hidden ones are none."""
    if not split.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(split) if entry.is_dir() and entry.name[0] not in "._")


def _images(folder: Path) -> Iterator[tuple[str, str]]:
    """Name with ``/`` and path of every image under a class folder, sorted."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        inside = Path(parent).relative_to(folder).as_posix()
        for name in sorted(filter(is_image_name, files)):
            place = name if inside == "." else f"{inside}/{name}"
            yield one_line(place), os.path.join(parent, name)


def _mark_leaks(photos: Sequence[Photo]) -> None:
    """Of photographs that look alike and lie in different splits, those not in the first are faults."""
    first: dict[int, Photo] = {}
    for photo in photos:
        if photo.group is not None:
            other = first.setdefault(photo.group, photo)
            if other.split != photo.split:
                photo.leave_out(Verdict.DUPLICATE, f"looks like {other.origin}, in another split")


def _quick_faults(root: Path, deadline: float) -> Iterator[str]:
    counts = read_receipt(root).get("counts", {})
    seen: dict[tuple[str, str, int], str] = {}
    for split in SPLITS:
        for label in class_folders(root / split):
            found = 0
            for name, size in _sizes(root / split / label, deadline):
                found += 1
                if not size:
                    yield f"{root / split / label / name} is empty (0 bytes)"
                other = seen.setdefault((label, name, size), split)
                if other != split and not counts and _same(root, other, split, label, name):
                    yield f"{label}/{name} is the same photograph in {other} and in {split}"
            prepared = counts.get(split, {}).get(label, found) if time.monotonic() < deadline else found
            if found != prepared:
                yield f"{root / split / label} holds {found} photographs, {prepared} were prepared"


def _same(root: Path, split: str, other: str, label: str, name: str) -> bool:
    return filecmp.cmp(root / split / label / name, root / other / label / name, shallow=False)


def _sizes(folder: Path, deadline: float) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if time.monotonic() > deadline:
                return
            if is_image_name(entry.name):
                yield entry.name, entry.stat().st_size
