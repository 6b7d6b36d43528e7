"""The content of an image file becomes one RGB image: the only decoder, with its limits and refusals.

For training, test and prediction alike:

- EXIF orientation is ignored, as Keras, Pillow and torchvision ignore it.
- Of an animation, the first frame counts.
- Grey of more than 8 bits is scaled to 0..255; Pillow's own ``convert`` clips it to nearly white.
- Transparency is dropped, as in Keras, or composited on a background colour where one is given.
- Size is judged from the header, before a pixel is decoded.
- However many threads decode, they need 1 GiB together, or what a single larger picture needs: the largest
  allowed one 0.4 GiB as a usual JPEG, up to 1.4 GiB as a WebP.

Whatever a file holds, the answer is an image or one ``ImageError``. Reading files is in ``io.source``.
"""

import ctypes
import hashlib
import os
import struct
import warnings
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from threading import Condition
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, UnidentifiedImageError, features

from catdog_pl.errors import CatDogError, ImageError, ImageFault
from catdog_pl.io.source import check_length, read_file

MAX_PIXELS = 89_478_485
"""Pillow's own alarm level: 0.36 GB once decoded, and above what cameras write by default."""

MAX_SIDE = 65_535
"""The longest side that JPEG can express. Pillow's LANCZOS needs 48 bytes for each pixel of a side."""

IMAGE_FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "ICO")
"""What Pillow may try. Its other readers start programs (EPS) or had memory errors (PSD, FITS)."""

Colour = tuple[int, int, int]
"""Red, green and blue, each 0..255."""

ResizeRule = Literal["nearest", "bilinear", "bicubic", "lanczos", "tf_nearest", "tf_bilinear"]
"""Pillow's filters, and those of ``tf.image.resize``, which do not smooth what they make smaller."""

RESIZE_RULES: tuple[ResizeRule, ...] = get_args(ResizeRule)

_BAND = 2**22  # pixels that are converted at once where a conversion needs several copies
_RESAMPLING = {rule: Image.Resampling[rule.upper()] for rule in RESIZE_RULES if rule[:3] != "tf_"}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_NOT_IMAGES: dict[str, bytes | tuple[bytes, ...]] = {
    "an HTML page": (b"<!doctype html", b"<html", b"<head"),
    "an SVG drawing": b"<svg",
    "an XML or SVG document": b"<?xml",
    "a PDF document": b"%pdf",
    "a PostScript document": b"%!ps",
    "a Photoshop document": b"8bps",
    "a zip archive": b"pk\x03\x04",
    "a gzip archive": b"\x1f\x8b",
}
_IMAGE_STARTS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*", b"BM")


class Decoded(NamedTuple):
    """One decoded image, and what its header says of the file.

    Attributes:
        image: the first picture, in mode RGB.
        format: Pillow's name of the file's format, such as ``JPEG``.
        mode: Pillow's mode of the file's pixels, such as ``CMYK``.
        size: width and height.
        is_animated: whether further pictures follow. The second one of an MPO, which is the camera's preview
            or the other eye, does not count.
    """

    image: Image.Image
    format: str
    mode: str
    size: tuple[int, int]
    is_animated: bool


def silence_pillow() -> None:
    """Hide what Pillow and libtiff print beside their errors; for commands, which own their process."""
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    if os.name == "posix":  # libtiff is among the libraries that Pillow's own one is linked to
        libraries = ctypes.CDLL(import_module("PIL._imaging").__file__)
        for setter in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            getattr(libraries, setter, lambda _: None)(None)


def decode(content: bytes, name: str, background: Colour | None = None) -> Decoded:
    """Decode the content of one image file completely.

    A background is the colour put behind transparent pixels; None drops transparency, which is the rule of
    Keras and of training and test (bit-equal to ``load_img``). The name is for errors.

    Raises:
        ImageError: the content is empty, too large, damaged, or not an image.
    """
    return _load(_open(content, name), content, name, background)


def decode_pixels(
    content: bytes, name: str, size: int, rule: ResizeRule, background: Colour | None = None
) -> npt.NDArray[np.uint8]:
    """Decode as `decode` and resize as `resize`; several threads share the memory limit."""
    image = _open(content, name)
    with _BUDGET.hold(len(content) + image.width * image.height * _bytes_per_pixel(image)):
        try:
            return resize(_load(image, content, name, background).image, size, rule)
        finally:
            del image  # before others may take its memory


def load_pixels(path: Path, size: int, rule: ResizeRule) -> npt.NDArray[np.uint8]:
    """Load a file as the networks are trained on it: transparency dropped, then resized as by `resize`.

    Raises:
        ImageError: the file cannot be read, is too large, or is not an image.
    """
    return decode_pixels(read_file(str(path)), str(path), size, rule)


