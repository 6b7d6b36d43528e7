"""Photographs out of zip and tar archives, which are never trusted.

Names inside an archive are read but never used as paths: the photographs are written as ``0000000.jpg``,
``0000001.jpg`` and so on, beside a table of the names they had. What is not a plain file is not unpacked.
Files and bytes are counted while they are written, whatever the archive says of itself, and unpacking
stops at the limits.
"""

import bz2
import csv
import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from catdog_pl.data.images import is_image_name, one_line
from catdog_pl.errors import CatDogError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
"""File names that are taken for archives."""

TABLE = "names.csv"
"""The table that lies beside the unpacked photographs: file, name in the archive, problem."""

_CHUNK = 2**20
# Far above any name or extended header of a real tar; a forged one asks for gigabytes.
_LARGEST_READ = 16 * 2**20
_READABLE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
# What damaged data makes the standard library raise; RuntimeError is zipfile's word for "encrypted".
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError)


class ArchiveError(CatDogError):
    """An archive cannot be used."""


class Limits(NamedTuple):
    """What an archive may hold, its nested archives included.

    Attributes:
        files: members of any kind.
        unpacked_bytes: photographs and nested archives, and everything that a tar makes us read.
        depth: archives inside archives; Kaggle ships a zip in a zip.
    """

    files: int = 2_000_000
    unpacked_bytes: int = 100 * 10**9
    depth: int = 2


class Member(NamedTuple):
    """One entry of an archive that is not a folder.

    Attributes:
        name: as the archive has it.
        size: bytes, as the archive says.
        problem: why it must not be unpacked, or the empty string.
        open: gives its content.
    """

    name: str
    size: int
    problem: str
    open: Callable[[], IO[bytes]]


class Unpacked(NamedTuple):
    """One photograph of an archive.

    Attributes:
        file: its file name beside the table; empty where it was not unpacked.
        name: its name in the archive; that of a nested archive comes before it.
        problem: why it was not unpacked, or the empty string.
    """

    file: str
    name: str
    problem: str


@dataclass
class Budget:
    """What an archive may still unpack."""

    archive: str
    files: int
    bytes: int

    def afford(self, size: int) -> None:
        """Make sure that so many bytes are left.

        Raises:
            ArchiveError: they are not.
        """
        if size > self.bytes:
            raise ArchiveError(
                f"{self.archive} unpacks to more than the limit or the free space of the disk; nothing of it"
                " is kept. If you trust it, make room, or unpack it yourself and give the folder"
            )

    def take(self, size: int) -> None:
        """Count bytes that are about to be written."""
        self.afford(size)
        self.bytes -= size

    def take_file(self) -> None:
        """Count a member.

        Raises:
            ArchiveError: there are too many.
        """
        self.files -= 1
        if self.files < 0:
            raise ArchiveError(
                f"{self.archive} holds more files than the limit; nothing of it is kept. If you trust it,"
                " unpack it yourself and give the folder"
            )


def is_archive_name(name: str) -> bool:
    """Whether a file of this name is taken for an archive."""
    return name.lower().endswith(ENDINGS)


def stem(name: str) -> str:
    """The file name of an archive without its ending; any other name as it is."""
    ending = max((ending for ending in ENDINGS if name.lower().endswith(ending)), key=len, default="")
    return name[: len(name) - len(ending)]


