"""What a user names as a source, and the photographs found in it, each with its class.

A named data set is a row of `DATASETS`: an archive on the web with its checksum, licence, and the rule that
tells a photograph's class.
"""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from catdog_pl.data.prepare.archives import Limits, is_archive_name, stem, unpack, unpacked
from catdog_pl.data.prepare.photo import Photo, Verdict
from catdog_pl.errors import ArchiveError, CatDogError, UsageError, masked, one_line
from catdog_pl.io.files import is_image_name, is_url, walk
from catdog_pl.io.source import ImageSource, read_file

if TYPE_CHECKING:
    from catdog_pl.data.prepare.placement import Staging

SAMPLE = "sample"


class Dataset(NamedTuple):
    """A named data set: an archive on the web.

    Attributes:
        url: of the archive.
        digest: of its bytes, ``sha256:HEX`` or ``md5:HEX``.
        label: a photograph's file name -> its class.
        licence: what has to be said to whom it is passed on.
    """

    url: str
    digest: str
    label: Callable[[str], str]
    licence: str


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
    f"a folder, a zip or tar archive or the URL of one, {', '.join(map(repr, NAMED[:-1]))} or {NAMED[-1]!r}"
)


def is_path(source: str) -> bool:
    """Return whether a source is a folder or file of this machine."""
    return source not in NAMED and not is_url(source)


def check_sources(sources: Sequence[str], sha256: str | None) -> None:
    """Refuse what cannot be a source, before any work is done.

    Raises:
        UsageError: one does not exist or has no known form, or ``sha256`` is not that of the only archive.
    """
    if not sources:
        raise UsageError(
            f"name a SOURCE, for example {SAMPLE!r}, or a folder with --check; --help tells more"
        )
    for source in sources:
        if is_path(source):
            _check_path(source)
        elif is_url(source) and not source.lower().startswith(("http://", "https://")):
            raise UsageError(f"{source}: only http and https are read")
    is_archive = [is_url(source) or (is_path(source) and Path(source).is_file()) for source in sources]
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
    sources: Sequence[str], staging: "Staging", limits: Limits, sha256: str | None
) -> list[Photo]:
    """Find the photographs of all sources, in the order of sources and names.

    Args:
        sources: as the user typed them.
        staging: where archives are downloaded and unpacked, and the sample is drawn.
        limits: for each archive.
        sha256: what an archive's bytes must give; None takes any.

    Raises:
        CatDogError: an archive cannot be had or read, or there is no photograph.
    """
    photos: list[Photo] = []
    for source in sources:
        if source == SAMPLE:
            found = _in_folder(_drawn_sample(staging), SAMPLE, is_ours=True)
        elif source in DATASETS:
            found = _in_dataset(source, staging, limits)
        elif is_url(source):
            name = PurePosixPath(unquote(urlsplit(source).path)).name or "download"
            digest = f"sha256:{sha256}" if sha256 else None
            found = unpacked(_downloaded(source, digest, staging, limits), name)
        elif os.path.isdir(source):
            found = _in_folder(Path(source), Path(source).resolve().name, without=staging.root)
        else:
            found = unpacked(_unpacked_file(Path(source), sha256, staging, limits), Path(source).name)
        photos += sorted(found, key=lambda photo: photo.name)
    if not photos:
        raise CatDogError(f"{', '.join(sources)}: there is no photograph in it{_hint(sources)}")
    return photos


def identity(source: str, without: Path | None = None) -> str:
    """Return a name for what a source holds now, as far as that shows without reading it.

    Of an archive, its size and date; of a folder, the names, sizes and dates of its images; of a URL, the
    URL. So a run that was killed need not unpack again, and a run that is repeated need not run.

    Args:
        source: as the user typed it.
        without: a folder whose images do not count.
    """
    words = hashlib.sha256(source.encode(errors="surrogateescape"))
    files: list[str] = []
    if is_path(source):
        photos = _in_folder(Path(source), "", without=without) if os.path.isdir(source) else ()
        files = sorted(photo.path for photo in photos if photo.path) or [source]
    for file in files:
        words.update(f"{os.path.abspath(file)}\n{_stamp(file)}\n".encode(errors="surrogateescape"))
    return words.hexdigest()[:16]


