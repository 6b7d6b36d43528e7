"""Rows of features: kept in files, found again, mended, bounded."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from catdog_pl.io import rows
from catdog_pl.models import features
from catdog_pl.models.features import FeatureCache

KEY = "k" * 8
COUNT = 5
BYTES = COUNT * (2 * 4 + 8)


GPU = torch.device("cpu", 0)
"""Another device than the CPU without a number, as far as a cache can tell."""


class Asked:
    """Asks a cache for features that tell their sample, and notes which samples were computed."""

    def __init__(self, cache: FeatureCache, offset: float = 0.0) -> None:
        self.cache, self.offset = cache, offset
        self.computed: list[int] = []

    def __call__(self, *samples: int) -> None:
        indices = torch.tensor(samples)

        def compute(positions: Tensor) -> Tensor:
            self.computed += indices[positions].tolist()
            return self.rows(indices[positions])

        assert torch.equal(self.cache.batch(indices, compute), self.rows(indices))

    def rows(self, indices: Tensor) -> Tensor:
        return torch.stack([indices, -indices], 1) + self.offset


def files() -> list[Path]:
    return sorted(path for path in features.files().folder.iterdir() if path.suffix)


@pytest.fixture(autouse=True)
def warn_again() -> None:
    rows.warn.cache_clear()


@pytest.mark.parametrize("key", [KEY, None])
def test_what_is_missing_is_computed_and_nothing_else(key: str | None) -> None:
    ask = Asked(FeatureCache(key, COUNT))
    for samples in ([1, 2], [2, 3, 1], [0, 4], [4, 3, 2, 1, 0]):
        ask(*samples)
    assert ask.computed == [1, 2, 3, 0, 4]
    assert (ask.cache.memory_bytes == 0) is bool(key)


def test_a_later_run_finds_them() -> None:
    Asked(FeatureCache(KEY, COUNT))(1, 2)
    later = Asked(FeatureCache(KEY, COUNT))
    later(0, 1, 2)
    other = Asked(FeatureCache("other", COUNT), offset=0.5)
    other(1)
    assert (later.computed, other.computed) == ([0], [1])


def test_two_that_fill_the_same_rows_share_them() -> None:
    one, two = Asked(FeatureCache(KEY, COUNT)), Asked(FeatureCache(KEY, COUNT))
    one(0)
    two(1)
    one(0, 1, 2)
    two(0, 1, 2)
    assert (one.computed, two.computed) == ([0, 2], [1])


def test_another_device_has_a_copy_and_writes_what_is_new() -> None:
    Asked(FeatureCache(KEY, COUNT))(1, 2)
    ask = Asked(FeatureCache(KEY, COUNT, GPU))
    ask(0, 1, 2, 3)
    assert ask.computed == [0, 3]
    assert ask.cache.memory_bytes == COUNT * 2 * 4
    Asked(FeatureCache(KEY, COUNT))(1, 2)
    ask.cache.write()
    later = Asked(FeatureCache(KEY, COUNT, GPU))
    later(0, 1, 2, 3, 4)
    assert later.computed == [4]


def test_another_device_keeps_no_more_than_its_limit() -> None:
    ask = Asked(FeatureCache(None, COUNT, GPU, memory=BYTES - 1))
    ask(0, 1)
    ask(0, 1)
    assert ask.computed == [0, 1, 0, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="it does not tell what a file takes")
def test_the_disk_has_the_place_of_all_rows_from_the_start() -> None:
    Asked(FeatureCache(KEY, 100_000))(1)
    (path,) = files()
    assert path.stat().st_blocks * 512 >= path.stat().st_size


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_no_digit_is_lost(dtype: torch.dtype) -> None:
    expected = torch.rand(COUNT, 3, 2, dtype=dtype)
    for _ in range(2):
        found = FeatureCache(KEY, COUNT).batch(torch.arange(COUNT), lambda positions: expected[positions])
        assert torch.equal(found.to(dtype), expected)
        assert found.dtype is torch.promote_types(dtype, torch.float32)


DAMAGES: dict[str, tuple[Callable[[bytearray], Sequence[int]], list[int]]] = {
    "a flipped bit": (lambda content: content.__setitem__(9, content[9] ^ 1) or content, [1]),
    "a flipped bit of a checksum": (lambda content: content.__setitem__(40, content[40] ^ 1) or content, [0]),
    "a page that never came to the disk": (lambda content: content[:8] + bytes(12) + content[20:], [1, 2]),
    "a file cut short": (lambda content: content[:-1], [0, 1, 2, 3, 4]),
    "an empty file": (lambda content: b"", [0, 1, 2, 3, 4]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_only_what_is_damaged_is_computed_anew(damage: str) -> None:
    Asked(FeatureCache(KEY, COUNT))(*range(COUNT))
    (path,) = files()
    change, lost = DAMAGES[damage]
    path.write_bytes(bytes(change(bytearray(path.read_bytes()))))
    for expected in (lost, []):
        ask = Asked(FeatureCache(KEY, COUNT))
        ask(*range(COUNT))
        assert ask.computed == expected


def test_files_used_longest_ago_are_deleted_but_none_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "LIMIT", 3 * BYTES)
    caches: dict[str, FeatureCache] = {}
    for age, key in enumerate(["used", "old", "new"]):
        Asked(caches.setdefault(key, FeatureCache(key, COUNT)))(0)
        (path,) = features.files().folder.glob(f"{key}.*")
        os.utime(path, (age, age))
    del caches["old"], caches["new"]
    Asked(FeatureCache("another", COUNT))(0)
    assert [path.stem for path in files()] == ["another", "new", "used"]
    again = Asked(caches["used"])
    again(0)
    assert again.computed == []


def test_a_set_above_the_limit_is_kept_in_memory_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Asked(FeatureCache("other", COUNT))(0)
    monkeypatch.setattr(features, "LIMIT", BYTES - 1)
    in_memory, nowhere = Asked(FeatureCache(KEY, COUNT)), Asked(FeatureCache(KEY, COUNT, memory=BYTES - 1))
    for ask in (in_memory, nowhere):
        ask(0, 1)
        ask(1, 2)
    assert (in_memory.computed, nowhere.computed) == ([0, 1, 2], [0, 1, 1, 2])
    assert in_memory.cache.memory_bytes == BYTES
    assert [path.stem for path in files()] == ["other"]  # nothing is deleted for what has no room anyway
    reason = f"0.0 GiB more would be above the limit of {(BYTES - 1) / 2**30:g} GiB"
    expected = f"{features.files().folder} ({reason}); later runs compute them again"
    assert capsys.readouterr().err == f"[WARNING]  features are not kept in {expected}\n"


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rows, "reserve", full_disk)
    for key in ("one", "two"):
        ask = Asked(FeatureCache(key, COUNT))
        ask(0, 1)
        ask(1, 2)
        assert ask.computed == [0, 1, 2]
    assert files() == []
    expected = f"{features.files().folder} (No space left on device); later runs compute them again"
    assert capsys.readouterr().err == f"[WARNING]  features are not kept in {expected}\n"


def test_a_folder_that_cannot_be_made_leaves_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    features.files().folder.parent.mkdir(parents=True)
    features.files().folder.touch()
    ask = Asked(FeatureCache(KEY, COUNT))
    ask(0, 1)
    ask(1)
    assert ask.computed == [0, 1]
    assert capsys.readouterr().err.count("\n") == 1


def test_a_system_that_cannot_reserve_writes_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    Asked(FeatureCache(KEY, COUNT))(1)
    (path,) = files()
    assert path.stat().st_size == BYTES
