"""The errors that a user sees: one line each, printed by ``__main__`` without a traceback.

The ground floor of the package: every room may import it, and it imports nothing.

    CatDogError            something named in the message cannot be used; exit code 1
    └── UsageError         the command line itself is wrong; exit code 2

Rooms derive their own classes where a caller may want to tell them apart
(``data.images.ImageError``, ``models.registry.CheckpointError``).
"""

from typing import ClassVar


class CatDogError(Exception):
    """A problem that the user can mend.

    The message is one line and names the thing, the value given, what would be valid, and what to do.
    """

    exit_code: ClassVar[int] = 1


class UsageError(CatDogError):
    """The command line or the configuration asks for something that does not exist."""

    exit_code: ClassVar[int] = 2
