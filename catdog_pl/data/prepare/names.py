"""Names that every system can hold, from names that anybody may have chosen."""

import re

_LONGEST = 100
# What Windows does not allow in a name, and no shell likes.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def safe_name(stem: str, extension: str) -> str:
    """A file name.

    Args:
        stem: what it is to be called, without folders and ending.
        extension: its ending, with the dot.
    """
    stem = _FORBIDDEN.sub("_", stem)[:_LONGEST].strip(" .") or "photo"
    return f"{'_' if _DEVICES.fullmatch(stem) else ''}{stem}{extension}"


def safe_label(folder: str) -> str:
    """A class's name, from that of its folder: lower case, and not one that would be hidden."""
    word = _FORBIDDEN.sub("_", folder.casefold())[:_LONGEST].strip(" ._") or "class"
    return f"{word}_" if _DEVICES.fullmatch(word) else word
