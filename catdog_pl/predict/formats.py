"""Predictions as text, JSON, JSON Lines or CSV, written one by one as they come."""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, astuple, dataclass, fields
from io import StringIO
from typing import TextIO

import numpy as np

from catdog_pl.errors import one_line
from catdog_pl.predict.predictor import Prediction


@dataclass(frozen=True)
class Format:
    """How predictions become a file.

    Attributes:
        record: one prediction as text.
        separator: what stands between two.
        head: what stands before the first.
        tail: what stands after the last, also when the run is interrupted.
    """

    record: Callable[[Prediction], str]
    separator: str = ""
    head: str = ""
    tail: str = ""


def error_line(prediction: Prediction) -> str:
    """The workshop's words for a picture that cannot be read, with the reason."""
    return f"{'[ERROR]':<10} Cannot find image from {one_line(prediction.source)} ({prediction.error})"


def answer(prediction: Prediction) -> str:
    """The workshop's two lines; numpy writes the probability as it did there."""
    if prediction.error is not None:
        return error_line(prediction) + "\n"
    probability = np.array([[prediction.probability]], dtype=np.float32)
    return f"Probability: {probability}\nClass: {prediction.label}\n"


def named_answer(prediction: Prediction) -> str:
    """The workshop's two lines under the name of the source; an error names it itself."""
    name = "" if prediction.error is not None else f"{one_line(prediction.source)}\n"
    return name + answer(prediction)


def json_object(prediction: Prediction) -> str:
    """The fields of a prediction as a JSON object on one line, in ASCII."""
    return json.dumps({field: _encodable(value) for field, value in asdict(prediction).items()})


def csv_row(prediction: Prediction) -> str:
    """The fields of a prediction as a row; what is None stays empty."""
    row = StringIO()
    csv.writer(row, lineterminator="\n").writerow(map(_encodable, astuple(prediction)))
    return row.getvalue()


SINGLE = Format(answer)
"""Text for one picture: exactly the workshop's two lines."""

FORMATS = {
    "text": Format(named_answer, separator="\n"),
    "json": Format(json_object, head="[\n", separator=",\n", tail="\n]\n"),
    "jsonl": Format(lambda prediction: json_object(prediction) + "\n"),
    "csv": Format(csv_row, head=",".join(field.name for field in fields(Prediction)) + "\n"),
}


def write(predictions: Iterable[Prediction], form: Format, file: TextIO) -> int:
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
    """File names may hold bytes that are no text, which Python keeps as surrogates: these are escaped."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
