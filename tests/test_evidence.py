"""What the analysis is given: finished cells with whole predictions, and the reason for every other one."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import spine

from repro.evidence import gather
from repro.records import PREDICTIONS, RECORD, CellStatus
from repro.spec import Role

CELL = "dots.n12.tiny_vit.scratch.plain.s1"


def test_every_finished_cell_gives_a_row_and_its_predictions() -> None:
    context, _ = spine.make_context(spine.finished() / "study" / "tiny.toml", spine.finished() / "home")
    entries = list(context.plan().cells)
    evidence = gather(entries, context.workspace)
    assert evidence.problems == ()
    assert [outcome.row.id for outcome in evidence.outcomes] == [entry.cell.id for entry in entries]
    assert evidence.predictions.keys() == {entry.cell.id for entry in entries}
    for outcome in evidence.outcomes:
        labels, predicted = evidence.predictions[outcome.row.id]
        assert outcome.row.test_accuracy == pytest.approx(float((labels == predicted).mean()))


@pytest.mark.parametrize("name", [PREDICTIONS, RECORD])
def test_a_damaged_cell_is_left_out_and_named(name: str, tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    path = spine.cell_dir(home, CELL) / name
    path.write_bytes(path.read_bytes()[:50])
    evidence = gather(list(context.plan().cells), context.workspace)
    (row,) = [outcome.row for outcome in evidence.outcomes if outcome.row.id == CELL]
    assert (row.status, row.test_accuracy) == (CellStatus.PENDING, None)
    assert CELL not in evidence.predictions
    assert len(evidence.predictions) == spine.NUM_CELLS - 1
    (problem,) = evidence.problems
    assert str(path.relative_to(home)) in problem and str(home) not in problem
    assert "`vitrepro run`" in problem


def test_predictions_that_vanish_after_planning_are_named(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    entries = list(context.plan().cells)
    os.unlink(spine.cell_dir(home, CELL) / PREDICTIONS)
    evidence = gather(entries, context.workspace)
    assert len(evidence.predictions) == spine.NUM_CELLS - 1
    (outcome,) = [outcome for outcome in evidence.outcomes if outcome.row.id == CELL]
    assert outcome.record is None
    assert CELL in evidence.problems[0]


def test_a_search_for_a_rate_has_no_predictions_and_none_are_asked_for(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    entries = list(context.plan().cells)
    os.unlink(spine.cell_dir(home, CELL) / PREDICTIONS)
    searching = [
        replace(entry, cell=entry.cell.model_copy(update={"role": Role.LR_SEARCH})) if entry.cell.id == CELL else entry
        for entry in entries
    ]
    evidence = gather(searching, context.workspace)
    assert evidence.problems == ()
    (outcome,) = [outcome for outcome in evidence.outcomes if outcome.row.id == CELL]
    assert (outcome.row.status, outcome.row.role) == (CellStatus.DONE, Role.LR_SEARCH)
    assert CELL not in evidence.predictions


def test_cells_that_simply_wait_are_no_problem(tmp_path: Path) -> None:
    context, _ = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    spine.fetch(context)
    evidence = gather(list(context.plan().cells), context.workspace)
    assert {outcome.row.status for outcome in evidence.outcomes} == {CellStatus.PENDING}
    assert evidence.problems == ()
