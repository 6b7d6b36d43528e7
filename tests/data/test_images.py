"""Any bytes become an RGB image or one ImageError; what becomes of each mode of Pillow."""

import os
import pickle
import signal
import struct
import subprocess
import sys
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFile
from PIL.GifImagePlugin import GifImageFile

from catdog_pl.data import images
from catdog_pl.data.images import (
    MAX_PIXELS,
    MAX_SIDE,
    RESIZE_RULES,
    decode,
    decode_pixels,
    load_pixels,
    resize,
)
from catdog_pl.errors import CatDogError, ImageError
from catdog_pl.io.source import MAX_BYTES, read_file

WHITE = (255, 255, 255)


def photo(width: int = 37, height: int = 23) -> Image.Image:
    """Smooth colours with a disc, so that JPEG, palettes and every resize rule have something to do."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=-1)
    image = Image.fromarray(pixels.astype(np.uint8))
    ImageDraw.Draw(image).ellipse((5, 4, 20, 17), fill=(250, 200, 10))
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def rgb(source: Path | bytes, background: images.Colour | None = None) -> Image.Image:
    content = source if isinstance(source, bytes) else read_file(str(source))
    return decode(content, "x", background).image


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims any size."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(*part) for part in ((b"IHDR", size), (b"IDAT", pixels), (b"IEND", b""))
    )


def icon(picture: bytes) -> bytes:
    """An ICO file whose directory says 32 x 32, whatever the picture in it is."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 32, 32, 0, 0, 1, 32, len(picture), 22) + picture


# Formats and modes


LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
LOSSY = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}, "AVIF": {"quality": 90}, "GIF": {}}


@pytest.mark.parametrize(("kind", "options"), [*LOSSLESS.items(), *LOSSY.items()])
def test_reads_the_formats_that_users_own(kind: str, options: dict[str, object]) -> None:
    found = rgb(encoded(photo(), kind, **options))
    assert (found.mode, found.size) == ("RGB", (37, 23))
    assert np.abs(array(found).astype(int) - array(photo())).mean() < 6


def test_reads_icons() -> None:
    found = rgb(encoded(photo(64, 64), "ICO", sizes=[(16, 16), (64, 64)]))
    assert found.size == (64, 64)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    red, blue = (Image.new("RGB", (9, 9), colour) for colour in ("red", "blue"))
    content = encoded(red, kind, save_all=True, append_images=[blue, blue])
    np.testing.assert_allclose(array(rgb(content)), array(red), atol=2)


def in_mode(mode: str) -> bytes:
    """The test picture in a mode of Pillow, with some pixels transparent where the mode can say so."""
    if mode == "P, transparent":
        return encoded(photo().quantize(16), "PNG", transparency=3)
    if mode == "P, alpha":
        return encoded(photo().quantize(16), "PNG", transparency=bytes(range(0, 160, 10)))
    if mode == "RGB, transparent":
        return encoded(photo(), "PNG", transparency=(250, 200, 10))
    if mode == "L, transparent":
        return encoded(photo().convert("L"), "PNG", transparency=120)
    image = photo().convert("RGBA") if "A" in mode and mode != "LAB" else photo()
    if image.mode == "RGBA":
        image.putalpha(photo().convert("L"))
    return encoded(image.convert(mode), "PNG" if mode in ("1", "L", "LA", "P", "RGB", "RGBA") else "TIFF")


