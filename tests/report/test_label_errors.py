import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catdog_pl.report.label_errors import likely_label_errors

NAMES = ("cat", "dog")


def answers(labels: list[int], probabilities: list[float]) -> pd.DataFrame:
    second = np.asarray(probabilities)
    with np.errstate(divide="ignore"):
        logits = np.log(second) - np.log1p(-second)
    return pd.DataFrame(
        {
            "file": [f"{number}.jpg" for number in range(len(labels))],
            "probability": second,
            "predicted": [NAMES[probability > 0.5] for probability in probabilities],
            "true": [NAMES[label] for label in labels],
            "logit": logits,
        }
    )


def confident_joint(labels: list[int], probabilities: list[float]) -> set[int]:
    """The off-diagonal of the paper's equation 1, spelled out: one loop for each photograph and class."""
    both = [(1 - probability, probability) for probability in probabilities]
    threshold = {
        j: np.mean([p[j] for label, p in zip(labels, both, strict=True) if label == j]) for j in set(labels)
    }
    found = set()
    for number, (label, p) in enumerate(zip(labels, both, strict=True)):
        counted = [j for j in threshold if p[j] >= threshold[j]]
        if counted and max(counted, key=lambda j: p[j]) != label:
            found.add(number)
    return found


PROBABILITY = st.floats(0, 1).filter(lambda probability: probability != 0.5)


@given(st.lists(st.tuples(st.integers(0, 1), PROBABILITY), max_size=40))
def test_the_rows_are_those_off_the_diagonal_of_the_confident_joint(rows: list[tuple[int, float]]) -> None:
    labels, probabilities = [label for label, _ in rows], [probability for _, probability in rows]
    expected = confident_joint(labels, probabilities)
    # The paper also counts an answer below one half that reaches a threshold below one half.
    expected = {number for number in expected if (probabilities[number] > 0.5) != labels[number]}
    assert {*likely_label_errors(answers(labels, probabilities), NAMES).index} == expected


def test_planted_errors_are_found_and_the_surest_comes_first() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    probabilities = np.where(labels == 1, rng.beta(20, 2, 400), rng.beta(2, 20, 400))
    planted = rng.choice(400, 20, replace=False)
    labels[planted] = 1 - labels[planted]
    table = answers(labels.tolist(), probabilities.tolist())
    found = likely_label_errors(table, NAMES)
    assert {*found.index} <= {*planted}
    assert len(found) >= 10
    sureness = (found["probability"] - 0.5).abs()
    assert sureness.is_monotonic_decreasing
    assert found.columns.tolist() == table.columns.tolist()


def test_answers_whose_probability_is_1_are_ordered_by_their_logit() -> None:
    table = answers([0, 0, 1, 1, 1], [0.99, 0.99, 0.9, 0.9, 0.9]).assign(
        probability=[1.0, 1.0, 0.9, 0.9, 0.9], logit=[30.0, 40.0, 2.0, 2.0, 2.0]
    )
    assert likely_label_errors(table, NAMES).index.tolist() == [1, 0]


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_one_class_or_none_doubts_nothing(labels: list[int]) -> None:
    assert likely_label_errors(answers(labels, [0.9] * len(labels)), NAMES).empty
