import hashlib
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from catdog_pl.data.prepare.splits import SPLITS
from catdog_pl.errors import DownloadError
from tests.conftest import Run
from tests.data.prepare.photographs import contents, counts, draw, kaggle, manifest, photos, picture, zipped

WRITTEN = ("manifest.csv", "prepare.json", "report.md", "contact_sheet.png")

Capture = pytest.CaptureFixture[str]


def test_a_small_folder_gives_the_test_a_fifth_and_says_so(run: Run, capsys: Capture) -> None:
    kaggle(Path("photos"), 31)
    assert run("prepare photos") == 0
    assert counts(Path("data")) == {
        "train/cat": 17, "train/dog": 17,
        "validation/cat": 8, "validation/dog": 8,
        "test/cat": 6, "test/dog": 6,
    }  # fmt: skip
    said = "Fewer photographs than 2000 / 1000 / 100 of each class: 17 / 8 / 6, the test has a fifth"
    assert said in capsys.readouterr().out


def test_sizes_that_are_too_many_keep_their_proportions_and_say_so(run: Run, capsys: Capture) -> None:
    kaggle(Path("photos"), 31)
    assert run("prepare photos --sizes 2000 1000 100") == 0
    assert list(counts(Path("data")).values()) == [20, 20, 10, 10, 1, 1]
    assert "of each class: 20 / 10 / 1, in the same proportions" in capsys.readouterr().out


def test_what_is_printed_is_what_a_user_needs(run: Run, capsys: Capture) -> None:
    kaggle(Path("photos"), 31)
    run("prepare photos --sizes 20 10 1 --root d")
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "Found 62 photographs (31 cat, 31 dog), used 62.",
        "d                cat     dog",
        "train             20      20",
        "validation        10      10",
        "test               1       1",
        "The test split has only 2 photographs: 2 of 2 right would mean an accuracy between 0.34 and 1.00"
        " (95 % interval).",
        f"Listed in {Path('d/manifest.csv')}, shown in {Path('d/report.md')} and contact_sheet.png.",
        "Next: python -m catdog_pl fit --model basic --root d",
    ]
    assert said.err == ""  # no progress bar where there is no terminal


def test_the_split_depends_on_content_and_seed_alone(run: Run) -> None:
    zipped(kaggle(Path("photos"), 31), Path("backwards.zip"))
    run("prepare photos --root a")
    run("prepare backwards.zip --root b")
    run("prepare photos --root c --seed 2019")
    assert photos(Path("a")) == photos(Path("b"))
    assert photos(Path("a")) != photos(Path("c"))


def test_the_split_is_the_same_for_ever(run: Run) -> None:
    """Fails when the rule changes, on whatever machine: the photographs are named by their bytes."""
    for number in range(10):
        for label in ("cat", "dog"):
            path = Path("photos") / label / f"{number}.pgm"
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = f"{label}{number}".encode()
            path.write_bytes(
                b"P5 40 40 255 "
                + b"".join(hashlib.sha512(seed + bytes([row])).digest()[:40] for row in range(40))
            )
    run("prepare photos --sizes 6 3 1")
    letters = {"train": "t", "validation": "v", "test": "X"}
    found = {(row["class"], row["source"][-5]): letters[row["split"]] for row in manifest(Path("data"))}
    assert "".join(found["cat", number] for number in "0123456789") == "tttvtvvXtt"
    assert "".join(found["dog", number] for number in "0123456789") == "vtvtvXtttt"


def test_the_source_is_left_as_it_was(run: Run) -> None:
    before = contents(kaggle(Path("photos"), 5))
    run("prepare photos")
    assert contents(Path("photos")) == before


def test_an_existing_folder_is_left_alone_until_overwrite(run: Run, capsys: Capture) -> None:
    kaggle(Path("photos"), 5)
    draw(Path("data/train/cat/mine.jpg"), 1)
    assert run("prepare photos") == 1
    error = capsys.readouterr().err
    assert error.startswith("[ERROR]")
    assert "--overwrite" in error
    assert list(contents(Path("data"))) == ["train/cat/mine.jpg"]
    assert run("prepare photos --overwrite") == 0
    assert sorted(contents(Path("data"))) == sorted([*photos(Path("data")), *WRITTEN])
    assert "train/cat/mine.jpg" not in photos(Path("data"))