PILLOWS = [rule for rule in RESIZE_RULES if not rule.startswith("tf_")]
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"]
MARKED = ["P, transparent", "P, alpha", "RGB, transparent", "L, transparent"]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Keras' own call
@pytest.mark.parametrize("mode", [*MODES, *MARKED])
def test_equals_keras_bit_for_bit(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    from keras.utils import load_img

    path = tmp_path / "x.png"
    path.write_bytes(in_mode(mode))
    expected = load_img(path, color_mode="rgb")
    np.testing.assert_array_equal(array(rgb(path)), array(expected))
    for rule in PILLOWS:
        expected = load_img(path, target_size=(15, 15), interpolation=rule)
        np.testing.assert_array_equal(load_pixels(path, 15, rule), array(expected))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", [*MODES, *MARKED])
def test_no_mode_warns(mode: str) -> None:
    assert rgb(in_mode(mode)).mode == rgb(in_mode(mode), background=WHITE).mode == "RGB"


def test_jpeg_equals_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    from keras.utils import load_img

    for mode, quality in (("RGB", 75), ("L", 90), ("CMYK", 80)):
        path = tmp_path / f"{mode}.jpg"
        photo(401, 299).convert(mode).save(path, quality=quality)
        expected = load_img(path, target_size=(150, 150))
        np.testing.assert_array_equal(load_pixels(path, 150, "nearest"), array(expected))


@pytest.mark.parametrize("mode", ["RGBA", "LA", *MARKED])
def test_background_shows_through(mode: str) -> None:
    rgba = array(Image.open(BytesIO(in_mode(mode))).convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + np.array([0, 128, 255]) * (1 - alpha)
    found = array(rgb(in_mode(mode), background=(0, 128, 255)))
    assert alpha.min() < 0.9, "the picture has to have transparent pixels"
    np.testing.assert_allclose(found, expected, atol=1.01)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P"])
def test_background_changes_no_opaque_picture(mode: str) -> None:
    without, behind = rgb(in_mode(mode)), rgb(in_mode(mode), background=(0, 0, 0))
    np.testing.assert_array_equal(array(without), array(behind))


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "expected"),
    [
        ([0, 257, 25700, 65535], np.uint16, "PNG", [0, 1, 100, 255]),
        ([0, 257, 25700, 65535], np.uint16, "TIFF", [0, 1, 100, 255]),
        ([0, 257, 25700, 65535], ">u2", "TIFF", [0, 1, 100, 255]),
        ([0, 257, 25700, 25700], np.uint16, "PNG", [0, 1, 100, 100]),
        ([0, 257, 25700, 65535], np.int32, "TIFF", [0, 1, 100, 255]),
        ([-7, 0, 2**30, 2**31 - 1], np.int32, "TIFF", [0, 0, 128, 255]),
        ([0, 0.2, 0.5, 1.0], np.float32, "TIFF", [0, 51, 128, 255]),
        ([-1, 0.2, 51.4, 255.0], np.float32, "TIFF", [0, 0, 51, 255]),
        ([0, 257, 25700, 65535], np.float32, "TIFF", [0, 1, 100, 255]),
        ([0, 4e5, np.nan, 1e6], np.float32, "TIFF", [0, 102, 0, 255]),
        ([0, 0, np.inf, 0], np.float32, "TIFF", [0, 0, 0, 0]),
        ([0, 0, 0, 0], np.float32, "TIFF", [0, 0, 0, 0]),
    ],
)
def test_deep_grey_is_scaled_not_clipped(
    values: list[float], dtype: str, kind: str, expected: list[int]
) -> None:
    content = encoded(Image.fromarray(np.array([values], dtype=dtype)), kind)
    found = array(rgb(content))
    np.testing.assert_array_equal(found, np.repeat(expected, 3).reshape(1, 4, 3))


def test_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees"
    assert rgb(encoded(photo(), "JPEG", exif=exif)).size == (37, 23)


# Resizing


@pytest.mark.parametrize("rule", PILLOWS)
def test_resize_is_pillows(rule: images.ResizeRule) -> None:
    found = resize(photo(), 15, rule)
    assert (str(found.dtype), found.shape, found.flags.writeable) == ("uint8", (15, 15, 3), True)
    np.testing.assert_array_equal(found, array(photo().resize((15, 15), Image.Resampling[rule.upper()])))


def test_resize_is_tensorflows() -> None:
    rows = np.array([[0, 50, 100, 150, 200], [10, 250, 30, 90, 255]], np.uint8)
    image = Image.fromarray(np.repeat(rows[..., None], 3, 2))
    # What tf.image.resize of TensorFlow 2.21 gives; its bilinear values are 16.67, 100.0, 183.33, ...
    assert resize(image, 3, "tf_bilinear")[..., 0].tolist() == [[17, 100, 183], [53, 65, 192], [90, 30, 200]]
    assert resize(image, 3, "tf_nearest")[..., 0].tolist() == [[0, 100, 200], [10, 30, 255], [10, 30, 255]]
    for rule in ("tf_bilinear", "tf_nearest"):
        found = resize(image, 7, images.resize_rule(rule))
        assert (str(found.dtype), found.shape, found.flags.writeable) == ("uint8", (7, 7, 3), True)


