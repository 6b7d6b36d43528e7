"""The photographs of zip and tar archives and of Parquet files, which are never trusted.

A zip stays packed: its photographs are read in place. A tar can only be read from beginning to end, and an
archive inside an archive not at all; those are unpacked into files of our own, ``0000000`` and so on, as the
rows of a Parquet file are. Names inside an archive are never used as paths. Files and bytes are counted, and
the archive is refused at the limits.

In a tar, ``7.cls`` or ``7.json`` beside ``7.jpg`` has the class of this photograph, as WebDataset writes it.
"""

import bz2
import csv
import gzip
import io
import json
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from catdog_pl.data.prepare.photo import (
    LABEL_LETTERS,
    PASSED_BY,
    Inspection,
    Photo,
    Verdict,
    begins_like_photo,
)
from catdog_pl.errors import ArchiveError, one_line
from catdog_pl.io.files import is_image_name, is_visible_folder
from catdog_pl.io.parquet import picture_rows
from catdog_pl.io.zip import member_fault, member_place

SHARDS = (".tar", ".parquet")
"""Endings of the files that data sets are divided into."""

ENDINGS = (".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", *SHARDS)
"""File names that are taken for archives."""

_TABLE = "photographs.csv"
# What counts files of one kind: train-00000-of-00012.parquet, train-000123.tar.
_SHARD = re.compile(r"-\d{4,}(-of-\d+)?$")
# The files of a tar that have a class, and how much of one is read.
_LABELS = (".cls", ".json")
_LABEL_BYTES = 100_000
_CHUNK = 2**20
_NAME_LETTERS = 10_000  # of a member, from its end; Python's csv reads no field of 131,072, escapes included
# What damaged data makes the standard library raise; RuntimeError is zipfile's word for "encrypted".
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError)
# Far above any name or extended header of a real tar; a forged one asks for gigabytes.
_LARGEST_TAR_READ = 16 * 2**20

_LINK = Inspection(Verdict.UNSAFE, "it is a link in the archive")
_DEVICE = Inspection(Verdict.UNSAFE, "it is a device or pipe in the archive")
_NO_BYTES = Inspection(Verdict.UNREADABLE, "its row has no bytes")
_PNG = b"\x89PNG"
_ESCAPE = Inspection(Verdict.UNSAFE, "its path leads out of the archive")


class Limits(NamedTuple):
    """What an archive may hold, its nested archives included."""

    files: int = 2_000_000  # members of any kind
    unpacked_bytes: int = 100 * 10**9  # photographs and nested archives; of a tar, everything in it
    depth: int = 2  # archives inside archives; Kaggle ships a zip in a zip


class _Member(NamedTuple):
    """One entry of an archive that is not a folder."""

    name: str  # with "/" between folders
    fault: Inspection | None  # why it must not be unpacked
    open: Callable[[], IO[bytes]]  # of a tar, works only until the next member is asked for
    place: tuple[int, ...] = ()  # of a zip, where `read_zip_member` finds it
    label: tuple[str, ...] = ()  # of a Parquet file: its class, or empty


def is_archive_name(name: str) -> bool:
    """Return whether a file of this name is taken for an archive."""
    return name.lower().endswith(ENDINGS)


def stem(name: str) -> str:
    """Return the file name of an archive without its ending and count; any other name as it is."""
    ending = max((ending for ending in ENDINGS if name.lower().endswith(ending)), key=len, default="")
    return _SHARD.sub("", name[: -len(ending)]) if ending else name


def unpack(archive: Path, folder: Path, name: str, limits: Limits, free_bytes: int) -> None:
    """Make the photographs of an archive readable, with a table of them in a new folder.

    The folder appears only when it is complete. Errors call the archive ``name``.

    Raises:
        ArchiveError: it cannot be read, or it holds more than is allowed.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with (part / _TABLE).open("w", newline="", encoding="utf-8", errors="backslashreplace") as table:
            unpacker = _Unpacker(part, csv.writer(table), name, limits, free_bytes)
            unpacker.unpack(archive, "")
            unpacker.end_sample()
        part.rename(folder)
    except _DAMAGED as error:
        raise ArchiveError(f"{name} cannot be unpacked: {one_line(str(error))}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unpacked(folder: Path, source: str) -> Iterator[Photo]:
    """Yield the photographs that `unpack` has found, in the archive's order, named ``source/member``."""
    with (folder / _TABLE).open(newline="", encoding="utf-8") as table:
        for member, file, verdict, reason, *more in csv.reader(table):
            name = one_line(f"{source}/{member}")
            # A path of our own file is relative to the folder; join leaves an absolute one, of a zip, alone.
            path = os.path.join(folder, file)
            if len(more) > 1:
                yield Photo(name, path, " ".join(more))
                continue
            label = (more[0] or None) if more else None
            if file:
                yield Photo(name, path, is_ours=True, label=label)
            else:
                yield Photo(name, label=label, inspection=Inspection(Verdict(verdict), reason))


