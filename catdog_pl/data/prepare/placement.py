"""Photographs with a split, put into the folders that ``fit`` reads."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from catdog_pl.data.prepare.contents import Content, ContentError, read
from catdog_pl.data.prepare.names import safe_name
from catdog_pl.data.prepare.photo import Photo
from catdog_pl.errors import CatDogError


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
        CatDogError: there is too little room, or a photograph has vanished meanwhile.
    """
    chosen = [photo for photo in photos if photo.split]
    needed = sum(photo.seen.size for photo in chosen if not _can_link(photo, link))
    if needed > free_bytes:
        raise CatDogError(
            f"{needed:,} bytes of photographs do not fit on the disk, which has {free_bytes:,} free; make"
            " room, or give --link, which takes none for files on the same disk"
        )
    _name(chosen)
    for name in sorted({os.path.dirname(photo.file) for photo in chosen}):
        (folder / name).mkdir(parents=True)
    # In one thread: files of one folder are created one after another by the system, and threads that wait
    # for their turn were slower.
    bar: tqdm[Photo] = tqdm(chosen, desc="placing", unit="photo", disable=None)
    return sum(_put(folder, link, photo) for photo in bar)


def _name(photos: Sequence[Photo]) -> None:
    """Choose every file's name: its own, with a part of its hash where another has the same."""
    taken: set[str] = set()
    for photo in photos:
        folder = f"{photo.split}/{photo.label}"
        stem = PurePosixPath(photo.origin.rpartition("/")[2]).stem
        file = f"{folder}/{safe_name(stem, photo.seen.extension)}"
        if file.casefold() in taken:  # as macOS and Windows compare names
            stem, ending = os.path.splitext(file)
            file = f"{stem}-{photo.seen.sha256[:16]}{ending}"
        taken.add(file.casefold())
        photo.file = file


def _can_link(photo: Photo, link: bool) -> bool:
    """Whether a hard link may stand for a copy: of our own files always, of the user's when asked."""
    return photo.ours or (link and photo.content is not None and photo.content.packed is None)


def _put(folder: Path, link: bool, photo: Photo) -> bool:
    """Put one photograph in its place; whether it was copied where a link was asked for."""
    assert photo.content is not None  # only what was decoded has a split
    target = folder / photo.file
    if _can_link(photo, link):
        try:
            os.link(photo.content.path, target)
            return False
        except OSError:  # another disk, or a file system without links
            _copy(photo, photo.content, target)
            return not photo.ours
    _copy(photo, photo.content, target)
    return False


def _copy(photo: Photo, content: Content, target: Path) -> None:
    try:
        data = read(content)
    except ContentError as error:
        raise CatDogError(f"{photo.origin}: {error}; it could be read before. Prepare again") from error
    if len(data) != photo.seen.size:
        raise CatDogError(f"{photo.origin} has changed since it was checked; prepare again")
    target.write_bytes(data)
