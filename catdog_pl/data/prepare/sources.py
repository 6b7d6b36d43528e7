"""What a user names as a source, and the photographs found in it."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from catdog_pl.data.prepare.archives import SHARDS, Limits, is_archive_name, unpack, unpacked
from catdog_pl.data.prepare.manifest import RECEIPT, WRITTEN
from catdog_pl.data.prepare.photo import LABEL_LETTERS, PASSED_BY, Photo, Verdict, begins_like_photo
from catdog_pl.data.prepare.photos import Photos, photo_table
from catdog_pl.data.prepare.table import open_table
from catdog_pl.errors import ArchiveError, CatDogError, UsageError, one_line
from catdog_pl.io.files import IMAGE_EXTENSIONS, is_image_name, is_url, walk
from catdog_pl.io.store import STORES, archive_urls, download_file, download_pictures, is_store, open_store

if TYPE_CHECKING:
    from catdog_pl.data.prepare.placement import Staging

SAMPLE = "sample"

_IS_PHOTO = f"verdict != '{Verdict.PASSED_BY}'"


class Dataset(NamedTuple):
    """A named data set: an archive on the web."""

    url: str
    digest: str  # "sha256:HEX" or "md5:HEX"
    label: Callable[[str], str]  # a photograph's file name -> its class
    licence: str  # for those who pass it on


def _species(name: str) -> str:
    """Return the class of an Oxford-IIIT pet: breeds of cats begin with a capital, those of dogs do not."""
    return "cat" if name[:1].isupper() else "dog"


DATASETS = {
    "oxford-pets": Dataset(
        "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
        "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
        _species,
        "oxford-pets is the Oxford-IIIT Pet Dataset of O. M. Parkhi, A. Vedaldi, A. Zisserman and"
        " C. V. Jawahar, licensed CC BY-SA 4.0: whoever passes its photographs on names them and keeps the"
        " licence.",
    ),
}
"""Name -> data set. 7,390 photographs of 37 breeds, 0.8 GB."""

NAMED = (SAMPLE, *DATASETS)
"""Sources that are neither a path nor a URL."""

_FORMS = (
    "a folder, a zip or tar archive, a Parquet file or the URL of one, a CSV of names and labels,"
    f" {' or '.join(map(repr, NAMED))}"
)

# What the columns of such a CSV may be called, in lower case.
_FILE_COLUMNS = ("filename", "file_name", "file", "image", "path", "id")
_LABEL_COLUMNS = ("label", "labels", "class")


def is_path(source: str) -> bool:
    """Return whether a source is a folder or file of this machine."""
    return source not in NAMED and not is_url(source)


def check_sources(sources: Sequence[str], sha256: str | None) -> None:
    """Refuse what cannot be a source, before any work is done.

    Raises:
        UsageError: one does not exist or has no known form, or ``sha256`` is not that of the only archive.
    """
    if not sources:
        raise UsageError("name a SOURCE, for example 'sample', or a folder with --check; --help tells more")
    for source in sources:
        if is_path(source):
            _check_path(source)
        elif is_store(source):
            open_store(source)
        elif is_url(source) and not source.lower().startswith(("http://", "https://")):
            raise UsageError(f"{source}: only http, https, {', '.join(STORES)} are read")
    is_archive = [
        is_url(source) or (is_path(source) and Path(source).is_file() and not _is_table(source))
        for source in sources
    ]
    if sha256 and is_archive != [True]:
        raise UsageError("--sha256 is that of one archive; give it with this archive as the only SOURCE")


def _check_path(source: str) -> None:
    path = Path(source)
    if not path.exists():
        raise UsageError(f"there is no file or folder {source!r}; SOURCE is {_FORMS}")
    if path.is_file() and is_image_name(path.name):
        raise UsageError(f"{source!r} is one photograph; give the folder that holds it")
    if not path.is_dir() and not path.is_file():
        raise UsageError(f"{source!r} is neither a file nor a folder; SOURCE is {_FORMS}")


def find_photos(
    photos: Photos, sources: Sequence[str], staging: "Staging", limits: Limits, sha256: str | None
) -> None:
    """Add the photographs of all sources, in the order of sources and names.

    Raises:
        CatDogError: an archive cannot be had or read, or there is no photograph.
    """
    digest = f"sha256:{sha256}" if sha256 else None
    for source in sources:
        photos.add(_found(source, staging, limits, digest), "name")
    if not photos.count(_IS_PHOTO):
        raise CatDogError(f"{', '.join(sources)}: there is no photograph in it{_hint(sources)}")


def _found(source: str, staging: "Staging", limits: Limits, digest: str | None) -> Iterable[Photo]:
    """Return the photographs of one source."""
    if source == SAMPLE:
        return _in_folder(_drawn_sample(staging), SAMPLE, is_ours=True)
    if source in DATASETS:
        dataset = DATASETS[source]
        found = unpacked(_archive_folder(dataset.url, dataset.digest, staging, limits), source)
        return (replace(photo, label=dataset.label(photo.name.rpartition("/")[2])) for photo in found)
    if _is_table(source):
        return _in_table(Path(source))
    if is_store(source):
        urls = archive_urls(source, _is_shard_name)
        if digest and urls != [source]:
            raise UsageError(f"{source} is a folder; --sha256 is that of one archive")
        if not urls:
            return _in_folder(_store_folder(source, staging), one_line(source))
        archives = [(url, one_line(url)) for url in urls]
    elif is_path(source) and os.path.isdir(source):
        find = partial(_in_folder, Path(source), Path(source).resolve().name, without=staging.root)
        if any(photo.verdict is not Verdict.PASSED_BY for photo in find()):
            return find()
        archives = [(photo.path, photo.name) for photo in find() if _is_shard_name(photo.path)]
        if not archives:
            return find()
    else:
        path = unquote(urlsplit(source).path) if is_url(source) else source
        archives = [(source, Path(path).name or "download")]
    return chain.from_iterable(
        unpacked(_archive_folder(archive, digest, staging, limits), name) for archive, name in archives
    )


def identity(source: str, without: Path | None = None) -> str:
    """Return a name for what a source holds now, as far as that shows without reading it.

    Of an archive, its size and date; of a folder, the names, sizes and dates of its images, except those in
    ``without``, or else of its archives; of a CSV, those of itself and its images; of a URL, the URL. So a
    run that was killed need not unpack again, and a run that is repeated need not run.
    """
    words = hashlib.sha256(source.encode(errors="surrogateescape"))
    for file in _files(source, without) if is_path(source) else ():
        stamp = "none"
        with suppress(OSError, ValueError):  # ValueError: a NUL in a name of a CSV
            status = os.stat(file)
            stamp = f"{status.st_size}:{status.st_mtime_ns}"
        words.update(f"{os.path.abspath(file)}\n{stamp}\n".encode(errors="surrogateescape"))
    return words.hexdigest()[:16]


def _files(source: str, without: Path | None) -> Iterator[str]:
    """Yield the files that a source of this machine is read from."""
    if not os.path.isdir(source):
        yield source
        yield from (photo.path for photo in (_in_table(Path(source)) if _is_table(source) else ()))
        return
    with photo_table() as photos:
        photos.add(_in_folder(Path(source), "", without=without))
        yield from (photo.path for photo in photos.select(_IS_PHOTO, order="path"))
        if not photos.count(_IS_PHOTO):
            yield from [p.path for p in photos.select() if _is_shard_name(p.path)] or [source]


def _drawn_sample(staging: "Staging") -> Path:
    folder = staging.unpacked / SAMPLE
    if not folder.exists():
        from catdog_pl.data.sample import draw_sample  # brings what draws, which no other source needs

        part = staging.empty(folder.with_name(f"{SAMPLE}.part"))
        draw_sample(part, progress=sys.stderr.isatty())
        part.rename(folder)
    return folder


def _store_folder(source: str, staging: "Staging") -> Path:
    """Return the folder with a store's pictures, which are copied where they were not before."""
    folder = staging.unpacked / identity(source)
    if not folder.exists():
        part = staging.empty(folder.with_name(f"{folder.name}.part"))
        download_pictures(source, part)
        part.rename(folder)
    return folder


