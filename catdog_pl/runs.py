"""The folder of a run, ``checkpoints/<model>/<run>/``, and which run is the newest."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from types import NoneType
from typing import Any, Self

import yaml
from filelock import FileLock, Timeout

from catdog_pl.errors import CatDogError, UsageError, first_line
from catdog_pl.io.files import in_hub_folder, is_url

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
    """A folder with what one run of ``fit`` writes: checkpoints, ``config.yaml``, ``metrics.csv``."""

    path: Path

    @classmethod
    def create(cls, model: str, root: Path = ROOT) -> Self:
        """Make the folder of a run that starts now, ``<root>/<model>/<date>_<time>``.

        A run that starts in the same second gets ``-2``, ``-3``, ... behind its name.
        """
        start = root / model / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        start.parent.mkdir(parents=True, exist_ok=True)
        for path in numbered(start):
            try:
                path.mkdir()
                break
            except FileExistsError:
                continue
        return cls(path)

    @classmethod
    def at(cls, option: str, folder: str | Path) -> Self:
        """Return the folder that an option gives; a URL, whose name would become folders here, is refused."""
        if is_url(str(folder)):
            raise UsageError(f"{option} {folder} is a URL; give a folder of this machine")
        return cls(Path(folder))

    @classmethod
    def of(cls, checkpoint: Path) -> Self | None:
        """Return the run that wrote a checkpoint, or None where it lies in no run's folder."""
        return cls(checkpoint.parent) if (checkpoint.parent / "config.yaml").is_file() else None

    def remembered(self) -> dict[str, Any]:
        """Return how the run was made: the values of `REMEMBERED` in its newest configuration, by key."""
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
        return next(path for path in numbered(self.path / "config.yaml") if not path.exists())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let no other process train in this folder, which is made where it is missing."""
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
        which: ``best`` or ``last`` of the run whose file was written last, or the path of a local checkpoint,
            which may be a folder in the Hub's layout: its weights are the file.
        model: take only the runs of this model.
        root: the folder that holds the runs of all models.

    Raises:
        CatDogError: there is no such file.
    """
    if which not in ALIASES:
        if is_url(which):
            raise CatDogError(f"Checkpoint {which}: only local files are read; download it first")
        if not os.path.exists(which):  # what is there is judged by its reader
            raise CatDogError(f"Checkpoint {which}: there is no such file; give a path, best or last")
        return in_hub_folder(Path(which))
    found = list(root.glob(f"{model or '*'}/*/{ALIASES[which]}"))
    if not found:
        kind = f"trained {model}" if model else "trained"
        raise CatDogError(f"No {kind} model found in {root}; run fit first, or give --ckpt_path PATH")
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path))


def numbered(path: Path) -> Iterator[Path]:
    """Yield ``name.yaml``, ``name-2.yaml``, ``name-3.yaml``, ... without end."""
    yield path
    for i in count(2):
        yield path.with_stem(f"{path.stem}-{i}")
