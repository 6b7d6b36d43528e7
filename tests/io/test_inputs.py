"""What a user names becomes sources of bytes, and what is no file is refused unopened."""

import builtins
import io
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catdog_pl.errors import ImageError, ImageFault, one_line
from catdog_pl.io.inputs import expand, is_one, is_single
from catdog_pl.io.source import ImageSource, WebOptions, read_file


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
        "import sys; from catdog_pl.io.inputs import expand; from catdog_pl.io.source import WebOptions\n"
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
    (tmp_path / "x.zip").touch()
    for several in (str(tmp_path), str(tmp_path / "x.zip"), "*.jpg", "@names.txt"):
        assert not is_single([several])


def test_one_or_several() -> None:
    array = np.zeros((4, 4), np.uint8)
    for one in ("a", b"a", bytearray(b"a"), Path("a"), io.BytesIO(), array, Image.fromarray(array), 5, None):
        assert is_one(one)
    for several in (["a"], ("a",), iter("a"), np.array(["a", "b"]), {"a": 1}, (x for x in "a")):
        assert not is_one(several)


# Zips, patterns and lists


def test_a_zip_is_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "photos.ZIP"
    link = zipfile.ZipInfo("cat/link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.jpg", b"one")
        archive.writestr("cat/2.jpg", b"two" * 100, zipfile.ZIP_DEFLATED)
        archive.writestr("../3.jpg", b"three")
        archive.writestr("4.jpg", b"four", zipfile.ZIP_LZMA)
        archive.writestr(link, b"/etc/passwd")
        for name in ("notes.txt", "__MACOSX/1.jpg", "cat/@eaDir/1.jpg", ".git/1.jpg", "cat/._1.jpg", "jpg/"):
            archive.writestr(name, b"no picture")
    first, second, third = sources(path)
    assert (first.name, first.read()) == (f"{path}/cat/1.jpg", b"one")
    assert (second.name, second.read()) == (f"{path}/cat/2.jpg", b"two" * 100)
    with pytest.raises(ImageError, match="by a method that is not read"):
        third.read()
    assert pickle.loads(pickle.dumps(second)).read() == b"two" * 100


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (b"PK\5\6" + bytes(18), "missing", "there are no images in this archive"),
        (b"", "unreadable", "the zip archive cannot be read: File is not a zip file"),
        (b"no zip", "unreadable", "the zip archive cannot be read: File is not a zip file"),
    ],
)
def test_a_zip_without_pictures(content: bytes, kind: ImageFault, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    (source,) = sources(tmp_path / "x.zip")
    with pytest.raises(ImageError) as caught:
        source.read()
    assert (caught.value.name, caught.value.kind) == (str(tmp_path / "x.zip"), kind)
    assert caught.value.reason == reason


def test_encrypted_members_are_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("1.jpg", b"one")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    (source,) = sources(tmp_path / "x.zip")
    with pytest.raises(ImageError, match=r"x\.zip/1\.jpg: it is encrypted in the archive"):
        source.read()


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves a pattern in quotes to us; in Python nobody else reads it."""
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.jpg", "b/1.jpg", "b/x.png", "b/deep/3.jpg", "b/@eaDir/1.jpg", "[b].jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()

    def found(pattern: str) -> list[str]:
        return [Path(name).as_posix() for name, _ in sources(pattern)]

    assert found("b/*.jpg") == ["b/1.jpg", "b/2.jpg"]
    assert found("b/?.png") == ["b/x.png"]
    assert found("**/*.jpg") == ["[b].jpg", "b/1.jpg", "b/2.jpg", "b/deep/3.jpg"]
    assert found("b/**") == ["b/1.jpg", "b/2.jpg", "b/deep/3.jpg", "b/x.png"]
    assert found("b/d*") == ["b/deep/3.jpg"]
    assert found("b/@eaDir/*") == ["b/@eaDir/1.jpg"], "who names it means it"
    assert found("[b].jpg") == ["[b].jpg"], "a file of this name comes first"
    (nothing,) = sources("b/*.gif")
    with pytest.raises(ImageError, match="no file matches this pattern"):
        nothing.read()


def test_a_list_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder/a.jpg").touch()
    Path("@file.jpg").touch()
    Path("names.txt").write_bytes(
        b"\xef\xbb\xbfone.jpg\r\n\n  two.jpg \nfolder\nhttps://me:word@host/x\n@names.txt\n"
        b"caf\xe9.jpg\n-\nend.jpg"
    )
    assert [name for name, _ in sources("@names.txt", "@file.jpg")] == [
        "one.jpg", "  two.jpg ", f"folder{os.sep}a.jpg", "https://***@host/x", "@names.txt",
        os.fsdecode(b"caf\xe9.jpg"), "-", "end.jpg", "@file.jpg",
    ]  # fmt: skip
    for name, kind in (("@none.txt", "missing"), ("@folder", "unreadable")):
        (source,) = sources(name)
        with pytest.raises(ImageError, match="the list of names cannot be read") as caught:
            source.read()
        assert caught.value.kind == kind
