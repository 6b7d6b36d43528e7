"""How good answers are, and how sure one may be of that.

In all functions ``true`` are labels (N,), 0 or 1, and ``logits`` those of the second class (N,).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats
from sklearn import metrics

from catdog_pl.data.statistics import wilson_interval

Labels = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

RESAMPLES = 1_000
"""Of the bootstrap."""

BINS = 10
"""Of a reliability diagram, equally wide."""


class Figure(NamedTuple):
    """A number with its 95 % interval; what it is, and what it says in a sentence."""

    name: str
    value: float
    interval: tuple[float, float]
    meaning: str


def wilson_figure(name: str, right: int, total: int, meaning: str) -> Figure:
    """Return a share with Wilson's interval; of nothing, the share is NaN."""
    if not total:
        return Figure(name, np.nan, (0.0, 1.0), meaning)
    return Figure(name, right / total, wilson_interval(right, total), meaning)


def class_figures(true: Labels, logits: Values, names: Sequence[str]) -> list[Figure]:
    """Return precision, recall and F1 of each class; an answer is the second class above a logit of 0."""
    figures = []
    for label, name in enumerate(names):
        found, there = (logits > 0) == label, true == label
        right = int((found & there).sum())
        figures += [
            wilson_figure(
                f"precision, {name}", right, int(found.sum()), f"share of the answers {name} that are right"
            ),
            wilson_figure(
                f"recall, {name}",
                right,
                int(there.sum()),
                f"share of the photographs of {name} that are found",
            ),
            bootstrapped(f"F1, {name}", partial(f1_score, label), true, logits, "harmonic mean of these two"),
        ]
    return figures


def f1_score(label: int, true: Labels, logits: Values) -> float:
    """Return the harmonic mean of precision and recall of a class; 0 where nothing is found."""
    found, there = (logits > 0) == label, true == label
    # scikit-learn's takes 6 ms, which a thousand draws multiply.
    return 2 * float((found & there).sum()) / max(1, int(found.sum() + there.sum()))


def ranking_figures(true: Labels, logits: Values) -> list[Figure]:
    """Return the areas under the ROC and the precision-recall curve, and the Brier score.

    The first two need photographs of both classes.
    """
    return [
        bootstrapped(
            "AUC",
            area_under_roc,
            true,
            logits,
            "how often a photograph of the second class gets the higher probability of a pair of one each",
        ),
        bootstrapped(
            "average precision",
            metrics.average_precision_score,
            true,
            logits,
            "mean precision over all recalls",
        ),
        bootstrapped(
            "Brier score",
            brier_score,
            true,
            logits,
            "mean squared error of the probability; 0.25 is that of always saying 0.5",
        ),
    ]


def bootstrapped(
    name: str, statistic: Callable[[Labels, Values], float], true: Labels, logits: Values, meaning: str
) -> Figure:
    """Return a statistic with its bootstrap interval: photographs are drawn anew, with their answers.

    Draws of one class alone, for which some are not defined, are drawn once more.
    """
    random = np.random.default_rng(0)
    several = len(np.unique(true)) > 1
    values: list[float] = []
    while len(values) < RESAMPLES:
        chosen = random.integers(len(true), size=len(true))
        if not several or 0 < true[chosen].sum() < len(true):
            values.append(statistic(true[chosen], logits[chosen]))
    low, high = np.quantile(values, [0.025, 0.975])
    return Figure(name, float(statistic(true, logits)), (float(low), float(high)), meaning)


def area_under_roc(true: Labels, logits: Values) -> float:
    """Return the area under the ROC curve: the U statistic by the number of pairs; ties count half.

    Source: D. Bamber, Journal of Mathematical Psychology 12 (1975), 387-415.
    """
    second = int(true.sum())
    ranks = stats.rankdata(logits)[true == 1].sum()
    return float((ranks - second * (second + 1) / 2) / (second * (len(true) - second)))


def brier_score(true: Labels, logits: Values) -> float:
    """Return the mean squared difference of probability and label."""
    return float(((special.expit(logits) - true) ** 2).mean())


def log_loss(true: Labels, logits: Values) -> float:
    """Return the mean cross-entropy, in nats."""
    return float((np.logaddexp(0, logits) - true * logits).mean())


class Bin(NamedTuple):
    """Answers of nearly the same certainty, from ``edge`` on; ``right`` is the share of right ones."""

    edge: float
    photographs: int
    certainty: float
    right: float
    interval: tuple[float, float]


def reliability(true: Labels, logits: Values) -> list[Bin]:
    """Return the bins of a reliability diagram; empty ones are left out.

    The certainty of an answer is the probability of its class, 0.5 to 1, in `BINS` bins of equal width.
    """
    certainty, right = special.expit(np.abs(logits)), (logits > 0) == true
    number = np.minimum((2 * (certainty - 0.5) * BINS).astype(int), BINS - 1)
    bins = []
    for i in range(BINS):
        chosen = number == i
        count, good = int(chosen.sum()), int(right[chosen].sum())
        if count:
            edge, mean = 0.5 + i / (2 * BINS), float(certainty[chosen].mean())
            bins.append(Bin(edge, count, mean, good / count, wilson_interval(good, count)))
    return bins


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error: the mean distance of certainty and share, by count.

    Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, AAAI 2015, with equally wide bins of the certainty.
    """
    total = sum(one.photographs for one in bins)
    return sum(one.photographs * abs(one.right - one.certainty) for one in bins) / total


def fit_temperature(true: Labels, logits: Values) -> float:
    """Return the temperature T for which logits / T have the least cross-entropy, within 0.05 to 20.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, ICML 2017. It changes no answer, only the certainty.
    """
    found = optimize.minimize_scalar(
        lambda log_t: log_loss(true, logits * np.exp(-log_t)),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
    )
    return float(np.exp(found.x))


def mcnemar_p(first_alone: int, second_alone: int) -> float:
    """Return the p of McNemar's exact test that two models are equally good.

    Args:
        first_alone: photographs that only the first one answers rightly.
        second_alone: those that only the second one does.
    """
    total = first_alone + second_alone
    return float(stats.binomtest(first_alone, total).pvalue) if total else 1.0
