"""Local files: written whole or not at all, found in folders by one rule, told from URLs."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from catdog_pl.errors import CatDogError, first_line

IMAGE_EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff",
    ".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".heic", ".heif",
)  # fmt: skip
"""Endings of file names, in lower case, that make a file in a folder an image."""

SYSTEM_FOLDERS = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information", "@eaDir"})
"""Folders that archives, Windows and network drives add; what looks like a photograph there is none."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://|data:", re.IGNORECASE)


@contextmanager
def atomic_write(target: Path, advice: str = "make room, or choose another place") -> Iterator[Path]:
    """Give a path beside ``target`` to write to; it takes the target's place when the block ends well.

    A reader sees the old file or the new one, never half of one, also after a crash. When the block fails,
    what it wrote is removed and the target is untouched.

    Args:
        target: the file; its folder is made when missing.
        advice: what the error tells the user to do.

    Raises:
        CatDogError: the disk is full, or the folder cannot be made or written to.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError where the disk is full
        raise write_error(target, error, advice) from error
    finally:
        with suppress(OSError):  # its folder may be none
            part.unlink(missing_ok=True)


def write_error(target: object, error: Exception, advice: str) -> CatDogError:
    """Return the one error for a file that cannot be written.

    Args:
        target: what was to be written.
        error: why it was not.
        advice: what the user can do.
    """
    reason = getattr(error, "strerror", None) or first_line(error)
    return CatDogError(f"{target} cannot be written ({reason}); {advice}")


def refuse_existing(target: Path, advice: str = "give another --output, or --overwrite") -> None:
    """Hold a file that is there against being replaced.

    Raises:
        CatDogError: the target exists, be it as a broken link.
    """
    if os.path.lexists(target):
        raise CatDogError(f"{target} exists already; {advice}")


def is_url(word: str) -> bool:
    """Return whether a word is meant as a URL, of any scheme, and not as a path.

    One letter before the colon is a drive of Windows.
    """
    return _URL.match(word) is not None


def is_image_name(name: str) -> bool:
    """Return whether a file found in a folder counts as an image: right ending, not hidden."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_EXTENSIONS)


def is_visible_folder(name: str) -> bool:
    """Return whether a folder of this name is looked into: not hidden, and none of the system's."""
    return not name.startswith(".") and name not in SYSTEM_FOLDERS


def walk(folder: str | Path, on_error: Callable[[OSError], None]) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder from ``folder`` down with the names of its images, both in plain string order.

    The one rule by which fit, prepare, check and predict find photographs. Hidden and system folders are
    passed by at any depth. A link to a folder is followed where it stands among class folders, that is in
    a folder without photographs of its own, and no folder is entered twice; a link beside photographs is
    not followed, as in Keras.

    Args:
        folder: where to start; may itself be a link.
        on_error: called for each folder that cannot be read.
    """
    yield from _walk(os.fspath(folder), on_error, _ancestors(os.fspath(folder)))


def _walk(
    folder: str, on_error: Callable[[OSError], None], seen: set[str]
) -> Iterator[tuple[str, list[str]]]:
    seen.add(os.path.realpath(folder))
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        on_error(error)
        return
    folders = [entry for entry in entries if is_visible_folder(entry.name) and entry.is_dir()]
    names = [entry.name for entry in entries if is_image_name(entry.name) and not entry.is_dir()]
    yield folder, names
    for entry in folders:
        if entry.is_symlink() and (names or os.path.realpath(entry.path) in seen):
            continue
        yield from _walk(entry.path, on_error, seen)


def _ancestors(folder: str) -> set[str]:
    """Return the real folders above one: a link to them would lead around in a circle."""
    real = Path(os.path.realpath(folder))
    return {str(parent) for parent in real.parents}


def subfolders(folder: str | Path) -> list[str]:
    """Return the names of the folders in a folder, without hidden and system ones, in plain string order.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_visible_folder(entry.name) and entry.is_dir())