def _stamp(path: str) -> str:
    """Return the size and date of a file in one word; ``none`` where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return "none"
    return f"{status.st_size}:{status.st_mtime_ns}"


def _drawn_sample(staging: "Staging") -> Path:
    folder = staging.unpacked / SAMPLE
    if not folder.exists():
        from catdog_pl.data.sample import draw_sample  # brings what draws, which no other source needs

        part = staging.empty(folder.with_name(f"{SAMPLE}.part"))
        draw_sample(part, progress=sys.stderr.isatty())
        part.rename(folder)
    return folder


def _in_dataset(name: str, staging: "Staging", limits: Limits) -> Iterator[Photo]:
    dataset = DATASETS[name]
    for photo in unpacked(_downloaded(dataset.url, dataset.digest, staging, limits), name):
        photo.label = dataset.label(photo.name.rpartition("/")[2])
        yield photo


def _downloaded(url: str, digest: str | None, staging: "Staging", limits: Limits) -> Path:
    """Download and unpack an archive; returns the folder that `unpacked` reads."""
    folder = staging.unpacked / identity(url)
    if not folder.exists():
        archive = staging.downloads / identity(url)
        if not archive.exists():
            from catdog_pl.io.download import download  # requests takes 0.1 s to import

            download(url, archive, free_bytes=staging.free_bytes(), digest=digest)
        try:
            unpack(archive, folder, masked(url), limits, staging.free_bytes())
        except ArchiveError:
            archive.unlink()  # the next run asks the server again
            raise
    return folder


def _unpacked_file(archive: Path, sha256: str | None, staging: "Staging", limits: Limits) -> Path:
    folder = staging.unpacked / identity(str(archive))
    if not folder.exists():
        if sha256:
            from catdog_pl.io.download import digest_fault  # requests takes 0.1 s to import

            if fault := digest_fault(archive, f"sha256:{sha256}"):
                raise CatDogError(f"{archive}: {fault}")
        unpack(archive, folder, one_line(str(archive)), limits, staging.free_bytes())
    return folder


def _in_folder(
    folder: Path, source: str, *, is_ours: bool = False, without: Path | None = None
) -> Iterator[Photo]:
    """Yield the images of a folder and the folders in it, but for those in the folder to leave out."""
    left_out = os.path.realpath(without) if without else None
    for parent, names in walk(folder, _raise):
        real = os.path.realpath(parent)
        if left_out and (real == left_out or real.startswith(left_out + os.sep)):
            continue
        inside = Path(parent).relative_to(folder)
        for name in names:
            path = os.path.join(parent, name)
            origin = one_line(PurePosixPath(source, inside, name).as_posix())
            yield Photo(ImageSource(origin, partial(read_file, path)), path, is_ours)


def _raise(error: OSError) -> None:
    raise error


def _hint(sources: Sequence[str]) -> str:
    """Name an archive in a folder without photographs, as who unpacks Kaggle's outer zip has it."""
    folders = [Path(source) for source in sources if is_path(source) and Path(source).is_dir()]
    archives = sorted(path for folder in folders for path in folder.iterdir() if is_archive_name(path.name))
    return f"; give {archives[0]}, which is an archive" if archives else ""


# "cat", "Cats", "DOG": the spellings of a class folder seen in the public collections.
_PET_FOLDER = re.compile(r"(cat|dog)s?", re.IGNORECASE)
# Kaggle's own form, cat.123.jpg. Not "cathy.jpg", nor "cat-and-dog.jpg".
_PET_FILE = re.compile(r"(cat|dog)\.\d+\.[^.]+", re.IGNORECASE)


def label_photos(photos: Sequence[Photo]) -> None:
    """Give each photograph its class, read from where it lies and never from its pixels.

    Where any of them is known as a cat or a dog, the collection is one of cats and dogs, and a photograph
    that says neither has no class (Kaggle's ``test1/1.jpg``). Otherwise the folders are the classes.

    Args:
        photos: of all sources; those of a named data set have their class.
    """
    names = [photo.name for photo in photos]
    pets = [photo.label or pet_label(name) for photo, name in zip(photos, names, strict=True)]
    labels = pets if any(pets) else [folder_label(name) for name in names]
    for photo, label in zip(photos, labels, strict=True):
        photo.label = label
        if label is None and photo.is_usable:
            photo.judge(Verdict.NO_CLASS, "neither its folder nor its name tells its class")


def pet_label(name: str) -> str | None:
    """Return the class of a cat or dog photograph, or None where nothing says it.

    Three places can say it, and the nearest wins: the class folder it lies in (``PetImages/Cat/0.jpg``,
    ``dogs/cathy.jpg`` is a dog), its Kaggle file name in a folder that names no class
    (``train/cat.0.jpg``), and last the name of the source itself (``cats.zip``).

    Args:
        name: the source, then the path inside it, with ``/``.
    """
    source, *folders, file = name.split("/")
    inner_first = (_PET_FOLDER.fullmatch(folder) for folder in reversed(folders))
    places = (*inner_first, _PET_FILE.fullmatch(file), _PET_FOLDER.fullmatch(stem(source)))
    return next((match[1].lower() for match in places if match), None)


def folder_label(name: str) -> str:
    """Return the class of a photograph of any other two things: the folder, or source, in which it lies."""
    source, *folders, _ = name.split("/")
    inner = [folder for folder in folders if folder not in ("", ".")]
    return safe_label(inner[-1] if inner else stem(source))


_LONGEST = 100
# What Windows does not allow in a name, and no shell likes.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(stem: str, extension: str) -> str:
    """Return a file name that every system can hold.

    Args:
        stem: what it is to be called, without folders and ending.
        extension: its ending, with the dot.
    """
    stem = _FORBIDDEN.sub("_", stem)[:_LONGEST].strip(" .") or "photo"
    return f"{'_' if _DEVICES.fullmatch(stem) else ''}{stem}{extension}"


def safe_label(folder: str) -> str:
    """Return a class's name, from that of its folder: lower case, and not one that would be hidden."""
    word = _FORBIDDEN.sub("_", folder.casefold())[:_LONGEST].strip(" ._") or "class"
    return f"{word}_" if _DEVICES.fullmatch(word) else word
