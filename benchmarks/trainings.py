"""Whole trainings with their test, each a process of its own, kept in a file as they end.

A training is a dictionary of plain values. What it was: ``recipe``, ``options``, ``seed``, ``photos`` (how
many in each split), ``versions``. How it went: ``val_loss`` and ``val_acc`` by epoch, ``best_epoch``,
``stopped_epoch``, ``tested``, ``wrong`` (numbers of the test photographs, in the order of their names, that
the best epoch's weights answered wrongly), ``wrong_last`` (the same of the last epoch's), ``wrong_tta`` (of
the best by four views, where the recipe asks), ``minutes`` and ``cpu_minutes`` of the fit's process,
``device``, ``threads``, ``machine``.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from benchmarks.machine import PACKAGES, REPOSITORY, machine, versions
from benchmarks.speed.process import Run, run
from catdog_pl.devices import find_device
from catdog_pl.io.files import atomic_write

Training = dict[str, Any]

IDENTITY = ("recipe", "options", "seed", "photos", "versions")
SPLITS = ("train", "validation", "test")
RESULTS = REPOSITORY / "benchmarks" / "results" / "accuracy.json"
KERAS = "benchmarks.speed.peers.keras_workshop"
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
KERAS_PACKAGES = ("keras", BACKEND, "pillow", "numpy")


@dataclass(frozen=True)
class Recipe:
    """A way to train.

    Attributes:
        fit: options of ``fit``, or of the script `KERAS`. ``{FILE|WORD}`` stands for a file of weights
            in the folder that the benchmark is given, or, without that folder, for the word.
        tta: whether the best epoch's weights are tested by four views, too.
        keras: whether the workshop's script in Keras trains.
    """

    fit: str
    tta: bool = False
    keras: bool = False

    @property
    def options(self) -> str:
        """What identifies the recipe in the file, a shipped configuration by its values, too."""
        options = re.sub(r"(?<=--config )\S+", lambda name: f"{name[0]}@{digest(name[0])}", self.fit)
        return f"keras | {options}" if self.keras else options

    def words(self, weights: Path | None) -> list[str]:
        """The options of the fit, with files in the folder ``weights`` or the words instead of them."""
        replacement = (lambda found: str(weights.resolve() / found[1])) if weights else r"\2"
        return [re.sub(r"\{(.+?)\|(.+?)\}", replacement, word) for word in self.fit.split()]


def digest(name: str) -> str:
    """Eight digits that tell the values of a shipped configuration from all others."""
    values = yaml.safe_load((REPOSITORY / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


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
        """Write the file with this training, in the place of the same one with other versions."""
        with FileLock(self.path.with_suffix(".lock")):
            kept = [one for one in self.all() if not same(one, training, IDENTITY[:-1])]
            lines = ",\n".join(json.dumps(one) for one in [*kept, training])
            with atomic_write(self.path) as part:
                part.write_text(f'{{"trainings": [\n{lines}\n]}}\n', encoding="utf-8")


def same(one: Training, other: Training, keys: Iterable[str]) -> bool:
    """Whether two trainings agree in these."""
    return all(one[key] == other[key] for key in keys)


def command(description: str | None, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """The options of a benchmark that trains; `parse` parses them."""
    words = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--data", type=Path, default=Path("data"), help="a folder that prepare has made")
    words.add_argument("--seeds", type=int, nargs="+", default=seeds)
    words.add_argument("--weights-dir", type=Path, help="a folder with files of weights; else downloaded")
    words.add_argument("--jobs", type=int, default=1, help="trainings at a time, default 1")
    words.add_argument("--threads", type=int, help="threads of each training; default: the library's choice")
    words.add_argument("--again", action="store_true", help="repeat trainings that are in the file")
    words.add_argument("--keep", type=Path, help="where the folders of the runs stay; default: removed")
    words.add_argument("--table", action="store_true", help="train nothing, print the table of the file")
    words.add_argument("--output", type=Path, default=RESULTS)
    return words


def parse(words: argparse.ArgumentParser) -> argparse.Namespace:
    """The options as typed; a folder that is not there ends the process."""
    options = words.parse_args()
    folders = {
        "--data": (options.data, "prepare has made"),
        "--weights-dir": (options.weights_dir, "holds weights"),
    }
    for name, (folder, what) in folders.items():
        if folder and not folder.is_dir() and not options.table:
            sys.exit(f"{name} {folder}: no such folder; give one that {what}")
    return options


def train_all(recipes: dict[str, Recipe], options: argparse.Namespace, data: Path, file: Trainings) -> int:
    """Train every recipe with every seed that the file lacks; return the exit code, 1 where one failed.

    The seeds take turns, so that a benchmark that is stopped has measured every recipe about equally often.
    """
    wanted = [
        (recipe, identity(name, recipe, seed, data))
        for seed in options.seeds
        for name, recipe in recipes.items()
    ]
    missing = [(recipe, one) for recipe, one in wanted if options.again or not file.has(one)]
    print(f"{len(wanted) - len(missing)} trainings are there, {len(missing)} to do", flush=True)
    failures = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        pending = {pool.submit(train, recipe, one, data, options): one for recipe, one in missing}
        try:
            for done in as_completed(pending):
                name = f"{pending[done]['recipe']}, seed {pending[done]['seed']}"
                if isinstance(error := done.exception(), RuntimeError):
                    failures += 1
                    print(f"{name}: {error}", file=sys.stderr, flush=True)
                    continue
                file.add(training := done.result())
                print(f"{name}: {line(training)}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return 1 if failures else 0


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


def accuracy(training: Training, which: str = "wrong") -> float:
    """Of the test photographs, by the best epoch's weights; by the last's with ``wrong_last``."""
    return 1 - len(training[which]) / int(training["tested"])


def place(training: Training) -> str:
    """Where it was measured."""
    machine = training["machine"]
    parts = [
        *([machine["gpu"]] if "gpu" in machine else []),
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['features'])}), "
        f"{training['threads'] or 'default'} threads",
        ", ".join(f"{name} {version}" for name, version in training["versions"].items()),
    ]
    return "; ".join(parts)


def train(recipe: Recipe, training: Training, data: Path, options: argparse.Namespace) -> Training:
    """Fit and test in a folder of its own; return the training with how it went.

    Raises:
        RuntimeError: a process failed; the message holds the end of its output.
    """
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = dict.fromkeys(names, str(options.threads)) if options.threads else {}
    how = keras_training if recipe.keras else our_training
    with tempfile.TemporaryDirectory() as temporary:
        if options.weights_dir:  # nothing is downloaded, and no training finds the features of another
            environment["TORCH_HOME"] = temporary
        folder = (options.keep or Path(temporary)).resolve() / f"{training['recipe']}-{training['seed']}"
        folder.mkdir(parents=True, exist_ok=True)
        words = [*recipe.words(options.weights_dir), "--seed", str(training["seed"])]
        fitted, went = how(recipe, words, data.resolve(), folder, environment)
    return {
        **training,
        **went,
        "minutes": round(fitted.seconds / 60, 3),
        "cpu_minutes": round(fitted.cpu / 60, 3),
        "threads": options.threads,
        "machine": machine(find_device("auto") if "cuda" in went["device"] else None),
    }


def our_training(
    recipe: Recipe, words: Sequence[str], data: Path, folder: Path, environment: dict[str, str]
) -> tuple[Run, Training]:
    """``fit``, then ``test`` of the last epoch's weights and of the best, and of these by four views."""
    fitted = run(["-m", "catdog_pl", "fit", *words, "--root", str(data)], folder, **environment)
    best = re.search(r"Best epoch: (\d+)", "".join(fitted.output))
    assert best, fitted.output
    metrics = max(folder.glob("checkpoints/*/*/metrics.csv"), key=lambda path: path.stat().st_mtime_ns)
    rows = list(csv.DictReader(metrics.open(encoding="utf-8")))
    tests = {"wrong_tta": "best --tta"} if recipe.tta else {}
    wrong = {}
    for name, test in {**tests, "wrong_last": "last", "wrong": "best"}.items():
        run(["-m", "catdog_pl", "test", "--ckpt_path", *test.split()], folder, **environment)
        answers = list(csv.DictReader((metrics.parent / "test.csv").open(encoding="utf-8")))
        wrong[name] = [i for i, row in enumerate(answers) if row["predicted"] != row["true"]]
    return fitted, {
        "val_loss": [float(row["val_loss"]) for row in rows],
        "val_acc": [float(row["val_acc"]) for row in rows],
        "best_epoch": int(best[1]),
        "stopped_epoch": len(rows),
        "tested": len(answers),
        **wrong,
        "device": next(said for said in fitted.output if said.startswith("Training on ")).strip(),
    }


def keras_training(
    recipe: Recipe, words: Sequence[str], data: Path, folder: Path, environment: dict[str, str]
) -> tuple[Run, Training]:
    """The workshop's script in Keras 3; the same two tests end it, and count as minutes."""
    words = ["-m", KERAS, *words, "--data", str(data), "--test"]
    done = run(words, folder, **{"KERAS_BACKEND": BACKEND, **environment})
    epochs = [json.loads(said.split(" ", 2)[2]) for said in done.output if said.startswith("Epoch ")]
    losses = [epoch["val_loss"] for epoch in epochs]
    return done, {
        "val_loss": losses,
        "val_acc": [epoch["val_accuracy"] for epoch in epochs],
        "best_epoch": losses.index(min(losses)) + 1,
        "stopped_epoch": len(losses),
        **json.loads(done.output[-1]),
        "device": f"Keras on {BACKEND}",
    }
