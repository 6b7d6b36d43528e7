"""Photographs are decoded once: kept in files, found by later runs and other processes, mended, bounded."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from catdog_pl.data import dataset, images
from catdog_pl.data.datamodule import CatDogDataModule
from catdog_pl.data.dataset import CachedImageFolder
from catdog_pl.data.images import ResizeRule
from catdog_pl.errors import ImageError, UsageError
from catdog_pl.io import rows
from catdog_pl.io.rows import RowFiles, Rows
from catdog_pl.runs import find_checkpoint
from tests.conftest import Run

SIZE = 16
PHOTO = SIZE * SIZE * 3
BYTES = 16 * (PHOTO + 8)
"""Of the file of 16 photographs."""

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def warn_again() -> None:
    rows.warn.cache_clear()


@pytest.fixture
def train(photos: Path, tmp_path: Path) -> Path:
    """A copy of the 16 training photographs, to be changed."""
    return shutil.copytree(photos / "train", tmp_path / "data" / "train")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the photographs that are decoded from now on."""
    names: list[str] = []
    original = images.load_pixels

    def load_pixels(path: Path, size: int, rule: ResizeRule) -> np.ndarray:
        names.append(path.name)
        return original(path, size, rule)

    monkeypatch.setattr(dataset, "load_pixels", load_pixels)
    return names


def files(limit: int = rows.LIMIT) -> RowFiles:
    return RowFiles("decoded photographs", Path("cache"), limit)


def pixels(root: Path, kept: RowFiles | None, size: int = SIZE, resize: ResizeRule = "nearest") -> Tensor:
    folder = CachedImageFolder(root, size, resize, kept)
    folder.decode()
    assert folder.pixels is not None
    return folder.pixels


def only_file() -> Path:
    (path,) = Path("cache").glob("*.uint8-*")
    return path


def test_a_later_run_decodes_nothing_and_has_the_same_pixels(train: Path, decoded: list[str]) -> None:
    expected = pixels(train, None)
    assert len(decoded) == 16
    for _ in range(2):
        folder = CachedImageFolder(train, SIZE, files=files())
        folder.decode()
        assert folder.pixels is not None
        assert torch.equal(folder.pixels, expected)
        assert torch.equal(folder.__getitems__([3, 1])[0].permute(0, 2, 3, 1), expected[[3, 1]])
        assert len(decoded) == 32


def test_the_digest_is_that_of_the_pixels_wherever_they_are(train: Path) -> None:
    folders = [CachedImageFolder(train, SIZE, files=kept) for kept in (None, files(), files())]
    for folder in folders:
        assert folder.digest is None
        folder.decode()
    assert len({folder.digest for folder in folders}) == 1


@pytest.mark.parametrize("size", [SIZE, SIZE + 1])
@pytest.mark.parametrize("resize", ["nearest", "lanczos"])
def test_another_size_rule_or_decoder_has_a_file_of_its_own(
    size: int, resize: ResizeRule, train: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels(train, files())
    if (size, resize) == (SIZE, "nearest"):
        monkeypatch.setattr(dataset, "decoder", lambda: "another Pillow")
    expected = pixels(train, None, size, resize)
    assert torch.equal(pixels(train, files(), size, resize), expected)
    assert len(decoded) == 48
    assert len(list(Path("cache").glob("*.uint8-*"))) == 2


def overwrite(photo: Path) -> None:
    """The size and the time of the last change stay as they were."""
    before = photo.stat()
    content = bytearray(photo.read_bytes())
    content[-200:-100] = content[-300:-200]
    photo.write_bytes(content)
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "replaced by another": lambda photo: shutil.copy(photo.with_name("cat.2.jpg"), photo),
    "exchanged with another": lambda photo: (
        photo.rename("x"),
        photo.with_name("cat.2.jpg").rename(photo),
        Path("x").rename(photo.with_name("cat.2.jpg")),
    ),
    "gone": Path.unlink,
    "another name": lambda photo: photo.rename(photo.with_name("cat.99.jpg")),
    "one more": lambda photo: shutil.copy2(photo, photo.with_name("cat.99.jpg")),
}
if sys.platform != "win32":  # it does not tell when a file's content was changed
    CHANGES["overwritten, with its old size and time"] = overwrite


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_photograph_is_seen_and_a_running_training_keeps_what_it_had(
    change: str, train: Path
) -> None:
    running = pixels(train, files())
    before = running.clone()
    CHANGES[change](train / "cat" / "cat.1.jpg")
    expected = pixels(train, None)
    assert not torch.equal(before, expected)
    assert torch.equal(pixels(train, files()), expected)
    assert torch.equal(running, before)


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "a flipped bit of a photograph": (lambda content: bytes([content[0] ^ 1]) + content[1:], 1),
    "a flipped bit of a checksum": (
        lambda content: content[:-8] + bytes([content[-8] ^ 1]) + content[-7:],
        1,
    ),
    "pages that never came to the disk": (lambda content: bytes(2 * PHOTO) + content[2 * PHOTO :], 2),
    "a file cut short": (lambda content: content[:-1], 16),
    "an empty file": (lambda content: b"", 16),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_only_what_is_damaged_is_decoded_anew(damage: str, train: Path, decoded: list[str]) -> None:
    expected = pixels(train, files()).clone()
    change, lost = DAMAGES[damage]
    only_file().write_bytes(change(only_file().read_bytes()))
    for count in (lost, 0):
        decoded.clear()
        assert torch.equal(pixels(train, files()), expected)
        assert len(decoded) == count


