"""How accurate each recipe is, over several seeds: whole trainings to their early stops, then the test.

    python -m benchmarks.accuracy --data data                               # every recipe
    python -m benchmarks.accuracy --data data --recipes basic vgg16 --seeds 1 2 3 --weights-dir weights
    python -m benchmarks.accuracy --data data --jobs 2 --threads 1          # two at a time, one thread each
    python -m benchmarks.accuracy --table                                   # what was measured

Each training is written to the file when it ends; one that is there, with the same options, photographs and
versions, is not repeated. So a benchmark that was stopped goes on with the same command.
"""

import math
import statistics
import sys
from collections import defaultdict
from dataclasses import replace
from itertools import combinations

from benchmarks.statistics import mcnemar_error, mean_interval, pooled_deviation
from benchmarks.trainings import Recipe, Training, Trainings, accuracy, command, parse, place, train_all
from catdog_pl.data.statistics import wilson_interval

VGG16 = "--model vgg16 --weights {vgg16-notop.h5|keras}"
CACHED = f"{VGG16} --model.cached_views 1"
IMAGENET = "--model.preprocessing imagenet"
SQUEEZENET = "--backbone squeezenet1_1 --weights {squeezenet1_1-imagenet.pth|DEFAULT}"
LITE = "--backbone timm/tf_efficientnet_lite0 --weights {tf_efficientnet_lite0.pth|DEFAULT}"
STOP = "--epochs 25 --patience 2"  # the workshop's, which are the defaults of fit
SHORT = "--config basic-best --max_epochs 40 --learning_rate 0.001 --precision bf16-mixed"
LEVERS = {
    "preprocessing": "--preprocessing workshop",
    "dropout": "--model.dropout 0",
    "adamw": "--optimizer keras_rmsprop --model.optimizer_args null",
    "schedule": "--lr_scheduler null --model.lr_scheduler_args null",
    "smoothing": "--model.label_smoothing 0",
    "averaging": "--model.ema_decay 0",
    "antialias": "--data.resize nearest",
    "crops": "--augment keras --data.rotation 30",
    "colour": "--data.color_jitter 0",
    "clipping": "--trainer.gradient_clip_val null",
}
"""What the basic model's best recipe has and the workshop's has not, and the options that leave it out."""

RECIPES = {
    "basic": Recipe("--model basic"),
    "basic-bf16": Recipe("--model basic --precision bf16-mixed"),
    "vgg16": Recipe(VGG16),
    "vgg16-bf16": Recipe(f"{VGG16} --model.bf16_backbone true"),
    "vgg16-cached": Recipe(CACHED),
    "vgg16-cached-bf16": Recipe(f"{CACHED} --model.bf16_backbone true"),
    "vgg16-cached3": Recipe(f"{VGG16} --model.cached_views 3"),
    "vgg16-imagenet": Recipe(f"{VGG16} {IMAGENET}"),
    "vgg16-imagenet-bf16": Recipe(f"{VGG16} {IMAGENET} --model.bf16_backbone true"),
    "vgg16-imagenet-cached": Recipe(f"{CACHED} {IMAGENET}"),
    "vgg16-imagenet-cached-bf16": Recipe(f"{CACHED} {IMAGENET} --model.bf16_backbone true"),
    "vgg16-imagenet-cached-small-steps": Recipe(f"{CACHED} {IMAGENET} --learning_rate 1e-4"),
    "vgg16-imagenet-cached-small-steps-bf16": Recipe(
        f"{CACHED} {IMAGENET} --learning_rate 1e-4 --model.bf16_backbone true"
    ),
    "keras-basic": Recipe(f"--model basic {STOP}", keras=True),
    "keras-vgg16": Recipe(f"--model vgg16 --weights {{vgg16-notop.h5|imagenet}} {STOP}", keras=True),
    "squeezenet1_1": Recipe(f"--config transfer {SQUEEZENET}", tta=True),
    "squeezenet1_1-mlp": Recipe(f"--config transfer {SQUEEZENET} --model.head mlp"),
    "squeezenet1_1-finetune": Recipe(f"--config finetune {SQUEEZENET}", tta=True),
    "efficientnet_lite0": Recipe(f"--config transfer {LITE}", tta=True),
    "efficientnet_lite0-150": Recipe(f"--config transfer {LITE} --image_size 150"),
    "efficientnet_lite0-finetune": Recipe(f"--config finetune {LITE}", tta=True),
    "basic-best": Recipe("--config basic-best", tta=True),
    "short": Recipe(SHORT),
    **{f"short-no-{lever}": Recipe(f"{SHORT} {off}") for lever, off in LEVERS.items()},
}
"""Name in the tables -> how it trains. The defaults of ``fit`` are the workshop's."""


def main() -> int:
    """Train what is missing, and print the table."""
    words = command(__doc__, seeds=[1, 2, 3])
    words.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES), metavar="NAME",
                       help=f"of {', '.join(RECIPES)}; default: all")  # fmt: skip
    words.add_argument(
        "--also", default="", help='options added to every fit here, as in --also="--max_epochs 1"'
    )
    options = parse(words)
    file = Trainings(options.output)
    chosen = {name: RECIPES[name] for name in options.recipes}
    recipes = {
        name: one if one.keras else replace(one, fit=f"{one.fit} {options.also}".strip())
        for name, one in chosen.items()
    }
    code = 0 if options.table else train_all(recipes, options, options.data, file)
    print(f"\n{table(recipes_of(file.all()))}\n\n{lever_table(levers_of(file.all()))}")
    return code


