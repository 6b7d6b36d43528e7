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
"""Folders that archives, Windows and network drives add; the images in them are previews or deleted."""

HUB_WEIGHTS = "model.safetensors"
"""The file of a folder in the layout of the Hugging Face Hub that stands for the whole folder."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://|data:", re.IGNORECASE)  # one letter is a drive of Windows


@contextmanager
def atomic_write(target: Path, advice: str = "make room, or choose another place") -> Iterator[Path]:
    """Give a path beside ``target`` to write to; it takes the target's place when the block ends well.

    A reader sees the old file or the new one, never half of one, also after a crash. The target's folder is
    made when missing.

    Raises:
        CatDogError: the disk is full, or the folder cannot be made or written to; ends with the advice.
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
        with suppress(OSError):  # the folder may not exist
            part.unlink(missing_ok=True)


def in_hub_folder(path: Path) -> Path:
    """Return the weights of a folder in the Hub's layout; any other path as it is."""
    weights = path / HUB_WEIGHTS
    return weights if os.path.isfile(weights) else path


def file_fault(path: Path) -> str | None:
    """Return why a path does not name a file, in words; None where it does."""
    if os.path.isfile(path):  # unlike pathlib's, it answers for every name, also one that is too long
        return None
    if os.path.isdir(path):
        return "it is a folder"
    return "it is not a regular file" if os.path.exists(path) else "there is no such file"


def write_error(target: object, error: Exception, advice: str) -> CatDogError:
    """Return the one error for a file that cannot be written."""
    reason = getattr(error, "strerror", None) or first_line(error)
    return CatDogError(f"{target} cannot be written ({reason}); {advice}")


def refuse_existing(
    target: Path,
    error: type[CatDogError] = CatDogError,
    advice: str = "give another --output, or --overwrite",
) -> None:
    """Raise an error where a file to be written exists, be it as a broken link."""
    if os.path.lexists(target):
        raise error(f"{target} exists already; {advice}")


def is_url(word: str) -> bool:
    """Return whether a word is meant as a URL, of any scheme, and not as a path."""
    return _URL.match(word) is not None


def is_image_name(name: str) -> bool:
    """Return whether a file found in a folder counts as an image: right ending, not hidden."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_EXTENSIONS)


def is_visible_folder(name: str) -> bool:
    """Return whether a folder is searched: neither hidden nor a system's."""
    return not name.startswith(".") and name not in SYSTEM_FOLDERS


def walk(
    folder: str | Path,
    on_error: Callable[[OSError], None],
    on_other: Callable[[str], None] | None = None,
) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder from ``folder`` down with the names of its images, both in plain string order.

    The one rule by which fit, prepare, check and predict find photographs. Hidden and system folders are
    passed by at any depth. A link to a folder is followed where it stands among class folders, that is in
    a folder without photographs of its own, and no folder is entered twice; a link beside photographs is
    not followed, as in Keras.

    Args:
        folder: where to start; may itself be a link.
        on_error: called for each folder that cannot be read.
        on_other: called with the path of each visible file that is not an image by its name.
    """
    seen = {str(parent) for parent in Path(os.path.realpath(folder)).parents}  # a link to one leads around
    waiting = [os.fspath(folder)]
    while waiting:
        path = waiting.pop()
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        folders: list[os.DirEntry[str]] = []
        names: list[str] = []
        others: list[str] = []
        try:
            with os.scandir(path) as listing:
                for entry in listing:  # a million entries take four times the memory of their names
                    if _is_folder(entry):
                        folders += [entry] if is_visible_folder(entry.name) else []
                    elif is_image_name(entry.name):
                        names.append(entry.name)
                    elif on_other and not entry.name.startswith("."):
                        others.append(entry.path)
        except OSError as error:
            on_error(error)
            continue
        if on_other:
            for other in sorted(others):
                on_other(other)
        yield path, sorted(names)
        folders.sort(key=lambda entry: entry.name, reverse=True)
        waiting += [entry.path for entry in folders if not (names and entry.is_symlink())]


def subfolders(folder: str | Path) -> list[str]:
    """Return the names of the visible folders in a folder, in plain string order."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_visible_folder(entry.name) and _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where there are no rights: it is met when it is opened
        return False
