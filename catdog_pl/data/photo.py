"""One photograph on its way from a source to a split: where it is, what was found out about it."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What the checks say of a photograph; the text is what the manifest holds."""

    OK = "ok"
    NO_CLASS = "no class"
    UNSAFE = "unsafe"
    UNREADABLE = "unreadable"


@dataclass(slots=True)
class Photo:
    """One photograph.

    Attributes:
        origin: how a person would point at it, ``dogs-vs-cats.zip/train/cat.0.jpg``.
        path: the file that holds its bytes now; empty where there is none.
        ours: the file was unpacked or drawn by us, and may be moved.
        label: its class, or None where nothing tells.
        verdict: what the checks say.
        reason: the verdict in words, for the manifest.
        sha256: of its bytes, in hexadecimal.
        split: where it goes; None leaves it out.
    """

    origin: str
    path: str
    ours: bool
    label: str | None
    verdict: Verdict = Verdict.OK
    reason: str = ""
    sha256: str = ""
    split: str | None = None
