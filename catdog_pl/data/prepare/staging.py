"""The hidden folder in which a prepared folder is built, and the step that puts it in place.

``ROOT/.prepare`` holds what is unfinished:

    downloads/     archives from the web, complete or ``.part``
    unpacked/      one folder for each archive, complete or ``.part``
    looks.jsonl    what was seen of each photograph
    new/           the folders and files that will lie in ROOT
    ready          written when ``new`` is complete
    old/           what ROOT held before, until the exchange is done
    lock           held by the run at work

Until ``ready`` is there, ROOT is not touched. From then on each step moves one name, and `finish` can be
called again after any of them: a run that was killed there is finished by the next one. Everything lies
within ROOT, on one disk, so that a move is a rename. This guards against a process that is killed; after a
power cut, ``prepare --check`` tells whether the disk has kept everything.
"""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from catdog_pl.errors import CatDogError

FOLDER = ".prepare"

# Left free on the disk for the manifest, the report and everybody else.
_RESERVE_BYTES = 200 * 10**6


class Staging:
    """The unfinished part of a prepared folder; used in a ``with`` statement, by one run at a time.

    Args:
        root: the prepared folder; made when missing.

    Attributes:
        finished: whether opening it finished what an earlier run had ready.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FOLDER
        self.downloads = self.folder / "downloads"
        self.unpacked = self.folder / "unpacked"
        self.journal = self.folder / "looks.jsonl"
        self.new = self.folder / "new"
        self.old = self.folder / "old"
        self.ready = self.folder / "ready"
        self.finished = False
        self._is_new = not root.exists()
        self._lock = FileLock(self.folder / "lock", timeout=0)

    def __enter__(self) -> Self:
        """Take the lock; finish what an earlier run had ready, and clear what it had half built.

        Raises:
            CatDogError: another run is at work.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise CatDogError(f"another prepare is at work in {self.root}; wait for it to end") from error
        self.finished = self.ready.exists()
        if self.finished:
            self.finish()
        _remove(self.old)
        self.empty(self.new)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock; after an error, keep what the next run can go on from."""
        if kind is None:
            self._clear()
        elif not self.ready.exists():  # else it is in the middle of the exchange
            _remove(self.new)
        self._lock.release()
        if not any(path.is_file() and path.name != "lock" for path in self.folder.rglob("*")):
            shutil.rmtree(self.folder)
            if self._is_new and not any(self.root.iterdir()):
                self.root.rmdir()

    def empty(self, folder: Path) -> Path:
        """Make a folder that is empty."""
        _remove(folder)
        folder.mkdir(parents=True)
        return folder

    def free_bytes(self) -> int:
        """What may be written before the disk is too full."""
        return max(0, shutil.disk_usage(self.folder).free - _RESERVE_BYTES)

    def commit(self) -> None:
        """Put what ``new`` holds in place of what ROOT holds under the same names."""
        self.ready.touch()
        self.finish()

    def finish(self) -> None:
        """Exchange, name by name, and clear away; can be repeated after any interruption."""
        self.old.mkdir(exist_ok=True)
        for entry in sorted(self.new.iterdir()) if self.new.exists() else []:
            current = self.root / entry.name
            if current.exists():
                current.rename(self.old / entry.name)
            entry.rename(current)
        self.ready.unlink()
        self._clear()

    def _clear(self) -> None:
        for path in (self.old, self.new, self.unpacked, self.downloads, self.journal):
            _remove(path)


def refuse_existing(root: Path, names: tuple[str, ...]) -> None:
    """Refuse to prepare a folder that is already there.

    Raises:
        CatDogError: ROOT holds one of the names.
    """
    present = [name for name in names if (root / name).exists()]
    if present:
        raise CatDogError(
            f"{root / present[0]} is already there and stays as it is; --overwrite replaces it,"
            " --root FOLDER prepares another folder"
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
