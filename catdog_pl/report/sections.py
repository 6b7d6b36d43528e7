"""The parts of a report's page, each from what is known to what is shown."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from catdog_pl.data.statistics import wilson_interval
from catdog_pl.errors import CatDogError
from catdog_pl.models.checkpoint import trained_on
from catdog_pl.models.classifier import NOTE, Classifier
from catdog_pl.models.summary import totals
from catdog_pl.process import program
from catdog_pl.report import figures
from catdog_pl.report.answers import Answers
from catdog_pl.report.metrics import (
    Figure,
    brier_score,
    calibration_error,
    class_figures,
    fit_temperature,
    log_loss,
    mcnemar_p,
    ranking_figures,
    reliability,
)
from catdog_pl.report.page import Block, Code, Plot, Section, Table, Text

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Of the table that tells what moving the threshold costs."""

SAME_TEMPERATURE = 0.05
"""Distance from 1 below which a temperature changes no probability that matters."""

TRUSTED = 100
"""Photographs below which a test set is too small for most of what the page shows."""


def percent(share: float) -> str:
    """Return 0.948 as ``94.8 %``."""
    return f"{100 * share:.1f} %"


def between(interval: tuple[float, float]) -> str:
    """Return an interval of shares as ``93.2 to 96.0``, in percent."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def answer(answers: Answers) -> str:
    """Return ``948 of 1,000 right (94.8 %, 95 % interval 93.2 to 96.0)``."""
    right, total = answers.right, len(answers.table)
    interval = wilson_interval(right, total)
    return f"{right:,} of {total:,} right ({percent(right / total)}, 95 % interval {between(interval)})"


def learning(rows: pd.DataFrame, best: int | None) -> Section:
    """Return the learning curves; ``best`` is the epoch of the best checkpoint."""
    last = int(rows["epoch"].iloc[-1])
    sentence = f"Training ended after epoch {last}."
    found = rows[rows["epoch"] == best]
    if len(found):
        numbers = [f"{name} {found[name].iloc[0]:.4f}" for name in ("val_loss", "val_acc") if name in rows]
        sentence += f" The best one is epoch {best}: {', '.join(numbers)}."
    plot = Plot("curves", figures.learning_curves(rows, best), f"Learning curves. {sentence}")
    return Section("How it learned", [Text(sentence), plot])


def figure_table(ones: Sequence[Figure]) -> Table:
    """Return numbers with their intervals, and what they mean."""
    rows = [
        (one.name, f"{one.value:.3f}", f"{one.interval[0]:.3f} to {one.interval[1]:.3f}", one.meaning)
        for one in ones
    ]
    return Table(("", "value", "95 % interval", "meaning"), rows)


def mistakes(test: Answers, validation: Answers | None) -> Section:
    """Return what is answered how: crosstab, figures by class, curves, thresholds."""
    first, second = test.class_names
    blocks: list[Block] = [Text(cannot_show(test)), crosstab(test)]
    true, logits = test.true, test.logits
    ones = class_figures(true, logits, test.class_names)
    if 0 < true.sum() < len(true):
        alt = f"ROC curve, and precision and recall of {second}"
        blocks += [
            figure_table([*ones, *ranking_figures(true, logits)]),
            Plot("ranking", figures.ranking(true, logits, second), alt),
        ]
    else:
        only = second if true.all() else first
        blocks += [
            figure_table(ones),
            Text(f"All photographs are of {only}: there is no ROC curve, and nothing to rank."),
        ]
    steps = thresholds(true, special.expit(logits))
    alt = "Histogram of the probabilities, and the accuracy by threshold"
    blocks += [
        Plot(
            "probabilities", figures.probabilities(true, special.expit(logits), test.class_names, steps), alt
        )
    ]
    return Section("What it answers", [*blocks, *threshold_costs(test, validation)])


def cannot_show(test: Answers) -> str:
    """Return how sure an accuracy on so many photographs is, and what it cannot tell apart."""
    total = len(test.table)
    share = (test.right + 1) / (total + 2)  # not 0 or 1, where the formula would claim certainty
    points = 100 * 1.96 * float(np.sqrt(2 * share * (1 - share) / total))
    text = (
        f"On other photographs of the same kind, {between(wilson_interval(test.right, total))} % would be "
        f"right. Two models that were tested on {total:,} photographs each are told apart where they differ "
        f"by {points:.1f} points or more."
    )
    if total < TRUSTED:
        text += f" So few photographs show little: all that follows may be chance; test on {TRUSTED} or more."
    return text


def crosstab(test: Answers) -> Table:
    """Return how often each class got each answer."""
    names = test.class_names
    rows = []
    for name in names:
        of_class = test.table[test.table["true"] == name]
        counts = [int((of_class["predicted"] == other).sum()) for other in names]
        rows.append((f"is {name}", *(f"{count:,}" for count in counts), f"{len(of_class):,}"))
    return Table(("", *(f"answered {name}" for name in names), "all"), rows)


def thresholds(true: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return accuracy and the recall of the first and the second class for 101 thresholds from 0 to 1."""
    rows = []
    for threshold in np.linspace(0, 1, 101):
        predicted = probabilities > threshold
        recalls = [
            float((predicted[true == label] == label).mean()) if (true == label).any() else np.nan
            for label in (0, 1)
        ]
        rows.append((float(threshold), float((predicted == true).mean()), *recalls))
    return pd.DataFrame(rows, columns=["threshold", "accuracy", "first", "second"])


