"""Where the bytes of a photograph are: in a file of its own, or still packed in a zip.

A zip is read in place. Nothing of it is unpacked to the disk but the photographs that are used, and each
processor can read its own part.
"""

import bz2
import os
import stat
import struct
import zipfile
import zlib
from typing import BinaryIO, NamedTuple

from catdog_pl.io.source import MAX_BYTES

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
"""The compressions of zip members that are read; others need memory as the data ask for it."""

# The fixed part of a member's own header (PKWARE APPNOTE 4.3.7): its mark, and at its end the lengths of the
# name and the extra field that lie between it and the data.
_HEADER = struct.Struct("<4s22xHH")


class ContentError(Exception):
    """The bytes of a photograph cannot be had."""


class TooLargeError(ContentError):
    """They are more than `MAX_BYTES`."""


class Packed(NamedTuple):
    """Where a member lies in a zip, from the zip's directory.

    Attributes:
        offset: of its header, from the beginning of the file.
        packed_size: bytes as they are in the zip.
        size: bytes unpacked.
        method: one of `METHODS`.
        crc: CRC-32 of the unpacked bytes.
    """

    offset: int
    packed_size: int
    size: int
    method: int
    crc: int


class Content(NamedTuple):
    """Where the bytes of a photograph are.

    Attributes:
        path: the file, or the zip.
        extension: the ending of the photograph's name, in lower case, with its dot.
        packed: where in the zip; None where the file is the photograph.
    """

    path: str
    extension: str
    packed: Packed | None = None


def read(content: Content) -> bytes:
    """The bytes of a photograph.

    Raises:
        ContentError: the file is gone or is none, or the zip is damaged there.
        TooLargeError: there are more bytes than an image may have.
    """
    try:
        status = os.stat(content.path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise ContentError("it is a pipe, socket or device, not a file")
        size = max(content.packed[1:3]) if content.packed else status.st_size
        if size > MAX_BYTES:
            raise TooLargeError(f"{size:,} bytes are more than {MAX_BYTES:,}, the limit")
        with open(content.path, "rb") as file:
            return _unpacked(file, content.packed) if content.packed else file.read(size)
    except OSError as error:
        raise ContentError(f"it cannot be read ({error.strerror})") from error
    except (zlib.error, EOFError, struct.error, zipfile.BadZipFile) as error:
        raise ContentError(f"it is damaged in the archive ({error})") from error


def file_content(path: str) -> Content:
    """The content of a file of its own."""
    return Content(path, os.path.splitext(path)[1].lower())


def _unpacked(file: BinaryIO, packed: Packed) -> bytes:
    """A member's bytes, never more of them than the directory says."""
    file.seek(packed.offset)
    mark, name_length, extra_length = _HEADER.unpack(file.read(_HEADER.size))
    if mark != b"PK\x03\x04":
        raise zipfile.BadZipFile("its header is not where the directory says")
    file.seek(name_length + extra_length, os.SEEK_CUR)
    data = file.read(packed.packed_size)
    if packed.method == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, packed.size + 1)
    elif packed.method == zipfile.ZIP_BZIP2:
        data = bz2.BZ2Decompressor().decompress(data, packed.size + 1)
    if len(data) != packed.size or zlib.crc32(data) != packed.crc:
        raise zipfile.BadZipFile("its checksum is wrong")
    return data
