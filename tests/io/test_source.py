"""What a user names becomes sources of bytes, and what is no file is refused unopened."""

import builtins
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catdog_pl.errors import ImageError, ImageFault, one_line
from catdog_pl.io.source import ImageSource, WebOptions, expand, is_one, is_single, read_file


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


# What is named


def sources(*inputs: object) -> list[ImageSource]:
    return list(expand(inputs, WebOptions()))  # type: ignore[arg-type]


def test_folders(tmp_path: Path) -> None:
    for name in (
        "b.jpg", "a/z.png", "a/deep/x.JPG", "B.webp", "a.b/y.gif", "x.jpg/inside.bmp",
        "._b.jpg", ".git/x.png", "Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt",
        "__MACOSX/b.jpg", "$RECYCLE.BIN/b.jpg", "cat.10.jpg", "cat.2.jpg",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = [Path(name).relative_to(tmp_path).as_posix() for name, _ in sources(tmp_path)]
    expected = ["B.webp", "b.jpg", "cat.10.jpg", "cat.2.jpg", "a/z.png", "a/deep/x.JPG", "a.b/y.gif"]
    assert found == [*expected, "x.jpg/inside.bmp"]


def test_names_and_order(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    found = sources("b.jpg", tmp_path, Path("c.jpg"), "-", "https://me:word@host/x?key=1", b"abc", "")
    assert [name for name, _ in found] == [
        "b.jpg", str(tmp_path / "a.png"), "c.jpg", "-", "https://***@host/x?key=***", "<3 bytes>", "",
    ]  # fmt: skip


def test_sources_travel_to_other_processes(tmp_path: Path) -> None:
    """A picture is read where it is decoded, be it a thread, a process or another machine."""
    (tmp_path / "a.png").write_bytes(b"abc")
    array = np.zeros((2, 3, 3), np.uint8)
    for source in sources(tmp_path, "data:,abc", b"abc", bytearray(b"abc")):
        assert pickle.loads(pickle.dumps(source)).read() == b"abc"
    for source in sources(array, Image.fromarray(array)):
        assert pickle.loads(pickle.dumps(source)).read() == source.read()


def test_files_need_no_network(tmp_path: Path) -> None:
    code = (
        "import sys; from catdog_pl.io.source import WebOptions, expand\n"
        "list(expand(sys.argv[1:], WebOptions()))\n"
        "sys.exit(str({'requests', 'numpy', 'PIL'} & set(sys.modules) or ''))"
    )
    command = [sys.executable, "-c", code, "a.jpg", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.stderr.strip() == ""


def test_what_needs_no_name(tmp_path: Path) -> None:
    assert is_single(["a.jpg"])
    assert is_single(["-"])
    assert not is_single(["a.jpg", "b.jpg"])
    assert not is_single([str(tmp_path)])


def test_one_or_several() -> None:
    array = np.zeros((4, 4), np.uint8)
    for one in ("a", b"a", bytearray(b"a"), Path("a"), io.BytesIO(), array, Image.fromarray(array), 5, None):
        assert is_one(one)
    for several in (["a"], ("a",), iter("a"), np.array(["a", "b"]), {"a": 1}, (x for x in "a")):
        assert not is_one(several)
