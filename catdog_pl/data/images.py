"""One source, a path or bytes, becomes one RGB image; every limit and every refusal lives here.

The rules, for training, test and prediction alike:

- EXIF orientation is ignored, as Keras, Pillow and torchvision ignore it.
- Of an animation, the first frame counts.
- Grey of more than 8 bits is scaled to 0..255; Pillow's own ``convert`` clips it to nearly white.
- Transparency is dropped, as in Keras, or composited on a background colour where one is given.
- Size is judged from the header, before a pixel is decoded.

Whatever a file holds, the answer is an image or one ``ImageError``. Downloads are in ``data.urls``.
"""

import stat
import struct
import warnings
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from catdog_pl.data.rgb import Colour, to_rgb
from catdog_pl.errors import CatDogError, ImageError

MAX_PIXELS = 89_478_485
"""Pillow's own alarm level: 0.36 GB once decoded, and above what cameras write by default."""

MAX_SIDE = 65_535
"""The longest side that JPEG can express. Pillow's LANCZOS needs 48 bytes for each pixel of a side."""

MAX_BYTES = 256 * 2**20
"""The largest allowed image, uncompressed: ``MAX_PIXELS`` of 3 bytes each."""

FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "ICO")
"""What Pillow may try. Its other readers start programs (EPS) or had memory errors (PSD, FITS)."""

ResizeRule = Literal["nearest", "bilinear", "bicubic", "lanczos"]
RESIZE_RULES: tuple[ResizeRule, ...] = get_args(ResizeRule)

_RESAMPLING = {rule: Image.Resampling[rule.upper()] for rule in RESIZE_RULES}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_NOT_IMAGES = {
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<head": "an HTML page",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML or SVG document",
    b"%pdf": "a PDF document",
    b"%!ps": "a PostScript document",
    b"8bps": "a Photoshop document",
    b"pk\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
}


def silence_pillow() -> None:
    """Hide the warnings of Pillow that nobody can act on; for commands, which own their process.

    ``DecompressionBombWarning`` comes on top of the refusal by ``MAX_PIXELS``; the other warnings
    tell of odd metadata, which is not used.
    """
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def open_rgb(
    source: Path | bytes, *, name: str | None = None, background: Colour | None = None
) -> Image.Image:
    """Decode one image completely.

    Args:
        source: a file, or the content of one.
        name: what errors call the source; the path by default.
        background: None drops transparency, which is the rule of Keras and of training and test
            (bit-equal to ``load_img``); a colour, each part 0..255, is put behind transparent pixels.

    Returns:
        The image in mode RGB.

    Raises:
        ImageError: the source cannot be read, is too large, or is not an image.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    content = source if isinstance(source, bytes) else _read(source, name)
    _check_bytes(len(content), name)
    _check_icon(content, name)
    image = _identify(content, name)
    _check_size(image.size, name)
    try:
        image.load()
        return to_rgb(image, background)
    except MemoryError as error:
        raise ImageError(name, "there is not enough memory to decode it") from error
    except Exception as error:  # Pillow raises a dozen types on damaged data, all about this one file
        raise ImageError(name, f"the image data is damaged: {_detail(error)}") from error


def resize_rule(name: str) -> ResizeRule:
    """The rule of a name that comes from a file.

    Raises:
        CatDogError: there is no such rule.
    """
    for rule in RESIZE_RULES:
        if rule == name:
            return rule
    raise CatDogError(f"resize rule {name!r} is unknown; valid are {', '.join(RESIZE_RULES)}")


def resize(image: Image.Image, size: int, rule: ResizeRule) -> npt.NDArray[np.uint8]:
    """Pillow's own resize to a square, the aspect ratio not kept.

    Returns:
        uint8, shape (size, size, 3), writable.
    """
    return np.array(image.resize((size, size), _RESAMPLING[rule]))


def load_pixels(path: Path, size: int, rule: ResizeRule) -> npt.NDArray[np.uint8]:
    """A file as the networks are trained on it: transparency dropped, then resized.

    Returns:
        uint8, shape (size, size, 3).

    Raises:
        ImageError: the file cannot be read, is too large, or is not an image.
    """
    return resize(open_rgb(path), size, rule)


def _read(path: Path, name: str) -> bytes:
    """The content of a regular file; anything else, such as a pipe that would block, is refused unopened."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise ImageError(name, f"it is {kind}, not a file")
        _check_bytes(status.st_size, name)
        with path.open("rb", buffering=0) as file:
            return file.read(status.st_size) or b""
    except FileNotFoundError as error:
        raise ImageError(name, "there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(name, f"it cannot be read: {_detail(error)}") from error


def _identify(content: bytes, name: str) -> Image.Image:
    """The image behind the header; no pixel is decoded yet."""
    formats = FORMATS
    # Of the same container is AVIF, which Pillow reads itself; the brands are named one by one.
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS and b"avif" not in content[:64]:
        formats = _with_heif(name)
    try:
        return Image.open(BytesIO(content), formats=formats)
    except UnidentifiedImageError as error:
        raise ImageError(name, _why_unidentified(content)) from error
    except Image.DecompressionBombError as error:
        raise ImageError(name, f"more than {MAX_PIXELS:,} pixels, the limit") from error
    except Exception as error:  # as in open_rgb; a damaged header is met here already
        raise ImageError(name, f"the image header is damaged: {_detail(error)}") from error


def _with_heif(name: str) -> tuple[str, ...]:
    """The formats with HEIF, which Pillow reads only through a plug-in that has to be registered."""
    try:
        plug_in = import_module("pillow_heif")  # optional, and needed for these files alone
    except ImportError as error:
        raise ImageError(name, "it is a HEIC image; to read those: pip install pillow-heif") from error
    plug_in.register_heif_opener()
    return (*FORMATS, "HEIF")


def _why_unidentified(content: bytes) -> str:
    """What the content looks like, for the message."""
    start = content[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for prefix, kind in _NOT_IMAGES.items():
        if start.startswith(prefix):
            return f"its content is {kind}, not a photograph"
    return "it is damaged or not an image; read are JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, PPM, ICO, HEIC"


def _check_bytes(count: int, name: str) -> None:
    if count == 0:
        raise ImageError(name, "it is empty")
    if count > MAX_BYTES:
        raise ImageError(name, f"{count:,} bytes are more than {MAX_BYTES:,}, the limit")


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(name, f"{width} x {height} are more than {MAX_PIXELS:,} pixels, the limit")
    if max(size) > MAX_SIDE:
        raise ImageError(name, f"{width} x {height} has a side longer than {MAX_SIDE:,} pixels, the limit")


def _check_icon(content: bytes, name: str) -> None:
    """Judge the sizes in an ICO file by hand, because Pillow's reader of it decodes as it opens."""
    if not content.startswith(b"\0\0\1\0"):
        return
    try:
        for entry in range(struct.unpack_from("<H", content, 4)[0]):
            (start,) = struct.unpack_from("<I", content, 6 + 16 * entry + 12)
            if content.startswith(b"\x89PNG", start):
                _check_size(struct.unpack_from(">II", content, start + 16), name)
            else:  # a bitmap; its height counts a mask of the same size, too
                width, height = struct.unpack_from("<ii", content, start + 4)
                _check_size((abs(width), abs(height) // 2), name)
    except struct.error as error:
        raise ImageError(name, "the image header is damaged: it ends too early") from error


def _detail(error: Exception) -> str:
    """A library's message, short enough for a line."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return text if len(text) <= 120 else f"{text[:117]}..."
