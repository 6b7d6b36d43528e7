import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from catdog_pl.data.prepare.photo import Inspection, Photo, Verdict
from catdog_pl.data.prepare.photos import photo_table
from tests.conftest import Run
from tests.data.prepare.photographs import kaggle

FOUND = Inspection(Verdict.OK, "", 64 * "a", 25_000, 500, 375, "RGB", ".jpg", bytes(range(32)))


@pytest.mark.parametrize(
    "photo",
    [
        Photo("photos/cat/1.jpg", "/home/me/photos/cat/1.jpg", label="cat", number=1),
        Photo("photos/\\udcff\\n.jpg", "/home/me/photos/\udcff\n.jpg", is_ours=True, number=1),
        Photo("p.zip/cat/1.jpg", "p.zip", "1 2 3 8 4", given_split="test", inspection=FOUND, number=1),
        Photo("p.zip/x", label="a\0b", group=0, split="train", file="train/cat/1.jpg", number=1),
    ],
)
def test_a_photograph_comes_back_as_it_was_added_and_saved(photo: Photo) -> None:
    with photo_table() as photos:
        photos.add([photo])
        assert list(photos.select()) == [photo]
        photo.judge(Verdict.TOO_SMALL, "why")
        photos.save([photo])
        assert list(photos.select()) == [photo]


def test_names_are_put_in_order_source_by_source() -> None:
    with photo_table() as photos:
        photos.add([Photo("b/2.jpg"), Photo("b.jpg", "first"), Photo("b.jpg", "second")], "name")
        photos.add([Photo("a")], "name")
        found = [(photo.name, photo.path) for photo in photos.select()]
    assert found == [("b.jpg", "first"), ("b.jpg", "second"), ("b/2.jpg", ""), ("a", "")]


def drawn(count: int) -> Iterator[Photo]:
    for number in range(count):
        yield Photo(f"photos/cat/{number}.jpg", f"/photos/cat/{number}.jpg", inspection=FOUND)


def test_photographs_lie_on_disk_and_not_in_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with photo_table(tmp_path / "table") as photos:
            photos.add(drawn(20_000), "name")
            photos.save(photo.judge(Verdict.TOO_SMALL, "why") for photo in photos.select())
            assert photos.count("verdict = ?", Verdict.TOO_SMALL) == 20_000
            assert (tmp_path / "table").stat().st_size > 100 * 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * 20_000
    assert not any(tmp_path.iterdir())


def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def limited(path: Path | str, isolation_level: None) -> sqlite3.Connection:
        database = connect(path, isolation_level=isolation_level)
        database.execute("PRAGMA max_page_count = 3")
        return database

    kaggle(Path("photos"), 20)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", limited)
    assert run("prepare photos") == 1
    error = capsys.readouterr().err
    assert "photos.sqlite cannot be read or written (database or disk is full, here or in the folder" in error
    assert error.count("\n") == 1
    assert not Path("data").exists()
