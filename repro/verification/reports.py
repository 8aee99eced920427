"""The stored report of a profile held against what the records and predictions give.

Must not know how records are read. Read `verify_report` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.analysis.results import CellRow, Results
from repro.catalog import shipped_profiles
from repro.errors import CorruptFile, NothingToVerify
from repro.report_files import labels_key, number_paths, predicted_key, read_all_predictions, read_results, read_rows
from repro.spec import slug
from repro.verification.cells import FoundCells
from repro.verification.comparisons import ABSENT, Part, compare_documents
from repro.workspace import Workspace

NOT_COMPARED = ("generated_at", "vitrepro")
"""When and by which version the report was written: the rendering's surroundings, not the run's."""


@dataclass(kw_only=True)
class StoredReport:
    """The numbers of a report as they stand in its files; None where a file cannot be read, which `parts` tell."""

    results: Results | None = None
    """results.json, if it is of this profile."""
    rows: tuple[CellRow, ...] | None = None
    """results.csv."""
    predictions: dict[str, npt.NDArray[np.int32]] | None = None
    """predictions.npz."""
    json_part: Part = field(default_factory=lambda: Part(name="results.json"))
    """Comparisons of results.json."""
    csv_part: Part = field(default_factory=lambda: Part(name="results.csv"))
    """Comparisons of results.csv."""
    predictions_part: Part = field(default_factory=lambda: Part(name="predictions.npz"))
    """Comparisons of predictions.npz."""

    @property
    def told(self) -> Mapping[str, CellRow] | None:
        """The rows by id, of the one file or the other."""
        rows = self.results.cells if self.results is not None else self.rows
        return {row.id: row for row in rows} if rows is not None else None

    @property
    def generated_at(self) -> str:
        """When the report was made; where that cannot be read the earliest time, so that nothing seems left out."""
        return self.results.generated_at if self.results is not None else datetime.min.replace(tzinfo=UTC).isoformat()


def reported_profile(workspace: Workspace) -> str:
    """The shipped profile whose report the home holds. Raises NothingToVerify where there is none, or more than one."""
    found = sorted(path.parent.name for path in workspace.report_dir("x").parent.glob("*/results.json"))
    shipped = [name for name in shipped_profiles() if slug(name) in found]
    if len(shipped) == 1 and len(found) == 1:
        return shipped[0]
    if not found:
        raise NothingToVerify(
            f"There is no report in {workspace.home}.",
            remedy="Run `vitrepro all`, or `vitrepro report` if cells are finished; or name another home.",
        )
    raise NothingToVerify(
        f"Of which profile? The reports in {workspace.home} are: {', '.join(found)}.",
        remedy="Name one with --profile: a shipped profile by its name, one of your own by its file.",
    )


def read_report(folder: Path, profile: str) -> StoredReport:
    """Read all three files; raises NothingToVerify where there is no results.json."""
    paths, stored = number_paths(folder), StoredReport()
    try:
        results = read_results(paths.json)
    except CorruptFile as error:
        stored.json_part.compare(f"{_shown(paths.json)} schema", "schema_version 1", error.message)
    else:
        if results is None:
            raise NothingToVerify(
                f"There is no {paths.json}: profile {profile} has no report in this home.",
                remedy="Run `vitrepro report` with this profile and home, or name the right ones with --profile and --home.",
            )
        stored.json_part.compare(f"{_shown(paths.json)} schema_version", 1, results.schema_version)
        if stored.json_part.compare(f"{_shown(paths.json)} profile", profile, results.profile):
            stored.results = results
    try:
        stored.rows = read_rows(paths.csv)
    except CorruptFile as error:
        stored.csv_part.compare(f"{_shown(paths.csv)} schema", "the columns of this version", error.message)
    try:
        stored.predictions = read_all_predictions(paths.predictions)
    except CorruptFile as error:
        stored.predictions_part.compare(f"{_shown(paths.predictions)} schema", "int32 arrays", error.message)
    return stored


def verify_report(stored: StoredReport, recomputed: Results, found: FoundCells, folder: Path) -> None:
    """Compare the three files with `recomputed`, value by value.

    Where finished cells cannot be read, only the rows of the others are compared: means, gaps and claims would all differ.
    """
    paths = number_paths(folder)
    if stored.results is not None:
        ours, theirs = recomputed.model_dump(mode="json"), stored.results.model_dump(mode="json")
        if found.lost:
            ours, theirs = ({"cells": _without(document["cells"], found.lost)} for document in (ours, theirs))
            stored.json_part.notes.append(
                f"means, gaps and claims were not recomputed: {len(found.lost)} finished cell(s) cannot be read"
            )
        compare_documents(stored.json_part, _shown(paths.json), ours, theirs, counts=lambda path: path not in NOT_COMPARED)
    if stored.rows is not None:
        expected = [row.model_dump(mode="json") for row in recomputed.cells]
        rows = _without([row.model_dump(mode="json") for row in stored.rows], found.lost)
        compare_documents(stored.csv_part, _shown(paths.csv), expected, rows)
    if stored.predictions is not None:
        _verify_predictions(stored, stored.predictions, recomputed, found, paths.predictions)


def _verify_predictions(
    stored: StoredReport,
    arrays: Mapping[str, npt.NDArray[np.int32]],
    recomputed: Results,
    found: FoundCells,
    path: Path,
) -> None:
    """Arrays against the cells' own predictions; accuracies of results.csv against the arrays."""
    part, name = stored.predictions_part, _shown(path)
    datasets = {row.id: row.dataset for row in recomputed.cells}
    known = {predicted_key(cell_id) for cell_id in found.lost}
    for cell_id, (labels, predicted) in found.evidence.predictions.items():
        for key, own in ((labels_key(datasets[cell_id]), labels), (predicted_key(cell_id), predicted)):
            known.add(key)
            part.compare(
                f"{name} {key}, of cell {cell_id}", "as in the cell's own predictions.npz", _difference(own, arrays.get(key))
            )
    known |= {key for key in arrays if key.startswith("labels/") and found.lost}
    for key in sorted(arrays.keys() - known):
        part.compare(f"{name} {key}", ABSENT, "an array of no finished cell")
    for row in stored.rows or ():
        truth, guess = arrays.get(labels_key(row.dataset)), arrays.get(predicted_key(row.id))
        if truth is not None and guess is not None and truth.shape == guess.shape and len(truth):
            accuracy = float((truth == guess).mean())
            stored.csv_part.compare(
                f"{_shown(path.with_name('results.csv'))} [{row.id}].test_accuracy against predictions.npz",
                accuracy,
                row.test_accuracy,
                tolerance=0.5 / len(truth),
            )


def _difference(own: npt.NDArray[np.int32], stored: npt.NDArray[np.int32] | None) -> str:
    if stored is None:
        return ABSENT
    if stored.shape != own.shape:
        return f"{len(stored)} images instead of {len(own)}"
    num_different = int((stored != own).sum())
    return (
        f"other classes for {num_different} of {len(own)} images" if num_different else "as in the cell's own predictions.npz"
    )


def _without(rows: list[dict[str, object]], ids: set[str]) -> list[dict[str, object]]:
    return [row for row in rows if row["id"] not in ids]


def _shown(path: Path) -> str:
    """`report/<profile>/<file>`."""
    return "/".join(path.parts[-3:])
