"""Photographs with a split, put into the folders that ``fit`` reads, by way of a hidden folder.

``ROOT/.prepare`` holds what is unfinished:

    downloads/     archives from the web, complete or ``.part``
    unpacked/      one folder for each archive, complete or ``.part``
    new/           the folders and files that will lie in ROOT
    ready          written when ``new`` is complete; names what ROOT holds and ``new`` does not
    old/           what ROOT held before, until the exchange is done
    lock           held by the run at work
    photos.sqlite  its table of photographs

Until ``ready`` is there, ROOT is not touched. From then on each step moves one name, on one disk, and
`Staging.finish` can be called again after any of them: the next run finishes one that was killed there. After
a power cut, ``prepare --check`` tells whether the disk has kept everything.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Self

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from catdog_pl.data.prepare.manifest import counts
from catdog_pl.data.prepare.photo import Photo
from catdog_pl.data.prepare.photos import Photos
from catdog_pl.errors import CatDogError, ImageError

STAGING = ".prepare"

# Left free on the disk for the manifest, the report and everybody else.
_RESERVE_BYTES = 200 * 10**6

_IS_CHOSEN = "split IS NOT NULL"


class Staging:
    """The unfinished part of a prepared folder; used in a ``with`` statement, by one run at a time.

    Opening it makes the folder when missing. ``finished`` tells whether that has finished an earlier run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / STAGING
        self.downloads = self.folder / "downloads"
        self.unpacked = self.folder / "unpacked"
        self.new = self.folder / "new"
        self.old = self.folder / "old"
        self.ready = self.folder / "ready"
        self.table = self.folder / "photos.sqlite"
        self.finished = False
        self._is_new = not root.exists()
        self._lock = FileLock(self.folder / "lock", timeout=0)

    def __enter__(self) -> Self:
        """Take the lock, finish what an earlier run had ready, and clear what it had half built.

        Raises:
            CatDogError: another run is at work.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise CatDogError(f"another prepare is at work in {self.root}; wait for it to end") from error
        self.finished = self.ready.exists()
        if self.finished:
            self.finish()
        _remove(self.old)
        _remove(self.table)
        self.empty(self.new)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release the lock; after an error, keep what the next run can continue from."""
        if kind is None:
            self._clear()
        elif not self.ready.exists():  # else it is in the middle of the exchange
            _remove(self.new)
        self._lock.release()
        if not any(path.is_file() and path.name != "lock" for path in self.folder.rglob("*")):
            shutil.rmtree(self.folder)
            if self._is_new and not any(self.root.iterdir()):
                self.root.rmdir()

    def empty(self, folder: Path) -> Path:
        """Make a folder that is empty, and return it."""
        _remove(folder)
        folder.mkdir(parents=True)
        return folder

    def free_bytes(self) -> int:
        """Return what may be written before the disk is too full."""
        return max(0, shutil.disk_usage(self.folder).free - _RESERVE_BYTES)

    def commit(self, names: Iterable[str]) -> None:
        """Put what ``new`` holds in place of what ROOT holds; of ``names``, what ``new`` lacks goes away."""
        obsolete = [name for name in names if not (self.new / name).exists()]
        part = self.ready.with_suffix(".part")
        part.write_text("\n".join(obsolete), encoding="utf-8")
        part.replace(self.ready)
        self.finish()

    def finish(self) -> None:
        """Exchange, name by name, and clear away; can be repeated after any interruption."""
        self.old.mkdir(exist_ok=True)
        for name in self.ready.read_text(encoding="utf-8").splitlines():
            self._move_away(name)
        for entry in sorted(self.new.iterdir()) if self.new.exists() else []:
            self._move_away(entry.name)
            entry.rename(self.root / entry.name)
        self.ready.unlink()
        self._clear()

    def _move_away(self, name: str) -> None:
        if (self.root / name).exists():
            (self.root / name).rename(self.old / name)

    def _clear(self) -> None:
        for path in (self.old, self.new, self.unpacked, self.downloads, self.ready.with_suffix(".part")):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def place(photos: Photos, folder: Path, free_bytes: int, link: bool) -> int:
    """Put every photograph that has a split under ``folder/split/class/``, and note where in `Photo.file`.

    With ``link``, the user's files become hard links where the disk can; returns how many did not.

    Raises:
        CatDogError: there is too little room, or a photograph has vanished meanwhile.
    """
    is_copied = f"{_IS_CHOSEN} AND NOT is_ours AND (place != '' OR NOT ?)"
    needed = int(photos.query(f"SELECT total(size) FROM photos WHERE {is_copied}", link).fetchone()[0])
    if needed > free_bytes:
        raise CatDogError(
            f"{needed:,} bytes of photographs do not fit on the disk, which has {free_bytes:,} free; make"
            " room, or give --link, which takes none for files on the same disk"
        )
    photos.query_each("UPDATE photos SET file = ? WHERE number = ?", _files(photos))
    for split, classes in counts(photos).items():
        for label in classes:
            (folder / split / label).mkdir(parents=True)
    # In one thread: files of one folder are created one after another by the system, and threads that wait
    # for their turn were slower.
    chosen, count = photos.select(_IS_CHOSEN), photos.count(_IS_CHOSEN)
    bar: tqdm[Photo] = tqdm(chosen, total=count, desc="placing", unit="photo", disable=None)
    return sum(_copy_or_link(photo, folder / photo.file, link) for photo in bar)


