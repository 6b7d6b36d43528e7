"""Whole trainings with their test, each a process of its own, kept in a file as they end.

A training is a dictionary of plain values. What it was: ``recipe``, ``options``, ``seed``, ``photos`` (how
many in each split), ``versions``. How it went: ``val_loss`` and ``val_acc`` by epoch, ``best_epoch``,
``stopped_epoch``, ``tested``, ``wrong`` (numbers of the test photographs, in the order of their names, that
the best epoch's weights answered wrongly), ``wrong_last`` (the same of the last epoch's), ``minutes`` and
``cpu_minutes`` of the fit's process, ``device``, ``threads``, ``machine``.
"""

import csv
import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmarks.machine import PACKAGES, machine, versions
from benchmarks.speed.process import Run, run
from catdog_pl.io.files import atomic_write

Training = dict[str, Any]

IDENTITY = ("recipe", "options", "seed", "photos", "versions")
SPLITS = ("train", "validation", "test")
KERAS = "benchmarks.speed.peers.keras_workshop"
KERAS_PACKAGES = ("keras", "tensorflow", "pillow", "numpy")


@dataclass(frozen=True)
class Recipe:
    """A way to train.

    Attributes:
        fit: options of ``fit``, or of `KERAS`. ``{FILE|WORD}`` stands for a file of weights
            in the folder that the benchmark is given, or, without that folder, for the word.
        test: further options of ``test``.
        keras: whether the workshop's script in Keras trains.
    """

    fit: str
    test: str = ""
    keras: bool = False

    @property
    def options(self) -> str:
        """What identifies the recipe in the file; names no folder of this machine."""
        return " | ".join(part for part in ("keras" * self.keras, self.fit, self.test) if part)


@dataclass(frozen=True)
class Setting:
    """What all trainings share.

    Attributes:
        data: a prepared folder.
        weights: the folder with files of weights, or None.
        threads: threads of each process, or None for the library's own choice.
        keep: where the folders of the runs stay; None removes them.
    """

    data: Path
    weights: Path | None = None
    threads: int | None = None
    keep: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables for torch and for TensorFlow."""
        names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        return dict.fromkeys(names, str(self.threads)) if self.threads else {}

    def words(self, options: str) -> list[str]:
        """Options with the weights filled in."""

        def file(match: re.Match[str]) -> str:
            return str(self.weights / match[1]) if self.weights else match[2]

        return [re.sub(r"\{(.+?)\|(.+?)\}", file, word) for word in options.split()]


class Trainings:
    """The trainings in a JSON file, one a line; several processes may add to it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> list[Training]:
        """Every training, in the order in which they ended."""
        return json.loads(self.path.read_text(encoding="utf-8"))["trainings"] if self.path.exists() else []

    def has(self, wanted: Training) -> bool:
        """Whether a training of the same recipe, options, seed, photographs and versions is there."""
        return any(same(one, wanted, IDENTITY) for one in self.all())

    def add(self, training: Training) -> None:
        """Write the file with this training in the place of an earlier one of the same recipe and seed."""
        with FileLock(self.path.with_suffix(".lock")):
            kept = [one for one in self.all() if not same(one, training, ("recipe", "seed", "photos"))]
            lines = ",\n".join(json.dumps(one) for one in [*kept, training])
            with atomic_write(self.path) as part:
                part.write_text(f'{{"trainings": [\n{lines}\n]}}\n', encoding="utf-8")


def same(one: Training, other: Training, keys: Iterable[str]) -> bool:
    """Whether two trainings agree in these."""
    return all(one[key] == other[key] for key in keys)