def test_rules_by_name() -> None:
    assert [images.resize_rule(rule) for rule in RESIZE_RULES] == list(RESIZE_RULES)
    with pytest.raises(CatDogError, match="'antialias' is unknown; valid are nearest"):
        images.resize_rule("antialias")


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, MAX_SIDE)])
def test_odd_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, "red").save(tmp_path / "x.png")
    for rule in RESIZE_RULES:
        assert np.array_equal(load_pixels(tmp_path / "x.png", 8, rule)[4, 4], (255, 0, 0))


# Refusals


def refused(source: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(source, "x")
    assert "\n" not in str(caught.value)
    return caught.value


REFUSED = [
    (b"", "empty", "it is empty"),
    (b"no image at all", "not an image", "it is damaged or not an image"),
    (b"\n <!DOCTYPE html><html>", "not an image", "its content is an HTML page"),
    (b"\xef\xbb\xbf<HTML>", "not an image", "its content is an HTML page"),
    (b"<?xml version='1.0'?><svg/>", "not an image", "its content is an XML or SVG document"),
    (b"<svg xmlns='x'/>", "not an image", "its content is an SVG drawing"),
    (b"%PDF-1.7", "not an image", "its content is a PDF document"),
    (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "not an image",
        "its content is a PostScript document",
    ),
    (b"8BPS\x00\x01" + bytes(50), "not an image", "its content is a Photoshop document"),
    (b"PK\x03\x04" + bytes(50), "not an image", "its content is a zip archive"),
    (b"\x1f\x8b\x08" + bytes(50), "not an image", "its content is a gzip archive"),
    (b"SIMPLE  =                    T", "not an image", "it is damaged or not an image"),
    (b"BM" + bytes(50), "unreadable", "the image header is damaged"),
    (b"\xff\xd8" + bytes(50), "unreadable", "it is damaged or not an image"),
    (
        encoded(photo(), "JPEG")[:400],
        "truncated",
        "the image header is damaged: Truncated File Read",
    ),
    (
        encoded(photo(200, 200), "JPEG")[:-400],
        "truncated",
        "the image data is damaged: image file is truncated",
    ),
    (encoded(photo(), "WEBP")[:-30], "truncated", "damaged"),
    (encoded(photo(), "PNG")[:-30], "truncated", "the image data is damaged"),
    (png_header(10, 10)[:20], "truncated", "the image header is damaged: Truncated File Read"),
    (png_header(100, 100), "truncated", "the image data is damaged"),
    (png_header(30_000, 30_000), "too large", "pixels, the limit"),
    (png_header(13_000, 13_000), "too large", "pixels, the limit"),
    (png_header(1, MAX_SIDE + 1), "too large", "has a side longer than"),
]


@pytest.mark.parametrize(("content", "kind", "reason"), REFUSED)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_says_what_is_wrong(content: bytes, kind: str, reason: str) -> None:
    error = refused(content)
    assert (error.kind, error.name) == (kind, "x")
    assert reason in error.reason


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "CMYK"), ("PNG", "LA"), ("GIF", "P"), ("TIFF", "F"), ("WEBP", "RGB")]
)
def test_tells_of_the_file(kind: str, mode: str) -> None:
    found = decode(encoded(photo().convert("L" if mode == "F" else "RGB").convert(mode), kind), "x")
    assert (found.image.mode, found.image.size) == ("RGB", (37, 23))
    assert (found.format, found.mode, found.size, found.is_animated) == (kind, mode, (37, 23), False)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_tells_an_animation(kind: str) -> None:
    content = encoded(photo(), kind, save_all=True, append_images=[photo().rotate(90)])
    assert decode(content, "x").is_animated


def test_two_views_are_no_animation() -> None:
    """MPO, which many telephones write under the name of JPEG."""
    found = decode(encoded(photo(), "MPO", save_all=True, append_images=[photo()]), "x")
    assert (found.format, found.size, found.is_animated) == ("MPO", (37, 23), False)


