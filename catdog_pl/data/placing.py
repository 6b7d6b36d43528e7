"""Photographs with a split, put into the folders that ``fit`` reads."""

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from catdog_pl.data.photo import Photo
from catdog_pl.errors import CatDogError

_LONGEST_NAME = 100
# What Windows does not allow in a name, and what no shell likes.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


def place(photos: Sequence[Photo], folder: Path, free_bytes: int, link: bool) -> int:
    """Put every photograph that has a split under ``folder/split/class/``, and note where.

    Args:
        photos: those without a split are passed by.
        folder: of the splits; on the disk of the unpacked photographs.
        free_bytes: what the disk may be filled with.
        link: hard links of the user's files instead of copies, where the disk can.

    Returns:
        How many of the user's files were copied although links were asked for.

    Raises:
        CatDogError: there is too little room.
    """
    chosen = [photo for photo in photos if photo.split]
    needed = sum(photo.size for photo in chosen if not (photo.ours or link))
    if needed > free_bytes:
        raise CatDogError(
            f"{needed:,} bytes of photographs do not fit on the disk of {folder.parent.parent},"
            f" which has {free_bytes:,} free; make room, or use --link if they lie on the same disk"
        )
    _name(chosen)
    for name in sorted({os.path.dirname(photo.file) for photo in chosen}):
        (folder / name).mkdir(parents=True)
    bar: tqdm[Photo] = tqdm(chosen, desc="placing", unit="photo", disable=None)
    return sum(_put(photo, folder / photo.file, link) for photo in bar)


def _name(photos: Sequence[Photo]) -> None:
    """Choose every file's name: its own, with a part of its hash where another has the same."""
    taken: set[str] = set()
    for photo in photos:
        folder = f"{photo.split}/{photo.label}"
        file = f"{folder}/{safe_name(photo.origin, photo.extension)}"
        if file.casefold() in taken:  # as macOS and Windows compare names
            stem, ending = os.path.splitext(file)
            file = f"{stem}-{photo.sha256[:16]}{ending}"
        taken.add(file.casefold())
        photo.file = file


def safe_name(origin: str, extension: str) -> str:
    """A file name that every system can hold, from one that anybody may have chosen.

    Args:
        origin: the name, with folders before it.
        extension: the ending to give it.
    """
    stem = _FORBIDDEN.sub("_", PurePosixPath(origin.rpartition("/")[2]).stem)
    stem = stem[:_LONGEST_NAME].strip(" .") or "photo"
    return f"{'_' if _DEVICES.fullmatch(stem.partition('.')[0]) else ''}{stem}{extension}"


def _put(photo: Photo, target: Path, link: bool) -> bool:
    """Link or copy one file; whether it was copied against the user's wish."""
    if photo.ours or link:
        try:
            os.link(photo.path, target)
            return False
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(photo.path, target)
            return not photo.ours
    shutil.copyfile(photo.path, target)
    return False
