import re
from pathlib import Path

import pytest

from catdog_pl.data.prepare.labels import label_photos
from catdog_pl.data.prepare.photo import Photo
from catdog_pl.errors import CatDogError
from tests.conftest import Run
from tests.data.prepare.photographs import after, counts, draw, kaggle, manifest, photos, picture, zipped

Capture = pytest.CaptureFixture[str]


def labels(*names: str) -> list[str | None]:
    labelled = after(lambda table: label_photos(table, None, False, "photos"), map(Photo, names))
    return [photo.label for photo in labelled]


@pytest.mark.parametrize(
    ("name", "source", "label"),
    [
        ("train/cat.0.jpg", "x", "cat"),
        ("DOG.12.JPG", "x", "dog"),
        ("PetImages/Cat/0.jpg", "x", "cat"),
        ("dogs/cathy.jpg", "x", "dog"),
        ("dog/cat.5.jpg", "x", "dog"),
        ("Cat/old/dogs/1.jpg", "x", "dog"),
        ("cats/kittens/1.jpg", "x", "cat"),
        ("1.jpg", "Cats", "cat"),
        ("dog.1.jpg", "cats", "cat"),
        ("test1/1.jpg", "x", None),
        ("cathy.jpg", "x", None),
        ("cat-and-dog.jpg", "x", None),
        ("cats_vs_dogs/1.jpg", "cats_vs_dogs", None),
    ],
)
def test_the_nearest_word_tells_the_class(name: str, source: str, label: str | None) -> None:
    known = ("x/cat.0.jpg", "x/dog.0.jpg", "cats/cat.7.jpg", "dogs/dog.7.jpg")  # of cats and dogs
    assert labels(f"{source}/{name}", *known)[0] == label


def test_a_collection_without_cats_and_dogs_takes_its_folders_for_classes() -> None:
    names = ("hymenoptera/train/Ants/1.jpg", "hymenoptera/val/bees/2.jpg", "Ants/3.jpg")
    assert labels(*names) == ["ants", "bees", "ants"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("x/cat/1.jpg", "x/fox/2.jpg"), ["cat", "fox"]),
        (("x/dogs/1.jpg", "x/muffins/2.jpg"), ["dogs", "muffins"]),
        (("x/cat/1.jpg", "x/dog/2.jpg", "x/bird/3.jpg"), ["cat", "dog", None]),
        (("x/hot_dog/cat.1.jpg", "x/pizza/2.jpg"), ["hot_dog", "pizza"]),
        (("x/hot_dog/cat.1.jpg", "x/pizza/dog.2.jpg"), ["hot_dog", "pizza"]),
        (
            ("x/apples/train/1.jpg", "x/apples/test/2.jpg", "x/pears/train/3.jpg"),
            ["apples", "apples", "pears"],
        ),
        (
            ("x/train/apples/1.jpg", "x/val/apples/2.jpg", "x/train/pears/3.jpg"),
            ["apples", "apples", "pears"],
        ),
        (
            ("x/apples/1.jpg", "x/apples/2.jpg", "x/pears/3.jpg", "x/pears/4.jpg"),
            ["apples"] * 2 + ["pears"] * 2,
        ),
        (("x/apples/red/1.jpg", "x/apples/green/2.jpg", "x/pears/raw/3.jpg"), ["apples", "apples", "pears"]),
        (("x/apples/photos/1.jpg", "x/pears/images/3.jpg"), ["apples", "pears"]),
        (("x/2019/ants/1.jpg", "x/2020/bees/2.jpg", "x/2021/ants/3.jpg"), ["ants", "bees", "ants"]),
        (("x/valid/1.jpg", "x/invalid/2.jpg"), ["valid", "invalid"]),
        (
            ("x/train/valid/1.jpg", "x/train/invalid/2.jpg", "x/test/valid/3.jpg"),
            ["valid", "invalid", "valid"],
        ),
        (("x/test/1.jpg", "x/control/2.jpg"), ["test", "control"]),
        (("x/1/cat.0.jpg", "x/1/dog.0.jpg", "x/2/cat.1.jpg", "x/2/dog.1.jpg"), ["cat", "dog"] * 2),
        (("x/train/cat.0.jpg", "x/train/dog.0.jpg", "x/test1/1.jpg"), ["cat", "dog", None]),
        (("x.zip/train.zip/train/cat.0.jpg", "x.zip/train.zip/train/dog.0.jpg"), ["cat", "dog"]),
        (("x.zip/cats.zip/1.jpg", "x.zip/dogs.zip/2.jpg"), ["cat", "dog"]),
        (("one/ants/1.jpg", "one/bees/2.jpg", "two/ants/3.jpg", "two/bees/4.jpg"), ["ants", "bees"] * 2),
        (("apples.zip/1.jpg", "pears.tar.gz/sub/2.jpg"), ["apples", "pears"]),
        (("one.zip/cat.1.jpg", "two.zip/dog.2.jpg"), ["cat", "dog"]),
        (("cats/dog.1.jpg", "dogs/2.jpg"), ["cat", "dog"]),
    ],
)
def test_classes_are_where_the_tree_parts_in_two(names: tuple[str, ...], expected: list[str | None]) -> None:
    assert labels(*names) == expected


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("x/bird/1.jpg", "x/bird/2.jpg", "x/cat/3.jpg", "x/fox/4.jpg"), r"bird \(2\), cat \(1\), fox \(1\)"),
        ((), "found are none"),
        (("x/1.jpg",), r"found are x \(1\)"),
        (("x/train/1.jpg", "x/test/2.jpg"), r"train \(1\), test \(1\)"),
        (tuple(f"x/{number}/1.jpg" for number in range(9)), "and 3 more"),
        (
            ("x/apples/big/1.jpg", "x/apples/small/2.jpg", "x/pears/big/3.jpg", "x/pears/small/4.jpg"),
            "apples and pears; big and small. Name the classes: --classes apples pears",
        ),
    ],
)
def test_a_tree_that_does_not_part_in_two_is_refused_with_what_was_seen(
    names: tuple[str, ...], said: str
) -> None:
    with pytest.raises(CatDogError, match=said):
        labels(*names)


