import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from catdog_pl.data.prepare.archives import Limits, stem, unpack, unpacked
from catdog_pl.data.prepare.photo import Photo, Verdict
from catdog_pl.errors import ArchiveError, ImageError

PHOTO = random.Random(0).randbytes(3000)
PLENTY = 10**12


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred(members: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = b"" if isinstance(data, tarfile.TarInfo) else data
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def entries(
    tmp_path: Path, data: bytes, limits: Limits | None = None, free_bytes: int = PLENTY
) -> list[Photo]:
    archive = tmp_path / "in" / "archive.bin"  # told by its content, not by its name
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(data)
    unpack(archive, tmp_path / "out", "archive.bin", limits or Limits(), free_bytes)
    return list(unpacked(tmp_path / "out", "archive.bin"))


OTHERS = {"labels.csv": Verdict.PASSED_BY, "Thumbs.db": Verdict.PASSED_BY}


def inner(photo: Photo) -> str:
    return photo.name.removeprefix("archive.bin/")


def taken(found: list[Photo]) -> dict[str, bytes]:
    return {inner(photo): photo.source.read() for photo in found if photo.is_usable}


def refused(found: list[Photo]) -> dict[str, Verdict]:
    """What may not be used, without the files of `OTHERS` in every archive."""
    verdicts = {inner(photo): photo.verdict for photo in found if not photo.is_usable}
    assert verdicts.items() >= OTHERS.items()
    return {name: verdict for name, verdict in verdicts.items() if name not in OTHERS}


TREE = {"train/cat.0.jpg": PHOTO, "train/dog.0.JPG": PHOTO[::-1], "labels.csv": b"1", "Thumbs.db": b"2"}
PHOTOS = {"train/cat.0.jpg": PHOTO, "train/dog.0.JPG": PHOTO[::-1]}


@pytest.mark.parametrize(
    "data",
    [
        zipped(TREE),
        zipped(TREE, zipfile.ZIP_STORED),
        zipped(TREE, zipfile.ZIP_BZIP2),
        tarred(dict(TREE)),
        tarred(dict(TREE), "w:gz"),
        tarred(dict(TREE), "w:bz2"),
        b"#!/bin/sh\n" + zipped(TREE),
    ],
    ids=["deflated", "stored", "bzip2", "tar", "tar.gz", "tar.bz2", "after a script"],
)
def test_the_photographs_of_every_archive_are_found(tmp_path: Path, data: bytes) -> None:
    assert taken(entries(tmp_path, data)) == PHOTOS


def test_a_zip_is_not_unpacked_to_the_disk(tmp_path: Path) -> None:
    entries(tmp_path, zipped(TREE), free_bytes=0)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photographs.csv"]


@pytest.mark.parametrize("inner", [zipped(TREE), tarred(dict(TREE), "w:gz")], ids=["zip", "tar.gz"])
@pytest.mark.parametrize("outer", [zipped, tarred], ids=["zip", "tar"])
def test_an_archive_in_an_archive_is_read(
    tmp_path: Path, inner: bytes, outer: Callable[[dict[str, bytes]], bytes]
) -> None:
    ending = "zip" if inner.startswith(b"PK") else "tar.gz"
    found = entries(tmp_path, outer({f"train.{ending}": inner, "cat.9.jpg": PHOTO}))
    assert taken(found) == {f"train.{ending}/{name}": data for name, data in PHOTOS.items()} | {
        "cat.9.jpg": PHOTO
    }


def test_the_shadow_files_of_a_mac_and_hidden_ones_are_passed_by(tmp_path: Path) -> None:
    shadows = {"__MACOSX/train/._cat.0.jpg": b"1", "train/._cat.0.jpg": b"2", ".trash/cat.1.jpg": b"3"}
    assert taken(entries(tmp_path, zipped(TREE | shadows))) == PHOTOS


ESCAPES = (
    "../cat.1.jpg",
    "train/../../cat.2.jpg",
    "/tmp/cat.3.jpg",
    "C:/cat.4.jpg",
    "..\\cat.5.jpg",
    "\\\\x\\cat.6.jpg",
)


@pytest.mark.parametrize("make", [zipped, tarred], ids=["zip", "tar"])
def test_paths_that_lead_out_are_listed_and_lead_nowhere(
    tmp_path: Path, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    found = entries(tmp_path, make(TREE | dict.fromkeys(ESCAPES, PHOTO)))
    assert taken(found) == PHOTOS
    assert refused(found) == {name.replace("\\", "/"): Verdict.UNSAFE for name in ESCAPES}
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_links_devices_and_pipes_of_a_tar_are_listed_and_not_made(tmp_path: Path) -> None:
    specials = {
        "train/link.jpg": special("train/link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        "train/hard.jpg": special("train/hard.jpg", tarfile.LNKTYPE, "train/cat.0.jpg"),
        "train/pipe.jpg": special("train/pipe.jpg", tarfile.FIFOTYPE),
        "train/disk.jpg": special("train/disk.jpg", tarfile.BLKTYPE),
        "link": special("link", tarfile.SYMTYPE, "/"),
    }
    found = entries(tmp_path, tarred({**specials, "link/cat.7.jpg": PHOTO, **TREE}))
    assert taken(found) == {**PHOTOS, "link/cat.7.jpg": PHOTO}
    assert refused(found) == dict.fromkeys(specials, Verdict.UNSAFE)
    assert all(stat.S_ISREG(path.lstat().st_mode) for path in (tmp_path / "out").iterdir())


def test_a_link_of_a_zip_is_listed_and_not_made(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        link = zipfile.ZipInfo("train/link.jpg")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        for name in OTHERS:
            archive.writestr(name, "1")
    assert refused(entries(tmp_path, file.getvalue())) == {"train/link.jpg": Verdict.UNSAFE}


def test_a_damaged_or_encrypted_member_is_listed_and_the_others_are_taken(tmp_path: Path) -> None:
    data = bytearray(zipped(TREE, zipfile.ZIP_STORED))
    data[data.index(PHOTO) + 100] ^= 1
    directory = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[directory + 8] |= 1  # the flag of encryption, of the second member
    found = entries(tmp_path, bytes(data))
    assert refused(found) == {"train/dog.0.JPG": Verdict.UNREADABLE}
    damaged = next(photo for photo in found if photo.is_usable)
    with pytest.raises(ImageError, match="checksum"):
        damaged.source.read()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no zip"),
        (b"Rar!\x1a\x07\x00" + b"0" * 500, "no zip"),
        (zipped(TREE)[:-30], "no zip"),
        (tarred(dict(TREE), "w:gz")[:-900], "end"),
        (tarred(dict(TREE))[:3000], "end"),
        (tarred(dict(TREE))[:3584], "end is missing"),
        (tarred(dict(TREE))[:4000], "end is missing"),
        (tarred(dict(TREE))[:3584] + b"x" * 2048, "damaged in the middle"),
        (b"\x1f\x8b" + b"0" * 500, "cannot be unpacked"),
    ],
    ids=range(9),  # not the bytes, in which the time of day is
)
def test_what_is_no_archive_is_refused_and_leaves_nothing(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason) as error:
        entries(tmp_path, data)
    assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_a_zip_that_says_it_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    zeros = zipped({f"{number}.bmp": bytes(10**6) for number in range(50)})
    assert len(zeros) < 60_000
    with pytest.raises(ArchiveError, match=r"10,000,000 bytes, the limit of --max-gigabytes"):
        entries(tmp_path, zeros, Limits(unpacked_bytes=10**7))
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_says(tmp_path: Path) -> None:
    data = bytearray(zipped({"cat.0.jpg": bytes(10**6)}))
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (100).to_bytes(4, "little")
    (photo,) = entries(tmp_path, bytes(data))
    with pytest.raises(ImageError, match="checksum"):
        photo.source.read()


@pytest.mark.parametrize("name", ["0.bmp", "notes.txt"])
def test_a_tar_bomb_is_stopped_while_it_is_read(tmp_path: Path, name: str) -> None:
    bomb = tarred({name: bytes(30 * 10**6), "1.jpg": PHOTO}, "w:gz")
    assert len(bomb) < 60_000
    with pytest.raises(ArchiveError, match="limit"):
        entries(tmp_path, bomb, Limits(unpacked_bytes=10**7))
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.parametrize("make", [zipped, tarred], ids=["zip", "tar"])
def test_a_disk_is_never_filled(tmp_path: Path, make: Callable[[dict[str, bytes]], bytes]) -> None:
    inner = make({f"{number}.jpg": PHOTO for number in range(10)})
    with pytest.raises(ArchiveError, match="disk"):
        entries(tmp_path, tarred({"inner.zip": inner}), free_bytes=5000)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="more than 3 files"):
        entries(tmp_path, zipped(TREE), Limits(files=3))


def test_archives_in_archives_end_at_a_depth(tmp_path: Path) -> None:
    data = zipped(TREE)
    for _ in range(3):
        data = zipped({"inner.zip": data})
    with pytest.raises(ArchiveError, match="too deeply"):
        entries(tmp_path, data)


def test_a_tar_header_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 3 * 10**9
    with pytest.raises(ArchiveError, match="header of 3,"):
        entries(tmp_path, header.tobuf() + bytes(1024))


@pytest.mark.parametrize("letter", ["x", "\udcff"])
def test_a_name_without_end_is_cut(tmp_path: Path, letter: str) -> None:
    (photo,) = entries(tmp_path, tarred({f"{letter * 200_000}.jpg": PHOTO}))
    assert photo.name.endswith(".jpg")
    assert len(photo.name) < 131_072


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    nested = {"\x1b[31m.zip": zipped({"a.zip": zipped({"b.zip": b""})})}
    with pytest.raises(ArchiveError, match=r"\\x1b\[31m.zip/a.zip/b.zip") as error:
        entries(tmp_path, zipped(nested))
    assert str(error.value).isprintable()


def test_the_name_of_an_archive_loses_its_ending() -> None:
    assert [stem(name) for name in ("a.zip", "b.tar.GZ", "c.d.tgz", "e.jpg")] == ["a", "b", "c.d", "e.jpg"]