def threshold_costs(test: Answers, validation: Answers | None) -> Iterator[Block]:
    """Yield what moving the threshold costs, and the threshold that validation would choose."""
    first, second = test.class_names
    true, values = test.true, special.expit(test.logits)
    rows = []
    for threshold in THRESHOLDS:
        predicted = values > threshold
        wrong = [int((predicted[true == label] != label).sum()) for label in (0, 1)]
        rows.append(
            (f"{threshold:.2f}", percent(float((predicted == true).mean())), f"{wrong[0]:,}", f"{wrong[1]:,}")
        )
    head = (f"{second} from", "accuracy", f"{first} taken for {second}", f"{second} taken for {first}")
    yield Table(head, rows)
    if validation is not None:
        steps = thresholds(validation.true, special.expit(validation.logits))
        chosen = float(steps["threshold"].iloc[int(steps["accuracy"].argmax())])
        accuracy = float(((values > chosen) == true).mean())
        yield Text(
            f"The validation photographs would choose {chosen:.2f}, which gives {percent(accuracy)} here. "
            "A threshold that is chosen on the test photographs themselves looks better than it is."
        )


def calibration(test: Answers, validation: Answers | None) -> Section:
    """Return whether the probabilities can be believed, before and after temperature scaling."""
    bins = {"as it is": reliability(test.true, test.logits)}
    rows = [calibration_row("as it is", test.true, test.logits)]
    text = (
        "Of the answers that are 80 % certain, 80 % should be right: then the points lie on the line. A "
        "point above the line is more often right than the model claims, one below less often. The bars are "
        "95 % intervals."
    )
    blocks: list[Block] = [Text(text)]
    if validation is not None:
        temperature = fitted_temperature(validation)
        scaled = test.logits / temperature
        title = f"with temperature {temperature:.2f}"
        bins[title] = reliability(test.true, scaled)
        rows.append(calibration_row(title, test.true, scaled))
        if abs(temperature - 1) < SAME_TEMPERATURE:
            verdict = "That is nearly 1: the probabilities are as certain as they should be."
        elif temperature > 1:
            verdict = (
                "The model is surer than it should be: divided by the temperature, its logits claim less."
            )
        else:
            verdict = "The model could be surer: divided by the temperature, its logits claim more."
        photographs = f"{len(validation.table):,} validation photographs"
        blocks.append(
            Text(
                f"A temperature of {temperature:.2f} fitted {photographs} best. {verdict} No answer changes."
            )
        )
    blocks += [
        Table(("", "ECE", "Brier score", "cross-entropy"), rows),
        Plot(
            "reliability",
            figures.reliability(bins),
            "Reliability diagram, and how many answers are how certain",
        ),
        Text(
            "ECE is the mean distance of certainty and share of right answers, over 10 bins of equal width; "
            "for a perfectly calibrated model on few photographs it is still above 0."
        ),
    ]
    return Section("How sure it is", blocks)


