"""How many cells share a GPU and how long their steps take then: from records, by measuring, by the user's word."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import spine
from toy_cells import GPU, entry

from repro.catalog import load_catalog
from repro.choices import Choice
from repro.errors import EnvironmentProblem
from repro.hardware import DeviceChoice, processor_name
from repro.messages import Block, Failed, Measured, Probe
from repro.plan import PlannedCell
from repro.timing import AtOnce, GpuTiming, probed, shared, step_key
from repro.workers import Workers

GIB = 2**30
LONG = entry(steps=100_000)
KEY = step_key(LONG.cell)
OTHERS = [entry("other", seed=seed) for seed in range(1, 9)]
"""So that there are cells enough."""
OUT_OF_MEMORY = Failed(
    error="OutOfMemory", message="none left", remedy="r", traceback="", stops_the_run=False, worker_is_spoilt=True
)


class NoWorkers:
    """Stands for workers; that they are more than one is all that they do."""

    num_workers = 0

    def resize(self, num_workers: int) -> None:
        self.num_workers = num_workers


def made_up(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], *, peak_gib: float = 1.0, fails_from: int = 99
) -> list[int]:
    """Have a GPU on which so many cells at once take so many steps a second; the list tells how many were tried."""
    tried: list[int] = []

    def take_together(workers: NoWorkers, probe: Probe, number: int, *, patience_s: float | None) -> list[Measured] | Failed:
        tried.append(number)
        assert (probe.until_enough, probe.at_once) == (True, number)
        assert workers.num_workers >= number
        if number >= fails_from:
            return OUT_OF_MEMORY
        own = Block(began_s=0.0, ended_s=10.0, num_steps=10 * rates[number] / number)
        one = Measured(
            step_s=0.5,
            image_s=0.01,
            num_parameters=7,
            blocks=(own,),
            peak_bytes=int(peak_gib * GIB),
            free_bytes=100 * GIB,
        )
        return [one] * number

    monkeypatch.setattr(shared, "take_together", take_together)
    return tried


def timing_of(
    unfinished: list[PlannedCell], planned: list[PlannedCell] | None = None, device: DeviceChoice = GPU
) -> tuple[GpuTiming, NoWorkers, list[str]]:
    workers, said = NoWorkers(), list[str]()
    return GpuTiming(unfinished, planned or [], {}, device, workers, said.append), workers, said  # type: ignore[arg-type]


def test_twice_as_many_are_measured_as_long_as_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch, {1: 100.0, 2: 180.0, 4: 240.0, 8: 241.0})
    timing, workers, said = timing_of([LONG, *OTHERS])
    found = timing.settle(KEY)
    assert found is not None
    at_once, measured = found
    assert tried == [1, 2, 4, 8]
    assert (at_once.number, at_once.holds, workers.num_workers) == (4, True, 8)
    assert at_once.reason.endswith("4 are 1.3 times as fast as 2, 8 would be no faster")
    assert measured.step_s == pytest.approx(4 / 240), "seconds of a step of a cell beside three others"
    assert measured.image_s == pytest.approx(0.01 * (4 / 240) / (1 / 100))
    assert len(said) == 1, "silence would look like a hang"


def test_data_sets_whose_images_have_one_shape_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch, {1: 100.0, 2: 100.0})
    ten, hundred, larger = (entry(dataset=name, steps=100_000) for name in ("cifar10", "cifar100", "tinyimagenet"))
    timing = timing_of([ten, hundred, larger])[0]
    first, second = (timing.settle(step_key(made.cell)) for made in (ten, hundred))
    assert first is not None
    assert first == second
    assert tried == [1, 2]
    assert timing.settle(step_key(larger.cell)) is not None
    assert tried == [1, 2, 1, 2]


def test_what_gains_nothing_is_measured_with_two_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch, {1: 100.0, 2: 104.0})
    found = timing_of([LONG, *OTHERS])[0].settle(KEY)
    assert found is not None
    assert tried == [1, 2]
    assert found[0] == AtOnce(number=1, reason="2 would be only 1.04 times as fast")
    assert found[1].step_s == pytest.approx(0.01)


def test_what_does_not_fit_twice_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch, {1: 100.0}, peak_gib=50.0)
    found = timing_of([LONG, *OTHERS])[0].settle(KEY)
    assert found is not None
    assert tried == [1]
    assert found[0].number == 1
    assert found[0].reason.startswith("one at a time, for each needs 50.")


def test_running_out_of_memory_ends_the_search_and_not_the_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch, {1: 100.0, 2: 190.0}, fails_from=4)
    found = timing_of([LONG, *OTHERS])[0].settle(KEY)
    assert found is not None
    assert tried == [1, 2, 4]
    assert found[0] == AtOnce(number=2, reason="2 at once are 1.9 times as fast as one, no more, for 4 ended in OutOfMemory")
    made_up(monkeypatch, {}, fails_from=1)
    with pytest.raises(EnvironmentProblem, match="Timing a failed: none left"):
        timing_of([LONG, *OTHERS])[0].settle(KEY)


def test_no_more_at_once_than_cells_are_left_and_a_later_run_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch, {1: 100.0, 2: 190.0})
    found = timing_of([LONG, *OTHERS[:2]])[0].settle(KEY)
    assert found is not None
    assert tried == [1, 2]
    assert (found[0].number, found[0].holds) == (2, False)
    assert found[0].reason.endswith("no more, for cells left to run: 3")


def test_cells_that_are_soon_done_are_not_worth_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch, {1: 100.0})
    found = timing_of([entry(steps=50), *OTHERS])[0].settle(KEY)
    assert found is not None
    assert tried == [1]
    assert (found[0].number, found[0].holds) == (1, False)


def test_nothing_is_known_of_images_that_are_not_fetched() -> None:
    own = entry(dataset="own")
    assert timing_of([own])[0].settle(step_key(own.cell)) is None


@pytest.mark.parametrize("number", [1, 4])
def test_the_users_word_holds_and_only_so_many_are_timed(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = made_up(monkeypatch, {number: 100.0})
    device = replace(GPU, num_workers=number, at_once=number, workers_reason=f"VITREPRO_CELLS_AT_ONCE is {number}")
    found = timing_of([LONG, *OTHERS], device=device)[0].settle(KEY)
    assert found is not None
    assert tried == [number]
    assert found[0].choice() == Choice(
        what="cells at once", value=str(number), reason=f"VITREPRO_CELLS_AT_ONCE is {number}", holds=False
    )
    made_up(monkeypatch, {}, fails_from=1)
    with pytest.raises(EnvironmentProblem, match=r"Timing a.* failed: none left") as caught:
        timing_of([LONG, *OTHERS], device=device)[0].settle(KEY)
    assert ("set VITREPRO_CELLS_AT_ONCE to less" in caught.value.remedy) == (number > 1)


@pytest.fixture
def done_before() -> Callable[[AtOnce | None, float], list[PlannedCell]]:
    """A cell of `LONG`'s kind that is done, with what its record says of sharing, and its seconds."""
    context, _ = spine.make_context(spine.finished() / "study" / "tiny.toml", spine.finished() / "home")
    record = next(made.record for made in context.plan().cells if made.record)
    here = record.environment.model_copy(update={"device": GPU.name, "processor": processor_name()})

    def make(at_once: AtOnce | None, wall_s: float) -> list[PlannedCell]:
        choices = (at_once.choice(),) if at_once else ()
        update = {"environment": here, "choices": choices, "wall_s": wall_s, "device_shared": at_once is not None}
        return [replace(entry(seed=9, done=True), record=record.model_copy(update=update))]

    return make