def test_what_the_new_result_lacks_goes_away(run: Run, capsys: Capture) -> None:
    kaggle(Path("photos"), 12)
    Path("data").mkdir()
    Path("data/notes.txt").write_text("mine", encoding="utf-8")
    assert run("prepare photos --sizes 6 3 2") == 0
    assert run("prepare photos --sizes 7 4 0 --overwrite") == 0
    assert not Path("data/test").exists()
    assert len(photos(Path("data"))) == 22
    assert Path("data/notes.txt").exists()
    capsys.readouterr()
    assert run("prepare photos --sizes 7 4 0") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run("prepare --check data") == 0


def test_a_result_without_photographs_is_a_failure(run: Run, capsys: Capture) -> None:
    folder = Path("photos")
    for number in range(4):  # four that look alike, and no split for four
        for label, start in (("cat", 0), ("dog", 100)):
            (folder / label).mkdir(parents=True, exist_ok=True)
            picture(start).resize((64 + 16 * number, 48 + 12 * number)).save(folder / label / f"{number}.png")
    assert run("prepare photos --sizes 2 1 1") == 1
    said = capsys.readouterr()
    assert "photos: no cat falls into train" in said.err
    assert "Next:" not in said.out
    assert not Path("data/train").exists()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_of_the_users_is_not_replaced(run: Run, capsys: Capture, name: str) -> None:
    kaggle(Path("photos"), 5)
    Path(name).write_text("mine", encoding="utf-8")
    assert run("prepare photos --root .") == 1
    assert f"{name} is already there" in capsys.readouterr().err
    assert Path(name).read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("", 2, "name a SOURCE"),
        ("nowhere", 2, "'nowhere'"),
        ("photos/train/cat.0.jpg", 2, "is one photograph"),
        ("ftp://example.org/a.zip", 2, "only http, https, s3, gs, az, hf are read"),
        ("photos --sizes 0 0 0", 2, "--sizes 0 0 0"),
        ("photos --fractions 0.5 0.5 0.5", 2, "--fractions 0.5 0.5 0.5"),
        ("photos --sha256 " + "0" * 64, 2, "--sha256 is that of one archive"),
        ("empty", 1, "no photograph"),
        ("zips", 1, f"give {Path('zips/train.zip')}, which is an archive"),
        ("cats", 1, "cats: two classes are needed, a folder for each or Kaggle's file names"),
        ("cats", 1, "found are cats (1)"),
        ("few", 1, "2 good photographs of class cat do not make 3 splits"),
        ("photos --fractions 0.98 0.01 0.01", 1, "--sizes gives every split its share"),
        ("no.zip", 1, "no.zip cannot be unpacked: it is no zip, tar, tar.gz, tar.bz2 or Parquet"),
        ("photos --check empty", 2, "--check looks at one prepared folder"),
        ("--check empty", 1, "there is no train or validation or test folder"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    run: Run, capsys: Capture, line: str, code: int, said: str
) -> None:
    kaggle(Path("photos"), 5)
    kaggle(Path("few"), 2)
    Path("empty").mkdir()
    Path("zips").mkdir()
    Path("zips/train.zip").touch()
    draw(Path("cats/0.jpg"), 0)
    Path("no.zip").write_bytes(b"not a zip")
    assert run(f"prepare {line}") == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not any((Path("data") / split).exists() for split in SPLITS)
    assert not Path("data").exists() or code == 1


@pytest.mark.parametrize(
    "line", ["photos --sizes 1 2", "photos --jobs 0", "photos --sha256 abc", "photos --see 3"]
)
def test_words_that_are_no_options_are_refused(run: Run, capsys: Capture, line: str) -> None:
    kaggle(Path("photos"), 3)
    assert run(f"prepare {line}") == 2


def packed(folder: Path, archive: Path, mode: str) -> None:
    with tarfile.open(archive, mode) as file:  # type: ignore[call-overload]
        file.add(folder, ".")


