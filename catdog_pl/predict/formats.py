"""Predictions as text, JSON, JSON Lines or CSV, written one by one as they come."""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, TextIO

from catdog_pl.errors import one_line

if TYPE_CHECKING:
    from catdog_pl.predict.predictor import Prediction

COLUMNS = ("source", "probability", "label", "error")
"""The fields of a prediction that are written."""


@dataclass(frozen=True)
class OutputFormat:
    """How predictions become a file.

    Attributes:
        record: one prediction as text.
        separator: what stands between two.
        head: what stands before the first.
        tail: what stands after the last, also when the run is interrupted.
    """

    record: "Callable[[Prediction], str]"
    separator: str = ""
    head: str = ""
    tail: str = ""


def error_line(prediction: "Prediction") -> str:
    """Return the workshop's words for a picture that is not there, or others where it is, with the reason."""
    verb = "find" if prediction.fault == "missing" else "read"
    return f"{'[ERROR]':<10} Cannot {verb} image from {one_line(prediction.source)} ({prediction.error})"


def answer(prediction: "Prediction") -> str:
    """Return the workshop's two lines; numpy writes the probability as it did there."""
    if prediction.error is not None:
        return error_line(prediction) + "\n"
    import numpy as np  # not for --help

    probability = np.array([[prediction.probability]], dtype=np.float32)
    return f"Probability: {probability}\nClass: {prediction.label}\n"


def named_answer(prediction: "Prediction") -> str:
    """Return the workshop's two lines under the name of the source; an error names it itself."""
    name = "" if prediction.error is not None else f"{one_line(prediction.source)}\n"
    return name + answer(prediction)


def json_object(prediction: "Prediction") -> str:
    """Return a prediction as a JSON object on one line, in ASCII."""
    return json.dumps({name: _encodable(getattr(prediction, name)) for name in COLUMNS})


def csv_row(prediction: "Prediction") -> str:
    """Return a prediction as a row; what is None stays empty."""
    row = StringIO()
    values = (_encodable(getattr(prediction, name)) for name in COLUMNS)
    csv.writer(row, lineterminator="\n").writerow(values)
    return row.getvalue()


SINGLE = OutputFormat(answer)
"""Text for one picture: exactly the workshop's two lines."""

OUTPUT_FORMATS = {
    "text": OutputFormat(named_answer, separator="\n"),
    "json": OutputFormat(json_object, head="[\n", separator=",\n", tail="\n]\n"),
    "jsonl": OutputFormat(lambda prediction: json_object(prediction) + "\n"),
    "csv": OutputFormat(csv_row, head=",".join(COLUMNS) + "\n"),
}


def write(predictions: "Iterable[Prediction]", form: OutputFormat, file: TextIO) -> int:
    """Write the predictions, each as it comes, so that an interrupted run leaves a valid file.

    Returns:
        How many of them are errors.
    """
    separator, errors = "", 0
    file.write(form.head)
    try:
        for prediction in predictions:
            file.write(separator + form.record(prediction))
            file.flush()  # a record is written whole or not at all
            separator = form.separator
            errors += prediction.error is not None
    finally:
        file.write(form.tail)
        file.flush()
    return errors


def _encodable(value: str | float | None) -> str | float | None:
    """Escape the bytes in file names that are not text, which Python keeps as surrogates."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
