"""Stage `run`: train every selected cell that is not done, in worker processes.

Must not know how a cell trains or what its numbers mean. Read `run` first, then `repro.sweep`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from repro.context import Context
from repro.errors import CorruptFile, OutOfMemory
from repro.plan import Plan, PlannedCell
from repro.progress import make_display
from repro.records import FAILURE, WEIGHTS, CellStatus, check_file, read_failure, read_finished
from repro.sweep import Sweep
from repro.workers import Workers
from repro.workspace import move_aside


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How a run ended."""

    num_done: int
    """Selected cells that are done now, by this run or earlier ones."""
    num_failed: int
    """Selected cells that failed."""
    num_blocked: int
    """Selected cells that could not be tried: what they need failed, or their data or weights are not there."""
    unfetched: tuple[str, ...]
    """Data sets and weights that must be fetched before all cells can be tried."""


def run(context: Context, *, seed_done: Callable[[int], None]) -> RunSummary:
    """Run the selected cells; `seed_done` is called with a seed's number when its last cell has ended.

    Raises DiskFull when there is no space left, EnvironmentProblem when the GPU is lost, Interrupted on a signal; what is
    finished stays.
    """
    plan = context.plan()
    entries = [_to_redo(context, entry) for entry in context.selected(plan)] if plan.cells else []
    unfetched = _unfetched(context, plan, entries)
    upstream_ids = {entry.upstream_id for entry in entries if entry.fingerprint and entry.status is not CellStatus.DONE}
    entries = [_cleared(context, entry, starts_others=entry.cell.id in upstream_ids) for entry in entries]
    waiting = [entry for entry in entries if _can_be_tried(context, entry)]
    alone = tuple(entry.cell.id for entry in waiting if _needs_the_whole_gpu(context, entry))
    if waiting:
        with Workers(0) as workers:
            # What cannot be tried is neither timed nor counted.
            counted = waiting + [entry for entry in entries if entry.status is CellStatus.DONE]
            expected = context.forecast(counted, plan, workers)
            expected = replace(expected, sharing=replace(expected.sharing, alone=alone))
            context.say(expected.line())
            workers.resize(min(expected.num_workers, len(waiting)))
            display = make_display(len(waiting), context.say, context.screen)
            try:
                ids = [entry.cell.id for entry in waiting]
                entries = Sweep(context, entries, ids, workers, display, expected, seed_done).until_done()
            finally:
                display.close()
    statuses = [entry.status for entry in entries]
    return RunSummary(
        num_done=statuses.count(CellStatus.DONE),
        num_failed=statuses.count(CellStatus.FAILED),
        num_blocked=statuses.count(CellStatus.BLOCKED) + statuses.count(CellStatus.UNFETCHED),
        unfetched=unfetched,
    )


def _can_be_tried(context: Context, entry: PlannedCell) -> bool:
    """Whether the cell is not done and its data and weights are there; what failed or was blocked by it is tried again."""
    facts = context.weight_facts(entry.cell.weights) if entry.cell.weights else None
    return entry.fingerprint is not None and entry.status is not CellStatus.DONE and not (facts and facts.problem)


def _needs_the_whole_gpu(context: Context, entry: PlannedCell) -> bool:
    """Whether the cell ran out of memory when it shared the GPU."""
    assert entry.fingerprint is not None, "what can be tried has one"
    failure = read_failure(context.workspace.run_dir(entry.cell.id, entry.fingerprint))
    return failure is not None and failure.device_shared and failure.kind == OutOfMemory.__name__


def _unfetched(context: Context, plan: Plan, entries: list[PlannedCell]) -> tuple[str, ...]:
    """Names of the data sets and weights that selected cells still wait for; says them."""
    waiting = [entry.cell for entry in entries if entry.status is CellStatus.UNFETCHED]
    data = {*plan.unsized, *(cell.dataset.name for cell in waiting if cell.dataset.name not in context.facts())}
    weights = {str(one.path or one.name) for cell in waiting if (one := cell.weights) and context.weight_facts(one) is None}
    if missing := tuple(sorted(data | weights)):
        what = " or ".join(filter(None, ("data" if data else "", "weights" if weights else "")))
        context.say(f"warning: cells of {', '.join(missing)} wait for {what}: run `vitrepro fetch` first")
    return missing


def _to_redo(context: Context, entry: PlannedCell) -> PlannedCell:
    """The entry, no longer done where `--force` means it; upstream cells that come along with `--only` stay as they are."""
    if context.force and entry.fingerprint and context.is_named(entry):
        return replace(entry, status=CellStatus.PENDING, record=None)
    return entry


def _cleared(context: Context, entry: PlannedCell, *, starts_others: bool) -> PlannedCell:
    """Move aside what cannot be read of the cell, and say so; a finished cell whose weights are needed but lost runs again."""
    if entry.fingerprint is None:
        return entry
    folder = context.workspace.run_dir(entry.cell.id, entry.fingerprint)
    broken = folder
    try:
        record = read_finished(folder, entry.fingerprint)
        if record is not None and starts_others and entry.status is CellStatus.DONE:
            if WEIGHTS not in record.files_sha256:
                context.say(f"note: {entry.cell.id} runs again: cells start from its weights now, and they were not kept")
                return replace(entry, status=CellStatus.PENDING, record=None)
            check_file(folder, record, WEIGHTS)
        if record is None:
            # A failure that cannot be read costs nothing else: the resumable state beside it stays.
            broken = folder / FAILURE
            read_failure(folder)
    except CorruptFile as error:
        aside = move_aside(broken)
        context.say(f"warning: {error.message} It is now in {aside.name}; the cell {entry.cell.id} runs again.")
        return replace(entry, status=CellStatus.PENDING, record=None)
    return entry
