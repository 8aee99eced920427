"""Parquet files as Hugging Face writes image data sets: a column of encoded pictures, a column of labels, class names beside.

pyarrow is imported when a file is read. Must not know a particular data set. Read `read_part` first.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from repro.datasets.arrays import Images, Part
from repro.datasets.encoded import PictureForm, decode_pictures
from repro.errors import DataError

MAX_ROWS = 1_000_000
MAX_UNPACKED_BYTES = 2 * 2**30
"""Of all row groups together, as the file declares them."""
ROWS_AT_ONCE = 5_000
"""Rows whose encoded pictures are held at once; a row group may hold a hundred."""
TEST_NAMES = ("test", "valid")
AGAIN = "Get the file again from its official source."

Row = tuple[str, bytes, int]
"""Name for messages, encoded picture, label."""


def train_and_test(files: Mapping[str, Path]) -> tuple[Path, Path]:
    """The two files of a distribution. Raises DataError where they are not a train file and then a test or valid file."""
    names = list(files)
    if len(names) != 2 or names[0].startswith(TEST_NAMES) or names[1].startswith("train"):
        raise DataError(
            f"A parquet distribution has a train file, then a test or valid file; this one has {', '.join(names) or 'none'}.",
            remedy="Name both in this order.",
        )
    return files[names[0]], files[names[1]]


def read_part(
    path: Path, *, image_column: str, label_column: str, form: PictureForm, num_classes: int | None
) -> tuple[Part, tuple[str, ...] | None]:
    """All rows of one file, in order, and the class names that it gives, if any.

    Labels are checked against `num_classes`, or else against the number of names. Raises DataError for a file that is not
    parquet, lacks a column, is empty, declares too much, or has a bad picture or label; it names the row, from 0.
    """
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_file(file, path, image_column, label_column)
            names = _class_names(file.schema_arrow.metadata, label_column, path)
            num_labels = num_classes or (len(names) if names is not None else None)
            rows = _rows(file, path, image_column, label_column, num_labels)
            return _decode(rows, form), names
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path} cannot be read as a parquet file: {error}.", remedy=AGAIN) from error


def _check_file(file: Any, path: Path, image_column: str, label_column: str) -> None:
    """Check what the file declares, before anything is unpacked."""
    import pyarrow

    schema, declared = file.schema_arrow, file.metadata
    for column in (image_column, label_column):
        if schema.names.count(column) != 1:
            raise DataError(f"{path} has no column {column!r}; it has {', '.join(schema.names) or 'none'}.", remedy=AGAIN)
    image, label = schema.field(image_column).type, schema.field(label_column).type
    holds_bytes = pyarrow.types.is_struct(image) and image.get_field_index("bytes") >= 0
    if not holds_bytes or not pyarrow.types.is_binary(image.field("bytes").type):
        raise DataError(f"Column {image_column!r} of {path} is {image}, not a struct with binary `bytes`.", remedy=AGAIN)
    if not pyarrow.types.is_integer(label):
        raise DataError(f"Column {label_column!r} of {path} is {label}, not a whole number.", remedy=AGAIN)
    unpacked_bytes = sum(declared.row_group(group).total_byte_size for group in range(declared.num_row_groups))
    if not 0 < declared.num_rows <= MAX_ROWS or unpacked_bytes > MAX_UNPACKED_BYTES:
        raise DataError(
            f"{path} declares {declared.num_rows:,} rows and {unpacked_bytes:,} unpacked bytes; legal are 1 to {MAX_ROWS:,} "
            f"rows and {MAX_UNPACKED_BYTES:,} bytes.",
            remedy=AGAIN,
        )


def _class_names(metadata: Mapping[bytes, bytes] | None, label_column: str, path: Path) -> tuple[str, ...] | None:
    """The names that the `datasets` library notes in the schema, in the order of the labels."""
    if metadata is None or b"huggingface" not in metadata:
        return None
    try:
        match json.loads(metadata[b"huggingface"]):
            case {"info": {"features": {**features}}}:
                description = features.get(label_column)
            case _:
                return None
    except (ValueError, RecursionError) as error:
        raise DataError(f"The note b'huggingface' in {path} is not JSON: {error}.", remedy=AGAIN) from error
    match description:
        case {"names": [*names]} if all(isinstance(name, str) for name in names):
            return tuple(names)
        case _:
            return None


def _rows(file: Any, path: Path, image_column: str, label_column: str, num_classes: int | None) -> Iterator[Row]:
    row = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=[f"{image_column}.bytes", label_column]).flatten()
        pictures, labels = table.column(f"{image_column}.bytes").to_pylist(), table.column(label_column).to_pylist()
        for picture, label in zip(pictures, labels, strict=True):
            name = f"Row {row} of {path}"
            if picture is None or label is None:
                raise DataError(f"{name} has no {'picture' if picture is None else 'label'}.", remedy=AGAIN)
            if label < 0 or (num_classes is not None and label >= num_classes):
                known = "" if num_classes is None else f" to {num_classes - 1}"
                raise DataError(f"{name} has label {label}; classes go from 0{known}.", remedy=AGAIN)
            yield name, picture, label
            row += 1


def _decode(rows: Iterator[Row], form: PictureForm) -> Part:
    images: list[Images] = []
    labels: list[int] = []
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        images.append(decode_pictures([(name, picture) for name, picture, _ in batch], form))
        labels.extend(label for _, _, label in batch)
    return Part(images=np.concatenate(images), labels=np.array(labels, dtype=np.int64))
