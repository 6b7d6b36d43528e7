import shutil
from pathlib import Path

import pytest

from catdog_pl.report.leaks import leak_warnings
from tests.conftest import draw_layout


@pytest.fixture
def tested(tmp_path: Path) -> list[Path]:
    """The test photographs of a data folder of one's own."""
    root = draw_layout(tmp_path / "data", {"train": 4, "test": 2})
    return sorted((root / "test").rglob("*.jpg"))


def test_nothing_is_said_of_photographs_that_differ(tested: list[Path]) -> None:
    train = Path("data/train")
    same_size = train / "dog" / "same_size.jpg"
    same_size.write_bytes(bytes(tested[0].stat().st_size))
    assert list(leak_warnings(tested, [train, Path("nowhere")])) == []


def test_a_photograph_of_any_name_and_place_is_found(tested: list[Path]) -> None:
    shutil.copy(tested[1], "data/train/dog/another_name.jpg")
    folders = [Path("data/train"), Path("data/train").absolute()]
    assert list(leak_warnings(tested, folders[:1])) == [
        f"1 of 4 test photographs is in data/train, too, the first as {tested[1]}; "
        "the accuracy is not that of unseen photographs"
    ]
    shutil.copytree("data/test/dog", "data/train/cat/more")
    shutil.rmtree("data/train/dog")
    (warning,) = leak_warnings(tested, folders)
    assert warning.startswith("2 of 4 test photographs are in ")


def test_broken_links_are_passed_by(tested: list[Path]) -> None:
    Path("data/train/cat/gone.jpg").symlink_to("nowhere.jpg")
    tested[0].unlink()
    assert list(leak_warnings(tested, [Path("data/train")])) == []