def _archive_folder(source: str, digest: str | None, staging: "Staging", limits: Limits) -> Path:
    """Return the folder that `unpacked` reads; the file or URL is unpacked where it was not before."""
    folder = staging.unpacked / identity(source)
    if folder.exists():
        return folder
    archive = staging.downloads / identity(source) if is_url(source) else Path(source)
    if is_url(source) and not archive.exists():
        from catdog_pl.io.download import download  # requests takes 0.1 s to import

        copy = download_file if is_store(source) else download
        copy(source, archive, free_bytes=staging.free_bytes(), digest=digest)
    elif digest and is_path(source):
        from catdog_pl.io.download import digest_fault

        if fault := digest_fault(archive, digest):
            raise CatDogError(f"{archive}: {fault}")
    try:
        unpack(archive, folder, source if is_url(source) else str(archive), limits, staging.free_bytes())
    except ArchiveError:
        if is_url(source):
            archive.unlink()  # the next run asks the server again
        raise
    return folder


def _in_folder(
    folder: Path, source: str, *, is_ours: bool = False, without: Path | None = None
) -> Iterator[Photo]:
    """Yield the images below a folder, except those in ``without``; its other files as passed by.

    What `prepare` has written beside the splits of a prepared folder is neither.
    """
    others: list[str] = []
    written = {os.path.join(folder, name) for name in WRITTEN if (folder / RECEIPT).exists()}
    for parent, names in walk(folder, _raise, others.append):
        if not without or not Path(os.path.realpath(parent)).is_relative_to(without.resolve()):
            inside = PurePosixPath(source, Path(parent).relative_to(folder))
            for path in chain((os.path.join(parent, name) for name in names), others):
                if path not in written:
                    file = os.path.basename(path)
                    photo = Photo(one_line(f"{inside}/{file}"), path, is_ours=is_ours)
                    if not is_image_name(file) and not _begins_like_photo(path):
                        photo.inspection = PASSED_BY
                    yield photo
        others.clear()


