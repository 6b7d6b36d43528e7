"""The photographs of one run, as rows of a table on disk: a million of them take no memory.

A step reads them in their order and saves those that it changes. Its conditions are those of SQLite, with the
attributes of `Photo` and `Inspection` as columns.
"""

import errno
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from catdog_pl.data.prepare.photo import USABLE, Inspection, Photo, Verdict

# Conditions ask for the first ones, which are found faster.
_COLUMNS = (
    "label", "split", '"group"', "given_split", "name", "path", "place", "is_ours", "file",
    *Inspection._fields,
)  # fmt: skip

IS_USABLE = f"verdict IN {tuple(map(str, sorted(USABLE)))} AND label IS NOT NULL"
"""The condition for photographs that get a split."""


class Photos:
    """A table of photographs, in the order in which they were added."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        # Nobody else reads the file, and it is thrown away after an error.
        for sql in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "BEGIN EXCLUSIVE",
            f"CREATE TABLE photos (number INTEGER PRIMARY KEY, {', '.join(_COLUMNS)})",
        ):
            database.execute(sql)

    def add(self, photos: Iterable[Photo], order: str = "rowid") -> None:
        """Append photographs, as they come or in order of a column."""
        columns, marks = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
        self.query(f"CREATE TABLE added ({columns})")
        self.query_each(f"INSERT INTO added VALUES ({marks})", map(_row, photos))
        self.query(f"INSERT INTO photos ({columns}) SELECT * FROM added ORDER BY {order}, rowid")
        self.query("DROP TABLE added")

    def select(
        self, where: str = "TRUE", *values: object, order: str = "number", limit: int = -1, offset: int = 0
    ) -> Iterator[Photo]:
        """Yield photographs, which may be saved meanwhile."""
        sql = f"SELECT * FROM photos WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        return map(_photo, self.query(sql, *values, limit, offset))

    def count(self, where: str = "TRUE", *values: object) -> int:
        """Count the photographs for which a condition holds."""
        return int(self.query(f"SELECT count(*) FROM photos WHERE {where}", *values).fetchone()[0])

    def query(self, sql: str, *values: object) -> sqlite3.Cursor:
        """Ask for something else than photographs; returns rows."""
        return self._database.execute(sql, values)

    def query_each(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Do something with the values of each row."""
        self._database.executemany(sql, rows)

    def classes(self, where: str = "TRUE") -> set[str]:
        """Return the classes of all photographs, used or left out."""
        rows = self.query(f"SELECT DISTINCT label FROM photos WHERE label IS NOT NULL AND {where}")
        return {label for (label,) in rows}

    def save(self, photos: Iterable[Photo]) -> None:
        """Write back photographs that were changed."""
        assignments = ", ".join(f"{column} = ?" for column in _COLUMNS)
        rows = ((*_row(photo), photo.number) for photo in photos)
        self.query_each(f"UPDATE photos SET {assignments} WHERE number = ?", rows)


@contextmanager
def photo_table(path: Path | None = None) -> Iterator[Photos]:
    """Open an empty table in a new file, which is gone afterwards; without a path, in the temporary folder.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    try:
        with closing(sqlite3.connect(path or "", isolation_level=None)) as database:
            yield Photos(database)
    except sqlite3.OperationalError as error:
        reason = f"{error}, here or in the folder of temporary files"
        raise OSError(errno.EIO, reason, str(path or gettempdir())) from error
    finally:
        if path:
            path.unlink(missing_ok=True)


def _row(photo: Photo) -> tuple[object, ...]:
    path = photo.path.encode(errors="surrogatepass")  # names of files may be of any bytes
    verdict, *found = photo.inspection
    return (
        photo.label, photo.split, photo.group, photo.given_split, photo.name, path, photo.place,
        photo.is_ours, photo.file, str(verdict), *found,
    )  # fmt: skip


def _photo(row: tuple[Any, ...]) -> Photo:
    number, label, split, group, given_split, name, path, place, is_ours, file, verdict, *found = row
    path = path.decode(errors="surrogatepass")
    inspection = Inspection(Verdict(verdict), *found)
    return Photo(name, path, place, bool(is_ours), label, given_split, inspection, group, split, file, number)