def test_a_resumed_run_measures_nothing(
    done_before: Callable[[AtOnce | None, float], list[PlannedCell]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = made_up(monkeypatch, {})
    four = AtOnce(number=4, reason="4 are 1.3 times as fast as 2")
    timing, workers, said = timing_of([LONG], done_before(four, 50.0))
    found = timing.settle(KEY)
    assert found is not None
    assert (found[0], found[1].step_s) == (four, 0.5)
    assert (tried, workers.num_workers, said) == ([], 0, [])


def test_another_number_than_was_recorded_is_timed_and_not_taken_from_the_records(
    done_before: Callable[[AtOnce | None, float], list[PlannedCell]], monkeypatch: pytest.MonkeyPatch
) -> None:
    four = AtOnce(number=4, reason="faster")
    for device in (replace(GPU, num_workers=2), replace(GPU, num_workers=2, at_once=2, workers_reason="said")):
        tried = made_up(monkeypatch, {2: 150.0})
        found = timing_of([LONG], done_before(four, 50.0), device)[0].settle(KEY)
        assert found is not None
        assert (tried, found[0].number, found[0].holds) == ([2], 2, False)
        assert found[1].step_s == pytest.approx(2 / 150)


def test_what_ran_alone_unmeasured_is_measured_once_it_pays(
    done_before: Callable[[AtOnce | None, float], list[PlannedCell]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = made_up(monkeypatch, {1: 2.0, 2: 2.0})
    short = timing_of([entry(), *OTHERS], done_before(None, 50.0))[0].settle(KEY)
    assert short is not None
    assert (tried, short[0].number, short[1].step_s) == ([], 1, 0.5)
    last = timing_of([LONG], done_before(None, 50.0))[0].settle(KEY)
    assert last is not None
    assert (tried, last[0].reason) == ([], "one at a time, for cells left to run: 1")
    assert timing_of([LONG, *OTHERS], done_before(None, 50.0))[0].settle(KEY) is not None
    assert tried == [1, 2]


def test_what_was_measured_and_no_longer_fits_is_measured_anew(
    done_before: Callable[[AtOnce | None, float], list[PlannedCell]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = made_up(monkeypatch, {1: 100.0, 2: 190.0}, fails_from=4)
    planned = done_before(AtOnce(number=4, reason="faster"), 50.0)
    timing = timing_of([LONG, *OTHERS], planned)[0]
    timing.recorded.clear()
    found = timing.settle(KEY)
    assert found is not None
    assert tried == [4, 1, 2, 4]
    assert found[0].number == 2


def test_real_workers_are_measured_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probed, "STEADY_S", 0.3)
    monkeypatch.setattr(shared, "PAYS_S", 0.0)
    monkeypatch.setattr(shared, "memory_limit", lambda **bytes_: shared.Limit(number=2, reason="it is so"))
    model = load_catalog().models["resnet_micro"]
    cells = [replace(made, cell=made.cell.model_copy(update={"model": model})) for made in (entry(), entry(seed=2))]
    with Workers(0) as workers:
        timing = GpuTiming(cells, [], {}, replace(GPU, device="cpu", bfloat16=False), workers, lambda line: None)
        found = timing.settle(step_key(cells[0].cell))
        assert workers.num_workers == 2
    assert found is not None
    assert found[0].number in (1, 2)
    assert found[0].reason
    assert found[1].step_s > 0
    assert found[1].num_parameters > 10_000


@pytest.mark.gpu
def test_a_real_gpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PAYS_S", 0.0)
    model = load_catalog().models["vit_micro"]
    cells = [replace(made, cell=made.cell.model_copy(update={"model": model})) for made in (entry(), entry(seed=2))]
    with Workers(0) as workers:
        found = GpuTiming(cells, [], {}, GPU, workers, lambda line: None).settle(step_key(cells[0].cell))
    assert found is not None
    at_once, measured = found
    assert at_once.number == 2, "a model of 50,000 weights leaves a GPU idle"
    assert 0 < measured.peak_bytes < 2 * GIB < measured.free_bytes