def _in_table(path: Path) -> Iterator[Photo]:
    """Yield the photographs that a CSV names, from its own folder on, with their classes."""
    folder = path.resolve().parent
    with open_table(path) as table:
        names = {name.strip().lower(): name for name in table.fieldnames or ()}
        choices = (_FILE_COLUMNS, _LABEL_COLUMNS)
        columns = [next((names[name] for name in choice if name in names), None) for choice in choices]
        if None in columns:
            raise CatDogError(
                f"{path} is no table of photographs: its first line must name a column"
                f" {'|'.join(_FILE_COLUMNS)} and a column {'|'.join(_LABEL_COLUMNS)}"
            )
        for row in table:
            name, label = ((row[column or ""] or "").strip() for column in columns)
            place = os.path.join(folder, name)
            if not os.path.isfile(place):  # Kaggle's column id has the name without its ending
                found = (ending for ending in IMAGE_EXTENSIONS if os.path.isfile(place + ending))
                ending = next(found, "")
                name, place = name + ending, place + ending
            yield Photo(one_line(f"{folder.name}/{name}"), place, label=label[:LABEL_LETTERS] or None)


def _is_table(source: str) -> bool:
    return is_path(source) and source.lower().endswith(".csv") and os.path.isfile(source)


def _is_shard_name(name: str) -> bool:
    return name.lower().endswith(SHARDS)


def _begins_like_photo(path: str) -> bool:
    if not os.path.isfile(path):  # a pipe would block
        return False
    with open(path, "rb") as file:
        return begins_like_photo(file.read(16))


def _raise(error: OSError) -> None:
    raise error


def _hint(sources: Sequence[str]) -> str:
    """Name an archive in a folder without photographs, as who unpacks Kaggle's outer zip has it."""
    folders = [Path(source) for source in sources if is_path(source) and Path(source).is_dir()]
    archives = sorted(path for folder in folders for path in folder.iterdir() if is_archive_name(path.name))
    return f"; give {archives[0]}, which is an archive" if archives else ""
