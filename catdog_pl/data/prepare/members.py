"""The entries of zip and tar archives, read without trusting a word of them.

Nothing is written here. An entry that is no plain file, or whose path leads out of the archive, comes with
its fault; what is inside an archive is never used as a path.
"""

import bz2
import gzip
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from catdog_pl.data.prepare.contents import METHODS, Packed
from catdog_pl.data.prepare.photo import Verdict

# Far above any name or extended header of a real tar; a forged one asks for gigabytes.
_LARGEST_READ = 16 * 2**20


class Fault(NamedTuple):
    """Why a member is not unpacked.

    Attributes:
        verdict: in a word.
        reason: in words.
    """

    verdict: Verdict
    reason: str


class Member(NamedTuple):
    """One entry of an archive that is not a folder.

    Attributes:
        name: as the archive has it, with ``/`` between folders.
        size: bytes, as the archive says.
        fault: why it must not be unpacked, or None.
        open: gives its content; of a tar, only until the next member is asked for.
        packed: where it lies in a zip; None in a tar, which is read from beginning to end.
    """

    name: str
    size: int
    fault: Fault | None
    open: Callable[[], IO[bytes]]
    packed: Packed | None = None


_LINK = Fault(Verdict.UNSAFE, "it is a link in the archive")
_DEVICE = Fault(Verdict.UNSAFE, "it is a device or pipe in the archive")


def members(archive: Path, most_bytes: int) -> Iterator[Member]:
    """The entries of an archive, in its own order.

    Args:
        archive: a zip, tar, tar.gz or tar.bz2, told by its content.
        most_bytes: how much a tar may make us read, after decompression.

    Raises:
        tarfile.ReadError: the file is no such archive, or a tar holds more than that.
    """
    with archive.open("rb") as file:
        start = file.read(262)
    if start.startswith(b"\x1f\x8b"):
        return _tar_members(cast(IO[bytes], gzip.open(archive)), most_bytes)
    if start.startswith(b"BZh"):
        return _tar_members(cast(IO[bytes], bz2.open(archive)), most_bytes)
    if start[257:262] == b"ustar":
        return _tar_members(archive.open("rb"), most_bytes)
    if zipfile.is_zipfile(archive):  # last, because it looks at the end, where a tar may hold a zip
        return _zip_members(archive)
    raise tarfile.ReadError("it is no zip, tar, tar.gz or tar.bz2, or its beginning is damaged")


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                place = (info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
                member = _member(info.filename, info.file_size, _zip_fault(info), partial(archive.open, info))
                yield member._replace(packed=Packed(*place))


def _zip_fault(info: zipfile.ZipInfo) -> Fault | None:
    """Why a member of a zip must not be unpacked."""
    kind = stat.S_IFMT(info.external_attr >> 16)  # the upper half is the Unix mode, 0 where there is none
    if kind not in (0, stat.S_IFREG):
        return _LINK if kind == stat.S_IFLNK else _DEVICE
    if info.flag_bits & 0x1:
        return Fault(Verdict.UNREADABLE, "it is encrypted in the archive")
    if info.compress_type not in METHODS:
        return Fault(Verdict.UNREADABLE, "it is compressed in the archive by a method that is not read")
    return None


def _tar_members(stream: IO[bytes], most_bytes: int) -> Iterator[Member]:
    guarded = _Guarded(stream, most_bytes)
    with stream, tarfile.open(fileobj=cast(IO[bytes], guarded), mode="r:") as archive:
        while (info := archive.next()) is not None:
            cast(Any, archive).members.clear()  # it would keep every header, a kilobyte for each file
            if not info.isdir():
                content = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))
                yield _member(info.name, info.size, _tar_fault(info), content)
        if guarded.last != tarfile.NUL * tarfile.BLOCKSIZE:  # which tarfile takes for the end, too
            raise tarfile.ReadError("its end is missing or it is damaged in the middle")


def _tar_fault(info: tarfile.TarInfo) -> Fault | None:
    """Why a member of a tar must not be unpacked."""
    if info.issym() or info.islnk():
        return _LINK
    return None if info.isreg() else _DEVICE


def _member(name: str, size: int, fault: Fault | None, content: Callable[[], IO[bytes]]) -> Member:
    """A member whose path was looked at as well."""
    name = name.replace("\\", "/")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        fault = fault or Fault(Verdict.UNSAFE, "its path leads out of the archive")
    return Member(name, size, fault, content)


class _Guarded:
    """A stream for tarfile, which reads and skips as far as a header tells it to.

    Attributes:
        last: what was read last.
    """

    def __init__(self, stream: IO[bytes], most_bytes: int) -> None:
        self._stream = stream
        self._most_bytes = most_bytes
        self.tell = stream.tell
        self.last = b""

    def read(self, size: int) -> bytes:
        if size > _LARGEST_READ:
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
