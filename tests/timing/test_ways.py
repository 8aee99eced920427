"""In which way steps of a kind are taken: from records, by measuring, by the user's word; what goes wrong ends nothing."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import spine
from compiler_here import needs_a_compiler
from toy_cells import GPU as PLAIN_GPU
from toy_cells import entry

from repro.catalog import load_catalog
from repro.choices import StepWay
from repro.errors import StepsNotGraphed
from repro.hardware import DeviceChoice, lacks_for_compiling, processor_name
from repro.messages import Block, Failed, Measured, Probe
from repro.plan import PlannedCell
from repro.spec import Cell
from repro.timing import AtOnce, GpuTiming, Stepping, WayTiming, probed, shared, step_key, ways
from repro.workers import Died, Workers

GPU = replace(PLAIN_GPU, ways=(StepWay.GRAPHED, StepWay.COMPILED))
GRAPHS_ONLY = replace(PLAIN_GPU, ways=(StepWay.GRAPHED,))
LONG = entry(steps=100_000)
KEY = step_key(LONG.cell)
TWO = AtOnce(number=2, reason="2 at once are 1.9 times as fast as one")
EAGER = Measured(step_s=0.01, image_s=0.001, num_parameters=7)
CRASH = Failed(error="WorkerDied", message="it died", remedy="r", traceback="", stops_the_run=False, worker_is_spoilt=True)
REFUSED = CRASH.model_copy(update={"error": StepsNotGraphed.__name__, "message": "in parts", "worker_is_spoilt": False})
STEP_S = {StepWay.GRAPHED: 0.008, StepWay.COMPILED: 0.005}
READY_S = {StepWay.GRAPHED: 1.0, StepWay.COMPILED: 20.0}


class NoWorkers:
    """Stands for workers; that they are more than one is all that they do."""

    num_workers = 0

    def resize(self, num_workers: int) -> None:
        self.num_workers = num_workers


def made_up(monkeypatch: pytest.MonkeyPatch, **answers: Failed) -> list[tuple[str, StepWay, int]]:
    """A GPU on which compiled steps take half as long, graphs four fifths; the list tells of which model, in how many workers.

    `answers` are what `GRAPHED` or `COMPILED` steps end in.
    """
    tried: list[tuple[str, StepWay, int]] = []

    def take_together(workers: NoWorkers, probe: Probe, number: int, *, patience_s: float | None) -> list[Measured] | Failed:
        assert (probe.cache, probe.until_enough, probe.at_once) == (Path("cache"), True, number)
        assert patience_s is not None
        assert 60 <= patience_s <= 300
        tried.append((probe.model.name, probe.way, number))
        if probe.way.name in answers:
            return answers[probe.way.name]
        own = Block(began_s=0.0, ended_s=10.0, num_steps=10 / STEP_S[probe.way])
        ready_s = READY_S[probe.way]
        return [Measured(step_s=1.0, ready_s=ready_s + slot, num_parameters=7, blocks=(own,)) for slot in range(number)]

    monkeypatch.setattr(shared, "take_together", take_together)
    monkeypatch.setattr(ways, "lacks_for_compiling", lambda device: "")
    return tried


def timing_of(
    unfinished: list[PlannedCell], planned: list[PlannedCell] | None = None, device: DeviceChoice = GPU
) -> tuple[WayTiming, list[str]]:
    said = list[str]()
    timing = GpuTiming(unfinished, planned or [], {}, device, NoWorkers(), said.append)  # type: ignore[arg-type]
    return WayTiming(timing, planned or [], Path("cache")), said


def seeds(number: int, *, steps: int) -> list[PlannedCell]:
    made = entry(steps=steps)
    return [replace(made, cell=made.cell.model_copy(update={"seed": seed})) for seed in range(1, number + 1)]


def test_both_are_measured_with_as_many_as_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch)
    timing, said = timing_of(seeds(2, steps=100_000))
    stepping, measured = timing.settle(KEY, TWO, EAGER)
    assert tried == [("a", StepWay.GRAPHED, 2), ("a", StepWay.COMPILED, 2)]
    assert stepping == Stepping(
        way=StepWay.COMPILED,
        reason="compiled steps are 2.00 times as fast, 21 s of compilation in each of 2 workers are earned back "
        "after 8,400 of 200,000 steps; steps through CUDA graphs would be 1.25 times as fast, and with 2.0 s of recording in "
        "each of 2 cells not as soon done",
    )
    assert (measured.step_s, measured.image_s) == (pytest.approx(0.005), 0.001), "evaluation is plain"
    assert sum(line.startswith("timing steps through CUDA graphs and compiled") for line in said) == 1, "silence is a hang"


def test_graphs_are_paid_in_every_cell_and_code_in_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch)
    few, many = seeds(3, steps=3_000), seeds(9, steps=1_000)
    found = [timing_of(cells)[0].settle(KEY, TWO, EAGER) for cells in (few, many)]
    # 9,000 steps of 10 ms save 18 s through graphs, 45 s compiled; compiling costs 2 x 21 s, graphs 2 s in each cell.
    assert [(stepping.way, stepping.holds) for stepping, _ in found] == [(StepWay.GRAPHED, True), (StepWay.PLAIN, True)]
    assert [measured.step_s for _, measured in found] == [pytest.approx(0.008), 0.01]


def test_without_compilers_graphs_are_measured_and_a_resumed_run_goes_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch)
    monkeypatch.setattr(ways, "lacks_for_compiling", lambda device: "compiling needs a C compiler (gcc), and there is none")
    timing, said = timing_of([LONG])
    stepping, _ = timing.settle(KEY, TWO, EAGER)
    assert (stepping.way, stepping.holds, tried) == (StepWay.GRAPHED, True, [("a", StepWay.GRAPHED, 2)])
    assert stepping.reason.endswith("; compiling needs a C compiler (gcc), and there is none")
    assert any(line.startswith("timing steps through CUDA graphs to see") for line in said)


def test_who_wants_graphs_only_gets_nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch)
    stepping, _ = timing_of([LONG], device=GRAPHS_ONLY)[0].settle(KEY, TWO, EAGER)
    assert (stepping.way, tried) == (StepWay.GRAPHED, [("a", StepWay.GRAPHED, 2)])


def test_what_does_not_pay_keeps_its_time_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, GRAPHED=REFUSED)
    few = entry(steps=6_000)
    stepping, measured = timing_of([few])[0].settle(step_key(few.cell), TWO, EAGER)
    assert (stepping.way, stepping.holds, measured) == (StepWay.PLAIN, True, EAGER)
    assert stepping.reason.endswith("; in parts"), "which is no failure: it stays so"


def test_kinds_that_differ_in_the_heads_width_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch)
    ten, hundred = (entry(dataset=name, steps=100_000) for name in ("cifar10", "cifar100"))
    timing = timing_of([ten, hundred])[0]
    found = [timing.settle(step_key(made.cell), TWO, EAGER)[0].way for made in (ten, hundred)]
    assert found == [StepWay.COMPILED, StepWay.COMPILED]
    assert tried == [("a", StepWay.GRAPHED, 2), ("a", StepWay.COMPILED, 2)]


def few_steps(cell: Cell) -> Cell:
    return cell.model_copy(update={"recipe": cell.recipe.model_copy(update={"steps": 1000})})


def in_closed_form(cell: Cell) -> Cell:
    return cell.model_copy(update={"recipe": cell.recipe.model_copy(update={"ridge_penalty": 1.0})})


@pytest.mark.parametrize(
    ("change", "device", "reason"),
    [
        (lambda cell: cell, PLAIN_GPU, "VITREPRO_COMPILE is never"),
        (few_steps, GPU, "cells of this kind take less than a minute together, and other ways were not tried"),
        (in_closed_form, GPU, "the head is solved for in closed form, so that there are no steps"),
    ],
)
def test_where_it_cannot_be_nothing_is_measured(
    change: Callable[[Cell], Cell], device: DeviceChoice, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = made_up(monkeypatch)
    made = replace(LONG, cell=change(LONG.cell))
    found = timing_of([made], device=device)[0].settle(step_key(made.cell), TWO, EAGER)
    assert found == (Stepping(way=StepWay.PLAIN, reason=reason, holds=False), EAGER)
    assert tried == []


def test_what_goes_wrong_is_a_reason_and_a_later_run_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(monkeypatch, GRAPHED=CRASH, COMPILED=CRASH)
    found = timing_of([LONG])[0].settle(KEY, TWO, EAGER)
    reason = "CUDA graphs failed: WorkerDied: it died; compiling failed: WorkerDied: it died"
    assert found == (Stepping(way=StepWay.PLAIN, reason=reason, holds=False), EAGER)
    made_up(monkeypatch, COMPILED=CRASH)
    stepping, _ = timing_of([LONG])[0].settle(KEY, TWO, EAGER)
    assert (stepping.way, stepping.holds) == (StepWay.GRAPHED, False)


def test_nothing_is_known_of_images_that_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch)
    own = entry(dataset="own", steps=100_000)
    stepping, _ = timing_of([own])[0].settle(step_key(own.cell), TWO, EAGER)
    assert (stepping.way, stepping.holds, tried) == (StepWay.PLAIN, False, [])


def done_before(stepping: Stepping | None, *, torch: str = "", finished_at: str = "2026-01-01") -> PlannedCell:
    """A cell of `LONG`'s kind that ran two at once, as its record tells."""
    context, _ = spine.make_context(spine.finished() / "study" / "tiny.toml", spine.finished() / "home")
    record = next(made.record for made in context.plan().cells if made.record)
    packages = record.environment.packages | {"torch": torch or importlib.metadata.version("torch")}
    here = {"device": GPU.name, "processor": processor_name(), "packages": packages}
    update = {
        "environment": record.environment.model_copy(update=here),
        "choices": (TWO.choice(), *([stepping.choice()] if stepping else [])),
        "wall_s": 0.5,
        "finished_at": finished_at,
    }
    return replace(entry(seed=9, done=True), record=record.model_copy(update=update))


