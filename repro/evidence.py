"""From the cells of a plan to what the analysis is given: outcomes and test predictions. Reads finished cells only.

Must not know statistics or pages. Read `gather` first.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.analysis.assemble import outcome_row
from repro.analysis.results import Outcome
from repro.errors import CorruptFile
from repro.inside import INSIDE, Inside, read_inside
from repro.plan import PlannedCell
from repro.records import CellStatus, Record, check_file, read_predictions
from repro.spec import Role
from repro.workspace import Workspace

Predictions = dict[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]]
"""Labels and predicted classes, both (N,), by cell id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the finished cells say."""

    outcomes: tuple[Outcome, ...]
    """One a cell, in the plan's order."""
    predictions: Predictions
    """Of the cells that are done and tested."""
    problems: tuple[str, ...]
    """What could not be read, for the user."""
    insides: dict[str, Inside]
    """What the finished cells that were looked into have left, by cell id."""


def gather(entries: list[PlannedCell], workspace: Workspace) -> Evidence:
    """Read the predictions of every finished cell; one whose predictions cannot be read counts as not done, and is named."""
    outcomes, predictions, problems, insides = [], Predictions(), [], dict[str, Inside]()
    for entry in entries:
        status, reason, record = entry.status, entry.reason, entry.record
        # A cell that only serves to choose a learning rate is never tested, and so has no predictions.
        if status is CellStatus.DONE and entry.cell.role is not Role.LR_SEARCH:
            assert entry.fingerprint is not None
            try:
                predictions[entry.cell.id] = read_predictions(workspace.run_dir(entry.cell.id, entry.fingerprint))
            except CorruptFile as error:
                status, record = CellStatus.PENDING, None
                reason = workspace.without_home(error.message)
        if status is CellStatus.PENDING and reason:
            problems.append(f"{entry.cell.id} does not count: {reason} `vitrepro run` runs it again.")
        if record is not None and INSIDE in record.files_sha256:
            try:
                insides[entry.cell.id] = _inside(workspace.run_dir(entry.cell.id, record.fingerprint), record)
            except CorruptFile as error:
                message = workspace.without_home(error.message)
                problems.append(f"{entry.cell.id} counts, but is left out of the section on the inside of ViTs: {message}")
        outcomes.append(Outcome(row=outcome_row(entry.cell, entry.fingerprint, status, reason, record), record=record))
    return Evidence(outcomes=tuple(outcomes), predictions=predictions, problems=tuple(problems), insides=insides)


def _inside(folder: Path, record: Record) -> Inside:
    check_file(folder, record, INSIDE)
    return read_inside(folder)
