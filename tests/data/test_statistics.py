import pytest
from scipy.stats import binomtest

from catdog_pl.data.statistics import wilson_interval


@pytest.mark.parametrize(
    ("correct", "total"),
    [(175, 200), (0, 1), (1, 1), (0, 10), (2, 2), (0, 200), (200, 200), (2, 3), (617, 1000)],
)
def test_the_interval_is_wilsons(correct: int, total: int) -> None:
    theirs = binomtest(correct, total).proportion_ci(method="wilson")
    assert wilson_interval(correct, total) == pytest.approx((theirs.low, theirs.high), abs=1e-6)
