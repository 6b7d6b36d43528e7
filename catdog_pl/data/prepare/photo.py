"""One photograph on its way from a source to a split."""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import NamedTuple, Self

from catdog_pl.io.source import ImageSource, read_file
from catdog_pl.io.zip import read_zip_member


class Verdict(StrEnum):
    """What the checks say of a photograph, as the manifest has it, with a ``meaning`` for people."""

    meaning: str

    def __new__(cls, text: str, meaning: str = "") -> Self:
        """Make the text the value."""
        verdict = str.__new__(cls, text)
        verdict._value_, verdict.meaning = text, meaning
        return verdict

    OK = "ok"
    # Used, and listed.
    WRONG_EXTENSION = "wrong extension", "used, under the ending that its content asks for"
    NEAR_DUPLICATE = "near duplicate", "kept in the same split as their original"
    RELABELLED = "relabelled", "used, in the class that --relabel gives"
    # Left out: the file.
    UNSAFE = "unsafe", "a link, a device, or a path that leads out of the archive"
    UNREADABLE = "unreadable", "it cannot be decoded"
    EMPTY = "empty", "0 bytes"
    NOT_AN_IMAGE = "not an image", "something else under an image's name"
    TRUNCATED = "truncated", "its end is missing"
    TOO_LARGE = "too large", "more pixels or bytes than the limit"
    ANIMATED = "animated", "several pictures in one file"
    # Left out: the photograph.
    TOO_SMALL = "too small", "a side is shorter than --min_side"
    ONE_COLOUR = "one colour", "nothing to see"
    DUPLICATE = "duplicate", "the same photograph is there already"
    TWO_CLASSES = "two classes", "the same photograph lies in both classes"
    NO_CLASS = "no class", "neither folder nor name tells what it is"
    # Left out, and nothing wrong with it.
    NOT_NEEDED = "not needed", "the splits are full"
    DROPPED = "dropped", "as --relabel asks"
    PASSED_BY = "passed by", "neither name nor content is that of a photograph"


USABLE = frozenset({Verdict.OK, Verdict.WRONG_EXTENSION, Verdict.NEAR_DUPLICATE, Verdict.RELABELLED})
"""The verdicts of photographs that get a split."""

FAULTS = frozenset(Verdict) - {
    Verdict.OK, Verdict.NEAR_DUPLICATE, Verdict.RELABELLED,
    Verdict.NOT_NEEDED, Verdict.DROPPED, Verdict.PASSED_BY,
}  # fmt: skip
"""The verdicts that ``--strict`` refuses."""


class Inspection(NamedTuple):
    """What decoding a photograph tells, in values that can travel between processes.

    Attributes:
        verdict: the first fault found, or ok; ``reason`` is the verdict in words.
        sha256: of the file's bytes, in hexadecimal; empty where they could not be read. ``size`` counts them.
        width: pixels, 0 where it could not be decoded; height likewise.
        mode: Pillow's mode of its pixels, such as RGB.
        extension: the ending that its content asks for, such as ``.jpg``; empty where it was not decoded.
        phash: its perceptual hash, 32 bytes; empty where it could not be decoded.
    """

    verdict: Verdict = Verdict.OK
    reason: str = ""
    sha256: str = ""
    size: int = 0
    width: int = 0
    height: int = 0
    mode: str = ""
    extension: str = ""
    phash: bytes = b""


NOT_INSPECTED = Inspection()
PASSED_BY = Inspection(Verdict.PASSED_BY, "neither its name nor its content is that of a photograph")


def begins_like_photo(content: bytes) -> bool:
    """Return whether content begins as JPEG, PNG, WebP or GIF do, for files whose name does not tell.

    Not TIFF: raw files of cameras begin alike, and hold a small preview that would be taken for the whole.
    """
    is_webp = content.startswith(b"RIFF") and content[8:12] == b"WEBP"
    return is_webp or content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8"))


LABEL_LETTERS = 100
"""Letters that are kept of a class that a source tells."""


@dataclass(slots=True)
class Photo:
    """One photograph, a row of `Photos`.

    Attributes:
        name: as a person would point at it, on one line: ``dogs-vs-cats.zip/train/cat.0.jpg``.
        path: the file that holds its bytes; empty where it was refused unread.
        place: where in this file, a zip, it lies: the numbers of `member_place`; empty for all of the file.
        is_ours: that file was unpacked, downloaded or drawn by us.
        label: its class, or None where nothing tells.
        given_split: the split that its source has it in, if that is to be kept.
        inspection: what is known of its content, with the verdict of all checks so far.
        group: photographs that look alike have the same number here, and must share a split.
        split: where it goes; None leaves it out.
        file: its path under ROOT, with ``/``; empty where it is left out.
        number: of its row.
    """

    name: str
    path: str = ""
    place: str = ""
    is_ours: bool = False
    label: str | None = None
    given_split: str | None = None
    inspection: Inspection = NOT_INSPECTED
    group: int | None = None
    split: str | None = None
    file: str = ""
    number: int = 0

    @property
    def source(self) -> ImageSource:
        """Its name, and a way to read its bytes."""
        if self.place:
            return ImageSource(self.name, partial(read_zip_member, self.path, *map(int, self.place.split())))
        return ImageSource(self.name, partial(read_file, self.path))

    @property
    def verdict(self) -> Verdict:
        """What all checks so far say."""
        return self.inspection.verdict

    @property
    def is_usable(self) -> bool:
        """Whether the checks found nothing that keeps it out of a split."""
        return self.inspection.verdict in USABLE

    def judge(self, verdict: Verdict, reason: str) -> Self:
        """Replace the verdict, and return the photograph."""
        self.inspection = self.inspection._replace(verdict=verdict, reason=reason)
        return self

    def remark(self, verdict: Verdict, reason: str) -> None:
        """Add to what is known of a photograph that stays usable; only the verdict ok is replaced."""
        reasons = filter(None, (self.inspection.reason, reason))
        self.judge(verdict if self.verdict is Verdict.OK else self.verdict, "; ".join(reasons))
