"""What a user names as a source, and the pictures behind it."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from catdog_pl.data.images import MAX_BYTES, open_rgb
from catdog_pl.errors import ImageError
from catdog_pl.io.files import is_image_name, is_url
from catdog_pl.io.http import SECONDS, fetch, mask

Source = str | Path | bytes
"""A file, a folder, a URL, ``-`` for standard input, or the content of an image file."""

STDIN = "-"

WHITE = (255, 255, 255)
"""What is put behind transparent pixels: most pictures that have some were made for a white page."""

SYSTEM_FOLDERS = {"__MACOSX", "$RECYCLE.BIN", "System Volume Information", "@eaDir"}
"""Folders that archives, Windows and network drives add; what looks like a photograph there is none."""


class Input(NamedTuple):
    """One picture that is asked about.

    Attributes:
        name: what answers call it; secrets in a URL are masked.
        open: decodes it, transparency on white; raises ``ImageError``.
    """

    name: str
    open: Callable[[], Image.Image]


def expand(
    sources: Iterable[Source], *, public_only: bool = False, seconds: float = SECONDS
) -> Iterator[Input]:
    """The pictures behind the sources, in their order, found as they are asked for.

    Args:
        sources: as named by the user. Any file that is named is tried; of a folder, and the folders in
            it, the files that ``is_image_name`` accepts, in plain string order, its own before those
            of its folders. Hidden and system folders, and links to folders, are passed by.
        public_only: refuse URLs that lead to private addresses.
        seconds: for each download as a whole.
    """
    for source in sources:
        if isinstance(source, bytes):
            yield Input(f"<{len(source)} bytes>", partial(open_rgb, source, background=WHITE))
        elif source == STDIN:
            yield Input(STDIN, _open_stdin)
        elif is_url(str(source)):
            yield Input(mask(str(source)), partial(_open_url, str(source), public_only, seconds))
        elif os.path.isdir(source):
            yield from _in_folder(str(source))
        else:
            yield _file(str(source))


def is_single(sources: Iterable[Source]) -> bool:
    """Whether the sources are one picture by their very form, so that its answer needs no name."""
    match list(sources):
        case [bytes()]:
            return True
        case [source]:
            return not os.path.isdir(source)
    return False


def _file(path: str) -> Input:
    if not path:  # pathlib takes it for the current folder
        return Input(path, partial(_refuse, path, "the name is empty"))
    return Input(path, partial(open_rgb, Path(path), name=path, background=WHITE))


def _in_folder(folder: str) -> Iterator[Input]:
    is_empty = True
    failures: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=failures.append):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in SYSTEM_FOLDERS)
        for name in sorted(filter(is_image_name, files)):
            is_empty = False
            yield _file(os.path.join(parent, name))
    for failure in failures:
        is_empty = False
        reason = f"the folder cannot be read: {failure.strerror}"
        yield Input(str(failure.filename), partial(_refuse, str(failure.filename), reason))
    if is_empty:
        yield Input(folder, partial(_refuse, folder, "there are no images in this folder"))


def _open_url(url: str, public_only: bool, seconds: float) -> Image.Image:
    content = fetch(url, public_only=public_only, seconds=seconds)
    return open_rgb(content, name=mask(url), background=WHITE)


def _open_stdin() -> Image.Image:
    return open_rgb(sys.stdin.buffer.read(MAX_BYTES + 1), name=STDIN, background=WHITE)


def _refuse(name: str, reason: str) -> Image.Image:
    raise ImageError(name, reason)
