"""One look at a photograph: its bytes hashed, its pixels decoded, its faults named.

`look` works on one file and knows nothing of others; `data.looking` runs it on all processors.
"""

import hashlib
import os
import stat
from io import BytesIO
from pathlib import PurePath
from typing import NamedTuple

import imagehash
import numpy as np
from PIL import Image, UnidentifiedImageError

from catdog_pl.data.images import FORMATS, MAX_BYTES, MAX_PIXELS, MAX_SIDE, ImageError, open_rgb
from catdog_pl.data.photo import Verdict

HASH_SIDE = 16
"""The perceptual hash has this many bits along each side: 256 in all."""

# Channels of a photograph that spread over fewer levels than this hold nothing to see. JPEG alone moves a
# plain surface by 1 to 3.
_PLAIN_LEVELS = 8
# imagehash scales to 4 pixels a bit, with a filter that is slow on a large image; a box filter does the
# bulk of it in a fifth of the time and moves no bit that a re-encoded JPEG would not move.
_SMALL = (4 * HASH_SIDE, 4 * HASH_SIDE)

_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif"),  # what some cameras write: a JPEG with a second one behind it
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "ICO": (".ico",),
    "HEIF": (".heic", ".heif"),
}
_IMAGE_STARTS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*", b"BM")


class Look(NamedTuple):
    """What one look at a file tells. Plain values, so that it can travel between processes and into a table.

    Attributes:
        verdict: the first fault found, or ok.
        reason: the fault in words.
        sha256: of the file's bytes, in hexadecimal; empty where they could not be read.
        size: bytes.
        width: pixels, 0 where the header could not be read; height likewise.
        mode: Pillow's word for its pixels.
        extension: the ending that its content asks for; empty where it could not be decoded.
        likeness: perceptual hash in hexadecimal; empty where it could not be decoded.
    """

    verdict: str
    reason: str
    sha256: str = ""
    size: int = 0
    width: int = 0
    height: int = 0
    mode: str = ""
    extension: str = ""
    likeness: str = ""


def look(path: str) -> Look:
    """Read and decode one file.

    Whatever the file holds, the answer is a `Look`; nothing is raised for it.

    Args:
        path: of the file; its ending is compared with its content.
    """
    try:
        content = _read(path)
    except OSError as error:
        return Look(Verdict.UNREADABLE, f"it cannot be read ({error.strerror})")
    if isinstance(content, Look):
        return content
    bare = Look(Verdict.OK, "", hashlib.sha256(content).hexdigest(), len(content))
    if not content:
        return bare._replace(verdict=Verdict.EMPTY, reason="0 bytes")
    return _decoded(content, bare, PurePath(path).suffix.lower())


def _read(path: str) -> bytes | Look:
    """The content of a regular file; a pipe in its place would block for ever, so it is not opened."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        return Look(Verdict.UNREADABLE, "it is a pipe, socket or device, not a file")
    if status.st_size > MAX_BYTES:
        reason = f"{status.st_size:,} bytes are more than {MAX_BYTES:,}, the limit"
        return Look(Verdict.TOO_LARGE, reason, size=status.st_size)
    with open(path, "rb") as file:
        return file.read()


def _decoded(content: bytes, seen: Look, extension: str) -> Look:
    """The look at content that is not empty."""
    header = _header(content)
    if isinstance(header, _Header):
        seen = seen._replace(width=header.width, height=header.height, mode=header.mode)
    try:
        pixels = open_rgb(content)
    except ImageError as error:
        return seen._replace(verdict=_fault(content, header, error.reason), reason=error.reason)
    if not isinstance(header, _Header):
        return seen._replace(verdict=header, reason="its header is damaged")
    if header.animated:
        return seen._replace(verdict=Verdict.ANIMATED, reason="it holds several pictures")
    return _judged(pixels, header, seen, extension)


def _judged(pixels: Image.Image, header: "_Header", seen: Look, extension: str) -> Look:
    """The look at a still image that decodes."""
    small = pixels.resize(_SMALL, Image.Resampling.BOX, reducing_gap=1.0)
    bits = imagehash.phash(small.convert("L"), HASH_SIDE).hash
    endings = _EXTENSIONS[header.format]
    right = extension if extension in endings else endings[0]
    seen = seen._replace(extension=right, likeness=np.packbits(bits).tobytes().hex())
    levels = np.asarray(small)
    if np.ptp(levels, axis=(0, 1)).max() < _PLAIN_LEVELS:
        return seen._replace(verdict=Verdict.ONE_COLOUR, reason="all of it is one colour")
    if right != extension:
        reason = f"its content is {header.format}; used under the ending {right}"
        return seen._replace(verdict=Verdict.WRONG_EXTENSION, reason=reason)
    return seen


class _Header(NamedTuple):
    format: str
    width: int
    height: int
    mode: str
    animated: bool


def _header(content: bytes) -> _Header | Verdict:
    """What the header says; the verdict where it cannot be read. No pixel is decoded."""
    formats = (*FORMATS, "HEIF") if "HEIF" in Image.OPEN else FORMATS
    try:
        with Image.open(BytesIO(content), formats=formats) as image:
            # An MPO's second picture is the camera's own preview or the other eye.
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
            return _Header(image.format or "", image.width, image.height, image.mode, animated)
    except Image.DecompressionBombError:
        return Verdict.TOO_LARGE
    except UnidentifiedImageError:
        return Verdict.UNREADABLE if content.startswith(_IMAGE_STARTS) else Verdict.NOT_AN_IMAGE
    except Exception:  # Pillow raises a dozen types on damaged data; `open_rgb` gives the words
        return Verdict.UNREADABLE


def _fault(content: bytes, header: _Header | Verdict, reason: str) -> Verdict:
    """Why an image could not be decoded."""
    if isinstance(header, _Header):
        size = (header.width, header.height)
        if size[0] * size[1] > MAX_PIXELS or max(size) > MAX_SIDE:
            return Verdict.TOO_LARGE
    if "truncated" in reason.lower() or _is_cut_webp(content):
        return Verdict.TRUNCATED
    return Verdict.UNREADABLE if isinstance(header, _Header) else header


def _is_cut_webp(content: bytes) -> bool:
    """Whether a WebP is shorter than its header says; Pillow only says that it cannot decode it."""
    is_webp = content.startswith(b"RIFF") and content[8:12] == b"WEBP"
    return is_webp and int.from_bytes(content[4:8], "little") + 8 > len(content)