def _files(photos: Photos) -> Iterator[tuple[str, int]]:
    """Yield every file's name, its own with a part of its hash where another has the same, and its number."""
    taken: set[str] = set()
    folder = None
    for number, name, split, label, extension, sha256 in photos.query(
        f"SELECT number, name, split, label, extension, sha256 FROM photos WHERE {_IS_CHOSEN}"
        " ORDER BY split, label, number"
    ):
        if folder != (folder := f"{split}/{label}"):
            taken.clear()  # of the folder before, for a million names take a lot of memory
        file = safe_name(PurePosixPath(name).stem, extension)
        if file.casefold() in taken:  # as macOS and Windows compare names
            stem, ending = os.path.splitext(file)
            file = f"{stem}-{sha256[:16]}{ending}"
        taken.add(file.casefold())
        yield f"{folder}/{file}", number


def _copy_or_link(photo: Photo, target: Path, link: bool) -> bool:
    """Put one photograph in its place; return whether it was copied where a link was asked for."""
    can_link = photo.is_ours or (link and not photo.place)
    if can_link:
        path = os.path.realpath(photo.path) if os.path.islink(photo.path) else photo.path
        with suppress(OSError):  # another disk, or a file system without links
            os.link(path, target)  # of a link, the file behind it
            return False
    try:
        content = photo.source.read()
    except ImageError as error:
        raise CatDogError(f"{photo.name}: {error.reason}; it could be read before. Prepare again") from error
    if len(content) != photo.inspection.size:
        raise CatDogError(f"{photo.name} has changed since it was checked; prepare again")
    target.write_bytes(content)
    return can_link and not photo.is_ours


_LONGEST = 100
# File systems count 255 bytes, of which an ending and a part of a hash take some; one letter is up to 4.
_LONGEST_BYTES = 200
# What Windows does not allow in a name, and no shell likes.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(stem: str, extension: str) -> str:
    """Return a file name that every system can hold, from one without folders and an ending with its dot."""
    stem = _safe(stem).strip(" .") or "photo"
    return f"{'_' if _DEVICES.fullmatch(stem) else ''}{stem}{extension}"


@lru_cache
def safe_label(folder: str) -> str:
    """Return a class's name, from that of its folder: lower case, and not one that would be hidden."""
    word = _safe(folder.casefold()).strip(" ._") or "class"
    return f"{word}_" if _DEVICES.fullmatch(word) else word


def _safe(text: str) -> str:
    content = _FORBIDDEN.sub("_", text)[:_LONGEST].encode(errors="replace")
    return content[:_LONGEST_BYTES].decode(errors="ignore")
