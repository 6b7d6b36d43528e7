import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn import metrics as referee
from sklearn.calibration import calibration_curve

from catdog_pl.data.statistics import wilson_interval
from catdog_pl.report import metrics

Answers = tuple[metrics.Labels, metrics.Values]


def drawn(count: int, seed: int = 0, sharpness: float = 2.0) -> Answers:
    """Labels, and logits that know something of them."""
    random = np.random.default_rng(seed)
    true = random.integers(0, 2, size=count)
    return true, random.normal(sharpness * (2 * true - 1), 2.0)


@given(st.integers(0, 10_000), st.sampled_from([5, 40, 300]))
def test_areas_scores_and_f1_are_scikit_learns(seed: int, count: int) -> None:
    true, logits = drawn(count, seed)
    true[:2] = 0, 1  # both classes
    logits = logits.round(1)  # with ties
    assert metrics.area_under_roc(true, logits) == pytest.approx(referee.roc_auc_score(true, logits))
    probabilities = special.expit(logits)
    assert metrics.brier_score(true, logits) == pytest.approx(referee.brier_score_loss(true, probabilities))
    assert metrics.log_loss(true, logits) == pytest.approx(referee.log_loss(true, probabilities))
    for label in (0, 1):
        expected = referee.f1_score(true, logits > 0, pos_label=label, zero_division=0.0)
        assert metrics.f1_score(label, true, logits) == pytest.approx(expected)


def test_precision_and_recall_are_scikit_learns_with_wilsons_interval() -> None:
    true, logits = drawn(200)
    figures = {one.name: one for one in metrics.class_figures(true, logits, ("cat", "dog"))}
    predicted = logits > 0
    for label, name in enumerate(("cat", "dog")):
        precision, recall = figures[f"precision, {name}"], figures[f"recall, {name}"]
        assert precision.value == pytest.approx(referee.precision_score(true, predicted, pos_label=label))
        assert recall.value == pytest.approx(referee.recall_score(true, predicted, pos_label=label))
        right = int(((predicted == label) & (true == label)).sum())
        assert recall.interval == wilson_interval(right, int((true == label).sum()))


def test_a_class_that_is_never_answered_has_no_precision() -> None:
    figures = {one.name: one for one in metrics.class_figures(np.array([0, 1]), np.array([-1.0, -2.0]), "ab")}
    assert np.isnan(figures["precision, b"].value)
    assert figures["precision, b"].interval == (0.0, 1.0)
    assert figures["F1, b"].value == 0


def test_bootstrap_intervals_are_scipys() -> None:
    true, logits = drawn(150)
    ours = metrics.bootstrapped("Brier", metrics.brier_score, true, logits, "").interval
    theirs = stats.bootstrap(
        (true, logits), metrics.brier_score, paired=True, vectorized=False, n_resamples=2000,
        method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.1 * width)


def test_draws_of_one_class_alone_are_drawn_again() -> None:
    true, logits = np.array([0, 0, 0, 0, 1]), np.array([-1.0, 0.5, -2.0, -0.1, 0.2])
    figures = metrics.ranking_figures(true, logits)
    assert all(np.isfinite([one.value, *one.interval]).all() for one in figures)


def test_reliability_is_scikit_learns_over_the_certainty() -> None:
    true, logits = drawn(500)
    bins = metrics.reliability(true, logits)
    right, certainty = (logits > 0) == true, special.expit(np.abs(logits))
    edges = 2 * (certainty - 0.5)  # scikit-learn's bins lie in 0..1
    expected, mean = calibration_curve(right, edges, n_bins=metrics.BINS)
    np.testing.assert_allclose([one.right for one in bins], expected)
    np.testing.assert_allclose([2 * (one.certainty - 0.5) for one in bins], mean)
    assert sum(one.photographs for one in bins) == 500
    by_hand = sum(one.photographs / 500 * abs(one.right - one.certainty) for one in bins)
    assert metrics.calibration_error(bins) == pytest.approx(by_hand)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_built_in_is_found(temperature: float) -> None:
    random = np.random.default_rng(0)
    calibrated = random.normal(0, 2, size=20_000)
    true = (random.random(20_000) < special.expit(calibrated)).astype(int)
    assert metrics.fit_temperature(true, calibrated * temperature) == pytest.approx(temperature, rel=0.05)


def test_a_model_without_mistakes_has_the_smallest_temperature_allowed() -> None:
    assert metrics.fit_temperature(np.array([0, 1]), np.array([-1.0, 1.0])) == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (5, 5), (10, 2), (1, 19)])
def test_mcnemars_test_is_twice_the_smaller_tail(first: int, second: int) -> None:
    tail = stats.binom.cdf(min(first, second), first + second, 0.5)
    assert metrics.mcnemar_p(first, second) == pytest.approx(min(1.0, 2 * tail))
