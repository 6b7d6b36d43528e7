"""The errors that a user sees: one line each, printed by ``__main__`` without a traceback.

The ground floor of the package: every room may import it, and it imports nothing::

    CatDogError            something named in the message cannot be used; exit code 1
    ├── UsageError         the command line or the configuration is wrong; exit code 2
    ├── Interrupted        somebody stopped the run; exit code 130 or 143
    ├── ImageError         a picture cannot be read or decoded
    ├── DownloadError      an address cannot be reached, or its answer cannot be used
    ├── ArchiveError       a zip or tar archive cannot be used
    ├── DatasetError       a data folder is missing, empty, or not one folder for each class
    ├── CheckpointError    a checkpoint is missing, damaged, foreign or hostile
    ├── WeightsError       pretrained weights cannot be found, downloaded or read
    └── KerasFileError     a Keras file cannot be read, or holds no model that can be built here

Every exception of the package is in this tree.
"""

import difflib
import math
import re
from collections.abc import Iterable
from typing import Literal

_SCHEME = r"\b([a-z][a-z0-9+.-]{1,19}:/+)"  # bounded, so that long texts take no long time
_PASSWORD = re.compile(_SCHEME + r"[^/]*@", re.IGNORECASE)
_URL = re.compile(_SCHEME + r"[^\s'\"]*", re.IGNORECASE)

ImageFault = Literal["missing", "unreadable", "empty", "not an image", "truncated", "too large"]
"""Why a picture cannot be used, for code that treats the reasons differently; missing: nothing is there."""

PLAIN = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "null",
    "str": "text",
    "timedelta": "a time such as 0:30:00",
    "list": "a list such as [a,b]",
    "tuple": "a list such as [a,b]",
    "Iterable": "a list such as [a,b]",
    "dict": "a table such as {a: 1}",
}
"""A type of Python's -> what is typed for it."""


def one_line(text: str) -> str:
    """Return the text with line breaks, control characters and undecodable bytes written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class where it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def wrong_value(option: str, value: str, valid: Iterable[str]) -> str:
    """Return one line on a value that an option does not take, with the valid word that is most like it."""
    words = list(dict.fromkeys(valid))
    close = difflib.get_close_matches(value, [word for word in words if " " not in word], n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{option} {value}: valid is {' or '.join(', '.join(words).rsplit(', ', 1))}{hint}"


def validate_range(
    name: str, value: float, low: float, below: float = math.inf, most: float = math.inf
) -> None:
    """Raise a `UsageError` unless ``low <= value < below`` and ``value <= most``."""
    bounds = [f"at least {low:g}"]
    bounds += [f"below {below:g}"] if below < math.inf else []
    bounds += [f"at most {most:g}"] if most < math.inf else []
    if not low <= value < below or value > most:
        raise UsageError(f"{name} is {value:g}; it must be {' and '.join(bounds)}")


def masked(text: str) -> str:
    """Return the text with user, password and query values hidden in every URL in it.

    For text that somebody else wrote, in which the end of a URL can only be guessed; ``io.http.mask`` knows
    its URL. A slash may be missing, because a URL that is taken for a path loses one.
    """
    return _URL.sub(lambda url: _without_query(url[0]), _PASSWORD.sub(r"\1***@", text))


def _without_query(url: str) -> str:
    address, mark, query = url.partition("?")
    values = query.rstrip(":;,.)")  # what follows belongs to the sentence
    return address + mark + re.sub(r"(^|&)([^=&]*=)?[^&]+", r"\1\2***", values) + query[len(values) :]


def disk_line(error: OSError, place: object = "the output") -> str:
    """Return one line on what cannot be read or written, and what to do.

    Args:
        error: names the file, unless the disk was full.
        place: named where the error names none.
    """
    name = masked(one_line(str(error.filename or place)))
    reason = error.strerror or error
    return f"{name} cannot be read or written ({reason}); look at its folder, its rights and the free disk"


class CatDogError(Exception):
    """A problem that the user can mend.

    The message is one line and names the thing, the value given, what would be valid, and what to do.
    Control characters in it are escaped and secrets in URLs masked, whoever wrote the text.
    """

    exit_code: int = 1

    def __str__(self) -> str:
        return masked(one_line(super().__str__()))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows instead of a traceback: the same line as on a terminal."""
        return [f"{'[ERROR]':<10} {self}"]


class UsageError(CatDogError):
    """The command line or the configuration asks for something that does not exist."""

    exit_code = 2


class Interrupted(CatDogError):  # noqa: N818  # not an error of anybody's
    """Somebody stopped the run.

    Args:
        message: what was saved, and how to resume.
        signum: the signal; the exit code is 128 + signum, as shells have it.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class _NamedError(CatDogError):
    """An error on one named thing.

    Args:
        name: what the user called it; kept on one line by escaping.
        reason: why it cannot be used.
    """

    def __init__(self, name: str, reason: str, *more: object) -> None:
        super().__init__(name, reason, *more)  # all as args, so that the error survives pickling by a worker
        self.name = one_line(name)
        self.reason = one_line(reason)

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class ImageError(_NamedError):
    """A picture cannot be read or decoded.

    Args:
        name: what the user called the picture.
        reason: why it cannot be used.
        kind: the reason as one of a few words.
    """

    def __init__(self, name: str, reason: str, kind: ImageFault = "unreadable") -> None:
        super().__init__(name, reason, kind)
        self.kind: ImageFault = kind


class DownloadError(_NamedError):
    """An address cannot be reached, or its answer cannot be used.

    Args:
        name: the URL, with its secrets masked.
        reason: why there is no answer that can be used.
        transient: whether another attempt may succeed.
        kind: the reason as one of a few words, as for a picture.
    """

    def __init__(self, name: str, reason: str, transient: bool = False, kind: ImageFault = "missing") -> None:
        super().__init__(name, reason, transient, kind)
        self.transient = transient
        self.kind: ImageFault = kind


class ArchiveError(CatDogError):
    """A zip or tar archive cannot be used."""


class DatasetError(CatDogError):
    """A data folder is missing, empty, or not laid out as one folder for each class."""


class CheckpointError(CatDogError):
    """A checkpoint is missing, damaged, foreign or hostile."""


class WeightsError(CatDogError):
    """Pretrained weights cannot be found, downloaded or read."""


class KerasFileError(CatDogError):
    """A Keras file cannot be read, or holds no model that can be built here."""
