import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catdog_pl.errors import CatDogError, UsageError
from catdog_pl.runs import RunFolder, find_checkpoint


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
        ("best", "No trained model found in checkpoints; run fit first"),
        ("nothing.ckpt", "nothing.ckpt: there is no such file"),
        ("https://host/x.ckpt", "only local files"),
    ],
)
def test_what_is_missing_is_named(which: str, message: str) -> None:
    with pytest.raises(CatDogError, match=message):
        find_checkpoint(which)


def test_two_runs_of_one_second_have_two_folders() -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: RunFolder.create("basic"), range(8)))
    assert len({run.path for run in runs}) == 8
    assert all(run.path.parent == Path("checkpoints/basic") and run.path.is_dir() for run in runs)


def test_a_run_is_where_its_configuration_is() -> None:
    last = write("r/last.ckpt", 1)
    assert RunFolder.of(last) is None  # a file copied out of its run
    Path("r/config.yaml").touch()
    assert RunFolder.of(last) == RunFolder(Path("r"))


def test_no_configuration_is_overwritten() -> None:
    run = RunFolder(Path())
    for name in ("config.yaml", "config-2.yaml", "config-3.yaml"):
        assert run.new_config() == Path(name)
        run.new_config().touch()


def test_only_one_process_trains_in_a_folder() -> None:
    run = RunFolder(Path("r"))
    with run.lock():
        with pytest.raises(CatDogError, match="Another process trains in r; wait for its end"), run.lock():
            pass
        assert Path("r").is_dir()
    with run.lock():
        pass
    assert list(Path("r").iterdir()) == []


def test_an_empty_folder_goes_and_another_stays() -> None:
    empty, full = RunFolder.create("basic"), RunFolder.create("vgg16")
    (full.path / "config.yaml").touch()
    for run in (empty, full):
        run.remove_if_empty()
    assert [path.name for path in Path("checkpoints").iterdir()] == ["vgg16"]
    assert full.path.is_dir()


def test_a_url_is_not_a_folder() -> None:
    with pytest.raises(UsageError, match=r"--checkpoint\.dirpath s3://x/y is a URL; give a folder"):
        RunFolder.at("--checkpoint.dirpath", "s3://x/y")
