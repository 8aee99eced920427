"""Step times from real workers, each on its own and several together."""

from dataclasses import replace

import pytest
import spine
from toy_cells import entry, times

from repro.catalog import load_catalog
from repro.errors import EnvironmentProblem
from repro.hardware import choose_device
from repro.messages import Failed, Measured, Probe
from repro.spec import DatasetSpec, ModelSpec
from repro.timing import probe_step_times, probed, step_key
from repro.timing.probed import PROBE_STEPS, image_shape, probe_of, take_together
from repro.timing.sharing import rate_together
from repro.workers import Workers


def test_an_image_shape_comes_from_the_data_or_the_catalogue_or_is_unknown() -> None:
    digits = load_catalog().datasets["digits"]
    assert image_shape(digits, None) == (8, 1, 10)
    assert image_shape(digits, replace(spine.FACTS["digits"], image_size=16)) == (16, 1, 10)
    assert image_shape(DatasetSpec(name="own"), None) is None


def test_a_probe_times_each_kind_once_in_real_workers() -> None:
    model = load_catalog().models["resnet_micro"]
    cells = [replace(made, cell=made.cell.model_copy(update={"model": model})) for made in (entry(), entry(seed=2))]
    device = replace(choose_device("cpu"), num_workers=1)
    found = probe_step_times(cells, {}, device, {})
    assert list(found) == [step_key(cells[0].cell)]
    (measured,) = found.values()
    assert measured.step_s > 0
    assert measured.image_s > 0
    assert measured.num_parameters > 10_000
    assert PROBE_STEPS >= 10


def test_nothing_is_probed_when_all_is_known_or_nothing_can_be() -> None:
    device = replace(choose_device("cpu"), num_workers=1)
    assert probe_step_times([entry()], {}, device, times(a=0.5)) == {}
    assert probe_step_times([entry(done=True)], {}, device, {}) == {}
    assert probe_step_times([entry(dataset="own")], {}, device, {}) == {}


def test_a_probe_that_fails_is_an_environment_problem() -> None:
    made = entry()
    vit = ModelSpec(name="v3", family="vit", patch_size=3, width=8, depth=1, num_heads=1)
    cells = [replace(made, cell=made.cell.model_copy(update={"model": vit}))]
    with pytest.raises(EnvironmentProblem, match="Timing v3 failed"):
        probe_step_times(cells, {}, replace(choose_device("cpu"), num_workers=1), {})


def test_workers_that_are_timed_together_take_steps_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probed, "STEADY_S", 0.5)
    made = entry()
    cell = made.cell.model_copy(update={"model": load_catalog().models["resnet_micro"]})
    probe = probe_of(cell, {}, choose_device("cpu"))
    assert probe is not None
    together = probe.model_copy(update={"until_enough": True, "at_once": 2})
    with Workers(0) as workers:
        workers.resize(3)
        answers = take_together(workers, together, 2)
        assert isinstance(answers, list)
        assert [bool(answer.blocks) for answer in answers] == [True, True]
        began, ended = (
            max(answer.blocks[0].began_s for answer in answers),
            min(answer.blocks[-1].ended_s for answer in answers),
        )
        assert ended - began > 0.4, "the parent waits until both have warmed up"
        assert rate_together([answer.blocks for answer in answers]) > 0
        assert all(one.ended_s <= other.began_s for one, other in zip(answers[0].blocks, answers[0].blocks[1:], strict=False))

        wrong = together.model_copy(
            update={"model": ModelSpec(name="v3", family="vit", patch_size=3, width=8, depth=1, num_heads=1)}
        )
        problem = take_together(workers, wrong, 3)
        assert isinstance(problem, Failed)
        answers = take_together(workers, together, 1)
        assert isinstance(answers, list), "all are idle again after one has failed"
        assert len(answers) == 1


class OneFails:
    """Stands for two workers of which one runs out of memory while the other takes steps until it is told to end."""

    def __init__(self) -> None:
        failed = Failed(error="OutOfMemory", message="m", remedy="r", traceback="", stops_the_run=False, worker_is_spoilt=True)
        self.events: list[tuple[int, Failed | Measured]] = [(1, failed)]
        self.orders: list[tuple[int, str]] = []
        self.replaced: list[int] = []

    def order(self, slot: int, what: Probe) -> None:
        self.orders.append((slot, what.kind))
        if what.kind == "enough":
            self.events.append((slot, Measured(step_s=1.0, num_parameters=1)))

    def next_event(self, timeout_s: float) -> tuple[int, Failed | Measured] | None:
        return self.events.pop(0) if self.events else None

    def replace(self, slot: int) -> None:
        self.replaced.append(slot)


def test_when_one_of_several_runs_out_of_memory_the_others_are_stopped_and_it_is_replaced() -> None:
    probe = probe_of(entry().cell, {}, choose_device("cpu"))
    assert probe is not None
    workers = OneFails()
    problem = take_together(workers, probe.model_copy(update={"until_enough": True}), 2)  # type: ignore[arg-type]
    assert isinstance(problem, Failed)
    assert problem.error == "OutOfMemory"
    assert workers.orders == [(0, "probe"), (1, "probe"), (0, "enough")]
    assert workers.replaced == [1]


def test_a_worker_that_never_answers_ends_the_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probed, "PROBE_TIMEOUT_S", 0.05)
    probe = probe_of(entry().cell, {}, choose_device("cpu"))
    assert probe is not None
    silent = OneFails()
    silent.events.clear()
    with pytest.raises(EnvironmentProblem, match="did not answer within"):
        take_together(silent, probe, 1)  # type: ignore[arg-type]
