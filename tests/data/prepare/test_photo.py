import os
import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest

from catdog_pl.data.prepare.archives import _InZip
from catdog_pl.data.prepare.photo import NOT_INSPECTED, Inspection, Photo, Verdict
from catdog_pl.io.source import ImageSource, read_file

FOUND = Inspection(Verdict.OK, "", 64 * "a", 25_000, 500, 375, "RGB", ".jpg", bytes(range(32)))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("photos/cat/1.jpg", "/home/me/photos/cat/1.jpg"),
        ("pets.tar/cat/1.jpg", "/data/.prepare/unpacked/ab/0000000.jpg"),
        ("photos/cat/\\n.jpg", "/home/me/photos/cat/\n.jpg"),
        ("photos/cat/\\udcff.jpg", "/home/me/photos/cat/\udcff.jpg"),
        ("1.jpg", "1.jpg"),
    ],
)
def test_a_photograph_tells_its_name_and_file(name: str, path: str) -> None:
    photo = Photo(ImageSource(name, partial(read_file, path)), path)
    source = photo.source
    assert (photo.name, photo.path) == (source.name, *source.read.args) == (name, path)  # type: ignore[attr-defined]


def test_a_photograph_tells_what_its_inspection_has_found() -> None:
    photo = Photo(ImageSource("a.jpg", bytes))
    assert (photo.path, photo.inspection) == (None, NOT_INSPECTED)
    photo.inspection = FOUND
    assert photo.inspection == FOUND
    photo.judge(Verdict.TOO_SMALL, "why")
    assert photo.inspection == FOUND._replace(verdict=Verdict.TOO_SMALL, reason="why")


def in_folder(number: int) -> Photo:
    path = os.path.join("/home/me/photographs/train/cat", f"cat.{number}.jpg")
    return Photo(ImageSource(f"photographs/train/cat/cat.{number}.jpg", partial(read_file, path)), path)


def in_zip(number: int) -> Photo:
    place = "1234567890 25000 26000 8 4294967"
    return Photo(ImageSource(f"p.zip/train/cat/cat.{number}.jpg", _InZip("p.zip", place)))


@pytest.mark.parametrize("make", [in_folder, in_zip])
def test_a_million_photographs_take_half_a_gigabyte(make: Callable[[int], Photo]) -> None:
    tracemalloc.start()
    try:
        photos = []
        for number in range(5000):
            photo = make(number)
            photo.inspection = FOUND._replace(sha256=f"{number:064x}", size=25_000 + number)
            photos.append(photo)
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert size / len(photos) < 460