def _begins_like_photo(member: _Member) -> bool:
    try:
        with member.open() as content:
            return begins_like_photo(content.read(16))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError):  # it is damaged, whatever it was
        return False


class _Unpacker:
    """The state of one `unpack`; ``files``, ``bytes``, ``depth`` and ``free_bytes`` are still allowed."""

    def __init__(self, folder: Path, table: Any, archive: str, limits: Limits, free_bytes: int) -> None:
        self.folder, self.table, self.archive = folder, table, archive
        self.limits = limits
        self.files, self.bytes, self.depth = limits
        self.free_bytes = free_bytes
        self.count = 0
        # Of the files of a tar that differ in their ending alone: their name, rows of the table, and class.
        self.sample, self.rows, self.label = "", list[tuple[object, ...]](), ""

    def unpack(self, archive: Path, prefix: str) -> None:
        for member in _members(archive, self.limits.unpacked_bytes):
            self.files -= 1
            if self.files < 0:
                raise self._refusal(f"holds more than {self.limits.files:,} files, the limit of --max-files")
            self._take(archive, member, prefix + member.name)

    def _take(self, archive: Path, member: _Member, name: str) -> None:
        path = PurePosixPath(member.name)
        is_visible = all(is_visible_folder(folder) for folder in path.parts[:-1])
        is_image = is_visible and is_image_name(path.name)
        if member.fault:
            if is_image or member.fault.verdict is Verdict.UNSAFE:
                self._list(name, "", member.fault, member.label)
        elif is_visible and is_archive_name(member.name):
            self._unpack_nested(member, name)
        elif is_visible and path.suffix in _LABELS and not member.place:
            self._take_label(member, name)
        elif is_image or (is_visible and not path.name.startswith(".")):
            self._take_photo(archive, member, name, is_image)

    def _take_label(self, member: _Member, name: str) -> None:
        with member.open() as file:
            label = _label(file.read(_LABEL_BYTES), name)
        if label:
            self._begin_sample(name)
            self.label = label
        else:
            self._list(name, "", PASSED_BY)

    def _take_photo(self, archive: Path, member: _Member, name: str, is_image: bool) -> None:
        if not member.place:
            file = self._new_file("")
            fault = self._write(member, file, is_image)
            self._list(name, "" if fault else file.name, fault or Inspection(), member.label)
        elif is_image or _begins_like_photo(member):
            _offset, _packed_size, size, *_ = member.place
            self._count_bytes(size)
            where = archive.name if archive.parent == self.folder else os.path.abspath(archive)
            self._list(name, where, Inspection(), member.place)
        else:
            self._list(name, "", PASSED_BY)

    def _unpack_nested(self, member: _Member, name: str) -> None:
        if not self.depth:
            raise self._refusal(f"nests archives too deeply, down to {one_line(name)}")
        inner = self._new_file(".archive")
        if fault := self._write(member, inner):
            self._list(name, "", fault)
        else:
            self.depth -= 1
            self.unpack(inner, f"{name}/")
            self.depth += 1

    def _list(self, name: str, path: str, found: Inspection, more: tuple[object, ...] = ()) -> None:
        self._begin_sample(name)
        self.rows.append((name[-_NAME_LETTERS:], path, found.verdict, found.reason, *more))
        if more:  # nothing that follows can change it, and rows of one name must not gather
            self.end_sample()

    def _begin_sample(self, name: str) -> None:
        sample = os.path.splitext(name)[0]
        if sample != self.sample:
            self.end_sample()
            self.sample = sample

    def end_sample(self) -> None:
        """Write the rows that wait for their class, which may follow the photograph."""
        for row in self.rows:
            is_photo_of_tar = row[1] and len(row) == 4
            self.table.writerow((*row, self.label) if self.label and is_photo_of_tar else row)
        self.rows.clear()
        self.label = ""

    def _write(self, member: _Member, path: Path, is_certain: bool = True) -> Inspection | None:
        """Write a member; one that is not certain only if it begins like a photograph. Return why not."""
        with path.open("wb") as file:
            try:
                with member.open() as content:
                    while chunk := content.read(_CHUNK):
                        if not is_certain and file.tell() == 0 and not begins_like_photo(chunk):
                            break
                        self._count_bytes(len(chunk))
                        self.free_bytes -= len(chunk)
                        if self.free_bytes < 0:
                            raise self._refusal("unpacks to more than the disk can hold")
                        file.write(chunk)
                    else:
                        return None
                fault = PASSED_BY
            except (zipfile.BadZipFile, zlib.error) as error:
                reason = f"it is damaged in the archive ({one_line(str(error))})"
                fault = Inspection(Verdict.UNREADABLE, reason)
        path.unlink()
        return fault

    def _count_bytes(self, size: int) -> None:
        self.bytes -= size
        if self.bytes < 0:
            raise self._refusal(
                f"unpacks to more than {self.limits.unpacked_bytes:,} bytes, the limit of --max-gigabytes"
            )

    def _new_file(self, ending: str) -> Path:
        self.count += 1
        return self.folder / f"{self.count - 1:07d}{ending}"

    def _refusal(self, reason: str) -> ArchiveError:
        return ArchiveError(
            f"{self.archive} {reason}; nothing of it is kept. Archives made to exhaust a disk exist: look at"
            " it before you make room"
        )