def resize(image: Image.Image, size: int, rule: ResizeRule) -> npt.NDArray[np.uint8]:
    """Resize by Pillow's own filter, the aspect ratio not kept, to a writable (size, size, 3) array.

    TensorFlow's rules sample at the centres of pixels (``half_pixel_centers``); its bilinear values, which
    are floats there, are rounded here.
    """
    if rule in _RESAMPLING:
        return np.array(image.resize((size, size), _RESAMPLING[rule]))
    pixels: npt.NDArray[Any] = np.asarray(image)
    for axis in (0, 1):
        length = pixels.shape[axis]
        centres = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(length / size)
        if rule == "tf_nearest":
            pixels = pixels.take(centres.astype(int).clip(max=length - 1), axis)
        else:
            places = centres - np.float32(0.5)
            lower = np.floor(places)
            share = (places - lower).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
            low, high = (lower.astype(int) + i for i in (0, 1))
            before, after = (pixels.take(i.clip(0, length - 1), axis).astype(np.float32) for i in (low, high))
            pixels = before + (after - before) * share
    return np.asarray(np.rint(pixels), np.uint8)


@cache
def decoder() -> str:
    """Return what an image depends on besides its file: this module, and the libraries behind Pillow."""
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    libraries = [features.version(name) for name in ("jpg", "libjpeg_turbo", "webp", "avif", "libtiff")]
    heif = find_spec("pillow_heif") and metadata.version("pillow-heif")
    return f"{source}, Pillow {PIL.__version__}, {libraries}, {heif}"


def picture_html(picture: Image.Image | npt.NDArray[np.uint8], height: int) -> str:
    """Return the element of a page that holds a picture, as a JPEG of at most so many pixels' height."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture = picture.convert("RGB")
    picture.thumbnail((10 * height, height))
    file = BytesIO()
    picture.save(file, "JPEG", quality=85)
    content = b64encode(file.getvalue()).decode()
    # Pages have rules of their own for pictures, which would shrink or stretch these.
    return f'<img style="height: {height}px; max-width: none" src="data:image/jpeg;base64,{content}">'


def resize_rule(name: str) -> ResizeRule:
    """Return the rule of a name that comes from a file; `CatDogError` where there is none."""
    for rule in RESIZE_RULES:
        if rule == name:
            return rule
    raise CatDogError(f"resize rule {name!r} is unknown; valid are {', '.join(RESIZE_RULES)}")


def _open(content: bytes, name: str) -> Image.Image:
    """Open an image of an allowed size by its header; no pixel is decoded yet."""
    check_length(len(content), name)
    _check_icon(content, name)
    formats = IMAGE_FORMATS
    # Of the same container is AVIF, which Pillow reads itself; the brands are named one by one.
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS and b"avif" not in content[:64]:
        try:
            import_module("pillow_heif").register_heif_opener()  # optional
        except ImportError as error:
            raise ImageError(name, "it is a HEIC image; to read those: pip install pillow-heif") from error
        formats = (*IMAGE_FORMATS, "HEIF")
    try:
        image = Image.open(BytesIO(content), formats=formats)
    except UnidentifiedImageError as error:
        raise ImageError(name, _why_unidentified(content), _fault(content, error)) from error
    except Image.DecompressionBombError as error:
        raise ImageError(name, f"more than {MAX_PIXELS:,} pixels, the limit", "too large") from error
    except Exception as error:
        raise _damaged("header", name, content, error) from error
    _check_size(image.size, name)
    return image


def _load(image: Image.Image, content: bytes, name: str, background: Colour | None) -> Decoded:
    """Decode the pixels."""
    header = (image.format or "", image.mode, image.size)
    try:
        image.load()
        vars(image).pop("_decoder", None)  # WebP's holds two more copies of the picture
        return Decoded(_to_rgb(image, background), *header, _is_animated(image))
    except MemoryError as error:
        raise ImageError(name, "there is not enough memory to decode it") from error
    except Exception as error:
        raise _damaged("data", name, content, error) from error


def _damaged(place: str, name: str, content: bytes, error: Exception) -> ImageError:
    """Return the error for what Pillow raises on damaged files, which is of a dozen types."""
    detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
    detail = detail if len(detail) <= 120 else f"{detail[:117]}..."
    return ImageError(name, f"the image {place} is damaged: {detail}", _fault(content, error))


def _fault(content: bytes, error: Exception) -> ImageFault:
    """Return the kind of fault behind an error of Pillow's."""
    # Of a WebP that is shorter than its header says, Pillow only says that it cannot decode it.
    is_webp = content.startswith(b"RIFF") and content[8:12] == b"WEBP"
    is_cut = is_webp and int.from_bytes(content[4:8], "little") + 8 > len(content)
    if is_cut or "truncated" in str(error).lower():
        return "truncated"
    is_unknown = isinstance(error, UnidentifiedImageError) and not content.startswith(_IMAGE_STARTS)
    return "not an image" if is_unknown else "unreadable"


