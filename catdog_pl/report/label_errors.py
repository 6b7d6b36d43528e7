"""Photographs whose label is likely wrong."""

from collections.abc import Sequence

import pandas as pd

from catdog_pl.errors import one_line


def likely_label_errors(table: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Return the rows of a table of answers whose label is likely wrong, the most certain first.

    Confident learning (C. G. Northcutt, L. Jiang, I. L. Chuang, Journal of Artificial Intelligence Research
    70, 2021): a label is doubted where the model answers the other class, with a probability of that class at
    least as large as the mean that it gives to the photographs labelled so.

    Only sound for photographs that the model was not trained on, those of validation and test: of the others
    it has learned the labels, wrong ones too.

    Args:
        table: one row a photograph, with the columns probability (of the second class), logit, predicted and
            true.
        class_names: the two classes in label order.
    """
    is_second = table["true"] == one_line(class_names[1])
    second = table["probability"]
    of_label, of_other = second.where(is_second, 1 - second), second.where(~is_second, 1 - second)
    thresholds = of_label.groupby(table["true"]).mean()
    doubted = (table["predicted"] != table["true"]) & (of_other >= table["predicted"].map(thresholds))
    # By the logit, because the probabilities of sure answers are all rounded to 1.
    return table[doubted].sort_values("logit", key=abs, ascending=False, kind="stable")