def _members(archive: Path, most_bytes: int) -> Iterator[_Member]:
    """Yield the entries of an archive, in its own order; of a tar, from at most so many unpacked bytes."""
    with archive.open("rb") as file:
        start = file.read(262)
    if start.startswith(b"PAR1"):
        return _parquet_members(archive)
    if start.startswith(b"\x1f\x8b"):
        return _tar_members(cast(IO[bytes], gzip.open(archive)), most_bytes)
    if start.startswith(b"BZh"):
        return _tar_members(cast(IO[bytes], bz2.open(archive)), most_bytes)
    if start[257:262] == b"ustar":
        return _tar_members(archive.open("rb"), most_bytes)
    if zipfile.is_zipfile(archive):  # last, because it looks at the end, where a tar may hold a zip
        return _zip_members(archive)
    raise tarfile.ReadError("it is no zip, tar, tar.gz, tar.bz2 or Parquet, or its beginning is damaged")


def _parquet_members(path: Path) -> Iterator[_Member]:
    for number, row in enumerate(picture_rows(path)):
        content = row.content or b""
        name = (row.name or "").replace("\\", "/").rpartition("/")[2]
        if not is_image_name(name):
            name = f"{number}{'.png' if content.startswith(_PNG) else '.jpg'}"
        fault = _NO_BYTES if row.content is None else None
        label = (row.label or "")[:LABEL_LETTERS]
        yield _Member(name, fault, partial(io.BytesIO, content), label=(label,))


def _zip_members(path: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                content = partial(archive.open, info)
                yield _member(info.filename, _zip_fault(info), content, *member_place(info))


def _zip_fault(info: zipfile.ZipInfo) -> Inspection | None:
    kind = stat.S_IFMT(info.external_attr >> 16)  # the upper half is the Unix mode, 0 where there is none
    if kind not in (0, stat.S_IFREG):
        return _LINK if kind == stat.S_IFLNK else _DEVICE
    reason = member_fault(info)
    return Inspection(Verdict.UNREADABLE, reason) if reason else None


def _tar_members(stream: IO[bytes], most_bytes: int) -> Iterator[_Member]:
    guarded = _GuardedStream(stream, most_bytes)
    with stream, tarfile.open(fileobj=cast(IO[bytes], guarded), mode="r:") as archive:
        while (info := archive.next()) is not None:
            cast(Any, archive).members.clear()  # it would keep every header, a kilobyte for each file
            if not info.isdir():
                content = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))
                yield _member(info.name, _tar_fault(info), content)
        if guarded.last != tarfile.NUL * tarfile.BLOCKSIZE:  # which tarfile takes for the end, too
            raise tarfile.ReadError("its end is missing or it is damaged in the middle")


def _tar_fault(info: tarfile.TarInfo) -> Inspection | None:
    if info.issym() or info.islnk():
        return _LINK
    return None if info.isreg() else _DEVICE


def _member(name: str, fault: Inspection | None, content: Callable[[], IO[bytes]], *place: int) -> _Member:
    name = name.replace("\\", "/").removeprefix("./")
    path = PurePosixPath(name)
    leads_out = path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
    return _Member(name, fault or (_ESCAPE if leads_out else None), content, place)


def _label(content: bytes, name: str) -> str | None:
    """Return the class in a file beside a photograph: the text of a .cls, or "label" of a .json."""
    try:
        text = content.decode().strip()
        label = text if name.endswith(".cls") else json.loads(text)["label"]
    except (KeyError, RecursionError, TypeError, ValueError):
        return None
    return str(label)[:LABEL_LETTERS] if isinstance(label, int | str) else None


class _GuardedStream:
    """A stream for tarfile, which reads and skips as far as a header tells it to; ``last`` was read last."""

    def __init__(self, stream: IO[bytes], most_bytes: int) -> None:
        self._stream = stream
        self._most_bytes = most_bytes
        self.tell = stream.tell
        self.last = b""

    def read(self, size: int) -> bytes:
        if size > _LARGEST_TAR_READ:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self._check(self._stream.tell() + size)
        self.last = self._stream.read(size)
        return self.last

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def _check(self, position: int) -> None:
        if position > self._most_bytes:
            raise tarfile.ReadError(f"it holds more than {self._most_bytes:,} bytes, the limit")
