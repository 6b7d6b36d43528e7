"""Pictures in Parquet files, as the data sets of the Hugging Face Hub have them."""

import json
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from catdog_pl.errors import UsageError, first_line

IMAGE = "image"
LABELS = ("label", "labels")

_BATCH = 16
# pyarrow takes memory of a few times one group, which writers choose; the Hub's have 100 photographs.
_LARGEST_GROUP = 2**30


class PictureRow(NamedTuple):
    """One row of a table of pictures; what it does not have is None."""

    name: str | None  # of the picture's file
    content: bytes | None
    label: str | None  # in words, or a number whose word the file does not tell


def check_parquet() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``; `UsageError` where they are not installed."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        message = "Parquet needs pyarrow, which is not installed: pip install 'catdog_pl[parquet]'"
        raise UsageError(message) from error


def picture_rows(path: Path) -> Iterator[PictureRow]:
    """Yield the rows of a file with the column `IMAGE`, of bytes or of structs that have them.

    The class is in one of the columns `LABELS`, if there is one: a word, or a number that the file's notes
    for the Hugging Face package ``datasets`` may turn into a word. Memory is that of one row group.

    Raises:
        OSError, RuntimeError, ValueError: it is damaged, or not such a file.
    """
    arrow, parquet = check_parquet()
    try:
        with parquet.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            columns = _columns(arrow, file.schema_arrow)
            _check_groups(file.metadata)
            names = _class_names(file.schema_arrow.metadata or {}, columns[-1])
            for batch in file.iter_batches(_BATCH, columns=columns):
                labels = batch.column(columns[-1]).to_pylist() if columns[1:] else [None] * len(batch)
                for image, label in zip(batch.column(IMAGE), labels, strict=True):
                    yield _row(image.as_py(), label, names)
    except (arrow.ArrowException, MemoryError) as error:
        raise ValueError(first_line(error)) from error


def _columns(arrow: Any, schema: Any) -> list[str]:
    """Return the columns to read: the pictures, and their classes if there are any."""
    kinds = arrow.types
    if IMAGE not in schema.names:
        raise ValueError(f"it has no column {IMAGE}; its columns are {', '.join(schema.names[:9]) or 'none'}")
    kind = schema.field(IMAGE).type
    if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (kinds.is_binary(kind) or kinds.is_large_binary(kind)):
        raise ValueError(f"its column {IMAGE} holds {kind}, neither bytes nor structs with the field bytes")
    for name in LABELS:
        if name in schema.names:
            kind = schema.field(name).type
            kind = kind.value_type if kinds.is_dictionary(kind) else kind
            if not (kinds.is_integer(kind) or kinds.is_string(kind) or kinds.is_large_string(kind)):
                raise ValueError(f"its column {name} holds {kind}, neither words nor whole numbers")
            return [IMAGE, name]
    return [IMAGE]


def _check_groups(metadata: Any) -> None:
    for number in range(metadata.num_row_groups):
        size = metadata.row_group(number).total_byte_size
        if not 0 <= size <= _LARGEST_GROUP:
            raise ValueError(
                f"a group of its rows takes {size:,} bytes, more than {_LARGEST_GROUP:,}, the limit; write it"
                " with smaller ones, such as row_group_size=100"
            )


def _class_names(notes: dict[bytes, bytes], column: str) -> list[str]:
    """Return the words of the numbers 0, 1, ... in a column of labels; empty where the file has none."""
    with suppress(KeyError, TypeError, ValueError, RecursionError):
        names = json.loads(notes[b"huggingface"])["info"]["features"][column]["names"]
        return [str(name) for name in names] if isinstance(names, list) else []
    return []


def _row(image: Any, label: int | str | None, names: list[str]) -> PictureRow:
    fields = image if isinstance(image, dict) else {"bytes": image}
    if isinstance(label, int):
        label = names[label] if 0 <= label < len(names) else str(label)
    name = fields.get("path")
    return PictureRow(name if isinstance(name, str) else None, fields["bytes"], label)
