"""One look at a photograph: its bytes hashed, its pixels decoded, its faults named.

`look` works on one file and knows nothing of others; `data.looking` runs it on all processors.
"""

import hashlib
from io import BytesIO
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from catdog_pl.data.images import IMAGE_FORMATS, MAX_PIXELS, MAX_SIDE, decode
from catdog_pl.data.prepare.contents import Content, ContentError, TooLargeError, read
from catdog_pl.data.prepare.photo import Look, Verdict
from catdog_pl.errors import ImageError

HASH_SIDE = 16
"""The perceptual hash has this many bits along each side: 256 in all."""

# Channels of a photograph that spread over fewer levels than this hold nothing to see. JPEG alone moves a
# plain surface by 1 to 3.
_PLAIN_LEVELS = 8
# pHash looks at 4 x 4 pixels for each bit. Each of them is the mean of 3 x 3 points of the photograph: half
# the time of a mean over all of its pixels, and a copy at half the size moves fewer bits (14 instead of 24 of
# 256 in 99 of 100 cases), because the points lie at the same places in both.
_PIXELS = 4 * HASH_SIDE
_POINTS = 3

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


def look(content: Content) -> Look:
    """Read and decode one photograph.

    Whatever its bytes are, the answer is a `Look`; nothing is raised for them.
    """
    try:
        data = read(content)
    except TooLargeError as error:
        return Look(Verdict.TOO_LARGE, str(error))
    except ContentError as error:
        return Look(Verdict.UNREADABLE, str(error))
    bare = Look(Verdict.OK, "", hashlib.sha256(data).hexdigest(), len(data))
    if not data:
        return bare._replace(verdict=Verdict.EMPTY, reason="0 bytes")
    return _decoded(data, bare, content.extension)


def _decoded(data: bytes, seen: Look, extension: str) -> Look:
    """The look at bytes of which there are some."""
    header = _header(data)
    if isinstance(header, _Header):
        seen = seen._replace(width=header.width, height=header.height, mode=header.mode)
    try:
        pixels = decode(data, "photograph").image
    except ImageError as error:
        return seen._replace(verdict=_fault(data, header, error.reason), reason=error.reason)
    if not isinstance(header, _Header):
        return seen._replace(verdict=header, reason="its header is damaged")
    if header.animated:
        return seen._replace(verdict=Verdict.ANIMATED, reason="it holds several pictures")
    return _judged(pixels, header, seen, extension)


def _judged(pixels: Image.Image, header: "_Header", seen: Look, extension: str) -> Look:
    """The look at a still image that decodes."""
    points = pixels.resize((_POINTS * _PIXELS, _POINTS * _PIXELS), Image.Resampling.NEAREST)
    small = points.reduce(_POINTS)
    endings = _EXTENSIONS[header.format]
    right = extension if extension in endings else endings[0]
    seen = seen._replace(extension=right, likeness=perceptual_hash(small.convert("L")))
    channels = cast(tuple[tuple[int, int], ...], small.getextrema())
    if all(highest - lowest < _PLAIN_LEVELS for lowest, highest in channels):
        return seen._replace(verdict=Verdict.ONE_COLOUR, reason="all of it is one colour")
    if right != extension:
        reason = f"its content is {header.format}; used under the ending {right}"
        return seen._replace(verdict=Verdict.WRONG_EXTENSION, reason=reason)
    return seen


def perceptual_hash(small: Image.Image) -> bytes:
    """The pHash of a picture: which of its low frequencies are stronger than their median.

    Bit for bit ``imagehash.phash`` with ``hash_size=16``, which is the referee in the tests. It is computed
    here because that library takes three times as long, a tenth of the whole look, and loads SciPy for it.

    Args:
        small: grey, 64 x 64 pixels.

    Returns:
        256 bits, row by row; 32 bytes.
    """
    low = _COSINES @ np.asarray(small, dtype=np.float64) @ _COSINES.T
    ordered = np.sort(low, axis=None)
    median = (
        ordered[HASH_SIDE**2 // 2 - 1 : HASH_SIDE**2 // 2 + 1].sum() / 2
    )  # np.median takes thrice as long
    return np.packbits(low > median).tobytes()


def _cosines() -> npt.NDArray[np.float64]:
    """The rows of the discrete cosine transform (DCT-II) for the 16 lowest of 64 frequencies."""
    frequency, pixel = np.arange(HASH_SIDE)[:, None], np.arange(_PIXELS)[None, :]
    return np.cos(np.pi * frequency * (2 * pixel + 1) / (2 * _PIXELS))


_COSINES = _cosines()


class _Header(NamedTuple):
    format: str
    width: int
    height: int
    mode: str
    animated: bool


def _header(data: bytes) -> _Header | Verdict:
    """What the header says; the verdict where it cannot be read. No pixel is decoded."""
    formats = (*IMAGE_FORMATS, "HEIF") if "HEIF" in Image.OPEN else IMAGE_FORMATS
    try:
        with Image.open(BytesIO(data), formats=formats) as image:
            # An MPO's second picture is the camera's own preview or the other eye.
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
            return _Header(image.format or "", image.width, image.height, image.mode, animated)
    except Image.DecompressionBombError:
        return Verdict.TOO_LARGE
    except UnidentifiedImageError:
        return Verdict.UNREADABLE if data.startswith(_IMAGE_STARTS) else Verdict.NOT_AN_IMAGE
    except Exception:  # Pillow raises a dozen types on damaged data; `decode` gives the words
        return Verdict.UNREADABLE


def _fault(data: bytes, header: _Header | Verdict, reason: str) -> Verdict:
    """Why an image could not be decoded."""
    if isinstance(header, _Header):
        size = (header.width, header.height)
        if size[0] * size[1] > MAX_PIXELS or max(size) > MAX_SIDE:
            return Verdict.TOO_LARGE
    if "truncated" in reason.lower() or _is_cut_webp(data):
        return Verdict.TRUNCATED
    return Verdict.UNREADABLE if isinstance(header, _Header) else header


def _is_cut_webp(data: bytes) -> bool:
    """Whether a WebP is shorter than its header says; Pillow only says that it cannot decode it."""
    is_webp = data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    return is_webp and int.from_bytes(data[4:8], "little") + 8 > len(data)