YES = Stepping(way=StepWay.COMPILED, reason="compiled steps are 2.00 times as fast")
GRAPHS = Stepping(way=StepWay.GRAPHED, reason="steps through CUDA graphs are 1.25 times as fast")
NO = Stepping(way=StepWay.PLAIN, reason="compiled steps would be no faster")


@pytest.mark.parametrize("decided", [YES, GRAPHS, NO])
def test_a_resumed_run_measures_nothing(decided: Stepping, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch)
    timing, said = timing_of([LONG], [done_before(decided)])
    settled = timing.timing.settle(KEY)
    assert settled is not None
    stepping, measured = timing.settle(KEY, *settled)
    assert (stepping, measured.step_s) == (decided, 0.5 / LONG.cell.recipe.steps * 1000)
    assert (tried, said) == ([], [])


def test_another_torch_and_what_held_for_one_run_are_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for done in (done_before(YES, torch="1.0"), done_before(replace(NO, holds=False)), done_before(None)):
        tried = made_up(monkeypatch)
        assert timing_of([LONG], [done])[0].settle(KEY, TWO, EAGER)[0].way is StepWay.COMPILED
        assert tried == [("a", StepWay.GRAPHED, 2), ("a", StepWay.COMPILED, 2)]
    assert timing_of([LONG], [done_before(YES)], PLAIN_GPU)[0].recorded == {}
    assert timing_of([LONG], [done_before(YES)], GRAPHS_ONLY)[0].recorded == {}, "a way that is forbidden now"
    assert timing_of([LONG], [done_before(GRAPHS)], GRAPHS_ONLY)[0].recorded == {KEY: GRAPHS}