def test_what_follows_the_first_picture_may_be_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(photo(), "GIF")

    def fail(*_: object) -> None:
        raise SyntaxError("the second frame is damaged")

    monkeypatch.setattr(GifImageFile, "is_animated", property(fail))
    found = decode(content, "x")
    assert found.is_animated
    np.testing.assert_array_equal(array(found.image), array(rgb(content)))


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((30_000, 30_000), "pixels, the limit"),
        ((13_000, 13_000), f"13000 x 13000 are more than {MAX_PIXELS:,} pixels"),
        ((9_460, 9_460), f"9460 x 9460 are more than {MAX_PIXELS:,} pixels"),
        ((1, MAX_SIDE + 1), f"1 x 65536 has a side longer than {MAX_SIDE:,} pixels"),
        ((2**31 - 1, 2**31 - 1), "limit"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_from_the_header(
    size: tuple[int, int], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("pixels were decoded"))
    assert reason in refused(png_header(*size)).reason


ICON_BOMBS = [
    png_header(13_000, 13_000),
    struct.pack("<IiiHHII", 40, 13_000, 26_000, 1, 24, 0, 0) + bytes(16),
]


@pytest.mark.parametrize("picture", ICON_BOMBS, ids=["PNG", "bitmap"])
def test_bombs_in_icons(picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("pixels were decoded"))
    assert "13000 x 13000 are more than" in refused(icon(picture)).reason
    assert "damaged" in refused(icon(picture)[:20]).reason


def test_giant_metadata() -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    assert rgb(encoded(photo(), "JPEG", exif=exif, comment=b"y" * 60_000)).size == (37, 23)
    chunk = png_chunk(b"tEXt", b"k\x00" + b"v" * 20_000_000)
    content = encoded(photo(), "PNG")
    assert rgb(content[:33] + chunk + content[33:]).size == (37, 23)
    bomb = png_chunk(b"zTXt", b"k\x00\x00" + zlib.compress(bytes(80_000_000)))
    assert "too large" in refused(content[:33] + bomb + content[33:]).reason


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("the content was looked at"))
    error = refused(bytes(MAX_BYTES + 1))
    assert (error.kind, error.reason) == (
        "too large",
        "268,435,457 bytes are more than 268,435,456, the limit",
    )


def test_errors_survive_a_worker() -> None:
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "it is empty", "empty")))
    assert (str(error), error.name) == ("a.jpg: it is empty", "a.jpg")
    assert (error.reason, error.kind) == ("it is empty", "empty")


def test_heic_names_its_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heic = b"\0\0\0\x20ftypheic" + bytes(40)
    assert refused(heic).reason == "it is a HEIC image; to read those: pip install pillow-heif"


def test_heic_with_its_plug_in() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    stream = BytesIO()
    pillow_heif.from_pillow(photo(64, 64)).save(stream, quality=-1)
    assert np.abs(array(rgb(stream.getvalue())).astype(int) - array(photo(64, 64))).mean() < 6


def test_avif_of_the_general_brand_is_no_heic() -> None:
    avif = encoded(photo(), "AVIF")
    assert avif[8:12] == b"avif"
    assert b"avif" in avif[12:32]
    assert rgb(avif[:8] + b"mif1" + avif[12:]).size == (37, 23)


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert refused(encoded(photo(), "PNG")).reason == "there is not enough memory to decode it"


def test_only_listed_formats_are_opened() -> None:
    for kind in ("SGI", "PCX", "TGA", "DDS"):
        content = encoded(photo(), kind)
        assert Image.open(BytesIO(content)).format == kind
        assert "not an image" in refused(content).reason


# Anything else


def answer(content: bytes) -> str:
    """Either an image of RGB or one line; anything else fails the test that asks."""
    try:
        image = decode(content, "x").image
    except ImageError as error:
        line = str(error)
    else:
        assert array(image).shape == (*reversed(image.size), 3)
        return "image"
    assert line.isprintable()
    return "refused"


SEEDS = {
    "JPEG": encoded(photo(), "JPEG"),
    "progressive": encoded(photo(), "JPEG", progressive=True),
    "PNG": encoded(photo(), "PNG"),
    "palette": encoded(photo().quantize(16), "PNG"),
    "GIF": encoded(photo(), "GIF", save_all=True, append_images=[photo()]),
    "BMP": encoded(photo(), "BMP"),
    "TIFF": encoded(photo(), "TIFF", compression="tiff_lzw"),
    "raw TIFF": encoded(photo().convert("CMYK"), "TIFF"),
    "WEBP": encoded(photo(), "WEBP"),
    "AVIF": encoded(photo(), "AVIF", speed=10),
    "PPM": encoded(photo(), "PPM"),
    "ICO": encoded(photo(48, 48), "ICO"),
}
MAGIC = st.sampled_from([content[:size] for content in SEEDS.values() for size in (4, 12, 60)])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
@example(b"II*\0" + b"\xff" * 40)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_bytes(content: bytes) -> None:
    answer(content)


