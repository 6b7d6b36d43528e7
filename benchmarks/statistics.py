"""What a few trainings say about all that one could do."""

import math
import statistics
from collections.abc import Sequence

from scipy import stats


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean, by Student's t; needs two values."""
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values))
    margin = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean - margin, mean + margin


def mcnemar_error(disagreements: float, photographs: int) -> float:
    """Standard error of the difference of two accuracies on the same photographs.

    Of the photographs that one answers rightly and the other wrongly, each counts for either with probability
    1/2 where both are equally good: their difference has a standard deviation of the root of their number.
    Source: Q. McNemar, Psychometrika 12 (1947), 153-157.
    """
    return math.sqrt(disagreements) / photographs
