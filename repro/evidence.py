"""From the cells of a plan to what the analysis is given: outcomes and test predictions. Reads finished cells only.

Must not know statistics or pages. Read `gather` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """Of every arm of ViTs that were looked into what the first seed's cell has left, by cell id."""


def gather(entries: list[PlannedCell], workspace: Workspace) -> Evidence:
    """Read the predictions of every finished cell; one whose predictions cannot be read counts as not done, and is named."""
    outcomes, predictions, problems = [], Predictions(), []
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
        outcomes.append(Outcome(row=outcome_row(entry.cell, entry.fingerprint, status, reason, record), record=record))
    insides = _insides(outcomes, workspace, problems)
    return Evidence(outcomes=tuple(outcomes), predictions=predictions, problems=tuple(problems), insides=insides)


def _insides(outcomes: Sequence[Outcome], workspace: Workspace, problems: list[str]) -> dict[str, Inside]:
    """Of every arm the file of the first seed that can be read; what cannot be read is added to `problems`.

    One an arm is all that is shown, and thousands of files are half a minute.
    """
    arms: dict[tuple[object, ...], list[Record]] = {}
    for outcome in outcomes:
        row, record = outcome.row, outcome.record
        if record is not None and record.inside is not None and row.role is Role.STUDY:
            arms.setdefault((row.dataset, row.model, row.init, row.recipe, row.num_train_images), []).append(record)
    found = {}
    for records in arms.values():
        for record in sorted(records, key=lambda record: record.cell.seed):
            folder = workspace.run_dir(record.cell.id, record.fingerprint)
            try:
                check_file(folder, record, INSIDE)
                found[record.cell.id] = read_inside(folder)
                break
            except CorruptFile as error:
                problems.append(
                    f"The pictures of {record.cell.id} from within are left out: {workspace.without_home(error.message)}"
                )
    return found
