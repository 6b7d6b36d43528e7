"""What a user names becomes sources of bytes, and what is no file is refused unopened."""

import builtins
import os
from pathlib import Path

import pytest

from catdog_pl.errors import ImageError, ImageFault, one_line
from catdog_pl.io.source import read_file


def refused(path: Path, limit: int = 1000) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_file(str(path), limit)
    assert "\n" not in str(caught.value)
    return caught.value


def test_files_are_read_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.png").write_bytes(bytes(1000))
    (tmp_path / "y.png").write_bytes(bytes(1001))
    assert read_file(str(tmp_path / "x.png"), 1000) == bytes(1000)
    monkeypatch.setattr(builtins, "open", lambda *_: pytest.fail("the file was opened"))
    error = refused(tmp_path / "y.png")
    assert (error.kind, error.reason) == ("too large", "1,001 bytes are more than 1,000, the limit")


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("folder.jpg", "unreadable", "it is a folder, not a file"),
        ("none.jpg", "missing", "there is no such file"),
        ("empty.jpg/none.jpg", "missing", "there is no such file"),
        ("empty.jpg", "empty", "it is empty"),
        ("n" * 5000, "unreadable", "it cannot be read: File name too long"),
        ("nul\0.jpg", "unreadable", "it cannot be read: "),
    ],
)
def test_what_is_no_file(name: str, kind: ImageFault, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    error = refused(tmp_path / name)
    assert error.kind == kind
    assert error.reason.startswith(reason)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of this kind are POSIX's")
@pytest.mark.timeout(10)
def test_pipes_devices_and_circles(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refused(tmp_path / "pipe.jpg").reason == "it is a pipe, socket or device, not a file"
    assert refused(Path("/dev/zero")).reason == "it is a pipe, socket or device, not a file"
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    assert "it cannot be read" in refused(tmp_path / "circle.jpg").reason


def test_names_stay_on_one_line(tmp_path: Path) -> None:
    error = refused(tmp_path / "a\nb\x1b[2J\udce9.jpg")
    assert str(error).endswith(r"a\nb\x1b[2J\udce9.jpg: there is no such file")
    assert one_line("Katze älter 猫 .jpg") == "Katze älter 猫 .jpg"
