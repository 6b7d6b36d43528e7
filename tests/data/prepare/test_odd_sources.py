"""Sources as people have them: links, thumbnails, odd endings, and names that some system cannot hold."""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from catdog_pl.data.prepare.check import quick_check
from tests.conftest import Run
from tests.data.prepare.photographs import contents, counts, draw, kaggle, manifest, photos, zipped
from tests.data.prepare.test_labels import both

Capture = pytest.CaptureFixture[str]


def sizes(root: Path) -> int:
    return len(photos(root))


def test_a_class_folder_that_is_a_link_is_followed_as_fit_does(run: Run) -> None:
    both(Path("far"), "cat", "dog")
    Path("photos").mkdir()
    Path("photos/cat").symlink_to(Path("far/cat").resolve())
    Path("photos/dog").symlink_to("../far/dog")
    assert run("prepare photos") == 0
    assert sizes(Path("data")) == 10


def test_links_that_lead_around_or_nowhere_are_no_photographs(run: Run) -> None:
    both(Path("photos"), "cat", "dog")
    Path("photos/all").symlink_to("..")
    Path("photos/loop").symlink_to("loop")
    Path("photos/cat/gone.jpg").symlink_to("nowhere.jpg")
    assert run("prepare photos") == 0
    assert sizes(Path("data")) == 10
    verdicts = {row["source"]: row["verdict"] for row in manifest(Path("data"))}
    assert verdicts["photos/cat/gone.jpg"] == "unreadable"


def test_a_hard_link_of_a_link_is_of_the_file_behind_it(run: Run) -> None:
    both(Path("photos"), "cat", "dog")
    Path("photos/cat/1.jpg").rename("elsewhere.jpg")
    Path("photos/cat/1.jpg").symlink_to("../../elsewhere.jpg")
    assert run("prepare photos --link") == 0
    assert not any((Path("data") / name).is_symlink() for name in photos(Path("data")))
    assert Path("elsewhere.jpg").stat().st_nlink == 2


@pytest.mark.parametrize("folder", ["@eaDir", "__MACOSX", ".thumbs", "$RECYCLE.BIN"])
@pytest.mark.parametrize("packed", [False, True])
def test_thumbnails_of_systems_are_no_photographs(run: Run, folder: str, packed: bool) -> None:
    both(Path("photos"), "cat", "dog")
    draw(Path("photos/cat") / folder / "1.jpg" / "SYNOPHOTO_THUMB_M.jpg", 77)
    draw(Path("photos") / folder / "dog" / "1.jpg", 78)
    if packed:
        zipped(Path("photos"), Path("photos.zip"))
    assert run("prepare", "photos.zip" if packed else "photos") == 0
    assert len(manifest(Path("data"))) == 10


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_files_of_other_endings_are_taken_by_content_or_counted(run: Run, capsys: Capture, form: str) -> None:
    both(Path("photos"), "cat", "dog")
    draw(Path("photos/cat/7.jpg"), 700).rename("photos/cat/7.jpg_large")
    draw(Path("photos/dog/8.png"), 800).rename("photos/dog/IMG_8")
    Path("photos/cat/notes.txt").write_text("mine", encoding="utf-8")
    Path("photos/cat/.DS_Store").write_text("hidden", encoding="utf-8")
    Path("photos/raw.cr2").write_bytes(b"II*\0 begins like a TIFF")
    if form != "folder":
        shutil.make_archive("packed", form, "photos")
    assert run("prepare", "photos" if form == "folder" else f"packed.{form}") == 0
    rows = {row["source"].partition("/")[2]: row for row in manifest(Path("data"))}
    assert rows["cat/7.jpg_large"]["verdict"] == rows["dog/IMG_8"]["verdict"] == "wrong extension"
    assert rows["cat/7.jpg_large"]["file"].endswith("/cat/7.jpg")
    assert rows["dog/IMG_8"]["file"].endswith("/dog/IMG_8.png")
    assert rows["cat/notes.txt"]["verdict"] == rows["raw.cr2"]["verdict"] == "passed by"
    assert len(rows) == 14
    said = capsys.readouterr().out
    assert "Found 12 photographs (6 cat, 6 dog), used 12." in said
    assert "2  passed by        neither name nor content is that of a photograph" in said
    assert "notes.txt" in Path("data/report.md").read_text(encoding="utf-8")


def test_a_source_of_other_files_alone_has_no_photograph(run: Run, capsys: Capture) -> None:
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("a", encoding="utf-8")
    assert run("prepare texts") == 1
    assert "there is no photograph in it" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are POSIX")
@pytest.mark.timeout(30)
def test_a_pipe_without_an_ending_is_not_waited_for(run: Run) -> None:
    both(Path("photos"), "cat", "dog")
    os.mkfifo("photos/cat/pipe")
    assert run("prepare photos") == 0


