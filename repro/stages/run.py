"""Stage `run`: train every selected cell that is not done, in worker processes.

Must not know how a cell trains or what its numbers mean. Read `run` first, then `repro.sweep`.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from repro.arrivals import Arrivals, Coming
from repro.context import Context
from repro.errors import CorruptFile, OutOfMemory
from repro.plan import Plan, PlannedCell
from repro.progress import Display, Occupancy, make_display
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
    busy_share: float | None = field(default=None, compare=False)
    """Share of the device that cells kept busy, 0 … 1, from the first that started to the last that ended; None without any."""
    wall_s: float = field(default=0.0, compare=False)
    """Seconds between these two."""


def run(context: Context, *, seed_done: Callable[[int], None], arrivals: Arrivals | None = None) -> RunSummary:
    """Run the selected cells; `seed_done` is called with a seed's number when its last cell has ended, but not at the very end.

    With `arrivals` data and weights may still be on their way: cells that have theirs are run meanwhile, and what comes is
    taken in between two seeds, so that these are still finished one after the other. A seed's last cell is then the last that
    can be run. Raises DiskFull when there is no space
    left, EnvironmentProblem when the GPU is lost, Interrupted on a signal, and what ends the fetch; what is finished stays.
    """
    arrivals = arrivals or Arrivals()
    with ExitStack() as until_the_end:
        matrix = _Matrix(context, until_the_end)
        while True:
            coming = arrivals.coming()
            stock = matrix.take_stock(coming)
            if stock.waiting:
                matrix.sweep(stock, seed_done=seed_done, has_more=partial(_has_come, arrivals, coming))
            if coming.is_over:
                break
            if not stock.waiting:
                matrix.rest()
                arrivals.wait(coming)
    statuses = [entry.status for entry in matrix.entries]
    return RunSummary(
        num_done=statuses.count(CellStatus.DONE),
        num_failed=statuses.count(CellStatus.FAILED),
        num_blocked=statuses.count(CellStatus.BLOCKED) + statuses.count(CellStatus.UNFETCHED),
        unfetched=matrix.unfetched,
        busy_share=matrix.occupancy.busy_share,
        wall_s=matrix.occupancy.wall_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stock:
    """What can be run now."""

    coming: Coming
    """What was on its way."""
    plan: Plan
    """The profile's cells as they stand."""
    waiting: list[PlannedCell]
    """Cells to run now, in order."""
    later: list[PlannedCell]
    """Cells that will be run later, as far as they are listed and their data or weights come."""


