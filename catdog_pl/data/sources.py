"""What a user names as a source, and the photographs found in it."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from catdog_pl.data.archives import Limits, stem, unpack, unpacked
from catdog_pl.data.images import is_image_name, one_line
from catdog_pl.data.labels import labels
from catdog_pl.data.photo import Photo, Verdict
from catdog_pl.data.staging import Staging
from catdog_pl.errors import UsageError

SAMPLE = "sample"

_FORMS = f"a folder, a zip or tar archive, or the word {SAMPLE!r}"


class Found(NamedTuple):
    """One photograph of one source, before its class is known.

    Attributes:
        name: path inside the source.
        source: the source's name.
        path: the file to read; empty where an archive's member was not unpacked.
        ours: whether that file is an unpacked or drawn one.
        problem: why there is no path, or the empty string.
    """

    name: PurePosixPath
    source: str
    path: str
    ours: bool
    problem: str = ""


def find_photos(sources: Sequence[str], staging: Staging, limits: Limits) -> list[Photo]:
    """The photographs of all sources with their classes, in the order of sources and names.

    Archives are unpacked, and the sample is drawn, into the staging folder.

    Args:
        sources: as the user typed them.
        staging: where to unpack.
        limits: for each archive.

    Raises:
        UsageError: a source is of no known form.
        ArchiveError: an archive cannot be used.
    """
    found = [photo for source in sources for photo in sorted(_find(source, staging, limits))]
    classes = labels((photo.name, stem(photo.source)) for photo in found)
    return [_photo(photo, label) for photo, label in zip(found, classes, strict=True)]


def check_source(source: str) -> None:
    """Refuse a source that cannot be one, before any work is done.

    Raises:
        UsageError: it does not exist, or it is neither a folder nor an archive.
    """
    if source == SAMPLE:
        return
    path = Path(source)
    if not path.exists():
        raise UsageError(f"there is no file or folder {source!r}; SOURCE is {_FORMS}")
    if is_image_name(path.name) and path.is_file():
        raise UsageError(f"{source!r} is one photograph; give the folder that holds it")


def _find(source: str, staging: Staging, limits: Limits) -> Iterator[Found]:
    if source == SAMPLE:
        return _in_folder(_drawn_sample(staging), SAMPLE, ours=True)
    path = Path(source)
    if path.is_dir():
        return _in_folder(path, path.resolve().name, ours=False, without=staging.root.resolve())
    return _in_archive(path, staging, limits)


def _in_folder(folder: Path, source: str, *, ours: bool, without: Path | None = None) -> Iterator[Found]:
    """The images of a folder and the folders in it; hidden ones and the one to leave out are passed by."""
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = [name for name in folders if name[0] != "." and (here / name).resolve() != without]
        inside = PurePosixPath(here.relative_to(folder).as_posix())
        for name in filter(is_image_name, files):
            yield Found(inside / name, source, os.path.join(parent, name), ours)


def _in_archive(archive: Path, staging: Staging, limits: Limits) -> Iterator[Found]:
    folder = staging.unpacked / _identity(archive)
    if not folder.exists():
        unpack(archive, folder, limits, staging.free_bytes())
    for photo in unpacked(folder):
        path = os.path.join(folder, photo.file) if photo.file else ""
        yield Found(PurePosixPath(photo.name), archive.name, path, True, photo.problem)


def _drawn_sample(staging: Staging) -> Path:
    folder = staging.unpacked / SAMPLE
    if not folder.exists():
        part = staging.empty(folder.with_name(f"{SAMPLE}.part"))
        import_module("catdog_pl.data.sample").draw_sample(part)  # imports numpy; other sources need none
        part.rename(folder)
    return folder


def _identity(archive: Path) -> str:
    """A name for what lies in this file now, so that a run that was killed need not unpack again."""
    status = archive.stat()
    words = f"{archive.resolve()}\n{status.st_size}\n{status.st_mtime_ns}"
    return hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()[:16]


def _photo(found: Found, label: str | None) -> Photo:
    photo = Photo(one_line(str(PurePosixPath(found.source) / found.name)), found.path, found.ours, label)
    if found.problem:
        photo.verdict, photo.reason = Verdict.UNSAFE, found.problem
    elif label is None:
        photo.verdict, photo.reason = Verdict.NO_CLASS, "neither its folder nor its name tells its class"
    return photo
