import shutil
from pathlib import Path

from PIL import Image

from catdog_pl.data.prepare.duplicates import near_duplicates
from tests.data.prepare.photographs import draw, picture

SPLITS = ("train", "validation", "test")


def splits() -> dict[str, list[Path]]:
    return {split: sorted(Path(split).rglob("*.*")) for split in SPLITS}


def test_copies_in_two_splits_are_found_and_those_in_one_are_not() -> None:
    for number, split in enumerate(SPLITS):
        draw(Path(split) / "cat/0.jpg", number)
        draw(Path(split) / "dog/1.jpg", 10 + number)
    assert near_duplicates(splits()) == []
    shutil.copy("train/cat/0.jpg", "train/cat/again.jpg")
    assert near_duplicates(splits()) == []
    shutil.copy("train/cat/0.jpg", "test/cat/same.jpg")
    picture(11).resize((130, 100)).save("train/dog/larger.png")
    (same, larger) = near_duplicates(splits())
    assert {*same} == {
        ("train", Path("train/cat/0.jpg")),
        ("train", Path("train/cat/again.jpg")),
        ("test", Path("test/cat/same.jpg")),
    }
    assert {*larger} == {
        ("train", Path("train/dog/larger.png")),
        ("validation", Path("validation/dog/1.jpg")),
    }


def test_what_cannot_be_read_and_what_shows_nothing_is_passed_over() -> None:
    for split in SPLITS:
        Path(split).mkdir()
        Path(split, "damaged.jpg").write_bytes(b"\xff\xd8 damaged")
        Image.new("RGB", (60, 40)).save(Path(split, "black.png"))
    gone = {"test": [Path("test/gone.jpg")], "train": [Path("train/gone.jpg")]}
    assert near_duplicates(splits()) == near_duplicates(gone) == near_duplicates({}) == []
