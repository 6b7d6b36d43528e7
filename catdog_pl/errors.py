"""The errors that a user sees: one line each, printed by ``__main__`` without a traceback.

The ground floor of the package: every room may import it, and it imports nothing.

    CatDogError            something named in the message cannot be used; exit code 1
    ├── UsageError         the command line itself is wrong; exit code 2
    └── Interrupted        somebody stopped the run; exit code 130 or 143

Rooms derive their own classes where a caller may want to tell them apart
(``data.images.ImageError``, ``models.registry.CheckpointError``).
"""


class CatDogError(Exception):
    """A problem that the user can mend.

    The message is one line and names the thing, the value given, what would be valid, and what to do.
    """

    exit_code: int = 1


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