def fitted_temperature(validation: Answers) -> float:
    """Return the temperature that fits the answers to validation photographs best."""
    return fit_temperature(validation.true, validation.logits)


def calibration_row(title: str, true: np.ndarray, logits: np.ndarray) -> tuple[str, ...]:
    """Return the row of the table of calibration for these logits."""
    numbers = (
        calibration_error(reliability(true, logits)),
        brier_score(true, logits),
        log_loss(true, logits),
    )
    return (title, *(f"{number:.4f}" for number in numbers))


def making(model: Classifier, checkpoint: dict[str, Any], rows: pd.DataFrame | None, config: Path) -> Section:
    """Return how the model was made: parameters, time, versions, machine, configuration, command."""
    note = checkpoint[NOTE]
    facts = [("model", note["model"])]
    facts += [
        (name, count) for name, _, count in (line.partition(": ") for line in totals(model).splitlines()[:3])
    ]
    if rows is not None and "seconds" in rows:
        facts.append(("time of training", f"{rows['seconds'].sum() / 60:.1f} min in {len(rows)} epochs"))
    facts += [(f"trained on: {name}", shown(value)) for name, value in trained_on(checkpoint).items()]
    if isinstance(versions := note.get("versions"), dict):
        facts += [(f"version of {name}", str(value)) for name, value in versions.items()]
    blocks: list[Block] = [Table((), facts)]
    if config.is_file():
        blocks += [
            Text("To train it again:"),
            Code(f"{program()} fit --config {shlex.quote(str(config))}"),
            Code(config.read_text(encoding="utf-8", errors="replace"), "Its configuration"),
        ]
    return Section("How it was made", blocks)


def shown(value: object) -> str:
    """Return a value of the note as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def comparison(titles: Sequence[str], answers: Sequence[Answers]) -> Section:
    """Return the accuracies of several models, and McNemar's test of each against the first."""
    rows, table = [], []
    for title, one in zip(titles, answers, strict=True):
        low, high = wilson_interval(one.right, len(one.table))
        table.append((title, one.right / len(one.table), low, high))
        rows.append(
            (title, f"{one.right:,} of {len(one.table):,}", percent(table[-1][1]), between((low, high)))
        )
    frame = pd.DataFrame(table, columns=["run", "accuracy", "low", "high"])
    blocks: list[Block] = [
        Table(("", "right", "accuracy", "95 % interval"), rows),
        Plot("accuracies", figures.accuracies(frame), "Test accuracy of each run, with its interval"),
    ]
    pairs = [against(titles[0], titles[i], answers[0], answers[i]) for i in range(1, len(answers))]
    head = ("", "photographs", "only the first is right", "only this one is right", "p")
    text = (
        f"McNemar's exact test of each model against {titles[0]}, on the photographs that both were tested "
        f"on. Below a p of {0.05 / len(pairs):.3g} the difference is hardly chance"
        + (f": 0.05, divided by {len(pairs)} comparisons." if len(pairs) > 1 else ".")
    )
    return Section("Which is better", [*blocks, Text(text), Table(head, pairs)])


def against(first_title: str, title: str, first: Answers, other: Answers) -> tuple[str, ...]:
    """Return the row of McNemar's test of two models on the photographs that both have answered."""
    both = first.table.merge(other.table, on=["file", "true"], suffixes=("", "_other"))
    if both.empty:
        raise CatDogError(
            f"{title} and {first_title} were tested on different photographs; compare runs with one --root"
        )
    one_right, other_right = both["predicted"] == both["true"], both["predicted_other"] == both["true"]
    first_alone, other_alone = int((one_right & ~other_right).sum()), int((other_right & ~one_right).sum())
    p = mcnemar_p(first_alone, other_alone)
    return title, f"{len(both):,}", f"{first_alone:,}", f"{other_alone:,}", f"{p:.3g}"
