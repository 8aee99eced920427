"""Hands the cells of one run to worker processes, and takes what they answer.

A cell's exception becomes its `failure.json` and the sweep goes on; only what every cell would meet (a full disk, a lost GPU)
stops it. Must not know how a cell trains or what its numbers mean. Read `Sweep.until_done` first.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from repro.choices import Choice, StepWay
from repro.context import Context, source_commit
from repro.errors import DiskFull, EnvironmentProblem, OutOfMemory, TrainingDiverged
from repro.forecast import Forecast
from repro.hardware import lost_gpu
from repro.inside import is_looked_into
from repro.messages import Done, Failed, Job, Progress, Weights
from repro.plan import STOPPED, PlannedCell, blocked_by, chosen_rate
from repro.progress import Clock, Display, Occupancy
from repro.records import FAILURE, LAST, RECORD, CellStatus, Failure, read_record, write_failure
from repro.timing import AtOnce, Stepping, step_key
from repro.workers import Died, Workers
from repro.workspace import command_line

TICK_S = 0.2
"""How long to wait for a worker's answer before looking round again."""


class Sweep:
    """Hands the cells that wait (their ids, in order) to workers as they become free, until none is left."""

    def __init__(
        self,
        context: Context,
        entries: list[PlannedCell],
        waiting: list[str],
        workers: Workers,
        display: Display,
        expected: Forecast,
        seed_done: Callable[[int], None],
        *,
        later: Sequence[str] = (),
        has_more: Callable[[], bool] = lambda: False,
        occupancy: Occupancy | None = None,
    ) -> None:
        """`later` are cells whose data are on their way, for another sweep. `has_more` is asked now and then whether some have
        come: this sweep then ends before the next seed's cells, and leaves them waiting. What it raises ends the sweep.
        """
        self.context = context
        self.device = context.device
        self.sharing = expected.sharing
        self.steppings = expected.steppings
        self.workers = workers
        self.display = display
        self.seed_done = seed_done
        self.commit = source_commit()
        self.entries = {entry.cell.id: entry for entry in entries}
        self.waiting = waiting
        self.later = later
        self.has_more = has_more
        self.occupancy = occupancy or Occupancy()
        self.seed: int | None = None
        self.is_cut = False
        self.rates: dict[str, tuple[float, Choice | None]] = {}
        self.running: dict[int, str] = {}
        shares = {cell_id: float(self.sharing.share(self.entries[cell_id].cell)) for cell_id in (*waiting, *later)}
        self.clock = Clock(expected.cell_s, shares)

    def until_done(self) -> list[PlannedCell]:
        """Run everything that waits, or what comes before the next seed.

        Returns the entries with their new states, in their old order.
        """
        self._fill()
        while self.running or (self.waiting and not self.is_cut):
            self.has_more()
            found = self.workers.next_event(TICK_S)
            if found is not None:
                slot, event = found
                if isinstance(event, Progress):
                    self._stepped(slot, event)
                elif isinstance(event, Done):
                    self._done(slot, event)
                elif isinstance(event, Failed):
                    self._failed(slot, event)
                elif isinstance(event, Died):
                    self._died(slot, event)
            self._fill()
        return list(self.entries.values())

    def _fill(self) -> None:
        """Start cells as long as there is room.

        A cell that is ready and has no room yet is never overtaken: one that needs the whole device would else wait as long as
        there are small ones, and a seed's longest cells would end last.
        """
        while (slot := self._free_slot()) is not None and (cell_id := self._next_ready()) is not None:
            if not self._has_room(cell_id):
                break
            seed = self.entries[cell_id].cell.seed
            # Between two seeds only: the workers run empty before others can be timed, which is worth an order of seeds.
            if self.is_cut or (seed != self.seed and self.seed is not None and self.has_more()):
                self.is_cut = True
                break
            self.seed = seed
            self.waiting.remove(cell_id)
            self._start(slot, cell_id)

    def _free_slot(self) -> int | None:
        return next((slot for slot in range(self.workers.num_workers) if slot not in self.running), None)

    def _has_room(self, cell_id: str) -> bool:
        """Whether the device has room for the cell; the parts are exact fractions, so that three thirds are a whole."""
        cells = [self.entries[one].cell for one in (*self.running.values(), cell_id)]
        return sum(self.sharing.share(cell) for cell in cells) <= 1

    def _part(self, cell_id: str) -> float:
        return float(self.sharing.share(self.entries[cell_id].cell))

    def _next_ready(self) -> str | None:
        """The first waiting cell that may start now; what cannot start any more is blocked on the way."""
        for cell_id in list(self.waiting):
            needs = [self.entries[need] for need in self.entries[cell_id].needs]
            stopped = next((need for need in needs if need.status in STOPPED and self._is_settled(need)), None)
            if stopped is not None:
                self._block(cell_id, blocked_by(stopped))
            elif all(need.status is CellStatus.DONE for need in needs):
                try:
                    self.rates[cell_id] = chosen_rate(self.entries[cell_id], self.entries)
                except TrainingDiverged as error:
                    self._block(cell_id, error.message)
                    continue
                return cell_id
        return None

    def _block(self, cell_id: str, reason: str) -> None:
        self.waiting.remove(cell_id)
        self.entries[cell_id] = replace(self.entries[cell_id], status=CellStatus.BLOCKED, reason=reason)
        self._ended(None, cell_id, f"{cell_id}  blocked: {reason}")

    def _is_settled(self, entry: PlannedCell) -> bool:
        return entry.cell.id not in self.waiting and entry.cell.id not in self.running.values()

    def _start(self, slot: int, cell_id: str) -> None:
        entry = self.entries[cell_id]
        assert entry.fingerprint is not None
        folder = self.context.workspace.run_dir(cell_id, entry.fingerprint)
        from_scratch = self.context.force and self.context.is_named(entry)
        for name in (RECORD, LAST, FAILURE) if from_scratch else (FAILURE,):
            (folder / name).unlink(missing_ok=True)
        lr, why = self.rates[cell_id]
        facts = self.context.weight_facts(entry.cell.weights) if entry.cell.weights else None
        at_once, stepping = self.sharing.of(entry.cell), self.steppings.get(step_key(entry.cell))
        self.running[slot] = cell_id
        self.clock.started(cell_id)
        self.occupancy.started(cell_id)
        self.display.started(slot, cell_id, entry.cell.recipe.steps)
        self.workers.order(
            slot,
            Job(
                cell=entry.cell,
                fingerprint=entry.fingerprint,
                upstream_fingerprint=entry.upstream_fingerprint,
                upstream_id=entry.upstream_id,
                weights=Weights(path=facts.path, sha256=facts.sha256, input=facts.input)
                if facts and facts.path and facts.sha256
                else None,
                lr=lr,
                keeps_weights=entry.is_upstream,
                looks_inside=is_looked_into(
                    role=entry.cell.role,
                    family=entry.cell.model.family,
                    is_probe=entry.cell.recipe.is_probe,
                ),
                home=self.context.workspace.home,
                device=self.device.device,
                device_name=self.device.name,
                driver=self.device.driver,
                bfloat16=self.device.bfloat16,
                channels_last=self.device.channels_last,
                device_shared=self._shares_gpu(cell_id),
                at_once=at_once.number if self.sharing.on_gpu else 1,
                way=stepping.way if stepping is not None else StepWay.PLAIN,
                choices=(*self._device_choices(at_once, stepping), *([why] if why else [])),
                command=command_line(),
                commit=self.commit,
            ),
        )

    def _shares_gpu(self, cell_id: str) -> bool:
        return self.sharing.on_gpu and self.sharing.of(self.entries[cell_id].cell).number > 1

    def _device_choices(self, at_once: AtOnce, stepping: Stepping | None) -> tuple[Choice, ...]:
        """What was chosen automatically, for the record."""
        device = self.device
        why = "as many as cells run at once" if self.sharing.on_gpu else device.workers_reason
        return (
            *device.choices(),
            Choice(what="workers", value=str(self.workers.num_workers), reason=why),
            *([at_once.choice()] if self.sharing.on_gpu else []),
            *([stepping.choice()] if stepping is not None else []),
        )

    def _stepped(self, slot: int, event: Progress) -> None:
        cell_id = self.running[slot]
        self.clock.stepped(cell_id, event.step / self.entries[cell_id].cell.recipe.steps)
        self.display.stepped(slot, event.step, self.clock.eta_s())

    def _done(self, slot: int, event: Done) -> None:
        cell_id = self.running.pop(slot)
        entry = self.entries[cell_id]
        assert entry.fingerprint is not None
        record = read_record(self.context.workspace.run_dir(cell_id, entry.fingerprint))
        self.entries[cell_id] = replace(entry, status=CellStatus.DONE, reason="", record=record)
        if record is not None and record.resumed_from_step is None:
            self.clock.learn(cell_id, event.total_s)
        self.occupancy.ended(cell_id, self._part(cell_id), event.total_s)
        found = "diverged"
        if event.test_accuracy is not None:
            found = f"test accuracy {event.test_accuracy:.3f}"
        elif event.dev_accuracy is not None:
            found = f"dev accuracy {event.dev_accuracy:.3f}"
        if event.worker_is_spoilt:
            self.workers.replace(slot)
        self._ended(slot, cell_id, f"{cell_id}  done in {event.total_s:.1f} s, {found}")

    def _failed(self, slot: int, event: Failed) -> None:
        if slot not in self.running:
            return
        cell_id = self.running.pop(slot)
        if event.stops_the_run:
            raise DiskFull(event.message, remedy=event.remedy)
        self._require_gpu(cell_id, event.message)
        self.occupancy.ended(cell_id, self._part(cell_id))
        remedy = event.remedy
        if event.error == OutOfMemory.__name__ and self._shares_gpu(cell_id):
            remedy = "It shared the GPU with other cells: run again, and it is tried alone."
        self._record_failure(cell_id, event.error, event.message, remedy, event.traceback)
        if event.worker_is_spoilt:
            self.workers.replace(slot)
        self._ended(slot, cell_id, f"{cell_id}  FAILED: {event.message} {remedy}")

    def _died(self, slot: int, event: Died) -> None:
        cell_id = self.running.pop(slot, None)
        message = f"The worker process {event.description}."
        if cell_id is not None:
            self._require_gpu(cell_id, message)
        self.workers.replace(slot)
        if cell_id is None:
            return
        self.occupancy.ended(cell_id, self._part(cell_id))
        remedy = "Run again: it resumes where it was; if it dies again, look for an out-of-memory kill in the system log."
        self._record_failure(cell_id, "WorkerDied", message, remedy, "")
        self._ended(slot, cell_id, f"{cell_id}  FAILED: {message} {remedy}")

    def _require_gpu(self, cell_id: str, message: str) -> None:
        """Raise EnvironmentProblem if the GPU no longer answers: every other cell would fail as this one did.

        The cell gets no failure.json, for it has not failed by itself: it goes on from its last state with the next run.
        """
        if self.device.device != "cuda" or (lost := lost_gpu(self.device.uuid)) is None:
            return
        raise EnvironmentProblem(
            f"The GPU was lost while {cell_id} was running ({message.rstrip('.')}): {lost.message}.",
            remedy=f"{lost.remedy} Finished cells are kept; the same command then goes on from there.",
        )

    def _record_failure(self, cell_id: str, error: str, message: str, remedy: str, traceback: str) -> None:
        entry = self.entries[cell_id]
        assert entry.fingerprint is not None
        failure = Failure(
            cell_id=cell_id,
            fingerprint=entry.fingerprint,
            kind=error,
            message=message,
            remedy=remedy,
            traceback=traceback,
            failed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            device_shared=self._shares_gpu(cell_id),
        )
        write_failure(self.context.workspace.run_dir(cell_id, entry.fingerprint), failure)
        self.entries[cell_id] = replace(entry, status=CellStatus.FAILED, reason=message)

    def _ended(self, slot: int | None, cell_id: str, line: str) -> None:
        self.clock.ended(cell_id)
        self.display.ended(slot, line, self.clock.eta_s())
        seed = self.entries[cell_id].cell.seed
        unfinished = [*self.waiting, *self.running.values()]
        # What is still on its way may take hours, and an interruption meanwhile should leave a page.
        if all(self.entries[other].cell.seed != seed for other in unfinished) and (unfinished or self.later):
            self.seed_done(seed)
