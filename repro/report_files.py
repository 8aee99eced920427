"""The files of a report that hold numbers: results.json, results.csv, predictions.npz. The one place that reads and writes
them.

Reading is strict: unknown or missing fields and another schema version raise CorruptFile. Must not know how numbers are
computed or shown. Read `write_numbers` first.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.analysis.assemble import COLUMNS, read_results_csv, results_csv
from repro.analysis.results import CellRow, Results
from repro.documents import corrupt, one_line, read_document, write_document
from repro.errors import CorruptFile, DataError
from repro.spec import slug
from repro.workspace import replacing, write_atomically

REMEDY = "`vitrepro report` writes it anew from the records."

Predictions = Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]
"""Cell id -> true and predicted classes of the test images, both integer (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberPaths:
    """Where the three files lie."""

    json: Path
    csv: Path
    predictions: Path


def number_paths(folder: Path) -> NumberPaths:
    """The three files of the report in `folder`."""
    return NumberPaths(json=folder / "results.json", csv=folder / "results.csv", predictions=folder / "predictions.npz")


def write_numbers(folder: Path, results: Results, labels_and_predictions: Predictions) -> NumberPaths:
    """Write all three.

    `predictions.npz` holds, without pickles, `predicted/<cell id>` for every cell given and `labels/<data set slug>` once for
    each data set, all int32 (N,). Raises DataError where two cells of one data set disagree on its labels, DiskFull.
    """
    paths = number_paths(folder)
    write_document(paths.json, results)
    write_atomically(paths.csv, results_csv(results))
    _write_predictions(paths.predictions, results, labels_and_predictions)
    return paths


def read_results(path: Path) -> Results | None:
    """The results, or None where there is no file. Raises CorruptFile."""
    return read_document(path, Results, remedy=REMEDY)


def read_rows(path: Path) -> tuple[CellRow, ...]:
    """The rows of results.csv. Raises CorruptFile."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.partition("\n")[0] != ",".join(COLUMNS):
            raise _corrupt(path, "its columns are not those of this version")
        return read_results_csv(text)
    except (OSError, ValueError) as error:  # pydantic's and pandas' errors are ValueErrors
        raise _corrupt(path, one_line(error)) from error


def read_all_predictions(path: Path) -> dict[str, npt.NDArray[np.int32]]:
    """Every array of predictions.npz by its name. Raises CorruptFile."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _corrupt(path, str(error)) from error
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype != np.int32:
            raise _corrupt(path, f"{name} is {array.dtype} {array.shape} instead of int32 (N,)")
    return arrays


def labels_key(dataset: str) -> str:
    """Name of a data set's labels inside predictions.npz."""
    return f"labels/{slug(dataset)}"


def predicted_key(cell_id: str) -> str:
    """Name of a cell's predictions inside predictions.npz."""
    return f"predicted/{cell_id}"


def _write_predictions(path: Path, results: Results, labels_and_predictions: Predictions) -> None:
    datasets = {row.id: row.dataset for row in results.cells}
    arrays: dict[str, npt.NDArray[np.int32]] = {}
    for cell_id, (labels, predicted) in labels_and_predictions.items():
        dataset = datasets[cell_id]
        if not np.array_equal(arrays.setdefault(labels_key(dataset), labels.astype(np.int32)), labels):
            raise DataError(
                f"Cell {cell_id} was tested against other labels than earlier cells of data set {dataset!r}.",
                remedy="Give every data set a name of its own (letters and digits), and run the profile again.",
            )
        arrays[predicted_key(cell_id)] = predicted.astype(np.int32)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _corrupt(path: Path, detail: str) -> CorruptFile:
    return corrupt(path, detail, remedy=REMEDY)