def test_a_start_reads_no_photograph_and_a_batch_is_checked_once(
    train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = pixels(train, files()).clone()
    checked: list[int] = []
    is_whole = Rows.is_whole

    def note(kept: Rows, index: int) -> bool:
        checked.append(index)
        return is_whole(kept, index)

    monkeypatch.setattr(Rows, "is_whole", note)
    folder = CachedImageFolder(train, SIZE, files=files())
    folder.decode()
    assert checked == []
    for _ in range(2):
        batch, _, _ = folder.__getitems__([3, 1])
        assert torch.equal(batch.permute(0, 2, 3, 1), expected[[3, 1]])
        assert checked == [3, 1]
    assert folder.pixels is not None
    assert sorted(checked) == list(range(16))


def test_what_is_damaged_is_decoded_anew_when_a_batch_asks_for_it(train: Path, decoded: list[str]) -> None:
    expected = pixels(train, files()).clone()
    content = only_file().read_bytes()
    only_file().write_bytes(bytes(2 * PHOTO) + content[2 * PHOTO :])
    folder = CachedImageFolder(train, SIZE, files=files())
    decoded.clear()
    folder.decode()
    for batch in ([5, 1], [1, 6], [0]):
        assert torch.equal(folder.__getitems__(batch)[0].permute(0, 2, 3, 1), expected[batch])
    assert decoded == ["cat.1.jpg", "cat.0.jpg"]
    assert only_file().read_bytes() == content


def test_what_another_process_decodes_meanwhile_is_not_decoded_again(
    train: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    one, two = (CachedImageFolder(train, SIZE, files=files()) for _ in range(2))
    original = one._load

    def load(index: int) -> np.ndarray:
        two.decode(start=8)
        return original(index)

    monkeypatch.setattr(one, "_load", load)
    one.decode()
    assert decoded[:2] == ["dog.0.jpg", "dog.1.jpg"]
    assert len(decoded) == 16 + 1
    assert one.pixels is not None
    assert two.pixels is not None
    assert torch.equal(one.pixels, two.pixels)


@pytest.mark.slow
def test_processes_that_start_together_share_the_work(train: Path) -> None:
    program = (
        "import sys; from catdog_pl.data import dataset; from catdog_pl.io.rows import *\n"
        "count, load = [], dataset.load_pixels\n"
        "dataset.load_pixels = lambda *words: count.append(1) or load(*words)\n"
        "files = RowFiles('photographs', Path('cache'), LIMIT)\n"
        f"folder = dataset.CachedImageFolder({str(train)!r}, 300, files=files)\n"
        "print('ready', flush=True); sys.stdin.read(1)\n"
        "folder.decode(start=int(sys.argv[1])); print(len(count), folder.digest)"
    )
    words = [[sys.executable, "-c", program, str(start)] for start in (0, 8, 8)]
    processes = [
        subprocess.Popen(word, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for word in words
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("x")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert 16 <= sum(int(count) for count, _ in answers) <= 48
    folder = CachedImageFolder(train, 300)
    folder.decode()
    assert {digest for _, digest in answers} == {folder.digest}


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_folder(monkeypatch: pytest.MonkeyPatch) -> str:
    Path("cache").touch()
    return "File exists"


def no_space(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(rows, "reserve", full_disk)
    return "No space left on device"


def little_space(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=rows.FREE))
    return "0.0 GiB more would leave the disk less than 1 GiB"


def no_rights(monkeypatch: pytest.MonkeyPatch) -> str:
    original = Path.open

    def refuse(path: Path, mode: str = "r", *words: object, **options: object) -> object:
        if path.parent.name == "cache" and mode != "rb":
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(path, mode, *words, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    return "Permission denied"


@pytest.mark.parametrize("prevent", [no_folder, no_space, little_space, no_rights])
def test_where_nothing_can_be_written_the_photographs_are_kept_in_memory(
    prevent: Callable[[pytest.MonkeyPatch], str],
    train: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reason = prevent(monkeypatch)
    assert torch.equal(pixels(train, files()), pixels(train, None))
    assert torch.equal(pixels(train, files()), pixels(train, None))
    assert not list(Path().glob("cache/*.uint8-*"))
    assert capsys.readouterr().err == (
        f"[WARNING]  decoded photographs are not kept in cache ({reason}); later runs compute them again\n"
    )


def test_the_bound_holds_and_no_other_file_is_deleted(train: Path) -> None:
    Path("cache").mkdir()
    for name in ("cat.jpg", "film.mp4", "model.h5", "x.tar.bz2"):
        Path("cache", name).write_bytes(bytes(BYTES))
    for size in (SIZE, SIZE, SIZE - 1, SIZE - 2, SIZE):
        pixels(train, files(limit=2 * BYTES), size)
        kept = sorted(path.suffix for path in Path("cache").glob("*.uint8-*"))
        assert f".uint8-{size}-{size}-3" in kept
    assert kept == [".uint8-14-14-3", ".uint8-16-16-3"]
    assert len(list(Path("cache").glob("*.*"))) == 2 + 4 + 1  # and the lock


def test_a_photograph_that_is_lost_meanwhile_is_named(train: Path) -> None:
    folder = CachedImageFolder(train, SIZE, files=files())
    (train / "dog" / "dog.3.jpg").unlink()
    with pytest.raises(ImageError, match=r"dog\.3\.jpg"):
        folder.decode()


def setup(photos: Path, **options: object) -> None:
    CatDogDataModule(photos, image_size=SIZE, **options).setup("fit")  # type: ignore[arg-type]


def test_the_folder_is_an_option_and_can_be_none(photos: Path, capsys: Capture) -> None:
    setup(photos, cache_dir="none")
    assert not list(Path().rglob("*.uint8-*"))
    setup(photos, cache_dir=Path("scratch"))
    setup(photos, cache_dir="scratch", cache_gib=0)
    assert len(list(Path("scratch/catdog_pl/photographs").glob("*.uint8-*"))) == 2
    setup(photos)
    assert len(list(Path("torch_home/hub/catdog_pl/photographs").glob("*.uint8-*"))) == 2
    with pytest.raises(UsageError, match=r"cache_dir s3://x is a URL; give a folder of this machine, auto"):
        CatDogDataModule(cache_dir="s3://x")
    assert capsys.readouterr().err == ""


def test_a_larger_set_may_have_more_than_the_limit() -> None:
    small, large = CatDogDataModule(), CatDogDataModule(cache_gib=100)
    assert small.row_files is not None
    assert large.row_files is not None
    assert (small.row_files.limit, large.row_files.limit) == (rows.LIMIT, 100 * 2**30)


@pytest.mark.slow
def test_a_training_is_bit_equal_with_and_without_the_files_and_when_resumed(photos: Path, run: Run) -> None:
    tiny = "--image_size 32 --accelerator cpu --model.filters [4,4] --model.dense_units 8 --batch_size 5"
    weights = []
    for name, words in {
        "memory": "--data.cache_dir none",
        "first": "--data.cache_dir scratch",
        "second": "--data.cache_dir scratch",
        "workers": "--data.cache_dir scratch --num_workers 2",
        "each epoch": "--data.cache_gib 0 --num_workers 0",
    }.items():
        line = f"fit {tiny} --max_epochs 2 --trainer.default_root_dir {name[:3]} {words}"
        assert run(line, "--root", photos) == 0
        weights.append(find_checkpoint("last", root=Path(name[:3])))
    line = f"fit {tiny} --max_epochs 1 --trainer.default_root_dir part --data.cache_dir none"
    assert run(line, "--root", photos) == 0
    last = find_checkpoint("last", root=Path("part"))
    assert run(f"fit --ckpt_path {last} --max_epochs 2 --data.cache_dir scratch") == 0
    first, *others = (torch.load(path, weights_only=True)["state_dict"] for path in [*weights, last])
    for other in others:
        assert all(torch.equal(value, other[key]) for key, value in first.items())
