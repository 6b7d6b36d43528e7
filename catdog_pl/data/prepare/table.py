"""Tables that people make: CSV with commas, semicolons or tabs, as spreadsheets save it."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from catdog_pl.errors import CatDogError

# A longer first line is not that of a table, and a file without line breaks may be of any size.
_LONGEST_HEADING = 10_000


@contextmanager
def open_table(path: Path) -> Iterator["csv.DictReader[str]"]:
    """Open a table, whose first line names its columns.

    Raises:
        CatDogError: the block finds out that it is no CSV.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        heading = file.readline(_LONGEST_HEADING)
        delimiter = next(filter(heading.__contains__, ";\t"), ",")
        try:
            yield csv.DictReader(chain([heading], file), delimiter=delimiter)
        except csv.Error as error:
            raise CatDogError(f"{path} cannot be read as CSV: {error}") from error
