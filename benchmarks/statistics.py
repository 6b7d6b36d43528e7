"""What a few trainings say about all that one could do."""

import math
import statistics
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy import stats

RESAMPLES = 10_000
"""The most divisions of the trainings that a permutation test tries; up to 7 and 7 that is all of them."""


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean, by Student's t; needs two values."""
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
    margin = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - margin, mean + margin


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float:
    """The standard deviation within groups of values that is common to all of them; 0 of single values."""
    squares = [(value - statistics.mean(group)) ** 2 for group in groups for value in group]
    return math.sqrt(sum(squares) / max(1, len(squares) - len(groups)))


def mcnemar_error(disagreements: float, photographs: int) -> float:
    """Standard error of the difference of two accuracies on the same photographs.

    Of the photographs that one answers rightly and the other wrongly, each counts for either with probability
    1/2 where both are equally good: their difference has a standard deviation of the root of their number.
    Source: Q. McNemar, Psychometrika 12 (1947), 153-157.
    """
    return math.sqrt(disagreements) / photographs


def rank_test(a: Sequence[float], b: Sequence[float]) -> float:
    """The p of Mann and Whitney's test that neither tends to larger values, exact also with ties."""
    method = stats.PermutationMethod(n_resamples=RESAMPLES, rng=np.random.default_rng(0))
    return float(stats.mannwhitneyu(a, b, method=method).pvalue)


def curve_test(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> float:
    """The p of a permutation test that two groups of curves have the same mean.

    What is compared is the mean distance of the two mean curves, up to the end of the shortest curve.
    """
    shortest = min(map(len, [*a, *b]))
    curves = np.array([curve[:shortest] for curve in (*a, *b)])

    def distance(chosen: Sequence[int]) -> float:
        first = np.isin(np.arange(len(curves)), chosen)
        return float(np.abs(curves[first].mean(axis=0) - curves[~first].mean(axis=0)).mean())

    seen = distance(range(len(a))) - 1e-12  # a division that differs by rounding only is as far apart
    return statistics.mean(distance(chosen) >= seen for chosen in divisions(len(curves), len(a)))


def divisions(total: int, size: int) -> Iterator[Sequence[int]]:
    """Every choice of ``size`` of ``total`` numbers, or so many random ones and the first one."""
    if math.comb(total, size) <= RESAMPLES:
        yield from combinations(range(total), size)
        return
    yield range(size)
    random = np.random.default_rng(0)
    for _ in range(RESAMPLES - 1):
        yield random.permutation(total)[:size].tolist()


def detectable_difference(a: Sequence[float], b: Sequence[float]) -> float:
    """The difference of two means that a t test at 5 % would have found in four of five repetitions.

    (t(0.975) + t(0.8)) s sqrt(1 / n + 1 / m), with n + m - 2 degrees of freedom and s pooled over both.
    Mann and Whitney's test needs 5 % more trainings for the same where the values are normal. Source:
    J. Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), chapter 2.
    """
    freedom = len(a) + len(b) - 2
    pooled = ((len(a) - 1) * statistics.variance(a) + (len(b) - 1) * statistics.variance(b)) / freedom
    quantiles = float(stats.t.ppf(0.975, freedom) + stats.t.ppf(0.8, freedom))
    return quantiles * math.sqrt(pooled * (1 / len(a) + 1 / len(b)))
