import os
from pathlib import Path

import pytest

from catdog_pl.errors import CatDogError
from catdog_pl.runs import config_name, find_checkpoint, new_run, run_of


def write(path: str, seconds: int) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    os.utime(file, (seconds, seconds))
    return file


def test_best_is_the_newest_runs_whatever_its_name() -> None:
    old = write("checkpoints/basic/2030-01-01/best.ckpt", 100)
    new = write("checkpoints/vgg16/2020-01-01/best.ckpt", 200)
    assert find_checkpoint("best") == new
    assert find_checkpoint("best", model="basic") == old


def test_last_and_paths() -> None:
    last = write("elsewhere/basic/a/last.ckpt", 1)
    assert find_checkpoint("last", root=Path("elsewhere")) == last
    assert find_checkpoint("elsewhere/basic/a/last.ckpt") == last


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("best", "no run with a best.ckpt under checkpoints; run fit first"),
        ("nothing.ckpt", "nothing.ckpt: there is no such file"),
        ("https://host/x.ckpt", "only local files"),
    ],
)
def test_what_is_missing_is_named(which: str, message: str) -> None:
    with pytest.raises(CatDogError, match=message):
        find_checkpoint(which)


def test_two_runs_of_one_second_have_two_folders() -> None:
    first = new_run("basic")
    first.mkdir(parents=True)
    second = new_run("basic")
    assert second != first
    assert second.parent == Path("checkpoints/basic")


def test_only_a_runs_last_checkpoint_goes_on_in_its_folder() -> None:
    last, best = write("r/last.ckpt", 1), write("r/best.ckpt", 1)
    assert run_of(last) is None  # a file copied out of its run
    Path("r/config.yaml").touch()
    assert run_of(last) == Path("r")
    assert run_of(best) is None


def test_no_configuration_is_overwritten() -> None:
    assert config_name(Path()) == "config.yaml"
    Path("config.yaml").touch()
    assert config_name(Path()) == "config-2.yaml"
    Path("config-2.yaml").touch()
    assert config_name(Path()) == "config-3.yaml"
