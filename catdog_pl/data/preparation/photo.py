"""One photograph on its way from a source to a split: where it is, and what was found out about it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from catdog_pl.data.preparation.contents import Content


class Verdict(StrEnum):
    """What the checks say of a photograph; the text is what the manifest holds."""

    OK = "ok"
    # Used, and listed.
    WRONG_EXTENSION = "wrong extension"
    NEAR_DUPLICATE = "near duplicate"
    # Left out: the file.
    UNSAFE = "unsafe"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not an image"
    TRUNCATED = "truncated"
    TOO_LARGE = "too large"
    ANIMATED = "animated"
    # Left out: the photograph.
    TOO_SMALL = "too small"
    ONE_COLOUR = "one colour"
    DUPLICATE = "duplicate"
    TWO_CLASSES = "two classes"
    NO_CLASS = "no class"
    # Left out, and nothing wrong with it.
    NOT_NEEDED = "not needed"


USABLE = frozenset({Verdict.OK, Verdict.WRONG_EXTENSION, Verdict.NEAR_DUPLICATE})
"""The verdicts of photographs that get a split."""

FAULTS = frozenset(Verdict) - {Verdict.OK, Verdict.NEAR_DUPLICATE, Verdict.NOT_NEEDED}
"""The verdicts that ``--strict`` refuses."""


@dataclass(slots=True)
class Photo:
    """One photograph.

    Attributes:
        origin: how a person would point at it, ``dogs-vs-cats.zip/train/cat.0.jpg``.
        content: where its bytes are; None where nothing could be taken from an archive.
        ours: they are in a file that was unpacked, downloaded or drawn by us, and may be linked.
        label: its class, or None where nothing tells.
        verdict: what the checks say.
        reason: the verdict in words, for the manifest.
        sha256: of its bytes, in hexadecimal.
        size: bytes.
        width: pixels.
        height: pixels.
        mode: Pillow's word for its pixels, such as RGB.
        extension: the file name's ending that its content asks for, such as ``.jpg``.
        likeness: its perceptual hash, 256 bits; empty where it could not be decoded.
        group: photographs that look alike have the same number here, and must share a split.
        split: where it goes; None leaves it out.
        file: its path under ROOT, with ``/``; empty where it is left out.
    """

    origin: str
    content: Content | None
    ours: bool
    label: str | None
    verdict: Verdict = Verdict.OK
    reason: str = ""
    sha256: str = ""
    size: int = 0
    width: int = 0
    height: int = 0
    mode: str = ""
    extension: str = ""
    likeness: bytes = b""
    group: int | None = None
    split: str | None = None
    file: str = ""

    @property
    def usable(self) -> bool:
        """Whether the checks found nothing that keeps it out of a split."""
        return self.verdict in USABLE

    def leave_out(self, verdict: Verdict, reason: str) -> None:
        """Record why this photograph gets no split."""
        self.verdict, self.reason, self.split = verdict, reason, None


def stamp(path: str) -> str:
    """The size and date of a file in one word; ``none`` where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return "none"
    return f"{status.st_size}:{status.st_mtime_ns}"


def mark_too_small(photos: Iterable[Photo], min_side: int) -> None:
    """Leave out photographs with a side of fewer pixels than ``min_side``."""
    for photo in photos:
        if photo.usable and min(photo.width, photo.height) < min_side:
            reason = f"{photo.width} x {photo.height}, with a side of fewer than {min_side} pixels"
            photo.leave_out(Verdict.TOO_SMALL, reason)
