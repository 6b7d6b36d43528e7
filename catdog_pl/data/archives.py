"""Photographs out of zip and tar archives, which are never trusted.

Names inside an archive are read but never used as paths: the photographs are written as ``0000000.jpg``,
``0000001.jpg`` and so on, beside a table of the names they had. What is not a plain file is not unpacked.
Files and bytes are counted while they are written, whatever the archive says of itself, and unpacking
stops at the limits.
"""

import csv
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from catdog_pl.data.images import is_image_name, one_line
from catdog_pl.data.members import Fault, Member, members
from catdog_pl.data.photo import Verdict
from catdog_pl.errors import CatDogError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
"""File names that are taken for archives."""

TABLE = "names.csv"
"""The table that lies beside the unpacked photographs: file, name in the archive, verdict, reason."""

_CHUNK = 2**20
# What damaged data makes the standard library raise; RuntimeError is zipfile's word for "encrypted".
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError)


class ArchiveError(CatDogError):
    """An archive cannot be used."""


class Limits(NamedTuple):
    """What an archive may hold, its nested archives included.

    Attributes:
        files: members of any kind.
        unpacked_bytes: photographs and nested archives; of a tar, everything in it.
        depth: archives inside archives; Kaggle ships a zip in a zip.
    """

    files: int = 2_000_000
    unpacked_bytes: int = 100 * 10**9
    depth: int = 2


class Unpacked(NamedTuple):
    """One photograph of an archive.

    Attributes:
        file: its file name beside the table; empty where it was not unpacked.
        name: its name in the archive; that of a nested archive comes before it.
        verdict: why it was not unpacked, or ok.
        reason: the verdict in words.
    """

    file: str
    name: str
    verdict: str
    reason: str


@dataclass
class Budget:
    """What an archive may still unpack.

    Attributes:
        archive: what errors call it.
        limits: what it may hold.
        free_bytes: what the disk may be filled with.
    """

    archive: str
    limits: Limits
    free_bytes: int

    def __post_init__(self) -> None:
        self.files = self.limits.files
        self.bytes = min(self.limits.unpacked_bytes, self.free_bytes)

    def afford(self, size: int) -> None:
        """Make sure that so many bytes are left.

        Raises:
            ArchiveError: they are not.
        """
        if size > self.bytes:
            raise ArchiveError(
                f"{self.archive} unpacks to more than {self._most()}; nothing of it is kept. Archives that"
                " exhaust a disk exist: look at it before you raise the limit"
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
                f"{self.archive} holds more than {self.limits.files:,} files, the limit of --max-files;"
                " nothing of it is kept"
            )

    def _most(self) -> str:
        if self.free_bytes < self.limits.unpacked_bytes:
            return f"{self.free_bytes:,} bytes, which is what the disk can hold"
        return f"{self.limits.unpacked_bytes:,} bytes, the limit of --max-gigabytes"


def is_archive_name(name: str) -> bool:
    """Whether a file of this name is taken for an archive."""
    return name.lower().endswith(ENDINGS)


def stem(name: str) -> str:
    """The file name of an archive without its ending; any other name as it is."""
    ending = max((ending for ending in ENDINGS if name.lower().endswith(ending)), key=len, default="")
    return name[: len(name) - len(ending)]


def unpack(archive: Path, folder: Path, name: str, limits: Limits, free_bytes: int) -> None:
    """Write the photographs of an archive into a new folder, with `TABLE` beside them.

    The folder appears only when it is complete; nothing is left where unpacking fails.

    Args:
        archive: a zip, tar, tar.gz or tar.bz2, told by its content.
        folder: does not exist yet.
        name: what errors call the archive.
        limits: what the archive may hold.
        free_bytes: what the disk may be filled with.

    Raises:
        ArchiveError: it cannot be read, or it holds more than is allowed.
    """
    budget = Budget(name, limits, free_bytes)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with (part / TABLE).open("w", newline="", encoding="utf-8", errors="backslashreplace") as table:
            _Unpacker(part, csv.writer(table), budget).unpack(archive, "")
        part.rename(folder)
    except _DAMAGED as error:
        raise ArchiveError(f"{name} cannot be unpacked: {one_line(str(error))}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unpacked(folder: Path) -> Iterator[Unpacked]:
    """The photographs of an unpacked archive, in its own order."""
    with (folder / TABLE).open(newline="", encoding="utf-8") as table:
        yield from (Unpacked(*row) for row in csv.reader(table))


class _Unpacker:
    """The state of one `unpack`: the folder, the table, what is left of the budget."""

    def __init__(self, folder: Path, table: Any, budget: Budget) -> None:
        self.folder = folder
        self.table = table
        self.budget = budget
        self.depth = budget.limits.depth
        self.count = 0

    def unpack(self, archive: Path, prefix: str) -> None:
        self._check_size(archive)
        for member in members(archive, self.budget.limits.unpacked_bytes):
            self.budget.take_file()
            self._take(member, prefix + member.name)

    def _check_size(self, archive: Path) -> None:
        """Refuse a zip that says itself that it is too large, before a byte of it is written."""
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                names = ((info, PurePosixPath(info.filename).name) for info in file.infolist())
                self.budget.afford(sum(info.file_size for info, name in names if is_image_name(name)))

    def _take(self, member: Member, name: str) -> None:
        wanted = _is_visible(member.name)
        is_image = wanted and is_image_name(PurePosixPath(member.name).name)
        if member.fault:
            if is_image or member.fault.verdict is Verdict.UNSAFE:
                self.table.writerow(("", name, *member.fault))
        elif is_image:
            self._photograph(member, name)
        elif wanted and is_archive_name(member.name):
            self._nested(member, name)

    def _photograph(self, member: Member, name: str) -> None:
        file = f"{self.count:07d}{PurePosixPath(member.name).suffix.lower()}"
        fault = self._write(member, self.folder / file)
        if fault:
            self.table.writerow(("", name, *fault))
        else:
            self.table.writerow((file, name, Verdict.OK, ""))
            self.count += 1

    def _nested(self, member: Member, name: str) -> None:
        if not self.depth:
            raise ArchiveError(
                f"{self.budget.archive} nests archives too deeply, down to {one_line(name)};"
                " nothing of it is kept"
            )
        inner = self.folder / f"nested-{self.depth}"
        fault = self._write(member, inner)
        if fault:
            self.table.writerow(("", name, *fault))
            return
        self.depth -= 1
        self.unpack(inner, f"{name}/")
        self.depth += 1
        self.budget.bytes += inner.stat().st_size
        inner.unlink()

    def _write(self, member: Member, path: Path) -> Fault | None:
        """Write a member's content; the fault where its data is damaged."""
        with path.open("wb") as file:
            try:
                with member.open() as content:
                    while chunk := content.read(_CHUNK):
                        self.budget.take(len(chunk))
                        file.write(chunk)
                return None
            except (zipfile.BadZipFile, zlib.error) as error:
                fault = Fault(Verdict.UNREADABLE, f"it is damaged in the archive ({one_line(str(error))})")
        path.unlink()
        return fault


def _is_visible(name: str) -> bool:
    """Whether no folder above is hidden; archives made on a Mac carry a shadow of each file in one."""
    folders = PurePosixPath(name).parts[:-1]
    return not any(folder.startswith(".") or folder == "__MACOSX" for folder in folders)