def unpack(archive: Path, folder: Path, limits: Limits, free_bytes: int) -> None:
    """Write the photographs of an archive into a new folder, with `TABLE` beside them.

    The folder appears only when it is complete; nothing is left where unpacking fails.

    Args:
        archive: a zip, tar, tar.gz or tar.bz2, told by its content.
        folder: does not exist yet.
        limits: what the archive may hold.
        free_bytes: what the disk may be filled with.

    Raises:
        ArchiveError: it cannot be read, or it holds more than is allowed.
    """
    budget = Budget(one_line(archive.name), limits.files, min(limits.unpacked_bytes, free_bytes))
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with (part / TABLE).open("w", newline="", encoding="utf-8", errors="backslashreplace") as table:
            _Unpacker(part, csv.writer(table), budget, limits.depth).unpack(archive, "")
        part.rename(folder)
    except _DAMAGED as error:
        raise ArchiveError(f"{archive} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unpacked(folder: Path) -> Iterator[Unpacked]:
    """The photographs of an unpacked archive, in its own order."""
    with (folder / TABLE).open(newline="", encoding="utf-8") as table:
        yield from (Unpacked(*row) for row in csv.reader(table))


class _Unpacker:
    """The state of one `unpack`: the folder, the table, what is left of the budget."""

    def __init__(self, folder: Path, table: Any, budget: Budget, depth: int) -> None:  # noqa: ANN401
        self.folder = folder
        self.table = table
        self.budget = budget
        self.depth = depth
        self.count = 0

    def unpack(self, archive: Path, prefix: str) -> None:
        for member in _members(archive, self.budget):
            self.budget.take_file()
            self._take(member, prefix + member.name)

    def _take(self, member: Member, name: str) -> None:
        if member.problem:
            self.table.writerow(("", name, member.problem))
        elif _is_visible(member.name) and is_archive_name(member.name):
            self._nested(member, name)
        elif _is_visible(member.name) and is_image_name(PurePosixPath(member.name).name):
            self._photograph(member, name)

    def _photograph(self, member: Member, name: str) -> None:
        file = f"{self.count:07d}{PurePosixPath(member.name).suffix.lower()}"
        problem = self._write(member, self.folder / file)
        self.table.writerow(("" if problem else file, name, problem))
        self.count += not problem

    def _nested(self, member: Member, name: str) -> None:
        if not self.depth:
            raise ArchiveError(
                f"{self.budget.archive} nests archives too deeply, down to {one_line(name)};"
                " nothing of it is kept"
            )
        inner = self.folder / f"nested-{self.depth}"
        problem = self._write(member, inner)
        if problem:
            self.table.writerow(("", name, problem))
            return
        self.depth -= 1
        self.unpack(inner, f"{name}/")
        self.depth += 1
        self.budget.bytes += inner.stat().st_size
        inner.unlink()

    def _write(self, member: Member, path: Path) -> str:
        """Write a member's content; the reason where its data is damaged."""
        with path.open("wb") as file:
            try:
                with member.open() as content:
                    while chunk := content.read(_CHUNK):
                        self.budget.take(len(chunk))
                        file.write(chunk)
                return ""
            except (zipfile.BadZipFile, zlib.error) as error:
                problem = f"damaged in the archive ({one_line(str(error))})"
        path.unlink()
        return problem


def _members(archive: Path, budget: Budget) -> Iterator[Member]:
    """The entries of an archive of any kind."""
    with archive.open("rb") as file:
        start = file.read(262)
    if start.startswith(b"PK") and zipfile.is_zipfile(archive):
        return _zip_members(archive, budget)
    if start.startswith(b"\x1f\x8b"):
        return _tar_members(cast(IO[bytes], gzip.open(archive)), budget)
    if start.startswith(b"BZh"):
        return _tar_members(cast(IO[bytes], bz2.open(archive)), budget)
    if start[257:262] == b"ustar":
        return _tar_members(archive.open("rb"), budget)
    raise ArchiveError(
        f"{archive} is no archive that can be read; those are zip, tar, tar.gz and tar.bz2. Unpack it"
        " yourself and give the folder"
    )


def _zip_members(path: Path, budget: Budget) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        budget.afford(
            sum(info.file_size for info in infos if is_image_name(PurePosixPath(info.filename).name))
        )
        for info in infos:
            yield Member(info.filename, info.file_size, _zip_problem(info), partial(archive.open, info))


def _zip_problem(info: zipfile.ZipInfo) -> str:
    """Why a member of a zip must not be unpacked."""
    kind = stat.S_IFMT(info.external_attr >> 16)  # the upper half is the Unix mode, 0 where there is none
    if kind not in (0, stat.S_IFREG):
        return "a link in the archive" if kind == stat.S_IFLNK else "a device or pipe in the archive"
    if info.flag_bits & 0x1:
        return "encrypted in the archive"
    if info.compress_type not in _READABLE_METHODS:
        return "compressed in the archive by a method that is not read"
    return _path_problem(info.filename)


def _tar_members(stream: IO[bytes], budget: Budget) -> Iterator[Member]:
    with stream, tarfile.open(fileobj=cast(IO[bytes], _Guarded(stream)), mode="r:") as archive:
        while (info := archive.next()) is not None:
            cast(Any, archive).members.clear()  # it would keep every header, a kilobyte for each file
            if not info.isdir():
                budget.afford(info.size)  # also what is not unpacked has to be read over
                content = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))
                yield Member(info.name, info.size, _tar_problem(info), content)


def _tar_problem(info: tarfile.TarInfo) -> str:
    """Why a member of a tar must not be unpacked."""
    if info.issym() or info.islnk():
        return "a link in the archive"
    if not info.isreg():
        return "a device or pipe in the archive"
    return _path_problem(info.name)


def _path_problem(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        return "its path leads out of the archive"
    return ""


def _is_visible(name: str) -> bool:
    """Whether no folder above is hidden; archives made on a Mac carry a shadow of each file in one."""
    folders = PurePosixPath(name).parts[:-1]
    return not any(folder.startswith(".") or folder == "__MACOSX" for folder in folders)


class _Guarded:
    """A stream for tarfile, which reads a header's extension in one piece, as long as it says it is."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if size > _LARGEST_READ:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)
