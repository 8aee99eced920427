"""Finished cells as they lie on disk: records, predictions and files held to each other, and what the analysis gets of them.

More lenient than `repro.evidence`: a file with a wrong digest is told and still read, so that the numbers which come of it are
compared as well. Must not know reports' layout or statistics. Read `read_cells` first.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.analysis.inside import numbers_of
from repro.analysis.results import CellRow
from repro.datasets import Manifest, training_subset
from repro.errors import CorruptFile, DataError, TrainingDiverged
from repro.evidence import Evidence, gather
from repro.inside import INSIDE, read_inside
from repro.plan import PlannedCell, chosen_rate
from repro.records import FAILURE, RECORD, CellStatus, Record, read_epochs, read_failure, read_predictions, read_record
from repro.spec import CheckpointSpec, Role
from repro.verification.comparisons import ABSENT, Part, compare_documents
from repro.verification.packs import Labels, sha256_of
from repro.workspace import Workspace

LATEST = timedelta(minutes=5)
"""A report that is renewed while cells run may miss what was finished while it was being made."""


@dataclass(kw_only=True)
class FoundCells:
    """What the cells of a plan have left on disk."""

    records: Part = field(default_factory=lambda: Part(name="records"))
    """Records held to their cells, predictions and data."""
    files: Part = field(default_factory=lambda: Part(name="files of cells"))
    """Files held to the digests that the records tell."""
    evidence: Evidence = field(init=False)
    """What the analysis is given: the cells that the report counts as done."""
    lost: set[str] = field(default_factory=set)
    """Ids of cells that the report counts as done and that cannot be read."""
    num_finished: int = 0
    """Cells that have a record."""
    num_later: int = 0
    """Those of them that the report does not count yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What cells are held to."""

    workspace: Workspace
    """The home."""
    entries: Mapping[str, PlannedCell]
    """All planned cells by id."""
    manifests: Mapping[str, Manifest]
    """Of the data sets that are there, by name."""
    labels: Mapping[str, Labels]
    """Of the data sets whose images are there, by name."""
    weights_digest: Callable[[CheckpointSpec], str | None]
    """What weights add to a cell's fingerprint; None where it is not known."""


def read_cells(around: Surroundings, told: Mapping[str, CellRow] | None, *, reported_at: str) -> FoundCells:
    """Read and compare every cell; `told` are the report's rows by id, None where they cannot be read: then all records count.

    A cell that the report does not count as done stays as the report tells it, whatever has become of it since. But one
    that was finished before `reported_at`, when the report was made (ISO 8601), should have been counted.
    """
    found, entries = FoundCells(), []
    for cell_id, entry in around.entries.items():
        row = told.get(cell_id) if told is not None else None
        fingerprint = entry.fingerprint or (row.fingerprint if row else None)
        folder = around.workspace.run_dir(cell_id, fingerprint) if fingerprint else None
        record = _read_record(found, folder, around.workspace) if folder else None
        is_whole = record is not None and folder is not None and _check_cell(found, around, entry, record, folder)
        found.num_finished += record is not None
        if is_whole if told is None else row is not None and row.status is CellStatus.DONE:
            if is_whole:
                entries.append(replace(entry, fingerprint=fingerprint, status=CellStatus.DONE, reason="", record=record))
            else:
                found.lost.add(cell_id)
            continue
        if record is not None and is_whole:
            if _is_before(record.finished_at, reported_at):
                found.records.compare(
                    f"cell {cell_id}", f"counted, being finished at {record.finished_at}", "left out of the report"
                )
            found.num_later += 1
        if row is not None:
            entry = replace(entry, fingerprint=row.fingerprint, status=row.status, reason=row.reason)
        entries.append(replace(entry, record=None))
    found.lost |= {row.id for row in (told or {}).values() if row.status is CellStatus.DONE} - around.entries.keys()
    for cell_id in sorted(found.lost):
        found.records.compare(f"cell {cell_id}", "finished and readable, as the report counts it", "not so")
    found.evidence = gather(entries, around.workspace)
    return found


def _is_before(finished_at: str, reported_at: str) -> bool:
    try:
        return datetime.fromisoformat(finished_at) + LATEST < datetime.fromisoformat(reported_at)
    except (ValueError, TypeError):  # no time, or one with a time zone and one without
        return True


def _read_record(found: FoundCells, folder: Path, workspace: Workspace) -> Record | None:
    """The record, if there is one that can be read; failure and training log are read for their schema."""
    shown = folder.relative_to(workspace.home)
    try:
        record = read_record(folder)
    except CorruptFile as error:
        found.records.compare(f"{shown}/{RECORD} schema", "schema_version 1", error.message)
        record = None
    if record is not None:
        found.records.compare(f"{shown}/{RECORD} schema_version", 1, record.schema_version)
    for name, read in ((FAILURE, read_failure), ("epochs.jsonl", read_epochs)):
        try:
            read(folder)
        except CorruptFile as error:
            found.records.compare(f"{shown}/{name} schema", "schema_version 1", error.message)
    return record