def test_a_damaged_member_of_another_ending_does_not_end_the_run(run: Run) -> None:
    zipped(kaggle(Path("photos"), 5), Path("a.zip"))
    with zipfile.ZipFile("a.zip", "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("notes", b"x" * 5000)
    data = bytearray(Path("a.zip").read_bytes())
    start = data.index(b"PK\x03\x04", data.rindex(b"notes", 0, data.index(b"PK\x01\x02")) - 40)
    data[start + 35 : start + 45] = b"\xff" * 10
    Path("a.zip").write_bytes(data)
    assert run("prepare a.zip") == 0
    assert sizes(Path("data")) == 10


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf_8_are_escaped(run: Run, capsys: Capture) -> None:
    source = os.fsdecode(b"caf\xe9")
    both(Path(source), os.fsdecode(b"Caf\xe9"), "tea")
    Path(source, "tea", "1.jpg").rename(Path(source, "tea", os.fsdecode(b"th\xe9.jpg")))
    assert run("prepare", source, "--root", os.fsdecode(b"d\xe4ta")) == 0
    root = Path(os.fsdecode(b"d\xe4ta"))
    names = photos(root)
    assert len(names) == 10
    assert any(name.endswith("/tea/th_udce9.jpg") for name in names)
    assert {path.name for path in (root / "train").iterdir()} == {"caf_udce9", "tea"}
    assert "caf\\udce9" in (root / "report.md").read_text(encoding="utf-8")
    assert run("prepare", source, "--root", str(root)) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run("prepare", "--check", str(root)) == 0


@pytest.mark.parametrize("letter", ["\u732b", "\U0001f431", "e\u0301", "x"])
def test_a_name_too_long_for_the_file_system_is_cut(run: Run, letter: str) -> None:
    source = kaggle(Path("photos"), 4)
    zipped(source, Path("a.zip"))
    with zipfile.ZipFile("a.zip", "a") as file:
        for number in range(2):  # of one beginning: the second gets a part of its hash behind it
            name = f"{'cat'}/{letter * 120}{number}.jpeg"
            file.write(draw(Path(f"long{number}.jpg"), 900 + number), name)
        file.write(draw(Path("long9.jpg"), 950), f"dog/{letter * 120}/9.jpg")
    assert run("prepare a.zip --sizes 4 1 1") == 0
    assert all(len(Path(name).name.encode()) < 240 for name in photos(Path("data")))


def test_a_class_name_too_long_for_the_file_system_is_cut(run: Run) -> None:
    both(Path("photos"), "\u732b" * 84, "\u72ac" * 84)
    assert run("prepare photos") == 0
    assert len(counts(Path("data"))) == 6


def test_control_and_bidi_characters_reach_no_output(run: Run, capsys: Capture) -> None:
    source = kaggle(Path("photos"), 4)
    zipped(source, Path("a.zip"))
    evil = "\x1b[2J\u202egpj.tac\u2066\r\n"
    with zipfile.ZipFile("a.zip", "a") as file:
        file.write(draw(Path("1.jpg"), 900), f"train/cat.{evil}.jpg")
        file.writestr(f"{evil}/dog.7.jpg", b"not an image")
        file.writestr(f"{evil}.txt", b"text")
    assert run("prepare a.zip") == 0
    said = capsys.readouterr().out
    texts = [
        said,
        *(Path("data", name).read_text(encoding="utf-8") for name in ("manifest.csv", "report.md")),
    ]
    for text in texts:
        assert all(line.isprintable() for line in text.splitlines())
        assert "\u202e" not in text
    assert all(name.isprintable() for name in contents(Path("data")))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_root_cannot_write_to_the_terminal(run: Run, capsys: Capture) -> None:
    both(Path("photos"), "cat", "dog")
    root = "d\x1b[2J\u202e\n"
    assert run("prepare", "photos", "--root", root) == 0
    assert run("prepare", "photos", "--root", root) == 0
    (Path(root) / "train/cat/\x1b[2J.jpg").touch()
    (Path(root) / "train/\u202efish").mkdir()
    assert run("prepare", "--check", root) == 1
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.splitlines())
    assert "\\u202efish" in said
    assert str(quick_check(Path(root))).isprintable()


@pytest.mark.parametrize("encrypted", ["all", "dogs"])
def test_an_encrypted_zip_is_said_to_be_encrypted(run: Run, capsys: Capture, encrypted: str) -> None:
    zipped(kaggle(Path("photos"), 5), Path("a.zip"))
    data = bytearray(Path("a.zip").read_bytes())
    place = 0
    while (place := data.find(b"PK\x01\x02", place + 1)) > 0:
        if encrypted == "all" or b"dog" in data[place + 46 : place + 60]:
            data[place + 8] |= 1
    Path("a.zip").write_bytes(data)
    assert run("prepare a.zip") == 1
    label = "cat" if encrypted == "all" else "dog"
    assert capsys.readouterr().err == (
        f"[ERROR]    a.zip: none of 5 photographs of class {label} can be used (5 unreadable);"
        f" a.zip/train/{label}.0.jpg: it is encrypted in the archive\n"
    )