def nested(folder: Path, archive: Path) -> None:
    """As Kaggle ships it: train.zip in a zip, beside what is no photograph."""
    with zipfile.ZipFile(archive, "w") as file:
        file.write(zipped(folder, Path("train.zip")))
        file.writestr("sampleSubmission.csv", "id,label")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "nested.zip"])
def test_every_archive_gives_what_its_folder_gives(run: Run, name: str) -> None:
    source = kaggle(Path("photos"), 10)
    if name == "nested.zip":
        nested(source, Path(name))
    elif name == "a.zip":
        zipped(source, Path(name))
    else:
        packed(source, Path(name), {".tar": "w", ".gz": "w:gz", ".bz2": "w:bz2"}[Path(name).suffix])
    assert run(f"prepare {name} --root a") == 0
    assert run("prepare photos --root b") == 0
    assert photos(Path("a")) == photos(Path("b"))
    assert sorted(contents(Path("a"))) == sorted([*photos(Path("a")), *WRITTEN])


@pytest.mark.parametrize("folders", [("Cat", "Dog"), ("cats", "DOGS"), ("PetImages/Cat", "PetImages/Dog")])
def test_a_folder_for_each_class_in_any_spelling(run: Run, folders: tuple[str, str]) -> None:
    for label, folder in enumerate(folders):
        for number in range(4):
            draw(Path("photos") / folder / f"{number}.jpg", 100 * label + number)
        Path("photos", folder, "Thumbs.db").write_bytes(b"x")
    assert run("prepare photos") == 0
    assert counts(Path("data")) == {
        "train/cat": 2, "train/dog": 2,
        "validation/cat": 1, "validation/dog": 1,
        "test/cat": 1, "test/dog": 1,
    }  # fmt: skip


def test_several_sources_of_any_two_classes(run: Run) -> None:
    for label, folder in enumerate(("Ants", "bees")):
        for number in range(4):
            draw(Path(folder) / f"{number}.jpg", 100 * label + number)
    assert run("prepare Ants bees") == 0
    assert {path.name for path in Path("data/train").iterdir()} == {"ants", "bees"}


def test_files_of_one_name_from_two_sources_are_both_kept(run: Run) -> None:
    for number, folder in enumerate(("one/cat", "one/dog", "two/cat", "two/dog")):
        for index in range(3):
            draw(Path(folder) / f"{index}.jpg", 10 * number + index)
    assert run("prepare one two --sizes 4 1 1") == 0
    assert len(photos(Path("data"))) == 12


def test_a_url_is_downloaded_with_its_hash_and_its_secrets_are_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    zipped(kaggle(Path("photos"), 5), Path("photos.zip"))
    asked: list[tuple[str, str | None]] = []

    def download(url: str, target: Path, *, free_bytes: int, digest: str | None) -> None:
        asked.append((url, digest))
        target.parent.mkdir(parents=True)
        shutil.copy("photos.zip", target)

    monkeypatch.setattr("catdog_pl.io.download.download", download)
    url = "https://example.org/some/photos.zip?key=secret"
    assert run(f"prepare {url} --sha256 {'AB' * 32}") == 0
    assert asked == [(url, "sha256:" + "ab" * 32)]
    assert {row["source"].split("/")[0] for row in manifest(Path("data"))} == {"photos.zip"}
    for name in ("report.md", "manifest.csv", "prepare.json"):
        assert "secret" not in Path("data", name).read_text(encoding="utf-8")
    assert "secret" not in capsys.readouterr().out
    assert sorted(contents(Path("data"))) == sorted([*photos(Path("data")), *WRITTEN])


def test_an_archive_with_another_hash_is_refused(run: Run, capsys: Capture) -> None:
    archive = zipped(kaggle(Path("photos"), 5), Path("photos.zip"))
    assert run(f"prepare photos.zip --sha256 {'0' * 64}") == 1
    assert hashlib.sha256(archive.read_bytes()).hexdigest() in capsys.readouterr().err
    assert not Path("data").exists()


