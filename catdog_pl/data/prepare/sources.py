"""What a user names as a source, and the photographs found in it."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from catdog_pl.data.prepare.archives import Limits, is_archive_name, stem, unpack, unpacked
from catdog_pl.data.prepare.contents import Content, file_content
from catdog_pl.data.prepare.labels import labels
from catdog_pl.data.prepare.pets import NEEDED_BYTES, download_pets, pet_files
from catdog_pl.data.prepare.photo import Photo, Verdict, stamp
from catdog_pl.data.prepare.staging import Staging
from catdog_pl.errors import ArchiveError, CatDogError, UsageError, one_line
from catdog_pl.io.download import download
from catdog_pl.io.files import is_image_name, is_url
from catdog_pl.io.http import mask

SAMPLE = "sample"
PETS = "oxford-pets"

_FORMS = f"a folder, a zip or tar archive or the URL of one, {SAMPLE!r} or {PETS!r}"


def is_path(source: str) -> bool:
    """Whether a source is a folder or file of this machine."""
    return source not in (SAMPLE, PETS) and not is_url(source)


class Found(NamedTuple):
    """One photograph of one source, before its class is known.

    Attributes:
        name: path inside the source, with ``/``.
        source: the source's name.
        content: where its bytes are; None where they must not be taken from the archive.
        ours: whether they are in a file that was unpacked, downloaded or drawn.
        verdict: why there is no content, or ok.
        reason: the verdict in words.
    """

    name: str
    source: str
    content: Content | None
    ours: bool
    verdict: Verdict = Verdict.OK
    reason: str = ""


@dataclass(frozen=True)
class Intake:
    """How sources are taken in.

    Attributes:
        staging: where archives are downloaded and unpacked, and the sample is drawn.
        limits: for each archive.
        sha256: what an archive's bytes must give; None takes any.
    """

    staging: Staging
    limits: Limits
    sha256: str | None = None

    def find(self, sources: Sequence[str]) -> list[Photo]:
        """The photographs of all sources with their classes, in the order of sources and names.

        Args:
            sources: as the user typed them.

        Raises:
            CatDogError: an archive cannot be had or read, or there is no photograph.
        """
        found = [photo for source in sources for photo in sorted(self._find(source), key=_by_name)]
        if not found:
            raise CatDogError(
                f"{', '.join(map(mask, sources))}: there is no photograph in it{_hint(sources)}"
            )
        classes = labels((photo.name, stem(photo.source)) for photo in found)
        return [_photo(photo, label) for photo, label in zip(found, classes, strict=True)]

    def _find(self, source: str) -> Iterator[Found]:
        if source == SAMPLE:
            return _in_folder(self._sample(), SAMPLE, ours=True)
        if source == PETS:
            return self._pets()
        if is_url(source):
            return self._in_url(source)
        path = Path(source)
        if path.is_dir():
            return _in_folder(path, path.resolve().name, ours=False, without=self.staging.root.resolve())
        return self._in_archive(path)

    def _sample(self) -> Path:
        folder = self.staging.unpacked / SAMPLE
        if not folder.exists():
            from catdog_pl.data.sample import draw_sample  # brings what draws, which no other source needs

            part = self.staging.empty(folder.with_name(f"{SAMPLE}.part"))
            draw_sample(part, progress=sys.stderr.isatty())
            part.rename(folder)
        return folder

    def _pets(self) -> Iterator[Found]:
        folder = self.staging.unpacked / PETS
        if not folder.exists():
            if self.staging.free_bytes() < NEEDED_BYTES:
                raise CatDogError(f"{PETS} needs {NEEDED_BYTES:,} bytes of free disk in {self.staging.root}")
            download_pets(folder)
        for label, path in pet_files(folder):
            yield Found(f"{label}/{os.path.basename(path)}", PETS, file_content(path), True)

    def _in_archive(self, archive: Path) -> Iterator[Found]:
        folder = self.staging.unpacked / identity(str(archive))
        if not folder.exists():
            if self.sha256:
                _verify(archive, self.sha256)
            unpack(archive, folder, one_line(str(archive)), self.limits, self.staging.free_bytes())
        return _in_unpacked(folder, archive.name)

    def _in_url(self, url: str) -> Iterator[Found]:
        folder = self.staging.unpacked / identity(url)
        if not folder.exists():
            archive = self.staging.downloads / identity(url)
            if not archive.exists():
                digest = f"sha256:{self.sha256}" if self.sha256 else None
                download(url, archive, free_bytes=self.staging.free_bytes(), digest=digest)
            try:
                unpack(archive, folder, mask(url), self.limits, self.staging.free_bytes())
            except ArchiveError:
                archive.unlink()  # the next run asks the server again
                raise
        return _in_unpacked(folder, unquote(PurePosixPath(urlsplit(url).path).name) or "download")


def check_source(source: str) -> None:
    """Refuse what cannot be a source, before any work is done.

    Raises:
        UsageError: it does not exist, or it is of no known form.
    """
    if source in (SAMPLE, PETS):
        return
    if is_url(source):
        if not source.lower().startswith(("http://", "https://")):
            raise UsageError(f"{mask(source)}: only http and https are read")
        return
    path = Path(source)
    if not path.exists():
        raise UsageError(f"there is no file or folder {source!r}; SOURCE is {_FORMS}")
    if path.is_file() and is_image_name(path.name):
        raise UsageError(f"{source!r} is one photograph; give the folder that holds it")
    if not path.is_dir() and not path.is_file():
        raise UsageError(f"{source!r} is neither a file nor a folder; SOURCE is {_FORMS}")


def is_archive(source: str) -> bool:
    """Whether a source is an archive, on the disk or on the web."""
    return source not in (SAMPLE, PETS) and (is_url(source) or Path(source).is_file())


def identity(source: str, without: Path | None = None) -> str:
    """A name for what a source holds now, as far as that shows without reading it.

    Of an archive, its size and date; of a folder, the names, sizes and dates of its images; of a URL, the
    URL. So a run that was killed need not unpack again, and a run that is repeated need not run.

    Args:
        source: as the user typed it.
        without: a folder whose images do not count.
    """
    words = hashlib.sha256(source.encode(errors="surrogateescape"))
    path = Path(source)
    if source in (SAMPLE, PETS) or is_url(source):
        return words.hexdigest()[:16]
    files = [source]
    if path.is_dir():
        inside = _in_folder(path, "", ours=False, without=without and without.resolve())
        files = sorted(photo.content.path for photo in inside if photo.content)
    for file in files:
        words.update(f"{os.path.abspath(file)}\n{stamp(file)}\n".encode(errors="surrogateescape"))
    return words.hexdigest()[:16]


def _in_folder(folder: Path, source: str, *, ours: bool, without: Path | None = None) -> Iterator[Found]:
    """The images of a folder and the folders in it; hidden ones and the one to leave out are passed by."""
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = [name for name in folders if name[0] != "." and (here / name).resolve() != without]
        inside = here.relative_to(folder).as_posix()
        for name in filter(is_image_name, files):
            place = name if inside == "." else f"{inside}/{name}"
            yield Found(place, source, file_content(os.path.join(parent, name)), ours)


def _hint(sources: Sequence[str]) -> str:
    """Names an archive in a folder without photographs, as who unpacks Kaggle's outer zip has it."""
    folders = [Path(source) for source in sources if not is_url(source) and Path(source).is_dir()]
    archives = sorted(path for folder in folders for path in folder.iterdir() if is_archive_name(path.name))
    return f"; give {archives[0]}, which is an archive" if archives else ""


def _by_name(found: Found) -> str:
    return found.name


def _in_unpacked(folder: Path, source: str) -> Iterator[Found]:
    for photo in unpacked(folder):
        ours = photo.content is not None and photo.content.packed is None
        yield Found(photo.name, source, photo.content, ours, photo.verdict, photo.reason)


def _verify(archive: Path, sha256: str) -> None:
    with archive.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256.lower():
        raise CatDogError(f"{archive}: its SHA-256 is {actual}, not {sha256.lower()}")


def _photo(found: Found, label: str | None) -> Photo:
    origin = one_line(f"{found.source}/{found.name}")
    photo = Photo(origin, found.content, found.ours, label, found.verdict, found.reason)
    if label is None and photo.usable:
        photo.leave_out(Verdict.NO_CLASS, "neither its folder nor its name tells its class")
    return photo
