"""One photograph on its way from a source to a split: where it is, and what was found out about it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from catdog_pl.data.prepare.contents import Content


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


class Look(NamedTuple):
    """What one look at a photograph tells, in values that can travel between processes.

    Attributes:
        verdict: the first fault found, or ok.
        reason: the fault in words.
        sha256: of the file's bytes, in hexadecimal; empty where they could not be read.
        size: bytes.
        width: pixels, 0 where the header could not be read; height likewise.
        mode: Pillow's word for its pixels, such as RGB.
        extension: the file name's ending that its content asks for, such as ``.jpg``; empty where it could
            not be decoded.
        likeness: its perceptual hash, 256 bits; empty where it could not be decoded.
    """

    verdict: Verdict = Verdict.OK
    reason: str = ""
    sha256: str = ""
    size: int = 0
    width: int = 0
    height: int = 0
    mode: str = ""
    extension: str = ""
    likeness: bytes = b""


NOTHING_SEEN = Look()
"""What is known before the look."""


@dataclass(slots=True)
class Photo:
    """One photograph.

    Attributes:
        origin: how a person would point at it, ``dogs-vs-cats.zip/train/cat.0.jpg``.
        content: where its bytes are; None where nothing could be taken from an archive.
        ours: they are in a file that was unpacked, downloaded or drawn by us, and may be linked.
        label: its class, or None where nothing tells.
        verdict: what all checks say: where it was found, the look at it, and what others there are.
        reason: the verdict in words, for the manifest.
        seen: the look at it.
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
    seen: Look = NOTHING_SEEN
    group: int | None = None
    split: str | None = None
    file: str = ""

    @property
    def usable(self) -> bool:
        """Whether the checks found nothing that keeps it out of a split."""
        return self.verdict in USABLE

    def note(self, seen: Look) -> None:
        """Record a look, whose verdict is this photograph's until it is held against others."""
        self.verdict, self.reason, self.seen = seen.verdict, seen.reason, seen

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
        width, height = photo.seen.width, photo.seen.height
        if photo.usable and min(width, height) < min_side:
            reason = f"{width} x {height}, with a side of fewer than {min_side} pixels"
            photo.leave_out(Verdict.TOO_SMALL, reason)
