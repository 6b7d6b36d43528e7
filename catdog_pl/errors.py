"""The errors that a user sees: one line each, printed by ``__main__`` without a traceback.

The ground floor of the package: every room may import it, and it imports nothing.

    CatDogError            something named in the message cannot be used; exit code 1
    ├── UsageError         the command line itself is wrong; exit code 2
    └── Interrupted        somebody stopped the run; exit code 130 or 143

Rooms derive their own classes where a caller may want to tell them apart
(``data.images.ImageError``, ``models.registry.CheckpointError``).
"""

import argparse
import re
from pathlib import Path
from typing import NoReturn

_SCHEME = r"\b([a-z][a-z0-9+.-]{1,19}:/+)"  # bounded, so that long texts take no long time
_PASSWORD = re.compile(_SCHEME + r"[^/]*@", re.IGNORECASE)
_URL = re.compile(_SCHEME + r"[^\s'\"]*", re.IGNORECASE)


def one_line(text: str) -> str:
    """The text with line breaks, control characters and undecodable bytes written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def masked(text: str) -> str:
    """The text with user, password and values of the query hidden in every URL that is in it.

    For text that somebody else wrote, in which the end of a URL can only be guessed; ``data.urls.mask`` knows
    its URL. A slash may be missing, because a URL that is taken for a path loses one.
    """
    return _URL.sub(lambda url: _without_query(url[0]), _PASSWORD.sub(r"\1***@", text))


def _without_query(url: str) -> str:
    address, mark, query = url.partition("?")
    values = query.rstrip(":;,.)")  # what follows belongs to the sentence
    return address + mark + re.sub(r"(^|&)([^=&]*=)?[^&]+", r"\1\2***", values) + query[len(values) :]


class CatDogError(Exception):
    """A problem that the user can mend.

    The message is one line and names the thing, the value given, what would be valid, and what to do.
    Whatever is put into it, a file's own words among it: control characters are escaped, and secrets in URLs
    masked.
    """

    exit_code: int = 1

    def __str__(self) -> str:
        return masked(one_line(super().__str__()))


class UsageError(CatDogError):
    """The command line or the configuration asks for something that does not exist."""

    exit_code = 2


class Interrupted(CatDogError):  # noqa: N818  # not an error of anybody's
    """Somebody stopped the run.

    Args:
        message: what was saved, and how to go on.
        signum: the signal; the exit code is 128 + signum, as shells have it.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


def disk_line(error: OSError, place: object = "the output") -> str:
    """One line for what cannot be read or written, and what to do.

    Args:
        error: names the file, unless the disk was full.
        place: named where the error names none.
    """
    name = masked(one_line(str(error.filename or place)))
    reason = error.strerror or error
    return f"{name} cannot be read or written ({reason}); look at its folder, its rights and the free disk"


class Parser(argparse.ArgumentParser):
    """argparse's parser, for which a wrong word is a `UsageError` and not the whole of its help."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{message}; see {self.prog} --help")


def is_remote(path: str) -> bool:
    """Whether what is given as a path is a URL; one letter before the colon is a drive of Windows."""
    return re.match(r"\w\w+://", path) is not None


def local_path(word: str) -> Path:
    """A path on the command line; a URL, of which ``pathlib`` would make folders, is refused."""
    if is_remote(word):
        raise argparse.ArgumentTypeError(f"{masked(word)} is a URL; give a path of this machine")
    return Path(word)