def _check_cell(found: FoundCells, around: Surroundings, entry: PlannedCell, record: Record, folder: Path) -> bool:
    """Hold the record to everything around it; whether it counts: its predictions can be read, or it needs none."""
    shown = folder.relative_to(around.workspace.home)
    for name, sha256 in record.files_sha256.items():
        found.files.compare(f"{shown}/{name} sha256", sha256, sha256_of(folder / name))
    _check_identity(found.records, f"{shown}/{RECORD}", around, entry, record)
    if entry.cell.role is Role.LR_SEARCH:
        return True
    _check_inside(found.records, shown, record, folder)
    if "predictions.npz" not in record.files_sha256:
        found.files.compare(f"{shown}/{RECORD} files_sha256.predictions.npz", "a digest", ABSENT)
    try:
        labels, predicted = read_predictions(folder)
    except CorruptFile as error:
        found.files.compare(f"{shown}/predictions.npz", "labels and predictions", error.message)
        return False
    _check_predictions(found.records, shown, around, record, labels, predicted)
    return True


def _check_inside(part: Part, shown: Path, record: Record, folder: Path) -> None:
    """The numbers of a ViT's inside follow from what was kept of it."""
    if record.inside is None:
        return
    try:
        computed = numbers_of(read_inside(folder))
    except CorruptFile as error:
        part.compare(f"{shown}/{INSIDE}", "what its numbers come from", error.message)
        return
    compare_documents(part, f"{shown}/{RECORD} inside", computed.model_dump(mode="json"), record.inside.model_dump(mode="json"))


def _check_identity(part: Part, name: str, around: Surroundings, entry: PlannedCell, record: Record) -> None:
    """The cell of the record is the planned one, and its fingerprint follows from what the record tells."""
    if entry.fingerprint is not None:
        part.compare(f"{name} fingerprint", entry.fingerprint, record.fingerprint)
    part.compare(f"{name} cell", entry.cell.id, record.cell.id)
    manifest = around.manifests.get(entry.cell.dataset.name)
    if manifest is not None:
        part.compare(f"{name} data_sha256", manifest.content_sha256, record.data_sha256)
        part.compare(f"{name} num_classes", manifest.num_classes, record.num_classes)
    searches = [around.entries[search] for search in entry.search_ids]
    weights = around.weights_digest(entry.cell.weights) if entry.cell.weights else None
    if all(search.fingerprint for search in searches) and (weights is not None or entry.cell.weights is None):
        computed = record.cell.fingerprint(
            data_sha256=record.data_sha256,
            upstream_fingerprint=record.upstream_fingerprint,
            weights_sha256=weights,
            search_fingerprints=[search.fingerprint for search in searches if search.fingerprint],
        )
        part.compare(f"{name} fingerprint of its own cell", computed, record.fingerprint)
    _check_rate(part, f"{name} lr", around, entry, record, searches)
    if labels := around.labels.get(entry.cell.dataset.name):
        part.compare(f"{name} subset_sha256", _subset_sha256(labels, record), record.subset_sha256)


def _check_rate(
    part: Part, name: str, around: Surroundings, entry: PlannedCell, record: Record, searches: Sequence[PlannedCell]
) -> None:
    """The rate is the recipe's, or the one that the search has found; records of earlier versions have none."""
    if record.lr is None or any(search.record is None for search in searches):
        return
    try:
        lr, _ = chosen_rate(entry, around.entries)
    except TrainingDiverged:
        part.compare(name, "no rate, for training diverged at every one", record.lr)
    else:
        part.compare(name, lr, record.lr)


def _subset_sha256(labels: Labels, record: Record) -> str:
    """Digest of the training subset, cut anew."""
    cell = record.cell
    try:
        subset = training_subset(labels[0], cell.num_train_images, seed=cell.seed, dataset_sha256=record.data_sha256)
    except DataError as error:
        return error.message
    return hashlib.sha256(subset.astype("<i8").tobytes()).hexdigest()


def _check_predictions(
    part: Part,
    shown: Path,
    around: Surroundings,
    record: Record,
    labels: npt.NDArray[np.int32],
    predicted: npt.NDArray[np.int32],
) -> None:
    part.compare(f"{shown}/{RECORD} num_test_images", len(labels), record.num_test_images)
    if len(labels):
        accuracy = float((labels == predicted).mean())
        part.compare(f"{shown}/{RECORD} test_accuracy", accuracy, record.test_accuracy, tolerance=0.5 / len(labels))
    if known := around.labels.get(record.cell.dataset.name):
        is_same = np.array_equal(known[1], labels)
        part.compare(
            f"{shown}/predictions.npz labels", "those of the data set", "those of the data set" if is_same else "others"
        )
