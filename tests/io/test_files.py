"""A file is there whole, with the rights of any other file, or it is not touched."""

import os
import sys
from pathlib import Path

import pytest

from catdog_pl.callbacks.history import write_rows
from catdog_pl.errors import CatDogError
from catdog_pl.io.files import atomic_write


def test_the_old_file_is_seen_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.csv"
    with atomic_write(target) as part:
        part.write_text("1")
    with atomic_write(target) as part:
        part.write_text("2")
        assert target.read_text() == "1"
    assert target.read_text() == "2"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.csv"
    target.write_text("1")

    def fail() -> None:
        with atomic_write(target) as part:
            part.write_text("half")
            raise error

    with pytest.raises((error, CatDogError)):
        fail()
    assert target.read_text() == "1"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_the_users_umask_decides_who_may_read(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "a.csv") as part:
            part.touch()
    finally:
        os.umask(before)
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_history_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "metrics.csv"
    write_rows(file, [{"epoch": 1, "seconds": 2.0, "val_loss": 0.5}])
    old = file.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(
        CatDogError, match=r"metrics.csv cannot be written \(No space left on device\); make room"
    ):
        write_rows(file, [])
    assert file.read_text() == old
    assert list(tmp_path.iterdir()) == [file]
