"""Which cells a sweep starts when, on a device that several share, and what their jobs and failures say of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import pytest
import spine
from toy_cells import GPU

from repro.choices import StepWay
from repro.context import Context
from repro.errors import DiskFull, OutOfMemory
from repro.forecast import make_forecast
from repro.messages import Done, Failed, Job
from repro.plan import PlannedCell
from repro.progress import PlainDisplay
from repro.records import CellStatus, read_failure
from repro.spec import Cell
from repro.stages import run as stage
from repro.stages.run import run
from repro.sweep import Sweep
from repro.timing import AtOnce, GpuTiming, Sharing, Stepping, by_cores, step_key

BROKEN = Failed(
    error="Broken", message="It broke.", remedy="Mend it.", traceback="", stops_the_run=False, worker_is_spoilt=False
)


@dataclass
class Workers:
    """Stands for workers in which every cell ends alike; which of the running ones is next, `picks` says."""

    num_workers: int
    picks: Callable[[list[int]], int] = max
    ended: Failed | Done = BROKEN
    replaced: list[int] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    running: dict[int, Job] = field(default_factory=dict)
    together: list[list[Cell]] = field(default_factory=list)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def resize(self, num_workers: int) -> None:
        self.num_workers = num_workers

    def replace(self, slot: int) -> None:
        self.replaced.append(slot)

    def order(self, slot: int, job: Job) -> None:
        assert slot not in self.running
        self.running[slot] = job
        self.jobs.append(job)
        self.together.append([one.cell for one in self.running.values()])

    def next_event(self, timeout_s: float) -> tuple[int, Failed | Done]:
        slot = self.picks(list(self.running))
        del self.running[slot]
        return slot, self.ended


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Context, list[PlannedCell]]:
    """Cells of a ViT and a CNN from scratch, two sizes and two seeds, of which none is done, on a made-up GPU."""
    monkeypatch.setattr("repro.sweep.lost_gpu", lambda uuid: None)
    context, _ = spine.make_context(spine.write_study(tmp_path / "study"), tmp_path / "home")
    spine.fetch(context)
    context.__dict__["device"] = GPU
    return context, [entry for entry in context.plan().cells if entry.upstream_id is None and not entry.is_upstream]


def sharing_of(entries: list[PlannedCell], **numbers: int) -> Sharing:
    kinds = {step_key(entry.cell): AtOnce(number=numbers[entry.cell.model.name], reason="it was measured") for entry in entries}
    return Sharing(otherwise=AtOnce(number=1, reason=""), kinds=kinds, on_gpu=True)


def swept(
    context: Context,
    entries: list[PlannedCell],
    sharing: Sharing,
    workers: Workers,
    steppings: dict[str, Stepping] | None = None,
) -> list[PlannedCell]:
    expected = replace(make_forecast(entries, {}, sharing=sharing, source="here"), steppings=steppings or {})
    ids = [entry.cell.id for entry in entries]
    display = PlainDisplay(len(ids), lambda line: None)
    return Sweep(context, entries, ids, workers, display, expected, lambda seed: None).until_done()  # type: ignore[arg-type]


@pytest.mark.parametrize("come_after", [0, 1, 2])
def test_what_comes_is_taken_in_between_two_seeds(study: tuple[Context, list[PlannedCell]], come_after: int) -> None:
    context, entries = study
    seeds = [entry.cell.seed for entry in entries]
    assert seeds == sorted(seeds)
    assert len(set(seeds)) == 2
    workers = Workers(2)
    sharing = sharing_of(entries, tiny_vit=2, tiny_cnn=2)
    expected = make_forecast(entries, {}, sharing=sharing, source="here")
    ids = [entry.cell.id for entry in entries]
    sweep = Sweep(
        context,
        entries,
        list(ids),
        workers,  # type: ignore[arg-type]
        PlainDisplay(len(ids), lambda line: None),
        expected,
        lambda seed: None,
        has_more=lambda: len(workers.jobs) >= come_after,
    )
    ended = sweep.until_done()
    first = seeds.count(seeds[0])
    assert [job.cell.id for job in workers.jobs] == ids[:first], "a seed is finished before"
    assert sweep.waiting == ids[first:]
    assert [entry.status for entry in ended] == [CellStatus.FAILED] * first + [CellStatus.PENDING] * (len(ids) - first)


@pytest.mark.parametrize(("later", "told"), [(0, [1]), (1, [1, 2])])
def test_a_seed_has_ended_with_its_last_cell_that_can_be_run(
    study: tuple[Context, list[PlannedCell]], later: int, told: list[int]
) -> None:
    context, entries = study
    expected = make_forecast(entries, {}, sharing=sharing_of(entries, tiny_vit=2, tiny_cnn=2), source="here")
    ids, ended, last = [entry.cell.id for entry in entries], list[int](), entries[-1]
    others = [replace(last, cell=last.cell.model_copy(update={"num_train_images": 99})) for _ in range(later)]
    Sweep(
        context,
        [*entries, *others],
        ids,
        Workers(1),  # type: ignore[arg-type]
        PlainDisplay(len(ids), lambda line: None),
        expected,
        ended.append,
        later=[entry.cell.id for entry in others],
    ).until_done()
    # Cells on the way are of seed 2; that the very last cell has ended is told otherwise.
    assert ended == told


@pytest.mark.parametrize("is_spoilt", [False, True])
def test_a_worker_may_end_a_cell_and_be_of_no_more_use(study: tuple[Context, list[PlannedCell]], is_spoilt: bool) -> None:
    context, entries = study
    done = Done(test_accuracy=0.5, dev_accuracy=None, total_s=1.0, worker_is_spoilt=is_spoilt)
    workers = Workers(1, ended=done)
    ended = swept(context, entries, sharing_of(entries, tiny_vit=1, tiny_cnn=1), workers)
    assert {entry.status for entry in ended} == {CellStatus.DONE}
    assert workers.replaced == [0] * len(entries) * is_spoilt


def test_what_ends_the_fetch_ends_the_sweep(study: tuple[Context, list[PlannedCell]]) -> None:
    context, entries = study
    full, workers = DiskFull("No space left.", remedy="Free some."), Workers(1)
    sharing = sharing_of(entries, tiny_vit=1, tiny_cnn=1)

    def has_more() -> bool:
        if len(workers.jobs) == 2:
            raise full
        return False

    ids = [entry.cell.id for entry in entries]
    expected = make_forecast(entries, {}, sharing=sharing, source="here")
    display = PlainDisplay(len(ids), lambda line: None)
    sweep = Sweep(context, entries, ids, workers, display, expected, lambda seed: None, has_more=has_more)  # type: ignore[arg-type]
    with pytest.raises(DiskFull) as raised:
        sweep.until_done()
    assert raised.value is full
    assert len(workers.jobs) == 2


@pytest.mark.parametrize("picks", [min, max, lambda slots: slots[len(slots) // 2]])
@pytest.mark.parametrize(("vit", "cnn"), [(1, 1), (1, 4), (3, 3), (2, 8), (7, 3), (8, 1)])
def test_running_cells_never_take_more_than_the_device_and_start_in_the_order_of_the_plan(
    study: tuple[Context, list[PlannedCell]], vit: int, cnn: int, picks: Callable[[list[int]], int]
) -> None:
    context, entries = study
    sharing = sharing_of(entries, tiny_vit=vit, tiny_cnn=cnn)
    workers = Workers(sharing.num_workers, picks)
    ended = swept(context, entries, sharing, workers)
    for cells in workers.together:
        assert sum(sharing.share(cell) for cell in cells) <= 1
    assert [job.cell.id for job in workers.jobs] == [entry.cell.id for entry in entries], "nothing overtakes"
    assert {entry.status for entry in ended} == {CellStatus.FAILED}
    assert max(len(cells) for cells in workers.together) <= max(vit, cnn)


def test_the_device_is_filled_by_equal_parts(study: tuple[Context, list[PlannedCell]]) -> None:
    context, entries = study
    workers = Workers(3)
    swept(context, entries, sharing_of(entries, tiny_vit=3, tiny_cnn=3), workers)
    assert [len(cells) for cells in workers.together][:3] == [1, 2, 3], "three thirds are a whole"
    assert [len(cells) for cells in workers.together][3:] == [3] * (len(entries) - 3)


def test_a_cell_that_needs_the_whole_device_runs_alone_and_is_not_overtaken(
    study: tuple[Context, list[PlannedCell]],
) -> None:
    context, entries = study
    large = next(entry for entry in entries if entry.cell.model.name == "tiny_cnn")
    others = [entry for entry in entries if entry.cell.model.name == "tiny_vit"]
    ordered = [*others[:2], large, *others[2:]]
    workers = Workers(4)
    swept(context, ordered, sharing_of(ordered, tiny_vit=4, tiny_cnn=1), workers)
    assert [job.cell.id for job in workers.jobs] == [entry.cell.id for entry in ordered]
    assert workers.together[2] == [large.cell]
    assert len(workers.together[3]) == 1, "what comes later waited for it"


def test_on_a_cpu_every_worker_always_has_a_cell(study: tuple[Context, list[PlannedCell]]) -> None:
    context, entries = study
    context.__dict__["device"] = replace(GPU, device="cpu")
    workers = Workers(3)
    swept(context, entries, by_cores(3), workers)
    assert [len(cells) for cells in workers.together] == [1, 2] + [3] * (len(entries) - 2)
    job = workers.jobs[0]
    assert (job.device_shared, job.at_once) == (False, 1)
    assert "cells at once" not in {choice.what for choice in job.choices}


def test_a_job_says_whether_its_device_is_shared_by_how_many_and_why(study: tuple[Context, list[PlannedCell]]) -> None:
    context, entries = study
    sharing = sharing_of(entries, tiny_vit=4, tiny_cnn=1)
    workers = Workers(4)
    swept(context, entries, sharing, workers)
    for job in workers.jobs:
        number = 4 if job.cell.model.name == "tiny_vit" else 1
        assert (job.device_shared, job.at_once) == (number > 1, number)
        told = {choice.what: (choice.value, choice.reason) for choice in job.choices}
        assert told["cells at once"] == (str(number), "it was measured")
        assert told["workers"] == ("4", "as many as cells run at once")


@pytest.mark.parametrize("way", list(StepWay))
def test_a_job_says_how_its_steps_are_taken_and_why(way: StepWay, study: tuple[Context, list[PlannedCell]]) -> None:
    context, entries = study
    workers = Workers(1)
    vit = next(entry.cell for entry in entries if entry.cell.model.name == "tiny_vit")
    kinds = {step_key(vit): Stepping(way=way, reason="it was measured")}
    swept(context, entries, sharing_of(entries, tiny_vit=1, tiny_cnn=1), workers, kinds)
    for job in workers.jobs:
        told = [choice for choice in job.choices if choice.what == "steps"]
        if step_key(job.cell) in kinds:
            assert (job.way, told) == (way, [kinds[step_key(vit)].choice()])
        else:
            assert (job.way, told) == (StepWay.PLAIN, []), "nothing was found out of these"


OUT_OF_MEMORY = BROKEN.model_copy(update={"error": OutOfMemory.__name__})


def test_what_ran_out_of_memory_beside_others_is_tried_alone_by_the_next_run(
    study: tuple[Context, list[PlannedCell]], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, entries = study
    sharing = sharing_of(entries, tiny_vit=4, tiny_cnn=1)
    monkeypatch.setattr(
        Context,
        "forecast",
        lambda self, entries, plan, workers: make_forecast(entries, {}, sharing=sharing, source="here"),
    )
    monkeypatch.setattr(stage, "Workers", lambda number: Workers(number, ended=OUT_OF_MEMORY))
    run(context, seed_done=lambda seed: None)
    failures = {
        entry.cell.model.name: read_failure(context.workspace.run_dir(entry.cell.id, entry.fingerprint or ""))
        for entry in entries
    }
    vit, cnn = failures["tiny_vit"], failures["tiny_cnn"]
    assert vit is not None
    assert cnn is not None
    assert (vit.device_shared, vit.remedy) == (True, "It shared the GPU with other cells: run again, and it is tried alone.")
    assert (cnn.device_shared, cnn.remedy) == (False, "Mend it.")

    again = Workers(0)
    monkeypatch.setattr(stage, "Workers", lambda number: again)
    run(context, seed_done=lambda seed: None)
    assert all(len(cells) == 1 for cells in again.together if cells[0].model.name == "tiny_vit")
    first = next(job for job in again.jobs if job.cell.id in {entry.cell.id for entry in entries if "vit" in entry.cell.id})
    told = {choice.what: choice for choice in first.choices}["cells at once"]
    assert (told.value, told.holds, told.reason) == ("1", False, "it ran out of memory when it shared the GPU")
    assert not any(job.device_shared for job in again.jobs)
    assert sharing.share(first.cell) == Fraction(1, 4), "it would else have shared it again"


def test_records_of_cells_that_shared_a_device_say_so_and_a_resumed_run_goes_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real workers and cells; a CPU stands for the GPU."""
    context, _ = spine.make_context(spine.write_study(tmp_path / "study"), tmp_path / "home", only="dots.n12.tiny_vit.scratch*")
    spine.fetch(context)
    entries = context.selected(context.plan())
    sharing = sharing_of(entries, tiny_vit=2)
    with monkeypatch.context() as patch:
        expected = make_forecast(entries, {}, sharing=sharing, source="here")
        patch.setattr(Context, "forecast", lambda self, entries, plan, workers: expected)
        assert run(context, seed_done=lambda seed: None).num_done == len(entries)
    done = context.selected(context.plan())
    for entry in done:
        assert entry.record is not None
        assert entry.record.device_shared
        assert AtOnce(number=2, reason="it was measured").choice() in entry.record.choices
    as_on_a_gpu = replace(GPU, name="cpu", bfloat16=False)
    waiting = [replace(done[0], status=CellStatus.PENDING, record=None)]
    timing = GpuTiming(waiting, done[1:], {}, as_on_a_gpu, Workers(0), lambda line: pytest.fail(line))  # type: ignore[arg-type]
    found = timing.settle(step_key(done[0].cell))
    assert found is not None
    assert found[0] == AtOnce(number=2, reason="it was measured")
    assert found[1].step_s > 0
