import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from catdog_pl.__main__ import main
from catdog_pl.data.prepare.check import quick_check
from catdog_pl.data.prepare.splits import SPLITS
from tests.conftest import Run
from tests.data.prepare.photographs import contents, draw, kaggle, manifest, photos, picture

Capture = pytest.CaptureFixture[str]

FAULTS = {
    "Cat/empty.jpg": "empty",
    "Dog/cut.jpg": "truncated",
    "Cat/page.jpg": "not an image",
    "Cat/dance.gif": "animated",
    "Dog/tiny.png": "too small",
    "Cat/plain.png": "one colour",
    "Cat/again.jpg": "duplicate",
    "Cat/4.jpg": "two classes",
    "Dog/same.jpg": "two classes",
    "Cat/5.jpg": "two classes",
    "Dog/alike.png": "two classes",
    "test1/1.jpg": "no class",
}
"""What `dirty` holds that must not be used, and why."""


def dirty(folder: Path) -> Path:
    """Forty photographs and a fault of every kind."""
    cat, dog = folder / "Cat", folder / "Dog"
    for number in range(20):
        draw(cat / f"{number}.jpg", number)
        draw(dog / f"{number}.jpg", 100 + number)
    (cat / "empty.jpg").write_bytes(b"")
    (dog / "cut.jpg").write_bytes((dog / "3.jpg").read_bytes()[:900])
    (cat / "page.jpg").write_bytes(b"<!DOCTYPE html>404")
    picture(50).save(dog / "really_png.jpg", "PNG")
    picture(60).save(cat / "dance.gif", save_all=True, append_images=[picture(61)])
    picture(70).resize((20, 10)).save(dog / "tiny.png")
    Image.new("RGB", (60, 40), (9, 90, 200)).save(cat / "plain.png")
    shutil.copy(cat / "1.jpg", cat / "again.jpg")
    picture(2).resize((128, 96)).save(cat / "larger.png")
    shutil.copy(cat / "4.jpg", dog / "same.jpg")
    picture(5).resize((128, 96)).save(dog / "alike.png")
    draw(folder / "test1" / "1.jpg", 80)
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder prepared from the dirty one beside it; to be read only."""
    folder = tmp_path_factory.mktemp("prepared")
    words = ["prepare", str(dirty(folder / "photos")), "--root", str(folder / "data")]
    assert main([*words, "--fractions", "0.6", "0.2", "0.2"]) == 0
    return folder / "data"


@pytest.fixture
def spoiled(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the prepared folder, to be spoiled."""
    return Path(shutil.copytree(prepared, tmp_path / "data"))


def rows(root: Path) -> dict[str, dict[str, str]]:
    """The manifest by the name in the source."""
    return {row["source"].partition("/")[2]: row for row in manifest(root)}


def test_what_is_bad_is_left_out_and_listed_with_its_verdict(prepared: Path) -> None:
    left_out = {name: row["verdict"] for name, row in rows(prepared).items() if not row["file"]}
    assert left_out == FAULTS


def test_what_is_odd_is_used_and_listed(prepared: Path) -> None:
    found = rows(prepared)
    assert found["Dog/really_png.jpg"]["verdict"] == "wrong extension"
    assert found["Dog/really_png.jpg"]["file"].endswith("/really_png.png")
    assert found["Cat/2.jpg"]["verdict"] == found["Cat/larger.png"]["verdict"] == "near duplicate"
    assert found["Cat/2.jpg"]["split"] == found["Cat/larger.png"]["split"] != ""


def test_the_manifest_tells_the_truth(prepared: Path) -> None:
    listed = manifest(prepared)
    assert list(listed[0]) == [
        "file", "source", "split", "class", "sha256", "size", "width", "height", "mode", "verdict", "reason",
    ]  # fmt: skip
    assert {row["file"]: row["sha256"] for row in listed if row["file"]} == photos(prepared)
    for row in listed:
        assert row["reason"] or row["verdict"] == "ok"
        if row["file"]:
            assert row["file"].startswith(f"{row['split']}/{row['class']}/")
            assert (prepared / row["file"]).stat().st_size == int(row["size"])
            with Image.open(prepared / row["file"]) as image:
                assert [str(image.width), str(image.height), image.mode] == [
                    row["width"], row["height"], row["mode"],
                ]  # fmt: skip


def test_the_report_is_a_page_with_a_picture(prepared: Path) -> None:
    text = (prepared / "report.md").read_text(encoding="utf-8")
    assert "](contact_sheet.png)" in text
    assert all(f"photos/{name}`: " in text for name in FAULTS)
    with Image.open(prepared / "contact_sheet.png") as sheet:
        assert sheet.width == 1308
        assert len(sheet.convert("RGB").getcolors(2**24) or []) > 10_000  # photographs, not only grey tiles


def test_strict_lists_and_refuses(run: Run, capsys: Capture) -> None:
    dirty(Path("photos"))
    assert run("prepare photos --strict") == 1
    said = capsys.readouterr()
    for name, verdict in {**FAULTS, "Dog/really_png.jpg": "wrong extension"}.items():
        assert f"{verdict:<16} photos/{name}: " in said.out
    assert said.err == "[ERROR]    --strict: 13 of 52 photographs are bad; nothing was prepared\n"
    assert not any((Path("data") / split).exists() for split in SPLITS)


def test_strict_takes_what_is_good(run: Run) -> None:
    kaggle(Path("photos"), 5)
    assert run("prepare photos --strict") == 0


