"""Pictures in a zip, read in place: nothing is unpacked to the disk, and each thread reads its own."""

import bz2
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from catdog_pl.errors import ImageError
from catdog_pl.io.files import is_image_name, is_visible_folder
from catdog_pl.io.source import ImageSource, check_length, refused_source

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
"""The compressions of zip members that are read; others need memory as the data ask for it."""

# A zip member's own header (PKWARE APPNOTE 4.3.7): its mark, and at its end the lengths of the name and the
# extra field that lie between it and the data.
_HEADER = struct.Struct("<4s22xHH")


def zip_sources(path: str) -> Iterator[ImageSource]:
    """Yield the pictures of a zip by the rule for folders, in its own order, as ``ZIP/MEMBER``."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if _is_picture(info)]
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        yield refused_source(path, f"the zip archive cannot be read: {error}")
        return
    for info in members:
        name = f"{path}/{info.filename}"
        if fault := member_fault(info):
            yield refused_source(name, fault)
        else:
            yield ImageSource(name, partial(read_zip_member, path, *member_place(info)))
    if not members:
        yield refused_source(path, "there are no images in this archive", "missing")


def member_fault(info: zipfile.ZipInfo) -> str | None:
    """Return why a member cannot be read in place, or None."""
    if info.flag_bits & 0x1:
        return "it is encrypted in the archive"
    if info.compress_type not in _METHODS:
        return "it is compressed in the archive by a method that is not read"
    return None


def member_place(info: zipfile.ZipInfo) -> tuple[int, int, int, int, int]:
    """Return where `read_zip_member` finds a member: its arguments after the path."""
    return info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC


def read_zip_member(path: str, offset: int, packed_size: int, size: int, method: int, crc: int) -> bytes:
    """Read one member of a zip in place, never more of it than the directory says.

    The arguments after the path are as the zip's directory has them: where the member's header begins, its
    bytes packed and unpacked, its compression and its CRC-32.

    Raises:
        ImageError: the member is empty, larger than an image file may be, or damaged, or the zip is gone.
    """
    check_length(size and max(packed_size, size), path)
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            mark, name_length, extra_length = _HEADER.unpack(file.read(_HEADER.size))
            if mark != b"PK\x03\x04":
                raise zipfile.BadZipFile("its header is not where the directory says")
            file.seek(name_length + extra_length, os.SEEK_CUR)
            data = file.read(packed_size)
        if method == zipfile.ZIP_DEFLATED:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
        elif method == zipfile.ZIP_BZIP2:
            data = bz2.BZ2Decompressor().decompress(data, size + 1)
        if len(data) != size or zlib.crc32(data) != crc:
            raise zipfile.BadZipFile("its checksum is wrong")
    except (zlib.error, EOFError, struct.error, zipfile.BadZipFile) as error:
        raise ImageError(path, f"it is damaged in the archive ({error})") from error
    except OSError as error:  # also bz2's word for damaged data
        raise ImageError(path, f"it cannot be read in the archive ({error.strerror or error})") from error
    return data


def _is_picture(info: zipfile.ZipInfo) -> bool:
    *folders, name = PurePosixPath(info.filename.replace("\\", "/")).parts or ("",)
    is_link = stat.S_ISLNK(info.external_attr >> 16)  # the upper half is the Unix mode
    return is_image_name(name) and all(map(is_visible_folder, folders)) and not (info.is_dir() or is_link)
