"""Whole trainings here and in Keras, compared as distributions, since no two of them are alike.

    pip install -e ".[bench]"
    python -m benchmarks.parity.distributions --data data --weights-dir weights            # hours
    python -m benchmarks.parity.distributions --data data --photos 400 --models basic      # a try
    python -m benchmarks.parity.distributions --table                                      # what was measured

The workshop's script in Keras 3 on TensorFlow, and ``fit`` with its defaults, train on the same files to
their early stops. The trainings are recipes of ``benchmarks.accuracy`` and share its file.
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.accuracy import RECIPES, as_written
from benchmarks.statistics import curve_test, detectable_difference, rank_test
from benchmarks.trainings import SPLITS, Training, Trainings, accuracy, command, parse, place, train_all

MODELS = ("basic", "vgg16")
FIGURES: dict[str, Callable[[Training], float]] = {
    "best epoch": lambda one: float(one["best_epoch"]),
    "epochs until the stop": lambda one: float(one["stopped_epoch"]),
    "lowest val_loss": lambda one: min(one["val_loss"]),
    "val_acc of the best epoch": lambda one: one["val_acc"][one["best_epoch"] - 1],
    "test accuracy, best epoch": accuracy,
    "test accuracy, last epoch": lambda one: accuracy(one, "wrong_last"),
}
"""What a training gives, beside the curve of its validation loss."""


def main() -> int:
    """Train what is missing on both sides, and print the comparison."""
    words = command(__doc__, seeds=[1, 2, 3, 4, 5])
    words.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    words.add_argument("--photos", type=int, help="take so many of the training photographs, others likewise")
    options = parse(words)
    file = Trainings(options.output)
    recipes = {name: RECIPES[name] for model in options.models for name in (model, f"keras-{model}")}
    code = 0
    if not options.table:
        with tempfile.TemporaryDirectory() as folder:
            data = subset(options.data, options.photos, Path(folder)) if options.photos else options.data
            code = train_all(recipes, options, data, file)
    parts = comparisons(file.all(), options.models)
    print("\n" + ("\n\n".join(parts) or "Nothing is measured on both sides with two seeds yet."))
    return code


def subset(data: Path, count: int, folder: Path) -> Path:
    """Copy the first photographs of each class, ``count`` for training and as large a share of the others."""
    share = count / sum(1 for _ in (data / "train").glob("*/*"))
    for split in SPLITS:
        for photos in sorted((data / split).iterdir()):
            files = sorted(photos.iterdir())
            target = folder / split / photos.name
            target.mkdir(parents=True)
            for file in files[: round(share * len(files))]:
                shutil.copy(file, target)
    return folder


def comparisons(trainings: Sequence[Training], models: Sequence[str]) -> list[str]:
    """A table for each model and number of photographs that both sides have trained with at least twice."""
    parts = []
    trainings = [one for one in trainings if as_written(one)]
    for model in models:
        for photos in dict.fromkeys(one["photos"]["train"] for one in trainings):
            ours, theirs = (
                [one for one in trainings if one["recipe"] == name and one["photos"]["train"] == photos]
                for name in (model, f"keras-{model}")
            )
            if min(len(ours), len(theirs)) > 1:
                parts.append(comparison(f"{model}, {photos:,} photographs", ours, theirs))
    return parts


def comparison(title: str, ours: Sequence[Training], theirs: Sequence[Training]) -> str:
    """Figures side by side, the tests that they do not differ, and what these could have seen."""
    lines = [
        f"| {title} | catdog_pl, {len(ours)} seeds | Keras, {len(theirs)} seeds | p | could have seen |",
        "|---|---|---|---|---|",
    ]
    for name, figure in FIGURES.items():
        a, b = [figure(one) for one in ours], [figure(one) for one in theirs]
        lines.append(line(name, a, b, rank_test(a, b)))
    curves = [[one["val_loss"] for one in side] for side in (ours, theirs)]
    shortest = min(len(curve) for side in curves for curve in side)
    a, b = ([statistics.mean(curve[:shortest]) for curve in side] for side in curves)
    lines.append(line(f"val_loss, epochs 1 to {shortest}", a, b, curve_test(*curves)))
    for epoch in range(max(len(curve) for side in curves for curve in side)):
        there = [[curve[epoch] for curve in side if len(curve) > epoch] for side in curves]
        lines.append(f"| val_loss, epoch {epoch + 1} | {' | '.join(map(spread, there))} | | |")
    places = dict.fromkeys(place(one) for one in (*ours, *theirs))
    return "\n".join([*lines, "", *places])


def line(name: str, a: Sequence[float], b: Sequence[float], p: float) -> str:
    """One row of the table."""
    return f"| {name} | {spread(a)} | {spread(b)} | {p:.2f} | {detectable_difference(a, b):.3g} |"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, and of how many where a training had stopped before."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.3g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4g}{deviation} ({len(values)})"


if __name__ == "__main__":
    sys.exit(main())