def test_no_picture_is_in_two_splits_when_copies_are_everywhere(run: Run) -> None:
    train = kaggle(Path("photos"), 12) / "train"
    for number in range(12):
        picture(number).resize((100, 75)).save(train / f"cat.{100 + number}.png")
        shutil.copy(train / f"dog.{number}.jpg", train / f"dog.{200 + number}.jpg")
    assert run("prepare photos --fractions 0.4 0.3 0.3") == 0
    found = [name.split("/") for name in photos(Path("data"))]
    splits: dict[int, set[str]] = {}
    for split, label, name in found:
        if label == "cat":
            splits.setdefault(int(name.split(".")[1]) % 100, set()).add(split)
    assert [len(places) for places in splits.values()] == 12 * [1]
    assert [label for _, label, _ in found].count("cat") == 24
    assert [label for _, label, _ in found].count("dog") == 12


def test_a_clean_folder_passes_and_is_not_touched(prepared: Path, run: Run, capsys: Capture) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*")}
    assert run("prepare --check", prepared) == 0
    assert "Nothing is wrong." in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*")} == before
    assert quick_check(prepared) is None


def first(root: Path, folder: str) -> Path:
    return min((root / folder).iterdir())


def leak(root: Path) -> None:
    shutil.copy(first(root, "train/cat"), root / "test/cat/leak.jpg")


def leak_alike(root: Path) -> None:
    with Image.open(first(root, "train/dog")) as image:
        image.resize((130, 100)).save(root / "validation/dog/leak.png")


def swap_class(root: Path) -> None:
    shutil.copy(first(root, "train/cat"), root / "train/dog/swapped.jpg")


def cut(root: Path) -> None:
    path = first(root, "train/cat")
    path.write_bytes(path.read_bytes()[:800])


def lose(root: Path) -> None:
    first(root, "validation/dog").unlink()


def empty_class(root: Path) -> None:
    shutil.rmtree(root / "test/dog")
    (root / "test/dog").mkdir()


def lose_split(root: Path) -> None:
    shutil.rmtree(root / "validation")


def third_class(root: Path) -> None:
    draw(root / "train/fish/1.jpg", 500)


def rename_class(root: Path) -> None:
    (root / "test/dog").rename(root / "test/wolf")


def replace(root: Path) -> None:
    draw(first(root, "train/cat"), 501)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (leak, "duplicate        test/cat/leak.jpg: the same file as train/cat/"),
        (leak_alike, "duplicate        validation/dog/leak.png: looks like train/dog/"),
        (swap_class, "two classes      train/dog/swapped.jpg: the same file as train/cat/"),
        (cut, "truncated        train/cat/"),
        (lose, "of the manifest is missing"),
        (empty_class, "dog holds no photograph"),
        (lose_split, "validation is missing"),
        (third_class, "3 class folders (cat, dog, fish)"),
        (rename_class, "test has the classes cat, wolf, not cat, dog"),
        (replace, "is another file than the one in the manifest"),
    ],
)
def test_the_check_finds_what_is_wrong_and_mends_nothing(
    spoiled: Path, run: Run, capsys: Capture, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(spoiled)
    before = contents(spoiled)
    assert run("prepare --check", spoiled) == 1
    assert said in capsys.readouterr().out
    assert contents(spoiled) == before


def test_a_folder_that_prepare_did_not_make_can_be_checked(run: Run, capsys: Capture) -> None:
    for number, split in enumerate(SPLITS):
        for label in ("cat", "dog"):
            draw(Path("mine") / split / label / "0.jpg", 10 * number + len(label + split))
    draw(Path("mine/train/dog/1.jpg"), 70)
    draw(Path("mine/train/cat/1.jpg"), 71)
    assert run("prepare --check mine") == 1  # "cat" and "dog" have as many letters: each pair is one picture
    assert capsys.readouterr().out.count("two classes") == 6


def make_empty(root: Path) -> None:
    first(root, "train/dog").write_bytes(b"")


def interrupt(root: Path) -> None:
    (root / ".prepare").mkdir()
    (root / ".prepare/ready").touch()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (make_empty, "is empty (0 bytes)"),
        (lose, "were prepared"),
        (leak, "were prepared"),
        (interrupt, "run that prepare again"),
    ],
)
def test_the_quick_check_is_one_line(spoiled: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(spoiled)
    warning = quick_check(spoiled)
    assert warning
    assert said in warning
    assert "\n" not in warning


def test_the_quick_check_sees_a_leak_by_name_where_nothing_was_prepared(spoiled: Path) -> None:
    (spoiled / "prepare.json").unlink()
    assert quick_check(spoiled) is None
    path = first(spoiled, "train/cat")
    chance = spoiled / "test/cat" / path.name
    chance.write_bytes(bytes(path.stat().st_size))
    assert quick_check(spoiled) is None
    shutil.copy(path, chance)
    assert "is the same photograph in train and in test" in str(quick_check(spoiled))


@pytest.mark.slow
def test_the_quick_check_is_quick_and_knows_when_to_stop(tmp_path: Path) -> None:
    for split in SPLITS:
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(1500):
                (tmp_path / split / label / f"{split}{number}.jpg").write_bytes(b"x")
    start = time.perf_counter()
    assert quick_check(tmp_path, seconds=5) is None
    assert time.perf_counter() - start < 1
    (tmp_path / "train/cat/train7.jpg").write_bytes(b"")
    assert quick_check(tmp_path, seconds=5)
    assert quick_check(tmp_path, seconds=0) is None
    assert quick_check(tmp_path / "nowhere") is None