@pytest.mark.parametrize("decided", [YES, GRAPHS])
def test_step_times_of_cells_that_took_them_otherwise_are_never_mixed(decided: Stepping) -> None:
    failed_once = done_before(replace(NO, holds=False), finished_at="2026-03-01")
    slow = replace(failed_once, record=failed_once.record and failed_once.record.model_copy(update={"wall_s": 50.0}))
    timing, _ = timing_of([LONG], [done_before(decided), slow])
    assert timing.recorded == {KEY: decided}
    assert timing.timing.recorded[KEY].step_s == pytest.approx(0.5 / 100)
    assert timing_of([LONG], [done_before(decided)], PLAIN_GPU)[0].timing.recorded == {}


class Silent:
    """Stands for two workers of which one answers and the other hangs."""

    num_workers = 2

    def __init__(self) -> None:
        self.events: list[tuple[int, Measured | Died]] = [(0, Measured(step_s=1.0, num_parameters=1))]
        self.replaced: list[int] = []

    def order(self, slot: int, what: Probe) -> None:
        pass

    def next_event(self, timeout_s: float) -> tuple[int, Measured | Died] | None:
        return self.events.pop(0) if self.events else None

    def replace(self, slot: int) -> None:
        self.replaced.append(slot)


def test_a_worker_that_hangs_is_replaced() -> None:
    probe = probed.probe_of(LONG.cell, {}, GPU)
    assert probe is not None
    silent = Silent()
    problem = probed.take_together(silent, probe, 2, patience_s=0.05)  # type: ignore[arg-type]
    assert isinstance(problem, Failed)
    assert (problem.error, silent.replaced) == ("NoAnswer", [1])