def is_lever(training: Training) -> bool:
    """Whether it was trained with or without a lever, which have a table of their own."""
    return training["recipe"].partition("-no-")[0] == "short" and as_written(training)


def levers_of(trainings: list[Training]) -> list[Training]:
    """The trainings with and without levers."""
    return [one for one in trainings if is_lever(one)]


def recipes_of(trainings: list[Training]) -> list[Training]:
    """The trainings that are not for levers."""
    return [one for one in trainings if not is_lever(one)]


def lever_table(trainings: list[Training]) -> str:
    """What a short training loses without each lever, the most important first, and how sure that is."""
    if not trainings:
        return "No lever is measured yet."
    groups: dict[str, list[float]] = defaultdict(list)
    validated: dict[str, list[float]] = defaultdict(list)
    for one in trainings:
        name = one["recipe"].removeprefix("short-no-")
        groups[name].append(accuracy(one))
        validated[name].append(max(one["val_acc"]))
    means = {name: statistics.mean(values) for name, values in groups.items()}
    lines = [
        "| without | options | seeds | test accuracy | points lost | val_acc |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(means, key=lambda name: (name in LEVERS, means[name])):
        option, label = (f"`{LEVERS[name]}`", name) if name in LEVERS else ("", "nothing")
        lost = round(100 * (means["short"] - means[name]), 1) + 0.0  # which makes 0 of -0
        figures = f"{means[name]:.3f} | {lost:+.1f} | {statistics.mean(validated[name]):.3f}"
        lines.append(f"| {label} | {option} | {len(groups[name])} | {figures} |")
    deviation = 100 * pooled_deviation(list(groups.values()))
    seeds = max(map(len, groups.values()))
    error = deviation * math.sqrt(2 / seeds)
    lines += [
        "",
        f"Trainings of one row have a standard deviation of {deviation:.1f} points (pooled over all rows), "
        f"so with {seeds} seeds, points lost have a standard error of {error:.1f}: less than "
        f"{1.96 * error:.1f} may be chance.",
    ]
    return "\n".join(lines)


def table(trainings: list[Training]) -> str:
    """One row for each recipe and size of data, and what a difference of one point means."""
    if not trainings:
        return "Nothing is measured yet."
    groups: dict[tuple[str, ...], list[Training]] = defaultdict(list)
    for one in trainings:
        groups[one["recipe"], one["options"], str(one["photos"])].append(one)
    lines = [
        "| recipe | photographs | seeds | test accuracy | 95 % of the mean | by the test's size alone "
        "| with --tta | best epoch | val_acc | fewest minutes | of CPU | on |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [row(group) for group in groups.values()]
    tested = max(one["tested"] for one in trainings)
    about = one_point([one for one in trainings if one["tested"] == tested])
    names = dict.fromkeys(one["recipe"] for one in trainings if as_written(one))
    commands = [f"- {name}: `{typed(RECIPES[name])}`" for name in names]
    places = {f"- {place(one)}": None for one in trainings}
    return "\n\n".join("\n".join(part) for part in (lines, about, commands, places))


def row(group: list[Training]) -> str:
    """A recipe's means over its seeds."""
    values = [accuracy(one) for one in group]
    mean, tested = statistics.mean(values), group[0]["tested"]
    best = [one["best_epoch"] for one in group]
    viewed = [accuracy(one, "wrong_tta") for one in group if "wrong_tta" in one]
    quickest = min(group, key=lambda one: float(one["minutes"]))  # other work only ever adds minutes
    several = len(group) > 1
    cells = [
        title(group[0]),
        f"{group[0]['photos']['train']:,}",
        str(len(group)),
        f"{mean:.4f}" + (f" ± {statistics.stdev(values):.4f}" if several else ""),
        between(*mean_interval(values)) if several else "",
        between(*wilson_interval(round(mean * tested), tested)),
        f"{statistics.mean(viewed):.4f}" if viewed else "",
        f"{statistics.mean(best):.1f} ({min(best)} to {max(best)})",
        f"{statistics.mean(one['val_acc'][one['best_epoch'] - 1] for one in group):.4f}",
        f"{quickest['minutes']:.1f}",
        f"{quickest['cpu_minutes']:.1f}" if "cpu_minutes" in quickest else "",
        ", ".join(dict.fromkeys(processor(one) for one in group)),
    ]
    return f"| {' | '.join(cells)} |"


def processor(training: Training) -> str:
    """What computed: the GPU's name, or how many cores."""
    machine = training["machine"]
    return str(machine.get("gpu") or f"{machine['cores']} cores")


def typed(recipe: Recipe) -> str:
    """The command of a recipe, with weights that are downloaded."""
    return " ".join(["keras_workshop" if recipe.keras else "fit", *recipe.words(None)])


def title(training: Training) -> str:
    """The recipe's name, with its options where they are not those of `RECIPES`."""
    options = "" if as_written(training) else f" ({training['options']})".replace("|", " or ")
    return f"{training['recipe']}{options}"


def as_written(training: Training) -> bool:
    """Whether the options are those that the recipe has now."""
    recipe = RECIPES.get(training["recipe"])
    return recipe is not None and recipe.options == training["options"]


def between(low: float, high: float) -> str:
    """An interval of proportions in words."""
    return f"{max(0.0, low):.3f} to {min(1.0, high):.3f}"


def one_point(trainings: list[Training]) -> list[str]:
    """What one point of accuracy means on these test photographs, in sentences."""
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


if __name__ == "__main__":
    sys.exit(main())