class _Matrix:
    """The selected cells over one command: what is finished by it is not looked at again."""

    def __init__(self, context: Context, until_the_end: ExitStack) -> None:
        self.context = context
        self.entries: list[PlannedCell] = []
        self.unfetched: tuple[str, ...] = ()
        self.occupancy = Occupancy()
        self._until_the_end = until_the_end
        self._workers: Workers | None = None
        self._display: Display | None = None
        self._ended: dict[str, PlannedCell] = {}
        self._reopened: set[str] = set()

    def take_stock(self, coming: Coming) -> _Stock:
        """Look at all cells that have not ended in this run."""
        context = self.context
        context.forget_facts()
        plan = context.plan()
        found = [self._ended.get(entry.cell.id, entry) for entry in (context.selected(plan) if plan.cells else [])]
        entries = [entry if entry.cell.id in self._ended else _to_redo(context, entry) for entry in found]
        if coming.is_over:
            self.unfetched = _unfetched(context, plan, entries)
        upstream_ids = {entry.upstream_id for entry in entries if entry.fingerprint and entry.status is not CellStatus.DONE}
        self.entries = [self._cleared(entry, starts_others=entry.cell.id in upstream_ids) for entry in entries]
        waiting = [entry for entry in self.entries if entry.cell.id not in self._ended and _can_be_tried(context, entry)]
        now = self._ids_that_have_all(waiting, coming)
        unfinished = [
            entry for entry in self.entries if entry.status is not CellStatus.DONE and entry.cell.id not in self._ended
        ]
        return _Stock(
            plan=plan,
            coming=coming,
            waiting=[entry for entry in waiting if entry.cell.id in now],
            later=[entry for entry in unfinished if entry.cell.id not in now] if not coming.is_over else [],
        )

    def _ids_that_have_all(self, waiting: list[PlannedCell], coming: Coming) -> set[str]:
        """The cells for which nothing is on its way, nor for what they need."""
        found = {entry.cell.id for entry in self.entries if entry.status is CellStatus.DONE} | self._ended.keys()
        candidates = {entry.cell.id for entry in waiting}
        for entry in waiting:  # what a cell needs stands before it
            cell = entry.cell
            is_here = cell.dataset.name not in coming.names and (cell.weights is None or cell.weights.key not in coming.names)
            # Once nothing comes any more, what is needed and cannot be had blocks the cell, which says so.
            if is_here and (coming.is_over or all(need in found for need in entry.needs)):
                found.add(cell.id)
        return found & candidates

    def _cleared(self, entry: PlannedCell, *, starts_others: bool) -> PlannedCell:
        """The entry, what cannot be read of it moved aside; said once, however often stock is taken."""
        cell_id = entry.cell.id
        if cell_id in self._ended:
            return entry
        if cell_id in self._reopened:
            return replace(entry, status=CellStatus.PENDING, record=None)
        cleared = _readable(self.context, entry, starts_others=starts_others)
        if cleared is not entry:
            self._reopened.add(cell_id)
        return cleared

    def sweep(self, stock: _Stock, *, seed_done: Callable[[int], None], has_more: Callable[[], bool]) -> None:
        """Run the cells that can be run now. Raises as `run` does."""
        context, waiting, later, coming = self.context, stock.waiting, stock.later, stock.coming
        if self._workers is None:
            self._workers = self._until_the_end.enter_context(Workers(0))
        # What cannot be tried is neither timed nor counted, unless what it waits for may yet come.
        counted = [*waiting, *later, *(entry for entry in self.entries if entry.status is CellStatus.DONE)]
        expected = context.forecast(counted, stock.plan, self._workers)
        alone = tuple(entry.cell.id for entry in waiting if _needs_the_whole_gpu(context, entry))
        expected = replace(expected, sharing=replace(expected.sharing, alone=alone))
        context.say(expected.line())
        if coming.names:
            context.say(
                f"{len(waiting)} of them can run already; still to come: {', '.join(sorted(set(coming.names.values())))}"
            )
        self._workers.resize(min(expected.num_workers, len(waiting) + len(later)))
        sweep = Sweep(
            context,
            self.entries,
            [entry.cell.id for entry in waiting],
            self._workers,
            self._display_of(len(self._ended) + len(waiting) + len(later)),
            expected,
            seed_done,
            later=[entry.cell.id for entry in later],
            has_more=has_more,
            occupancy=self.occupancy,
        )
        self.entries = sweep.until_done()
        tried = {entry.cell.id for entry in waiting} - set(sweep.waiting)
        self._ended |= {entry.cell.id: entry for entry in self.entries if entry.cell.id in tried}

    def rest(self) -> None:
        """Let the workers go until there is something to do: they keep memory, and one that dies idle must not cost a cell."""
        if self._workers is not None:
            self._workers.resize(0)

    def _display_of(self, num_cells: int) -> Display:
        """The display, one for all sweeps, which expects so many cells in all from now on."""
        if self._display is None:
            self._display = make_display(num_cells, self.context.say, self.context.screen)
            self._until_the_end.callback(self._display.close)
        self._display.expect(num_cells)
        return self._display


def _has_come(arrivals: Arrivals, before: Coming) -> bool:
    """Whether anything of what was on its way is there. Raises what has ended the fetch."""
    return arrivals.coming().names != before.names


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


def _readable(context: Context, entry: PlannedCell, *, starts_others: bool) -> PlannedCell:
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
