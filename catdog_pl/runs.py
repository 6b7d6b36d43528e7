"""The folder of a run, ``checkpoints/<model>/<run>/``, and which run is the newest."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any, Self

import yaml
from filelock import FileLock, Timeout

from catdog_pl.errors import CatDogError, UsageError, first_line
from catdog_pl.io.files import is_url

ROOT = Path("checkpoints")
BEST = "best.ckpt"
LAST = "last.ckpt"
ALIASES = {"best": BEST, "last": LAST}
"""The words that stand for a checkpoint of the newest run."""


REMEMBERED = re.compile(
    r"seed_everything"
    r"|data\.(?!image_size$|resize$)\w+"  # those two are the checkpoint's
    r"|early_stopping\.\w+"
    r"|checkpoint\.(?!dirpath$)\w+"  # a run may have been moved
    r"|trainer\.(precision|(max|min)_(epochs|steps|time)|gradient_clip_\w+|accumulate_grad_batches"
    r"|val_check_interval|check_val_every_n_epoch|limit_(train|val)_batches|overfit_batches)"
).fullmatch
"""The options that ``validate``, ``test`` and a resumed ``fit`` take from the run: how it was made.

Plain values only, never a class. Where it runs (accelerator, devices) is the user's to say each time.
"""


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

    def remembered(self) -> dict[str, Any]:
        """Return how the run was made: the values of `REMEMBERED` in its newest configuration, by key.

        Raises:
            CatDogError: the configuration cannot be read.
        """
        configs = sorted(
            self.path.glob("config*.yaml"), key=lambda path: (path.stat().st_mtime_ns, path.name)
        )
        try:
            config = yaml.safe_load(configs[-1].read_text(encoding="utf-8")) or {}
            values = {"seed_everything": config["seed_everything"]} if "seed_everything" in config else {}
            for group in ("data", "trainer", "early_stopping", "checkpoint"):
                values |= {f"{group}.{name}": value for name, value in config.get(group, {}).items()}
        except (AttributeError, OSError, RecursionError, ValueError, yaml.YAMLError) as error:
            raise CatDogError(
                f"{configs[-1]} cannot be read ({first_line(error)}), so that it is unknown how the run was "
                "made; mend it, or copy the checkpoint to another folder"
            ) from error
        is_plain = (str, int, float, NoneType)
        return {
            key: value for key, value in values.items() if isinstance(value, is_plain) and REMEMBERED(key)
        }

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
                try:
                    yield
                finally:
                    with suppress(OSError):  # filelock itself leaves it there on some systems
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
