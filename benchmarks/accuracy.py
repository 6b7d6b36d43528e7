"""How accurate each recipe is, over several seeds: whole trainings to their early stops, then the test.

    python -m benchmarks.accuracy --data data                               # every recipe
    python -m benchmarks.accuracy --data data --recipes basic vgg16 --seeds 1 2 3 --weights-dir weights
    python -m benchmarks.accuracy --data data --jobs 2 --threads 1          # two at a time, one thread each
    python -m benchmarks.accuracy --table                                   # what was measured

Each training is written to the file when it ends; one that is there, with the same options, photographs and
versions, is not repeated. So a benchmark that was stopped goes on with the same command.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from benchmarks.machine import REPOSITORY
from benchmarks.statistics import mcnemar_error, mean_interval
from benchmarks.trainings import Recipe, Setting, Training, Trainings, accuracy, train_all
from catdog_pl.data.statistics import wilson_interval

RESULTS = REPOSITORY / "benchmarks" / "results" / "accuracy.json"
VGG16 = "--model vgg16 --weights {vgg16-notop.h5|keras}"
CACHED = f"{VGG16} --model.cached_views 1"
IMAGENET = "--model.preprocessing imagenet"

RECIPES = {
    "basic": Recipe("--model basic"),
    "basic-bf16": Recipe("--model basic --precision bf16-mixed"),
    "vgg16": Recipe(VGG16),
    "vgg16-cached": Recipe(CACHED),
    "vgg16-cached-bf16": Recipe(f"{CACHED} --model.bf16_backbone true"),
    "vgg16-cached3": Recipe(f"{VGG16} --model.cached_views 3"),
    "vgg16-imagenet": Recipe(f"{VGG16} {IMAGENET}"),
    "vgg16-imagenet-cached": Recipe(f"{CACHED} {IMAGENET}"),
    "vgg16-imagenet-cached-small-steps": Recipe(f"{CACHED} {IMAGENET} --learning_rate 1e-4"),
}
"""Name in the tables -> how it trains. The defaults of ``fit`` are the workshop's."""


def main() -> int:
    """Train what is missing, and print the table."""
    options = parse()
    file = Trainings(options.output)
    failures: list[str] = []
    if not options.table:
        recipes = {
            name: replace(RECIPES[name], fit=f"{RECIPES[name].fit} {options.also}".strip())
            for name in options.recipes
        }
        setting = Setting(options.data, options.weights_dir, options.threads, options.keep)
        failures = train_all(recipes, options.seeds, setting, file, options.jobs, options.again)
    print(f"\n{table(file.all())}")
    print("\n".join(failures), file=sys.stderr)
    return 1 if failures else 0


def parse() -> argparse.Namespace:
    """The options of the command."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="NAME",
                       help=f"of {', '.join(RECIPES)}")  # fmt: skip
    words.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    words.add_argument("--data", type=Path, default=Path("data"), help="a folder that prepare has made")
    words.add_argument("--weights-dir", type=Path, help="a folder with the files of weights; else downloaded")
    words.add_argument("--jobs", type=int, default=1, help="trainings at a time, default 1")
    words.add_argument("--threads", type=int, help="threads of each training")
    words.add_argument("--also", default="", help='options added to every fit, as in --also="--max_epochs 1"')
    words.add_argument("--again", action="store_true", help="repeat trainings that are in the file")
    words.add_argument("--keep", type=Path, help="where the folders of the runs stay; by default they do not")
    words.add_argument("--table", action="store_true", help="train nothing, print the table of the file")
    words.add_argument("--output", type=Path, default=RESULTS)
    options = words.parse_args()
    for name in ("data", "weights_dir"):
        folder = getattr(options, name)
        if folder and not folder.is_dir() and not options.table:
            sys.exit(f"--{name.replace('_', '-')} {folder}: no such folder; {FOLDERS[name]}")
    return options


FOLDERS = {"data": "give one that prepare has made", "weights_dir": "give one with files of weights"}


def table(trainings: list[Training]) -> str:
    """One row for each recipe and size of data, and what a difference of one point means."""
    groups: dict[tuple[str, ...], list[Training]] = defaultdict(list)
    for one in trainings:
        groups[one["recipe"], one["options"], str(one["photos"])].append(one)
    lines = [
        "| recipe | photographs | seeds | test accuracy | 95 % of the mean | by the test's size alone "
        "| best epoch | val_acc | minutes | minutes of CPU |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [row(group) for group in groups.values()]
    tested = max((one["tested"] for one in trainings), default=0)
    about = one_point([one for one in trainings if one["tested"] == tested])
    places = dict.fromkeys(place(one) for one in trainings)
    return "\n".join([*lines, "", *about, *places])


def row(group: list[Training]) -> str:
    """A recipe's means over its seeds."""
    values = [accuracy(one) for one in group]
    mean, tested = statistics.mean(values), group[0]["tested"]
    best = [one["best_epoch"] for one in group]
    several = len(group) > 1
    cells = [
        group[0]["recipe"],
        f"{group[0]['photos']['train']:,}",
        str(len(group)),
        f"{mean:.4f}" + (f" ± {statistics.stdev(values):.4f}" if several else ""),
        between(*mean_interval(values)) if several else "",
        between(*wilson_interval(round(mean * tested), tested)),
        f"{statistics.mean(best):.1f} ({min(best)} to {max(best)})",
        f"{statistics.mean(one['val_acc'][one['best_epoch'] - 1] for one in group):.4f}",
        f"{statistics.mean(one['minutes'] for one in group):.1f}",
        f"{statistics.mean(one['cpu_minutes'] for one in group):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def between(low: float, high: float) -> str:
    """An interval of proportions in words."""
    return f"{max(0.0, low):.3f} to {min(1.0, high):.3f}"


def one_point(trainings: list[Training]) -> list[str]:
    """What one point of accuracy means on these test photographs, in sentences."""
    if not trainings:
        return ["Nothing is measured yet."]
    tested = trainings[0]["tested"]
    middle = statistics.median(accuracy(one) for one in trainings)
    low, high = wilson_interval(round(middle * tested), tested)
    lines = [
        f"One point of accuracy is {tested / 100:g} of {tested:,} test photographs. An accuracy of "
        f"{middle:.3f} on them is known to be between {low:.3f} and {high:.3f} (Wilson, 95 %)."
    ]
    pairs = [len(set(a["wrong"]) ^ set(b["wrong"])) for a, b in combinations(trainings, 2)]
    if pairs:
        apart = statistics.median(pairs)
        error = mcnemar_error(apart, tested)
        seen = 0.01 / error if error else float("inf")
        lines.append(
            f"Half of all pairs of trainings differ on {apart:g} photographs or more; the difference of such "
            f"two has a standard error of {100 * error:.2f} points (McNemar), so that one point is "
            f"{seen:.1f} standard errors, and less than {196 * error:.1f} points between two trainings "
            "may be chance."
        )
    return lines


def place(training: Training) -> str:
    """Where it was measured."""
    machine = training["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['features'])}), "
        f"{training['threads'] or 'default'} threads; "
        + ", ".join(f"{name} {version}" for name, version in training["versions"].items())
    )


if __name__ == "__main__":
    sys.exit(main())