def _why_unidentified(content: bytes) -> str:
    """Return what the content looks like, for the message."""
    start = content[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for kind, starts in _NOT_IMAGES.items():
        if start.startswith(starts):
            return f"its content is {kind}, not a photograph"
    return "it is damaged or not an image; read are JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, PPM, ICO, HEIC"


class _Budget:
    """Bytes that several threads share; a thread that needs more than all of them waits until it is alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._changed = Condition()

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Wait until the amount is free, and hold it while the block runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + amount <= self._limit)
            self._used += amount
        # glibc keeps what one thread has freed for the same thread; for little, asking it would take longer.
        trim = _malloc_trim if amount >= self._limit // 8 else lambda _: None
        try:
            trim(0)
            yield
        finally:
            trim(0)
            with self._changed:
                self._used -= amount
                self._changed.notify_all()


_malloc_trim = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "malloc_trim", lambda _: None)
_BUDGET = _Budget(2**30)
if hasattr(os, "register_at_fork"):  # threads that hold some of it stay behind in the parent process
    os.register_at_fork(after_in_child=lambda: _BUDGET.__init__(2**30))  # type: ignore[misc]


def _bytes_per_pixel(image: Image.Image) -> int:
    """Return what decoding takes, as measured with Pillow 13; a picture in memory has 4 bytes a pixel."""
    if image.format in ("JPEG", "MPO"):
        return 11 if image.info.get("progressive") else 4 if image.mode == "RGB" else 8
    return {"WEBP": 16, "HEIF": 16, "AVIF": 12}.get(image.format or "", 8)


def _is_animated(image: Image.Image) -> bool:
    if image.format == "MPO":
        return False
    try:
        return bool(getattr(image, "is_animated", False))  # of a GIF, this reads on
    except Exception:  # the first picture counts, whatever the next one is
        return True


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        too_much = f"are more than {MAX_PIXELS:,} pixels"
    elif max(size) > MAX_SIDE:
        too_much = f"has a side longer than {MAX_SIDE:,} pixels"
    else:
        return
    raise ImageError(name, f"{width} x {height} {too_much}, the limit", "too large")


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
        raise ImageError(name, "the image header is damaged: it ends too early", "truncated") from error


def _to_rgb(image: Image.Image, background: Colour | None = None) -> Image.Image:
    """Return the image in mode RGB; it may be the same object, and its ``info`` may change."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if background is not None and image.has_transparency_data:
        return _composite(image, background)
    image.info.pop("transparency", None)  # Pillow would warn that it is lost; that is the rule here
    return image.convert("RGB")


def _composite(image: Image.Image, background: Colour) -> Image.Image:
    result = Image.new("RGB", image.size)
    for box in _bands(image):
        band = image.crop(box).convert("RGBA")
        canvas = Image.new("RGBA", band.size, (*background, 255))
        result.paste(Image.alpha_composite(canvas, band).convert("RGB"), box)
    return result


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale grey of 16 or 32 bits, or of floats, to 0..255; what is not a finite number counts as black.

    White is the smallest usual white that no pixel exceeds: 65,535 for integers; 1, 255 or 65,535 for floats;
    else the brightest pixel. So a dark 16-bit photograph stays dark, and 65,535 becomes 255 exactly.
    """
    peak = max(float(_finite(image, box).max()) for box in _bands(image))
    whites = (1.0, 255.0, 65_535.0) if image.mode == "F" else (65_535.0,)
    white = next((white for white in whites if peak <= white), peak)
    result = Image.new("L", image.size)
    for box in _bands(image):
        values = np.rint(_finite(image, box).clip(0.0) * (255.0 / white))
        result.paste(Image.fromarray(values.astype(np.uint8)), box)
    return result


def _finite(image: Image.Image, box: tuple[int, int, int, int]) -> npt.NDArray[np.float32]:
    values = np.asarray(image.crop(box), np.float32)
    return np.where(np.isfinite(values), values, np.float32(0.0))


def _bands(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes of whole rows, of which each has few pixels."""
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)
