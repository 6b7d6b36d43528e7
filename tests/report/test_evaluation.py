from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from catdog_pl.report.evaluation import crosstab, predicted_labels
from tests.conftest import Run


def test_the_workshops_own_table() -> None:
    true = [0] * 100 + [1] * 100
    probabilities = [0.2] * 65 + [0.8] * 35 + [0.3] * 11 + [0.9] * 89
    predicted = predicted_labels(probabilities)
    assert accuracy_score(true, predicted) == 0.77
    assert str(crosstab(true, predicted)) == "\n".join(
        [
            "Pred   0    1  All",
            "True              ",
            "0     65   35  100",
            "1     11   89  100",
            "All   76  124  200",
        ]
    )


def test_a_class_that_was_never_predicted_keeps_its_column() -> None:
    table = crosstab([0, 0, 1], [0, 0, 0])
    assert table.columns.tolist() == [0, 1, "All"]
    assert table.T["All"].tolist() == [3, 0, 3]


def test_exactly_one_half_is_the_first_class() -> None:
    assert predicted_labels([0.5, 0.5000001, 0.4999999]) == [0, 1, 0]


def test_the_csv_holds_every_photograph_in_file_order(trained: Path) -> None:
    table = pd.read_csv(trained / "test.csv")
    files = [f"{name}/{name}.{i}.jpg" for name in ("cat", "dog") for i in range(3)]
    assert table.columns.tolist() == ["file", "probability", "predicted", "true"]
    assert table["file"].tolist() == files
    assert table["true"].tolist() == ["cat"] * 3 + ["dog"] * 3
    assert ((table["probability"] > 0.5) == (table["predicted"] == "dog")).all()


@pytest.fixture
def trained(run: Run, photos: Path) -> Path:
    """The folder of a run that was trained for an epoch and tested."""
    assert run("fit --max_epochs 1 --image_size 32 --batch_size 4", "--root", photos) == 0
    assert run("test", "--root", photos) == 0
    (folder,) = Path("checkpoints/basic").iterdir()
    return folder
