"""The photographs of zip and tar archives, which are never trusted.

A zip stays packed: what is made of it is a table of where its photographs lie. A tar can only be read from
beginning to end, and an archive inside an archive not at all; those are unpacked into files of our own,
``0000000.jpg`` and so on. Names inside an archive are never used as paths. Files and bytes are counted, and
the archive is refused at the limits.
"""

import csv
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from catdog_pl.data.prepare.contents import Content, Packed
from catdog_pl.data.prepare.members import Fault, Member, members
from catdog_pl.data.prepare.photo import Verdict
from catdog_pl.errors import ArchiveError, one_line
from catdog_pl.io.files import is_image_name

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
"""File names that are taken for archives."""

_TABLE = "photographs.csv"
_CHUNK = 2**20
# What damaged data makes the standard library raise; RuntimeError is zipfile's word for "encrypted".
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError)


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


class Entry(NamedTuple):
    """One photograph of an archive.

    Attributes:
        name: its name in the archive; that of a nested archive comes before it.
        content: where its bytes are; None where they must not be taken.
        verdict: why they must not, or ok.
        reason: the verdict in words.
    """

    name: str
    content: Content | None
    verdict: Verdict
    reason: str


def is_archive_name(name: str) -> bool:
    """Whether a file of this name is taken for an archive."""
    return name.lower().endswith(ENDINGS)


def stem(name: str) -> str:
    """The file name of an archive without its ending; any other name as it is."""
    ending = max((ending for ending in ENDINGS if name.lower().endswith(ending)), key=len, default="")
    return name[: len(name) - len(ending)]


def unpack(archive: Path, folder: Path, name: str, limits: Limits, free_bytes: int) -> None:
    """Make the photographs of an archive readable, with a table of them in a new folder.

    The folder appears only when it is complete; nothing is left where that fails.

    Args:
        archive: a zip, tar, tar.gz or tar.bz2, told by its content.
        folder: does not exist yet.
        name: what errors call the archive.
        limits: what the archive may hold.
        free_bytes: what the disk may be filled with.

    Raises:
        ArchiveError: it cannot be read, or it holds more than is allowed.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with (part / _TABLE).open("w", newline="", encoding="utf-8", errors="backslashreplace") as table:
            _Unpacker(part, csv.writer(table), _Budget(name, limits, free_bytes)).unpack(archive, "")
        part.rename(folder)
    except _DAMAGED as error:
        raise ArchiveError(f"{name} cannot be unpacked: {one_line(str(error))}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unpacked(folder: Path) -> Iterator[Entry]:
    """The photographs of an archive that `unpack` has made readable, in its own order."""
    with (folder / _TABLE).open(newline="", encoding="utf-8") as table:
        for name, path, extension, verdict, reason, *numbers in csv.reader(table):
            packed = Packed(*map(int, numbers)) if numbers else None
            # A path of our own file is relative to the folder; join leaves an absolute one, of a zip, alone.
            content = Content(os.path.join(folder, path), extension, packed) if path else None
            yield Entry(name, content, Verdict(verdict), reason)


class _Budget:
    """What an archive may still hold."""

    def __init__(self, archive: str, limits: Limits, free_bytes: int) -> None:
        self.archive = archive
        self.limits = limits
        self.files = limits.files
        self.bytes = limits.unpacked_bytes
        self.free_bytes = free_bytes

    def take_file(self) -> None:
        self.files -= 1
        if self.files < 0:
            raise self.refusal(f"holds more than {self.limits.files:,} files, the limit of --max-files")

    def take(self, size: int) -> None:
        """Count bytes that will be read."""
        self.bytes -= size
        if self.bytes < 0:
            most = f"{self.limits.unpacked_bytes:,} bytes, the limit of --max-gigabytes"
            raise self.refusal(f"unpacks to more than {most}")

    def take_disk(self, size: int) -> None:
        """Count bytes that are about to be written."""
        self.free_bytes -= size
        if self.free_bytes < 0:
            raise self.refusal("unpacks to more than the disk can hold")

    def refusal(self, reason: str) -> ArchiveError:
        return ArchiveError(
            f"{self.archive} {reason}; nothing of it is kept. Archives made to exhaust a disk exist: look at"
            " it before you make room"
        )


class _Unpacker:
    """The state of one `unpack`: the folder, the table, what is left of the budget."""

    def __init__(self, folder: Path, table: Any, budget: _Budget) -> None:
        self.folder = folder
        self.table = table
        self.budget = budget
        self.depth = budget.limits.depth
        self.count = 0

    def unpack(self, archive: Path, prefix: str) -> None:
        for member in members(archive, self.budget.limits.unpacked_bytes):
            self.budget.take_file()
            self._take(archive, member, prefix + member.name)

    def _take(self, archive: Path, member: Member, name: str) -> None:
        wanted = _is_visible(member.name)
        is_image = wanted and is_image_name(PurePosixPath(member.name).name)
        if member.fault:
            if is_image or member.fault.verdict is Verdict.UNSAFE:
                self._list(name, member.fault)
        elif is_image:
            self._photograph(archive, member, name)
        elif wanted and is_archive_name(member.name):
            self._nested(member, name)

    def _photograph(self, archive: Path, member: Member, name: str) -> None:
        extension = PurePosixPath(member.name).suffix.lower()
        if member.packed:
            self.budget.take(member.size)
            where = archive.name if archive.parent == self.folder else os.path.abspath(archive)
            self._list(name, None, where, extension, member.packed)
        else:
            file = f"{self._number()}{extension}"
            fault = self._write(member, self.folder / file)
            self._list(name, fault, "" if fault else file, extension)

    def _nested(self, member: Member, name: str) -> None:
        if not self.depth:
            raise self.budget.refusal(f"nests archives too deeply, down to {one_line(name)}")
        inner = self.folder / f"{self._number()}.archive"
        fault = self._write(member, inner)
        if fault:
            self._list(name, fault)
            return
        self.depth -= 1
        self.unpack(inner, f"{name}/")
        self.depth += 1

    def _list(
        self,
        name: str,
        fault: Fault | None,
        path: str = "",
        extension: str = "",
        packed: Packed | None = None,
    ) -> None:
        verdict, reason = fault or (Verdict.OK, "")
        self.table.writerow((name, path, extension, verdict, reason, *(packed or ())))

    def _write(self, member: Member, path: Path) -> Fault | None:
        """Write a member's content; the fault where its data is damaged."""
        with path.open("wb") as file:
            try:
                with member.open() as content:
                    while chunk := content.read(_CHUNK):
                        self.budget.take(len(chunk))
                        self.budget.take_disk(len(chunk))
                        file.write(chunk)
                return None
            except (zipfile.BadZipFile, zlib.error) as error:
                fault = Fault(Verdict.UNREADABLE, f"it is damaged in the archive ({one_line(str(error))})")
        path.unlink()
        return fault

    def _number(self) -> str:
        self.count += 1
        return f"{self.count - 1:07d}"


def _is_visible(name: str) -> bool:
    """Whether no folder above is hidden; archives made on a Mac carry a shadow of each file in one."""
    folders = PurePosixPath(name).parts[:-1]
    return not any(folder.startswith(".") or folder == "__MACOSX" for folder in folders)