@pytest.mark.slow
@needs_a_compiler
def test_a_real_worker_compiles_or_tells_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probed, "STEADY_S", 0.3)
    monkeypatch.setattr(shared, "PAYS_S", 0.0)
    cell = LONG.cell.model_copy(update={"model": load_catalog().models["resnet_micro"]})
    made, one = replace(LONG, cell=cell), AtOnce(number=1, reason="")
    device = replace(PLAIN_GPU, device="cpu", bfloat16=False, ways=(StepWay.COMPILED,))
    with Workers(0) as workers:
        timing = GpuTiming([made], [], {}, device, workers, lambda line: None)
        found, _ = WayTiming(timing, [], tmp_path / "cache").settle(step_key(cell), one, EAGER)
        assert "times as fast" in found.reason or found.reason.endswith("no faster")
        assert any((tmp_path / "cache").iterdir())
        monkeypatch.setenv("CXX", "/does/not/exist")
        workers.replace(0)
        found, _ = WayTiming(timing, [], tmp_path / "other").settle(step_key(cell), one, EAGER)
    assert (found.way, found.holds) == (StepWay.PLAIN, False)
    assert found.reason.startswith("compiling failed: ")


@pytest.mark.gpu
def test_a_real_gpu_is_timed_both_ways_or_tells_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PAYS_S", 0.0)
    cell = LONG.cell.model_copy(update={"model": load_catalog().models["vit_micro"]})
    made, one, key = replace(LONG, cell=cell), AtOnce(number=1, reason=""), step_key(cell)
    with Workers(0) as workers:
        timing = GpuTiming([made], [], {}, GPU, workers, lambda line: None)
        found, measured = WayTiming(timing, [], tmp_path / "cache").settle(key, one, EAGER)
    graphs, compiling = sorted(found.reason.split("; "), key=lambda told: "compil" in told)
    assert "through CUDA graphs" in graphs and "failed" not in graphs
    assert compiling == lacks_for_compiling("cuda") or "compiled steps" in compiling
    assert measured.step_s > 0