@settings(max_examples=500, deadline=None)
@given(MAGIC, st.binary(max_size=300))
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_random_bytes_behind_a_true_beginning(magic: bytes, content: bytes) -> None:
    answer(magic + content)


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_changed_bytes(seed: bytes, data: st.DataObject) -> None:
    content = bytearray(seed)
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=20)):
        content[place] = value
    answer(bytes(content))


@pytest.mark.parametrize("seed", SEEDS.values(), ids=SEEDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_cut_at_any_place(seed: bytes) -> None:
    assert answer(seed) == "image"
    answers = [answer(seed[:length]) for length in range(0, len(seed), max(1, len(seed) // 60))]
    assert answers[0] == "refused"
    assert "refused" in answers[len(answers) // 3 : len(answers) // 2], "half a picture must not pass"


# Speed and threads


def test_threads_decode_alike(tmp_path: Path) -> None:
    paths = []
    for index in range(40):
        paths.append(tmp_path / f"{index}.jpg")
        photo(200 + index, 150).save(paths[-1])

    def load(path: Path) -> np.ndarray:
        return load_pixels(path, 50, "lanczos")

    alone = [load(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        np.testing.assert_array_equal(list(pool.map(load, paths)), alone)


def test_pillows_settings_stay_as_they_are() -> None:
    assert Image.MAX_IMAGE_PIXELS == 89_478_485
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


# Memory


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I", "F", *MARKED])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bands_change_no_pixel(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(photo().convert("L").convert(mode), "TIFF") if mode in ("I", "F") else in_mode(mode)
    whole = array(rgb(content, background=(0, 128, 255)))
    for pixels in (1, 37 * 5, 37 * 22, 37 * 23):
        monkeypatch.setattr(images, "_BAND", pixels)
        np.testing.assert_array_equal(array(rgb(content, background=(0, 128, 255))), whole)


def test_pixels_are_those_of_decoding_and_resizing() -> None:
    content = in_mode("RGBA")
    expected = resize(rgb(content, background=WHITE), 15, "lanczos")
    np.testing.assert_array_equal(decode_pixels(content, "x", 15, "lanczos", WHITE), expected)
    with pytest.raises(ImageError, match="it is empty"):
        decode_pixels(b"", "x", 15, "lanczos")


@pytest.mark.timeout(20)
def test_threads_share_the_memory() -> None:
    budget = images._Budget(100)
    together: list[int] = []
    most: list[int] = []

    def use(amount: int) -> None:
        with budget.hold(amount):
            together.append(amount)
            most.append(sum(together))
            time.sleep(0.002)
            together.remove(amount)

    amounts = [30, 40, 250, 100, 1, 60] * 10
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, amounts))
    assert len(most) == 60
    assert max(total for total in most if total != 250) <= 100
    assert most.count(250) == 10, "who needs more than all has it alone, and is not refused"


def test_what_fails_gives_its_memory_back() -> None:
    budget = images._Budget(100)
    with pytest.raises(ZeroDivisionError), budget.hold(100):
        1 / 0  # noqa: B018
    with budget.hold(100):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
@pytest.mark.timeout(20)
def test_a_forked_process_has_memory_of_its_own() -> None:
    """A thread that was decoding during the fork does not exist in the child, and would never let go."""
    with images._BUDGET.hold(2**40), warnings.catch_warnings(action="ignore"):
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            try:
                decode_pixels(in_mode("RGB"), "x", 15, "nearest")
                os._exit(7)
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


SEVERAL_LARGE = """
import sys
from types import SimpleNamespace
import numpy as np
from catdog_pl.data.images import load_pixels
from catdog_pl.process import keep_memory
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024
keep_memory()
before = peak()
with ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda path: load_pixels(Path(path), 32, "nearest"), sys.argv[1:]))
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.timeout(180)
def test_eight_large_pictures_stay_below_the_limit(tmp_path: Path) -> None:
    """25 megapixels of 4 bytes in 8 threads, each converted to as many: 1.6 GB without the limit."""
    grey = Image.linear_gradient("L").resize((5000, 5000))
    Image.merge("CMYK", (grey, grey, grey, grey)).save(tmp_path / "x.tif", compression="tiff_lzw")
    result = subprocess.run(
        [sys.executable, "-c", SEVERAL_LARGE, *[str(tmp_path / "x.tif")] * 8],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 1.1 * 2**30