def test_a_hostile_archive_changes_nothing_outside_root(run: Run) -> None:
    source = kaggle(Path("photos"), 5)
    zipped(source, Path("a.zip"))
    with zipfile.ZipFile("a.zip", "a") as file:
        file.writestr("../cat.99.jpg", b"1")
        file.writestr("train/\x1b[2Jcat\n.jpg", b"1")
        file.writestr("con/dog.5.jpg", (source / "train/dog.1.jpg").read_bytes() + b"other")
    before = {name for name in contents(Path()) if not name.startswith("data/")}
    assert run("prepare a.zip") == 0
    assert {name for name in contents(Path()) if not name.startswith("data/")} == before
    verdicts = {row["source"]: row["verdict"] for row in manifest(Path("data"))}
    assert verdicts["a.zip/../cat.99.jpg"] == "unsafe"
    assert all(source.isprintable() for source in verdicts)


def breeds(folder: Path) -> Path:
    """The archive of the Oxford pets: names of breeds, those of cats with a capital, and what is no image."""
    for number in range(8):
        draw(folder / "images" / f"Abyssinian_{number}.jpg", number)
        draw(folder / "images" / f"beagle_{number}.jpg", 100 + number)
    (folder / "images/Abyssinian_0.mat").write_bytes(b"MATLAB")
    archive = folder / "images.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder / "images", "images")
    return archive


