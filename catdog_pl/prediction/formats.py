"""Predictions as text, JSON, JSON Lines, CSV or Parquet, written as they come.

In all of them a name stays on its line and cannot steer the terminal: control, escape and bidirectional
characters and bytes that are not text are written as escapes.
"""

import csv
import json
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TextIO

from catdog_pl.errors import one_line
from catdog_pl.io.parquet import check_parquet

if TYPE_CHECKING:
    from catdog_pl.prediction.predictor import Prediction

COLUMNS = ("source", "probability", "label", "error")
"""The fields of a prediction that are written."""

_ROW_GROUP = 10_000  # predictions that a Parquet file takes at once


class OutputFormat(NamedTuple):
    """How predictions become a text; the tail is written also when the run is interrupted."""

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
    return f"Probability: {probability}\nClass: {one_line(prediction.label or '')}\n"


def named_answer(prediction: "Prediction") -> str:
    """Return the workshop's two lines under the name of the source; an error names it itself."""
    name = "" if prediction.error is not None else f"{one_line(prediction.source)}\n"
    return name + answer(prediction)


def json_object(prediction: "Prediction") -> str:
    """Return a prediction as a JSON object on one line, in ASCII."""
    # The only control character that JSON leaves alone is \x7f.
    return json.dumps(_record(prediction)).replace("\x7f", r"\u007f")


def csv_row(prediction: "Prediction") -> str:
    """Return a prediction as a row; what is None stays empty."""
    row = StringIO()
    values = _record(prediction).values()
    escaped = [one_line(value) if isinstance(value, str) else value for value in values]
    csv.writer(row, lineterminator="\n").writerow(escaped)
    return row.getvalue()


def written_name(name: str, form: str) -> str:
    """Return a source's name as a file of this format holds it."""
    return one_line(_text(name)) if form == "csv" else _text(name)


def read_back(path: Path, form: str) -> list[tuple[str, bool]]:
    """Return the names in a file of answers, and whether each is an error; for csv, jsonl and parquet.

    Raises:
        Exception: those of ``csv``, ``json`` and ``pyarrow``, for a file that is none.
    """
    if form == PARQUET:
        columns = check_parquet()[1].read_table(path, columns=["source", "error"]).to_pydict()
        return [(name, error is not None) for name, error in zip(*columns.values(), strict=True)]
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file) if form == "csv" else map(json.loads, file)
        return [(row["source"], bool(row["error"])) for row in rows]


def _text(value: str) -> str:
    """Return a name whose bytes that are not text, which Python keeps as surrogates, are escaped."""
    return value.encode("utf-8", "backslashreplace").decode()


def _record(prediction: "Prediction") -> dict[str, str | float | None]:
    """Return the columns."""
    values = {name: getattr(prediction, name) for name in COLUMNS}
    return {name: _text(value) if isinstance(value, str) else value for name, value in values.items()}


SINGLE = OutputFormat(answer)
"""Text for one picture: exactly the workshop's two lines."""

OUTPUT_FORMATS = {
    "text": OutputFormat(named_answer, separator="\n"),
    "json": OutputFormat(json_object, head="[\n", separator=",\n", tail="\n]\n"),
    "jsonl": OutputFormat(lambda prediction: json_object(prediction) + "\n"),
    "csv": OutputFormat(csv_row, head=",".join(COLUMNS) + "\n"),
}
TEXT, PARQUET = "text", "parquet"
FORMAT_NAMES = (*OUTPUT_FORMATS, PARQUET)


def format_of(file: Path) -> str:
    """Return the format that the ending of a file's name means."""
    ending = file.suffix.lower().removeprefix(".")
    return {"ndjson": "jsonl"}.get(ending, ending if ending in FORMAT_NAMES else TEXT)


def write(predictions: "Iterable[Prediction]", form: OutputFormat, file: TextIO) -> int:
    """Write the predictions as they come, also complete when interrupted; return how many are errors."""
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


def write_parquet(predictions: "Iterable[Prediction]", file: BinaryIO) -> int:
    """Write a Parquet file, which Ctrl-C leaves valid, but not a kill; return how many are errors."""
    arrow, parquet = check_parquet()
    kinds = {name: arrow.float32() if name == "probability" else arrow.string() for name in COLUMNS}
    schema = arrow.schema(list(kinds.items()))
    errors = 0
    with parquet.ParquetWriter(file, schema) as writer:
        rows: list[dict[str, Any]] = []
        try:
            for prediction in predictions:
                rows.append(_record(prediction))
                errors += prediction.error is not None
                if len(rows) == _ROW_GROUP:
                    writer.write_table(arrow.Table.from_pylist(rows, schema))
                    rows = []
        finally:
            writer.write_table(arrow.Table.from_pylist(rows, schema))
    return errors
