"""A prepared folder checked again: all of it, or in the half second that ``fit`` has. Nothing is changed."""

import filecmp
import os
import shlex
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from catdog_pl.data.prepare.manifest import read_manifest, read_receipt
from catdog_pl.data.prepare.photo import FAULTS, Photo, Verdict
from catdog_pl.data.prepare.photos import Photos
from catdog_pl.data.prepare.placement import STAGING
from catdog_pl.data.prepare.splits import SPLITS
from catdog_pl.errors import one_line
from catdog_pl.io.files import is_image_name, subfolders, walk
from catdog_pl.process import program


def quick_check(root: Path, seconds: float = 0.5) -> str | None:
    """Return one line on the first fault that shows without decoding, with what to do; None without one.

    An interrupted ``prepare``, files of zero bytes, photographs that were added or removed since, the same
    file under the same name in two splits. No further file is looked at after so many seconds.
    """
    if (root / STAGING / "ready").exists():
        state = "is half exchanged by a prepare that was interrupted"
        return f"{root} {state}; run that prepare again to finish it"
    fault = next(_quick_faults(root, time.monotonic() + seconds), None)
    advice = f"{program()} prepare --check {shlex.quote(str(root))} tells more"
    return one_line(f"{fault}; {advice}") if fault else None


def photos_of(root: Path) -> Iterator[Photo]:
    """Yield every photograph of the splits of a prepared folder, with class and split, not yet inspected."""
    for split in SPLITS:
        for label in _class_folders(root / split):
            for name, path in _images(root, f"{split}/{label}"):
                yield Photo(name, path, label=label, split=split)


def mark_leaks(photos: Photos) -> None:
    """Of photographs that look alike and lie in different splits, judge those not in the first as faults."""
    first: dict[int, Photo] = {}
    for photo in photos.select('"group" IS NOT NULL'):
        other = first.setdefault(photo.group or 0, photo)
        if other.split != photo.split:
            photos.save([photo.judge(Verdict.DUPLICATE, f"looks like {other.name}, in another split")])


def faults(root: Path, photos: Photos) -> list[str]:
    """Return what is wrong with a prepared folder: its folders, its manifest, its photographs."""
    return [*_layout_faults(root), *_manifest_faults(root, photos.select()), *photo_faults(photos)]


def _layout_faults(root: Path) -> Iterator[str]:
    classes = _class_folders(root / SPLITS[0])
    for split in read_receipt(root).get("counts") or SPLITS:
        here = _class_folders(root / split)
        if not (root / split).is_dir():
            yield f"{root / split} is missing"
        elif len(here) != 2:
            yield f"{root / split} holds {len(here)} class folders ({', '.join(here) or 'none'}), not two"
        elif here != classes and len(classes) == 2:
            yield f"{root / split} has the classes {', '.join(here)}, not {', '.join(classes)}"
        for label in here:
            if next(_images(root, f"{split}/{label}"), None) is None:
                yield f"{root / split / label} holds no photograph"


def _manifest_faults(root: Path, photos: Iterable[Photo]) -> Iterator[str]:
    """Yield where the photographs are not those of the manifest; nothing where there is no manifest."""
    listed = {row["file"]: row["sha256"] for row in read_manifest(root) if row["file"]}
    if not listed:
        return
    for photo in photos:
        sha256 = listed.pop(photo.name, None)
        if sha256 is None:
            yield f"{photo.name} is not in the manifest"
        elif photo.inspection.sha256 and sha256 != photo.inspection.sha256:
            yield f"{photo.name} is another file than the one in the manifest"
    yield from (f"{file} of the manifest is missing" for file in listed)


def photo_faults(photos: Photos) -> Iterator[str]:
    """Yield a line for each photograph that ``prepare`` would leave out for a fault."""
    for photo in photos.select():
        if photo.verdict in FAULTS:
            yield f"{photo.verdict:<16} {photo.name}: {photo.inspection.reason}"


def _class_folders(split: Path) -> list[str]:
    return subfolders(split) if split.is_dir() else []


def _images(root: Path, folder: str) -> Iterator[tuple[str, str]]:
    """Yield the path under root, with ``/``, and the path of every image in a class folder."""
    for parent, names in walk(root / folder, lambda error: None):
        inside = Path(parent).relative_to(root)
        for name in names:
            yield one_line((inside / name).as_posix()), os.path.join(parent, name)


def _quick_faults(root: Path, deadline: float) -> Iterator[str]:
    counts = read_receipt(root).get("counts", {})
    seen: dict[tuple[str, str, int], str] = {}
    for split in SPLITS:
        for label in _class_folders(root / split):
            found = 0
            for name, size in _sizes(root / split / label, deadline):
                found += 1
                if not size:
                    yield f"{root / split / label / name} is empty (0 bytes)"
                other = seen.setdefault((label, name, size), split)
                if other != split and not counts:
                    there, here = (root / folder / label / name for folder in (other, split))
                    if filecmp.cmp(there, here, shallow=False):
                        yield f"{label}/{name} is the same photograph in {other} and in {split}"
            prepared = counts.get(split, {}).get(label, found) if time.monotonic() < deadline else found
            if found != prepared:
                yield f"{root / split / label} holds {found} photographs, {prepared} were prepared"


def _sizes(folder: Path, deadline: float) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if time.monotonic() > deadline:
                return
            if is_image_name(entry.name):
                yield entry.name, entry.stat().st_size
