"""Where a run's files are: ``checkpoints/<model>/<run>/``, and which run is the newest."""

from datetime import datetime
from pathlib import Path

from catdog_pl.errors import CatDogError
from catdog_pl.io.files import is_url

ROOT = Path("checkpoints")
BEST = "best.ckpt"
LAST = "last.ckpt"
ALIASES = {"best": BEST, "last": LAST}
"""The words that stand for a checkpoint of the newest run."""


def new_run(model: str, root: Path = ROOT) -> Path:
    """The folder for a run that starts now, ``<root>/<model>/<date>_<time>``; it is not made yet.

    A run that starts in the same second gets ``-2``, ``-3``, ... behind its name.
    """
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder, i = root / model / stem, 1
    while folder.exists():
        i += 1
        folder = root / model / f"{stem}-{i}"
    return folder


def run_of(checkpoint: Path) -> Path | None:
    """The run that would go on from this checkpoint: its folder when it is the run's ``last.ckpt``.

    Another checkpoint of a run, or one copied elsewhere, starts a new run, so that going on from
    ``best.ckpt`` does not replace what came after it.
    """
    is_last = checkpoint.name == LAST and (checkpoint.parent / "config.yaml").is_file()
    return checkpoint.parent if is_last else None


def config_name(run: Path) -> str:
    """``config.yaml``, or ``config-2.yaml``, ... when a run is gone on with: none is overwritten."""
    name, i = "config.yaml", 1
    while (run / name).exists():
        i += 1
        name = f"config-{i}.yaml"
    return name


def find_checkpoint(which: str = "best", model: str | None = None, root: Path = ROOT) -> Path:
    """The file behind ``best``, ``last`` or a path.

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
        kind = f"{model} run" if model else "run"
        raise CatDogError(
            f"no {kind} with a {ALIASES[which]} under {root}; run fit first, or give --ckpt_path PATH"
        )
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path))


def existing(path: str) -> Path:
    """The path of a checkpoint, which must be a local file.

    Raises:
        CatDogError: it is none.
    """
    if is_url(path):
        raise CatDogError(f"Checkpoint {path}: only local files are read; download it first")
    if not Path(path).is_file():
        raise CatDogError(f"Checkpoint {path}: there is no such file; give a path, best or last")
    return Path(path)