def both(folder: Path, first: str, second: str, count: int = 5, start: int = 0) -> Path:
    for number in range(start, start + count):
        draw(folder / first / f"{number}.jpg", number)
        draw(folder / second / f"{number}.jpg", 10_000 + number)
    return folder


def test_two_of_several_folders_can_be_named(run: Run, capsys: Capture) -> None:
    both(Path("zoo"), "Cat", "fox")
    draw(Path("zoo/bird/1.jpg"), 500)
    assert run("prepare zoo") == 1
    assert "--classes A B" in capsys.readouterr().err
    assert run("prepare zoo --classes cat fox") == 0
    said = capsys.readouterr().out
    assert "(5 cat, 5 fox, 1 of no class), used 10" in said
    assert "Left out as of neither class: bird (1)" in said


def test_a_third_class_beside_cats_and_dogs_is_named(run: Run, capsys: Capture) -> None:
    both(Path("zoo"), "cat", "dog")
    draw(Path("zoo/bird/1.jpg"), 500)
    draw(Path("zoo/bird/2.jpg"), 501)
    assert run("prepare zoo") == 0
    assert "Left out as of neither class: bird (2)" in capsys.readouterr().out
    assert "bird (2)" in Path("data/report.md").read_text(encoding="utf-8")
    reasons = [row["reason"] for row in manifest(Path("data")) if row["verdict"] == "no class"]
    assert reasons == 2 * ["neither its folder, bird, nor its name tells its class"]


def test_a_file_name_that_contradicts_its_folder_is_told(run: Run, capsys: Capture) -> None:
    both(Path("food"), "hot_dog", "pizza")
    draw(Path("food/hot_dog/cat.1.jpg"), 500)
    assert run("prepare food") == 0
    said = "File names that contradict their folder, which counts: 1, such as food/hot_dog/cat.1.jpg"
    assert said in capsys.readouterr().out
    assert {path.name for path in Path("data/train").iterdir()} == {"hot_dog", "pizza"}


def split_tree(folder: Path, names: tuple[str, ...], count: int = 6) -> Path:
    """``folder/NAME/{cat,dog}/N.jpg``; the first letter of a photograph's name is that of its split."""
    for part, name in enumerate(names):
        for number in range(count):
            stem = name.rpartition("/")[2]
            draw(folder / name / "cat" / f"{stem}{number}.jpg", 100 * part + number)
            draw(folder / name / "dog" / f"{stem}{number}.jpg", 10_000 + 100 * part + number)
    return folder


def found_in(root: Path) -> set[tuple[str, str]]:
    """Split -> beginning of the names of its files."""
    return {(name.split("/")[0], re.sub(r"\d+\.jpg", "", name.split("/")[-1])) for name in photos(root)}


@pytest.mark.parametrize("held_out", ["val", "valid", "validation", "dev", "eval", "Validation", "val_set"])
@pytest.mark.parametrize("test", ["test", "testing"])
def test_a_split_of_the_source_is_kept(run: Run, capsys: Capture, held_out: str, test: str) -> None:
    split_tree(Path("photos"), ("train", held_out, test))
    assert run("prepare photos") == 0
    assert found_in(Path("data")) == {("train", "train"), ("validation", held_out), ("test", test)}
    assert list(counts(Path("data")).values()) == 6 * [6]
    said = capsys.readouterr().out
    assert "Kept the split of the source (train, validation, test). --resplit mixes and splits anew." in said
    assert "Kept the split" in Path("data/report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        (("train", "val"), {("train", "train"), ("test", "train"), ("validation", "val")}),
        (("train", "test"), {("train", "train"), ("validation", "train"), ("test", "test")}),
    ],
)
def test_a_missing_split_is_taken_from_train_alone(
    run: Run, capsys: Capture, names: tuple[str, str], allowed: set[tuple[str, str]]
) -> None:
    split_tree(Path("photos"), names)
    assert run("prepare photos") == 0
    assert found_in(Path("data")) == allowed
    assert len(photos(Path("data"))) == 24  # nothing is lost
    assert "is taken from train" in capsys.readouterr().out


