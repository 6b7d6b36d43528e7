"""A file is there whole, with the rights of any other file, or it is not touched."""

import os
import sys
from pathlib import Path

import pytest

from catdog_pl.callbacks.history import write_rows
from catdog_pl.errors import CatDogError
from catdog_pl.io.files import IMAGE_EXTENSIONS, atomic_write, file_fault, is_image_name, subfolders, walk


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat.jpg", True),
        ("CAT.JPEG", True),
        ("a.b.WebP", True),
        ("._cat.jpg", False),
        (".jpg", False),
        (".DS_Store", False),
        ("Thumbs.db", False),
        ("desktop.ini", False),
        ("catjpg", False),
        ("cat.jpg.part", False),
        ("", False),
    ],
)
def test_what_is_an_image_name(name: str, expected: bool) -> None:
    assert is_image_name(name) is expected


def test_endings_are_lower_case() -> None:
    assert all(ending == ending.lower() and ending.startswith(".") for ending in IMAGE_EXTENSIONS)


# The one rule by which photographs are found


def found(folder: Path) -> list[str]:
    failures: list[OSError] = []
    paths = [Path(parent, name) for parent, names in walk(folder, failures.append) for name in names]
    assert not failures
    return [path.relative_to(folder).as_posix() for path in paths]


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def link(path: Path, target: Path) -> None:
    try:
        path.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("links need a right here")


def test_a_folder_s_own_come_first_in_plain_string_order(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a/z.png", "a/deep/x.JPG", "B.webp", "a.b/y.gif", "cat.10.jpg", "cat.2.jpg")
    make(tmp_path, "x.jpg/inside.bmp", "notes.txt")
    expected = ["B.webp", "b.jpg", "cat.10.jpg", "cat.2.jpg", "a/z.png", "a/deep/x.JPG", "a.b/y.gif"]
    assert found(tmp_path) == [*expected, "x.jpg/inside.bmp"]


def test_hidden_and_system_folders_are_passed_by_at_any_depth(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.jpg", "_x/2.jpg", "cat/deep/3.jpg")
    for folder in (".thumbs", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"):
        make(tmp_path, f"{folder}/9.jpg", f"cat/{folder}/9.jpg", f"cat/deep/{folder}/deeper/9.jpg")
    assert found(tmp_path) == ["_x/2.jpg", "cat/1.jpg", "cat/deep/3.jpg"]


def test_linked_class_folders_are_followed_once(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/1.jpg", "root/dog/2.jpg")
    link(tmp_path / "root" / "cat", tmp_path / "elsewhere")
    link(tmp_path / "root" / "cats", tmp_path / "elsewhere")
    assert found(tmp_path / "root") == ["cat/1.jpg", "dog/2.jpg"]
    link(tmp_path / "shortcut", tmp_path / "root")
    assert found(tmp_path / "shortcut") == ["cat/1.jpg", "dog/2.jpg"]


def test_a_folder_and_a_link_to_it_are_one(tmp_path: Path) -> None:
    make(tmp_path, "b/1.jpg")
    link(tmp_path / "a", tmp_path / "b")
    assert found(tmp_path) == ["a/1.jpg"]


def test_links_beside_photographs_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "root/cat/1.jpg", "elsewhere/2.jpg")
    link(tmp_path / "root" / "cat" / "more", tmp_path / "elsewhere")
    assert found(tmp_path / "root") == ["cat/1.jpg"]


@pytest.mark.timeout(10)
def test_links_in_circles_end(tmp_path: Path) -> None:
    make(tmp_path, "root/cat/1.jpg", "root/more/cat/2.jpg")
    link(tmp_path / "root" / "up", tmp_path)
    link(tmp_path / "root" / "more" / "around", tmp_path / "root")
    link(tmp_path / "root" / "itself", tmp_path / "root" / "itself")
    link(tmp_path / "root" / "one", tmp_path / "root" / "two")
    link(tmp_path / "root" / "two", tmp_path / "root" / "one")
    assert found(tmp_path / "root") == ["cat/1.jpg", "more/cat/2.jpg"]
    assert subfolders(tmp_path / "root") == ["cat", "more", "up"]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    failures: list[OSError] = []
    assert list(walk(tmp_path / "none", failures.append)) == []
    assert [failure.filename for failure in failures] == [str(tmp_path / "none")]


def test_what_is_no_file_is_told_in_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    assert file_fault(tmp_path / "file") is None
    assert file_fault(tmp_path) == "it is a folder"
    assert file_fault(tmp_path / "pipe") == "it is not a regular file"
    for name in ("none", "x" * 5000, "a\0b"):
        assert file_fault(tmp_path / name) == "there is no such file"


def test_other_files_are_told_where_somebody_asks(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/1.jpg_large", "a/.hidden", "a/@eaDir/2.txt", "b/notes", "b/c.zip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    others: list[str] = []
    failures: list[OSError] = []
    found = walk(tmp_path, failures.append, others.append)
    names = [name for _, names in found for name in names]
    assert names == ["1.jpg"]
    assert [Path(other).relative_to(tmp_path).as_posix() for other in others] == [
        "a/1.jpg_large", "b/c.zip", "b/notes",
    ]  # fmt: skip
