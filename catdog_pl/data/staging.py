"""The hidden folder in which a prepared folder is built, and the step that puts it in place.

``ROOT/.prepare`` holds whatever is unfinished:

    unpacked/   one folder per archive, complete or named ``.part``
    new/        the folders and files that will lie in ROOT
    ready       written when ``new`` is complete
    old/        what ROOT held before, until the exchange is done

Until ``ready`` exists ROOT is not touched. From then on every step only moves one name, and `finish`
can be called again after each of them: a run that was killed there is finished by the next one. Moves
stay within ROOT, so that no photograph is copied twice.
"""

import os
import shutil
from pathlib import Path

from catdog_pl.errors import CatDogError

FOLDER = ".prepare"

# Left free on the disk, for the manifest, the report and everybody else.
_RESERVE_BYTES = 200 * 10**6


class Staging:
    """The unfinished part of a prepared folder.

    Args:
        root: the prepared folder; made when missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FOLDER
        self.unpacked = self.folder / "unpacked"
        self.new = self.folder / "new"
        self.old = self.folder / "old"
        self.ready = self.folder / "ready"

    def open(self) -> bool:
        """Make the folder; finish what an interrupted run had ready, and clear what it had half built.

        Returns:
            Whether there was something to finish.
        """
        self.unpacked.mkdir(parents=True, exist_ok=True)
        interrupted = self.ready.exists()
        if interrupted:
            self.finish()
            self.unpacked.mkdir(parents=True)
        self.empty(self.new)
        return interrupted

    def empty(self, folder: Path) -> Path:
        """Make a folder that is empty."""
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    def free_bytes(self) -> int:
        """What may be written before the disk is too full."""
        return max(0, shutil.disk_usage(self.folder).free - _RESERVE_BYTES)

    def commit(self) -> None:
        """Put what ``new`` holds in place of what ROOT holds under the same names."""
        with self.ready.open("w", encoding="utf-8") as file:
            file.write("\n".join(sorted(entry.name for entry in self.new.iterdir())))
            file.flush()
            os.fsync(file.fileno())
        self.finish()

    def finish(self) -> None:
        """Exchange, name by name, and clear away; can be repeated after any interruption."""
        self.old.mkdir(exist_ok=True)
        for entry in sorted(self.new.iterdir()) if self.new.exists() else []:
            current = self.root / entry.name
            if current.exists():
                current.rename(self.old / entry.name)
            entry.rename(current)
        shutil.rmtree(self.old)
        self.ready.unlink()
        shutil.rmtree(self.folder)


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