def train_all(
    recipes: dict[str, Recipe],
    seeds: Sequence[int],
    setting: Setting,
    file: Trainings,
    jobs: int,
    again: bool,
) -> list[str]:
    """Train every recipe with every seed that the file lacks; return what failed, a line each.

    The seeds take turns, so that a benchmark that is stopped has measured every recipe about equally often.
    """
    failures = []
    with ThreadPoolExecutor(jobs) as pool:
        pending = {}
        for seed in seeds:
            for name, recipe in recipes.items():
                wanted = identity(name, recipe, seed, setting.data)
                if again or not file.has(wanted):
                    pending[pool.submit(train, recipe, wanted, setting)] = wanted
        print(
            f"{len(recipes) * len(seeds) - len(pending)} trainings are there, {len(pending)} to do",
            flush=True,
        )
        try:
            for done in as_completed(pending):
                name = f"{pending[done]['recipe']}, seed {pending[done]['seed']}"
                if isinstance(error := done.exception(), RuntimeError):
                    failures.append(f"{name}: {error}")
                    print(f"{name} FAILED: {error}", flush=True)
                    continue
                file.add(training := done.result())
                print(f"{name}: {line(training)}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


def identity(name: str, recipe: Recipe, seed: int, data: Path) -> Training:
    """What a training is, before it has been done."""
    photos = {split: sum(path.is_file() for path in (data / split).glob("*/*")) for split in SPLITS}
    libraries = versions(KERAS_PACKAGES if recipe.keras else PACKAGES)
    return {"recipe": name, "options": recipe.options, "seed": seed, "photos": photos, "versions": libraries}


def line(training: Training) -> str:
    """How it went, in a line."""
    best, last = training["best_epoch"], training["stopped_epoch"]
    return (
        f"best epoch {best} of {last}, val_loss {training['val_loss'][best - 1]:.4f}, "
        f"val_acc {training['val_acc'][best - 1]:.4f}, test {accuracy(training):.4f}, "
        f"{training['minutes']:.1f} min, {training['cpu_minutes']:.1f} min of CPU"
    )


def accuracy(training: Training) -> float:
    """Of the test photographs."""
    return 1 - len(training["wrong"]) / training["tested"]


def train(recipe: Recipe, training: Training, setting: Setting) -> Training:
    """Fit and test in a folder of its own; return the training with how it went.

    Raises:
        RuntimeError: a process failed; the message holds the end of its output.
    """
    how = keras_training if recipe.keras else our_training
    with tempfile.TemporaryDirectory() as temporary:
        name = f"{training['recipe']}-{training['seed']}"
        folder = (setting.keep.resolve() if setting.keep else Path(temporary)) / name
        folder.mkdir(parents=True, exist_ok=True)
        measured, went = how(recipe, training["seed"], setting, folder)
    return {
        **training,
        **went,
        "minutes": round(measured.seconds / 60, 3),
        "cpu_minutes": round(measured.cpu / 60, 3),
        "threads": setting.threads,
        "machine": machine(),
    }


def our_training(recipe: Recipe, seed: int, setting: Setting, folder: Path) -> tuple[Run, Training]:
    """``fit``, then ``test`` of the best and of the last epoch's weights."""
    data = ["--root", str(setting.data.resolve())]
    words = ["fit", *setting.words(recipe.fit), "--seed", str(seed), *data]
    fitted = run(["-m", "catdog_pl", *words], folder, **setting.environment)
    best = re.search(r"Best epoch: (\d+)", "".join(fitted.output))
    assert best, fitted.output
    metrics = max(folder.glob("checkpoints/*/*/metrics.csv"), key=lambda path: path.stat().st_mtime_ns)
    rows = list(csv.DictReader(metrics.open(encoding="utf-8")))
    wrong = {}
    for which in ("last", "best"):
        words = ["test", "--ckpt_path", which, *setting.words(recipe.test)]
        run(["-m", "catdog_pl", *words], folder, **setting.environment)
        table = list(csv.DictReader((metrics.parent / "test.csv").open(encoding="utf-8")))
        wrong[which] = [i for i, row in enumerate(table) if row["predicted"] != row["true"]]
    went = {name: [float(row[name]) for row in rows] for name in ("val_loss", "val_acc")}
    return fitted, {
        **went,
        "best_epoch": int(best[1]),
        "stopped_epoch": len(rows),
        "tested": len(table),
        "wrong": wrong["best"],
        "wrong_last": wrong["last"],
        "device": next(line for line in fitted.output if line.startswith("Training on ")).strip(),
    }


def keras_training(recipe: Recipe, seed: int, setting: Setting, folder: Path) -> tuple[Run, Training]:
    """The workshop's script in Keras 3 on TensorFlow, which ends with the same two tests."""
    words = [
        "-m",
        KERAS,
        *setting.words(recipe.fit),
        "--seed",
        str(seed),
        "--data",
        str(setting.data.resolve()),
    ]
    done = run([*words, "--test"], folder, KERAS_BACKEND="tensorflow", **setting.environment)
    epochs = [json.loads(said.split(" ", 2)[2]) for said in done.output if said.startswith("Epoch ")]
    losses = [epoch["val_loss"] for epoch in epochs]
    return done, {
        "val_loss": losses,
        "val_acc": [epoch["val_accuracy"] for epoch in epochs],
        "best_epoch": losses.index(min(losses)) + 1,
        "stopped_epoch": len(losses),
        **json.loads(done.output[-1]),
        "device": "TensorFlow",
    }