def test_the_oxford_pets_come_with_their_labels_and_their_licence(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    archive = breeds(Path("pets"))

    def download(url: str, target: Path, *, free_bytes: int, digest: str | None) -> None:
        assert url == "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz"
        assert digest == "md5:5c4f3ee8e5d25df40f4fd59a7f44e54c"
        target.parent.mkdir(parents=True)
        shutil.copy(archive, target)

    monkeypatch.setattr("catdog_pl.io.download.download", download)
    assert run("prepare oxford-pets --sizes 6 1 1") == 0
    found = {Path(name).name.split("_")[0]: name.split("/")[1] for name in photos(Path("data"))}
    assert found == {"Abyssinian": "cat", "beagle": "dog"}
    assert len(photos(Path("data"))) == 16
    assert "CC BY-SA 4.0" in capsys.readouterr().out
    assert "CC BY-SA 4.0" in Path("data/report.md").read_text(encoding="utf-8")


def test_a_failed_download_of_the_pets_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(url: str, target: Path, *, free_bytes: int, digest: str | None) -> None:
        raise DownloadError(url, "the server answered 404 Not Found")

    monkeypatch.setattr("catdog_pl.io.download.download", fail)
    assert run("prepare oxford-pets") == 1
    assert capsys.readouterr().err.endswith("images.tar.gz: the server answered 404 Not Found\n")
    assert not Path("data").exists()


def test_a_second_run_does_nothing(run: Run, capsys: Capture) -> None:
    kaggle(Path("photos"), 6)
    assert run("prepare photos") == 0
    before = {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")}
    capsys.readouterr()
    assert run("prepare photos") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in Path("data").rglob("*")} == before


@pytest.mark.parametrize("change", ["source", "root", "seed"])
def test_a_second_run_that_would_differ_is_refused(run: Run, capsys: Capture, change: str) -> None:
    kaggle(Path("photos"), 6)
    assert run("prepare photos") == 0
    if change == "source":
        draw(Path("photos/train/cat.77.jpg"), 77)
    elif change == "root":
        next(Path("data/train/cat").iterdir()).unlink()
    before = contents(Path("data"))
    assert run("prepare photos", *(["--seed", "1"] if change == "seed" else [])) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert contents(Path("data")) == before


@pytest.mark.parametrize("amounts", ["", "--fractions 0.5 0.3 0.2"], ids=["sizes", "fractions"])
def test_photographs_that_are_added_move_no_other(run: Run, amounts: str) -> None:
    kaggle(Path("photos"), 20)
    assert run(f"prepare photos {amounts}") == 0
    before = photos(Path("data"))
    kaggle(Path("photos"), 50)
    assert run(f"prepare photos {amounts} --overwrite") == 0
    assert before.items() <= photos(Path("data")).items()
    assert len(photos(Path("data"))) == 100


@pytest.mark.parametrize("other", ["--seed 5", "--sizes 10 5 5", "--fractions 0.4 0.3 0.3"])
def test_other_options_draw_anew(run: Run, other: str) -> None:
    kaggle(Path("photos"), 20)
    run("prepare photos")
    run(f"prepare photos {other} --overwrite")
    run(f"prepare photos {other} --root fresh")
    assert photos(Path("data")) == photos(Path("fresh"))


def test_links_are_links(run: Run, capsys: Capture) -> None:
    source = kaggle(Path("photos"), 5)
    assert run("prepare photos --link") == 0
    inodes = {path.stat().st_ino for path in source.rglob("*.jpg")}
    assert {(Path("data") / name).stat().st_ino for name in photos(Path("data"))} == inodes


def test_where_links_cannot_be_made_files_are_copied_and_that_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def refuse(source: str, target: Path) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    source = kaggle(Path("photos"), 5)
    assert run("prepare photos --link") == 0
    assert "Copied 10 photographs" in capsys.readouterr().out
    assert set(photos(Path("data")).values()) == set(contents(source).values())


@pytest.mark.parametrize("form", ["folder", "zip", "tar"])
def test_a_full_disk_is_seen_before_it_is_full(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture, form: str
) -> None:
    monkeypatch.setattr("catdog_pl.data.prepare.placement.Staging.free_bytes", lambda self: 5000)
    source = kaggle(Path("photos"), 5)
    if form == "zip":
        zipped(source, Path("photos.zip"))
    elif form == "tar":
        packed(source, Path("photos.tar"), "w")
    assert run(f"prepare photos{'' if form == 'folder' else '.' + form}") == 1
    assert "disk" in capsys.readouterr().err
    assert not any((Path("data") / split).exists() for split in SPLITS)


def test_a_folder_may_be_called_like_the_sample(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(folder: Path, progress: bool) -> None:
        kaggle(folder, 5)

    monkeypatch.setattr("catdog_pl.data.sample.draw_sample", draw)
    assert run("prepare sample --root sample") == 0
    assert all((Path("sample") / split).is_dir() for split in SPLITS)


@pytest.mark.parametrize("inside", ["data", "data/train", "data/train/cat"])
def test_the_splits_are_never_their_own_source(run: Run, capsys: Capture, inside: str) -> None:
    kaggle(Path("photos"), 5)
    run("prepare photos")
    before = contents(Path("data"))
    assert run(f"prepare {inside} --overwrite") == 2
    assert "keeps its splits" in capsys.readouterr().err
    assert contents(Path("data")) == before


def test_a_root_inside_the_source_is_not_taken_for_a_source(run: Run, capsys: Capture) -> None:
    kaggle(Path("photos"), 5)
    assert run("prepare photos --root photos/data") == 0
    assert run("prepare photos --root photos/data") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run("prepare photos --root photos/data --overwrite") == 0
    assert len(manifest(Path("photos/data"))) == 10


def test_two_runs_at_once_do_not_meet(run: Run, capsys: Capture) -> None:
    kaggle(Path("photos"), 5)
    Path("data/.prepare").mkdir(parents=True)
    with FileLock("data/.prepare/lock"):
        assert run("prepare photos") == 1
        assert "another prepare is at work" in capsys.readouterr().err
    assert run("prepare photos") == 0


def test_a_photograph_that_changes_meanwhile_stops_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    kaggle(Path("photos"), 5)
    free = "catdog_pl.data.prepare.placement.Staging.free_bytes"

    def meddle(self: object) -> int:
        Path("photos/train/cat.0.jpg").write_bytes(b"other")
        return 10**12

    monkeypatch.setattr(free, meddle)
    assert run("prepare photos") == 1
    assert "photos/train/cat.0.jpg has changed since it was checked" in capsys.readouterr().err
    assert not Path("data/train").exists()


def test_the_sample_is_drawn_and_split_as_it_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import catdog_pl.data.sample as sample

    def draw_sample(folder: Path, *, progress: bool) -> None:
        kaggle(folder, 8)

    monkeypatch.setattr(sample, "draw_sample", draw_sample)
    monkeypatch.setattr(sample, "SAMPLE_COUNTS", {"train": 5, "validation": 2, "test": 1})
    assert run("prepare sample") == 0
    assert list(counts(Path("data")).values()) == [5, 5, 2, 2, 1, 1]
    with Image.open("data/contact_sheet.png") as sheet:
        assert sheet.height > 400
    assert picture(0).size == (64, 48)