@pytest.mark.parametrize("wrapper", ["val", "test", "train", "photos/test", "train/training_set"])
def test_a_split_below_a_folder_of_such_a_name_is_kept_too(run: Run, wrapper: str) -> None:
    split_tree(Path(wrapper), ("train", "val", "test"))
    assert run("prepare", wrapper.split("/")[0]) == 0
    assert found_in(Path("data")) == {("train", "train"), ("validation", "val"), ("test", "test")}


def test_a_split_whose_folders_are_named_twice_is_kept(run: Run) -> None:
    split_tree(Path("photos"), ("training_set/training_set", "test_set/test_set"))
    assert run("prepare photos") == 0
    assert {row["split"] for row in manifest(Path("data")) if "test_set" in row["source"]} == {"test"}


def test_a_split_in_archives_and_in_sources_is_kept_too(run: Run) -> None:
    split_tree(Path("photos"), ("train", "val", "test"))
    zipped(Path("photos"), Path("photos.zip"))
    run("prepare photos --root a")
    run("prepare photos.zip --root b")
    run("prepare photos/train photos/val photos/test --root c")
    assert photos(Path("a")) == photos(Path("b")) == photos(Path("c"))


def test_a_split_inside_the_class_folders_is_kept(run: Run) -> None:
    for part, split in enumerate(("train", "test")):
        both(Path("fruit"), f"apples/{split}", f"pears/{split}", start=20 * part)
    assert run("prepare fruit") == 0
    assert counts(Path("data")) == {
        "train/apples": 4, "train/pears": 4,
        "validation/apples": 1, "validation/pears": 1,
        "test/apples": 5, "test/pears": 5,
    }  # fmt: skip


def test_resplit_mixes_and_splits_anew(run: Run, capsys: Capture) -> None:
    split_tree(Path("photos"), ("train", "val", "test"), 10)
    assert run("prepare photos") == 0
    assert run("prepare photos --overwrite --resplit") == 0
    assert len(found_in(Path("data"))) > 3
    assert "Kept the split" not in capsys.readouterr().out.split("Next:")[1]
    assert run("prepare photos --resplit") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run("prepare photos --overwrite") == 0
    assert len(found_in(Path("data"))) == 3


@pytest.mark.parametrize("amounts", ["--sizes 3 2 1", "--fractions 0.4 0.3 0.3"])
def test_amounts_do_not_dissolve_a_split_without_a_word(run: Run, capsys: Capture, amounts: str) -> None:
    split_tree(Path("photos"), ("train", "val"))
    assert run(f"prepare photos {amounts}") == 2
    assert "has a split already (train, validation), which is kept" in capsys.readouterr().err
    assert run(f"prepare photos {amounts} --resplit") == 0


def test_photographs_beside_the_folders_of_a_split_go_to_train(run: Run) -> None:
    split_tree(Path("photos"), ("train", "val", "test"))
    both(Path("more"), "cat", "dog", start=70)
    assert run("prepare photos more") == 0
    assert found_in(Path("data")) == {
        ("train", "train"),
        ("train", ""),
        ("validation", "val"),
        ("test", "test"),
    }


def test_photographs_that_look_alike_in_two_splits_are_not_both_used(run: Run) -> None:
    split_tree(Path("photos"), ("train", "val", "test"))
    picture(200).resize((130, 100)).save("photos/train/cat/leak.png")  # photos/test/cat/test0.jpg
    assert run("prepare photos") == 0
    places = {row["source"]: row["split"] for row in manifest(Path("data"))}
    assert "" in (places["photos/train/cat/leak.png"], places["photos/test/cat/test0.jpg"])
    assert run("prepare --check data") == 0


def test_a_split_that_lacks_a_class_says_how_to_go_on(run: Run, capsys: Capture) -> None:
    split_tree(Path("photos"), ("train",))
    draw(Path("photos/val/cat/1.jpg"), 500)
    assert run("prepare photos") == 1
    assert "no dog falls into validation; --resplit splits anew" in capsys.readouterr().err


def test_one_folder_called_train_is_no_split(run: Run) -> None:
    kaggle(Path("photos"), 5)
    assert run("prepare photos --sizes 3 1 1") == 0
