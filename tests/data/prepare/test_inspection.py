import io
import os
import pickle
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from catdog_pl.data.prepare import duplicates, inspection
from catdog_pl.data.prepare.duplicates import NEAR_BITS, mark_duplicates, near_pairs
from catdog_pl.data.prepare.inspection import (
    HASH_SIDE,
    inspect_photo,
    inspect_photos,
    mark_too_small,
    perceptual_hash,
)
from catdog_pl.data.prepare.photo import Inspection, Photo, Verdict
from catdog_pl.errors import CatDogError, ImageError
from catdog_pl.io.source import ImageSource, file_source
from catdog_pl.io.zip import read_zip_member
from tests.data.prepare.photographs import after

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")


def picture(number: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Smooth patches of colour: like a photograph, most of it is in the low frequencies."""
    pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def forged_png(width: int, height: int) -> bytes:
    """A few hundred bytes that say they are an image of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


JPEG = encoded(picture(), "JPEG")
PNG = encoded(picture(), "PNG")
WEBP = encoded(picture(), "WEBP")
FRAMES = [picture(number, (60, 40)) for number in range(3)]
GIF = encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:])


@pytest.mark.parametrize(
    ("name", "data", "verdict", "reason"),
    [
        ("a.jpg", JPEG, Verdict.OK, ""),
        ("a.JPEG", JPEG, Verdict.OK, ""),
        ("a.png", PNG, Verdict.OK, ""),
        ("a.gif", encoded(picture(), "GIF"), Verdict.OK, ""),
        ("a.jpg", b"", Verdict.EMPTY, "it is empty"),
        ("a.jpg", b"I am a dog", Verdict.NOT_AN_IMAGE, "not an image"),
        ("a.jpg", b"<!DOCTYPE html><title>404", Verdict.NOT_AN_IMAGE, "HTML"),
        ("a.jpg", JPEG[: len(JPEG) // 2], Verdict.TRUNCATED, "truncated"),
        ("a.jpg", JPEG[:60], Verdict.TRUNCATED, "runcated"),
        ("a.png", PNG[: len(PNG) // 2], Verdict.TRUNCATED, "truncated"),
        ("a.webp", WEBP[: len(WEBP) // 2], Verdict.TRUNCATED, "decode"),
        ("a.png", PNG[:300] + b"\xff" * 100 + PNG[400:], Verdict.UNREADABLE, "damaged"),
        ("a.jpg", b"\xff\xd8" + b"\0" * 500, Verdict.UNREADABLE, ""),
        ("a.png", forged_png(9_000, 10_000), Verdict.TOO_LARGE, "9000 x 10000"),
        ("a.png", forged_png(30_000, 30_000), Verdict.TOO_LARGE, "pixels"),
        ("a.png", forged_png(70_000, 10), Verdict.TOO_LARGE, "side"),
        ("a.gif", GIF, Verdict.ANIMATED, "several"),
        ("a.jpg", PNG, Verdict.WRONG_EXTENSION, "PNG"),
        ("a.jpg", encoded(picture(), "BMP"), Verdict.WRONG_EXTENSION, ".bmp"),
        (
            "a.jpg",
            encoded(Image.new("RGB", (300, 200), (9, 80, 200)), "JPEG"),
            Verdict.ONE_COLOUR,
            "one colour",
        ),
        ("a.png", encoded(Image.new("L", (300, 200), 255), "PNG"), Verdict.ONE_COLOUR, "one colour"),
    ],
)
def test_every_fault_has_its_verdict(
    tmp_path: Path, name: str, data: bytes, verdict: Verdict, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    seen = inspect_photo(file_source(str(path)))
    assert (seen.verdict, reason in seen.reason) == (verdict, True), seen
    assert seen.size == len(data)


def test_a_sound_photograph_is_described(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().convert("L").save(path)
    seen = inspect_photo(file_source(str(path)))
    assert (seen.width, seen.height, seen.mode, seen.extension) == (320, 240, "L", ".png")
    assert len(seen.phash) * 8 == HASH_SIDE**2


def test_what_is_no_file_is_unreadable(tmp_path: Path) -> None:
    assert inspect_photo(file_source(str(tmp_path / "gone.jpg"))).verdict is Verdict.UNREADABLE
    assert inspect_photo(file_source(str(tmp_path))).verdict is Verdict.UNREADABLE


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are POSIX")
@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "pipe" in inspect_photo(file_source(str(tmp_path / "pipe.jpg"))).reason


def test_a_file_larger_than_an_image_may_be_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.bmp"
    with path.open("wb") as file:
        file.truncate(300 * 2**20)  # sparse: takes no disk
    start = time.perf_counter()
    assert inspect_photo(file_source(str(path))).verdict is Verdict.TOO_LARGE
    assert time.perf_counter() - start < 0.1


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_member_is_read_out_of_a_zip(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("other.jpg", b"1234")
        archive.writestr("train/cat.0.jpg", JPEG)
        info = archive.getinfo("train/cat.0.jpg")
    place = {
        "offset": info.header_offset, "packed_size": info.compress_size, "size": info.file_size,
        "method": method, "crc": info.CRC,
    }  # fmt: skip
    assert read_zip_member(str(path), **place) == JPEG
    for damage in ({"crc": 1}, {"size": 10}, {"offset": 3}):
        source = ImageSource("a.jpg", partial(read_zip_member, str(path), **{**place, **damage}))
        found = inspect_photo(pickle.loads(pickle.dumps(source)))
        assert found.verdict is Verdict.UNREADABLE
        assert "archive" in found.reason


@pytest.mark.parametrize(("size", "reason"), [(0, "empty"), (300 * 2**20, "limit")])
def test_a_member_that_is_empty_or_too_large_is_not_read(size: int, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read_zip_member("nowhere.zip", 0, 100, size, zipfile.ZIP_DEFLATED, 0)


def test_too_small_is_judged_by_the_shorter_side() -> None:
    photos = [
        Photo("a", label="cat", inspection=Inspection(width=32, height=32)),
        Photo("b", label="cat", inspection=Inspection(width=900, height=31)),
    ]
    marked = after(lambda table: mark_too_small(table, 32), photos)
    assert [photo.verdict for photo in marked] == [Verdict.OK, Verdict.TOO_SMALL]


def test_the_perceptual_hash_is_that_of_imagehash() -> None:
    import imagehash  # the referee

    for number in range(200):
        small = picture(number).convert("L").resize((64, 64))
        assert perceptual_hash(small) == np.packbits(imagehash.phash(small, HASH_SIDE).hash).tobytes()


def phash(image: Image.Image, tmp_path: Path) -> np.ndarray:
    path = tmp_path / "phash.png"
    image.save(path)
    return np.frombuffer(inspect_photo(file_source(str(path))).phash, np.uint8)


def distance(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.bitwise_count(one ^ other).sum())


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encoded": lambda image: Image.open(io.BytesIO(encoded(image, "JPEG", quality=40))),
    "halved": lambda image: image.resize((160, 120), Image.Resampling.LANCZOS),
    "squeezed": lambda image: image.resize((150, 150), Image.Resampling.BILINEAR),
    "grey": lambda image: image.convert("L"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_near_and_another_picture_is_far(tmp_path: Path, change: str) -> None:
    original = phash(picture(1), tmp_path)
    assert distance(original, phash(CHANGES[change](picture(1)), tmp_path)) <= NEAR_BITS
    assert distance(original, phash(picture(2), tmp_path)) > 2 * NEAR_BITS


def hashes_with_neighbours(count: int, bits: int) -> np.ndarray:
    """Random hashes, and for each of the first ten a copy with so many bits changed."""
    rng = np.random.default_rng(bits)
    hashes = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    for index in range(10):
        flips = np.zeros(256, dtype=np.uint8)
        flips[rng.choice(256, bits, replace=False)] = 1
        hashes[-1 - index] = hashes[index] ^ np.packbits(flips)
    return hashes


@pytest.mark.parametrize("bits", [0, 1, 8, 15])
def test_no_pair_within_15_bits_is_missed(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 1)  # so that every pair lies across blocks
    hashes = hashes_with_neighbours(200, bits)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2)
    expected = {(i, j) for i, j in np.argwhere(apart <= 15).tolist() if i < j}
    assert len(expected) == 10
    assert expected == {(min(pair), max(pair)) for pair in near_pairs(hashes)}


def test_nothing_to_compare_is_no_error() -> None:
    assert list(near_pairs(np.empty((0, 32), dtype=np.uint8))) == []
    assert after(mark_duplicates, []) == []


def test_a_pair_that_agrees_in_columns_only_is_found() -> None:
    bits = np.zeros((2, 16, 16), dtype=np.uint8)
    bits[0] = np.random.default_rng(0).integers(0, 2, (16, 16))
    bits[1] = bits[0]
    bits[1, :, 3] ^= 1  # one bit in every row
    assert set(near_pairs(np.packbits(bits.reshape(2, 256), axis=1))) == {(0, 1)}


def test_pairs_beyond_the_limit_are_no_pairs() -> None:
    assert set(near_pairs(hashes_with_neighbours(500, NEAR_BITS + 1))) == set()


@pytest.mark.slow
def test_a_million_comparisons_in_one_band_do_not_stop_the_search() -> None:
    hashes = np.random.default_rng(0).integers(0, 256, (20_000, 32), dtype=np.uint8)
    hashes[:, :2] = 7  # all agree in a band
    hashes[-1] = hashes[0]
    start = time.perf_counter()
    found = {(min(pair), max(pair)) for pair in near_pairs(hashes)}
    assert (0, 19_999) in found
    assert time.perf_counter() - start < 20


def seen(name: str, label: str, sha256: str, bits: int, group_seed: int = 0) -> Photo:
    """A photograph that was looked at, so many bits away from those of its seed."""
    base = np.random.default_rng(group_seed).integers(0, 256, 32, dtype=np.uint8)
    flips = np.packbits(np.arange(256) < bits)
    found = Inspection(sha256=sha256, phash=(base ^ flips).tobytes())
    return Photo(name, label=label, inspection=found)


def test_the_same_file_again_is_left_out_but_the_first() -> None:
    photos = [seen("a", "cat", "1", 0), seen("b", "cat", "1", 0), seen("c", "cat", "1", 0)]
    photos = after(mark_duplicates, photos)
    assert [photo.verdict for photo in photos] == [Verdict.OK, Verdict.DUPLICATE, Verdict.DUPLICATE]
    assert photos[2].inspection.reason == "the same file as a"


def test_the_same_file_in_both_classes_is_left_out_altogether() -> None:
    photos = [seen("a", "cat", "1", 0), seen("b", "dog", "1", 0), seen("c", "cat", "2", 0, 5)]
    photos = after(mark_duplicates, photos)
    assert [photo.verdict for photo in photos] == [Verdict.TWO_CLASSES, Verdict.TWO_CLASSES, Verdict.OK]
    assert photos[0].inspection.reason == "the same file as b, which lies in class dog"


def test_near_duplicates_of_one_class_are_tied_together() -> None:
    photos = [
        seen("a", "cat", "1", 0),
        seen("x", "cat", "9", 0, 5),
        seen("b", "cat", "2", 12),
        seen("c", "cat", "3", 24),
    ]
    photos = after(mark_duplicates, photos)
    assert photos[0].group is not None
    assert {photo.group for photo in photos} == {photos[0].group, None}
    assert [photo.verdict for photo in photos] == [Verdict.NEAR_DUPLICATE, Verdict.OK] + 2 * [
        Verdict.NEAR_DUPLICATE
    ]
    assert all(photo.is_usable for photo in photos)


def test_near_duplicates_in_both_classes_are_left_out_altogether() -> None:
    photos = [seen("a", "cat", "1", 0), seen("b", "dog", "2", 12)]
    photos = after(mark_duplicates, photos)
    assert {photo.verdict for photo in photos} == {Verdict.TWO_CLASSES}
    assert photos[1].inspection.reason == "looks like a, which lies in class cat"


def test_a_picture_that_looks_like_one_in_both_classes_is_in_doubt_too() -> None:
    photos = [seen("a", "cat", "1", 0), seen("b", "dog", "1", 0), seen("c", "cat", "2", 12)]
    photos = after(mark_duplicates, photos)
    assert {photo.verdict for photo in photos} == {Verdict.TWO_CLASSES}
    assert photos[2].inspection.reason == "looks like a, which lies in both classes"


def files(folder: Path, count: int) -> list[Photo]:
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(encoded(picture(number, (48, 36)), "JPEG"))
    return [Photo(path, path) for path in (str(folder / f"{number}.jpg") for number in range(count))]


def dies_on_13(source: ImageSource) -> Inspection:
    """Stands for a decoder with a memory error; module level, so that other processes can import it."""
    if source.name.endswith("13.jpg"):
        os._exit(9)
    return inspect_photo(source)


def dies(source: ImageSource) -> Inspection:
    os._exit(9)


def test_processes_see_what_one_process_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = files(tmp_path, 80)
    alone = after(lambda table: inspect_photos(table, 1), photos)
    monkeypatch.setattr(inspection, "_WORTH_PROCESSES", 10)
    assert after(lambda table: inspect_photos(table, 2), photos) == alone
    assert len({photo.inspection.sha256 for photo in alone}) == 80


@pytest.mark.slow
def test_a_photograph_that_kills_its_process_is_named_and_the_others_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "_WORTH_PROCESSES", 2)
    monkeypatch.setattr(inspection, "_CHUNK", 2)
    photos = [Photo(path, path) for path in (str(tmp_path / f"{number}.jpg") for number in range(11, 16))]
    for photo in photos:
        Path(photo.name).write_bytes(JPEG)
    found = after(lambda table: inspect_photos(table, 2, dies_on_13), photos)
    assert [photo.verdict for photo in found] == ["ok", "ok", "unreadable", "ok", "ok"]


@pytest.mark.slow
def test_processes_that_always_die_are_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_WORTH_PROCESSES", 2)
    monkeypatch.setattr(inspection, "_CHUNK", 2)
    with pytest.raises(CatDogError, match="--jobs 1"):
        after(lambda table: inspect_photos(table, 2, dies), map(Photo, "abc"))
