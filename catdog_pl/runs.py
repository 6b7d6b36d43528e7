"""The folder of a run, ``checkpoints/<model>/<run>/``, and which run is the newest."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from catdog_pl.errors import CatDogError, UsageError
from catdog_pl.io.files import is_url

ROOT = Path("checkpoints")
BEST = "best.ckpt"
LAST = "last.ckpt"
ALIASES = {"best": BEST, "last": LAST}
"""The words that stand for a checkpoint of the newest run."""


@dataclass(frozen=True)
class RunFolder:
    """A folder with what one run of ``fit`` writes: checkpoints, ``config.yaml``, ``metrics.csv``.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def create(cls, model: str, root: Path = ROOT) -> Self:
        """Make the folder of a run that starts now, ``<root>/<model>/<date>_<time>``.

        A run that starts in the same second gets ``-2``, ``-3``, ... behind its name.

        Raises:
            OSError: the folder cannot be made.
        """
        stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        (root / model).mkdir(parents=True, exist_ok=True)
        path, i = root / model / stem, 1
        while True:
            try:
                path.mkdir()
            except FileExistsError:
                i += 1
                path = root / model / f"{stem}-{i}"
            else:
                return cls(path)

    @classmethod
    def at(cls, option: str, folder: str | Path) -> Self:
        """Return the folder that an option gives.

        Raises:
            UsageError: it is a URL, whose name would become folders here.
        """
        if is_url(str(folder)):
            raise UsageError(f"{option} {folder} is a URL; give a folder of this machine")
        return cls(Path(folder))

    @classmethod
    def of(cls, checkpoint: Path) -> Self | None:
        """Return the run that wrote a checkpoint, or None where it lies in no run's folder."""
        return cls(checkpoint.parent) if (checkpoint.parent / "config.yaml").is_file() else None

    def new_config(self) -> Path:
        """Return ``config.yaml``, or ``config-2.yaml``, ... after a resume: none is overwritten."""
        path, i = self.path / "config.yaml", 1
        while path.exists():
            i += 1
            path = self.path / f"config-{i}.yaml"
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let no other process train in this folder.

        Raises:
            CatDogError: another process does.
            OSError: the folder cannot be made or written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            with lock:
                yield
                with suppress(OSError):  # where filelock does not remove it
                    Path(lock.lock_file).unlink()
        except Timeout as error:
            raise CatDogError(
                f"Another process trains in {self.path}; wait for its end, or start a new run "
                "without --ckpt_path"
            ) from error

    def remove_if_empty(self) -> None:
        """Remove the folder of a run that ended before it wrote anything."""
        with suppress(OSError):  # it is not empty
            self.path.rmdir()
            self.path.parent.rmdir()


def find_checkpoint(which: str = "best", model: str | None = None, root: Path = ROOT) -> Path:
    """Return the file behind ``best``, ``last`` or a path.

    Args:
        which: ``best`` or ``last`` of the newest run, which is the one whose file was written last; or
            the path of a checkpoint.
        model: look only among the runs of this model.
        root: the folder that holds the runs of all models.

    Raises:
        CatDogError: there is no such file.
    """
    if which not in ALIASES:
        return existing(which)
    found = list(root.glob(f"{model or '*'}/*/{ALIASES[which]}"))
    if not found:
        kind = f"trained {model}" if model else "trained"
        raise CatDogError(f"No {kind} model found in {root}; run fit first, or give --ckpt_path PATH")
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path))


def existing(path: str) -> Path:
    """Return the path of a checkpoint, which must be a local file.

    Raises:
        CatDogError: it is not.
    """
    if is_url(path):
        raise CatDogError(f"Checkpoint {path}: only local files are read; download it first")
    if not os.path.exists(path):  # what is there is judged by its reader
        raise CatDogError(f"Checkpoint {path}: there is no such file; give a path, best or last")
    return Path(path)
