"""In which precision cells run on a CPU: what earlier cells tell, what a probe finds, and what is not tried."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import spine
from toy_cells import entry, times

from repro.attempts import Attempt
from repro.choices import Choice, StepWay
from repro.errors import EnvironmentProblem
from repro.hardware import DeviceChoice, choose_device, processor_name
from repro.messages import Measured
from repro.plan import PlannedCell
from repro.timing import AtOnce, Stepping, recorded_step_times, settle_precision, step_key
from repro.timing.recorded import recorded_at_once, recorded_steppings

CPU = replace(choose_device("cpu"), bfloat16=False, may_bfloat16=True)


def prober(
    plain: Mapping[str, Measured], fast: Mapping[str, Measured], asked: list[bool]
) -> Callable[[DeviceChoice], Mapping[str, Measured]]:
    """Answers as a probe would, in either precision, and notes which was asked for."""

    def probe(device: DeviceChoice) -> Mapping[str, Measured]:
        asked.append(device.bfloat16)
        return fast if device.bfloat16 else plain

    return probe


@pytest.mark.parametrize(
    ("slow", "fast", "bfloat16", "words"),
    [
        ({"a": 1.0, "b": 2.0}, {"a": 0.5, "b": 1.5}, True, "bfloat16: steps are 1.33 to 2.00 times as fast"),
        ({"a": 1.0}, {"a": 0.9}, False, "float32: steps in bfloat16 would be 1.11 times as fast"),
        # Three times as fast for one family would still not be worth it to slow the other down.
        ({"a": 1.0, "b": 1.0}, {"a": 0.3, "b": 1.1}, False, "would be 0.91 to 3.33 times as fast"),
    ],
)
def test_bfloat16_is_taken_where_all_gain_and_enough(
    slow: dict[str, float], fast: dict[str, float], bfloat16: bool, words: str
) -> None:
    cells, asked = [entry(name) for name in slow], list[bool]()
    device, known = settle_precision(cells, [], CPU, {}, prober(times(**slow), times(**fast), asked))
    assert asked == [False, True]
    assert (device.bfloat16, device.may_bfloat16) == (bfloat16, False)
    assert words in device.precision_reason
    assert known == times(**(fast if bfloat16 else slow))


def test_the_gain_is_that_of_all_steps_together() -> None:
    slow, fast = times(a=1.0, b=1.0), times(a=1.0, b=0.5)
    few = [entry("a", steps=900), entry("b", steps=100)]
    many = [entry("a", steps=100), entry("b", steps=900)]
    found = [settle_precision(cells, [], CPU, slow, lambda device: fast)[0].bfloat16 for cells in (few, many)]
    assert found == [False, True]


def test_short_steps_are_not_tried() -> None:
    asked = list[bool]()
    cells, slow = [entry("a"), entry("b")], times(a=0.02, b=2.0)
    device, known = settle_precision(cells, [], CPU, slow, prober({}, {}, asked))
    assert (asked, device.bfloat16, device.may_bfloat16, known) == ([], False, False, slow)
    assert "steps of 20 ms (a) are too short" in device.precision_reason


def test_steps_that_fail_in_bfloat16_are_taken_in_float32() -> None:
    def probe(device: DeviceChoice) -> Mapping[str, Measured]:
        if device.bfloat16:
            raise EnvironmentProblem("Timing a failed.", remedy="Report it.")
        return times(a=1.0)

    device, known = settle_precision([entry("a")], [], CPU, {}, probe)
    assert (device.bfloat16, device.may_bfloat16, known) == (False, False, times(a=1.0))
    assert "could not be timed (Timing a failed.)" in device.precision_reason


def test_nothing_is_settled_before_anything_can_be_timed() -> None:
    device, known = settle_precision([entry("a")], [], CPU, {}, lambda device: {})
    assert (device, known) == (CPU, {})


@pytest.fixture(scope="module")
def finished_cell() -> PlannedCell:
    context, _ = spine.make_context(spine.finished() / "study" / "tiny.toml", spine.finished() / "home")
    return context.plan().cells[-1]


def in_precision(made: PlannedCell, precision: str, finished_at: str = "2026-01-01") -> PlannedCell:
    assert made.record is not None
    choices = (Choice(what="precision", value=precision, reason="it was measured"),)
    return replace(made, record=made.record.model_copy(update={"choices": choices, "finished_at": finished_at}))


@pytest.mark.parametrize("last", ["bfloat16", "float32"])
def test_a_run_that_goes_on_stays_in_its_precision(finished_cell: PlannedCell, last: str) -> None:
    other = "float32" if last == "bfloat16" else "bfloat16"
    planned = [in_precision(finished_cell, last, "2026-02-01"), in_precision(finished_cell, other)]
    asked = list[bool]()
    device, _ = settle_precision([entry("a")], planned, CPU, {}, prober({}, {}, asked))
    assert (asked, device.bfloat16, device.may_bfloat16) == ([], last == "bfloat16", False)
    assert device.precision_reason == f"{last}, as in earlier cells of this profile on this processor"


def test_a_head_that_was_solved_for_does_not_decide(finished_cell: PlannedCell) -> None:
    told = in_precision(finished_cell, "float32")
    recipe = told.cell.recipe.model_copy(update={"ridge_penalty": 1.0})
    solved = replace(told, cell=told.cell.model_copy(update={"recipe": recipe}))
    slow, fast = times(a=1.0), times(a=0.5)
    assert settle_precision([entry("a")], [solved], CPU, slow, lambda device: fast)[0].bfloat16


def attempt(precision: str, started_at: str, processor: str | None = None, device: str = "cpu") -> Attempt:
    return Attempt(
        fingerprint="a" * 64,
        device=device,
        processor=processor or processor_name(),
        choices=(Choice(what="precision", value=precision, reason="it was measured"),),
        started_at=started_at,
    )


@pytest.mark.parametrize(
    ("begun", "bfloat16"),
    [
        ([attempt("bfloat16", "2026-03-01")], True),
        ([attempt("bfloat16", "2026-01-01")], False),
        ([attempt("bfloat16", "2026-03-01"), attempt("float32", "2026-03-02")], False),
        ([attempt("bfloat16", "2026-03-01", processor="another")], False),
        ([attempt("bfloat16", "2026-03-01", device="NVIDIA H200")], False),
    ],
)
def test_interrupted_cells_tell_as_finished_ones_do(finished_cell: PlannedCell, begun: list[Attempt], bfloat16: bool) -> None:
    planned = [in_precision(finished_cell, "float32", "2026-02-01")]
    device, _ = settle_precision([entry("a")], planned, CPU, {}, prober({}, {}, []), begun)
    assert (device.bfloat16, device.may_bfloat16) == (bfloat16, False)


def test_another_processors_cells_do_not_tell(finished_cell: PlannedCell) -> None:
    made = in_precision(finished_cell, "bfloat16")
    assert made.record is not None
    assert made.record.environment.processor == processor_name()
    elsewhere = made.record.environment.model_copy(update={"processor": "another"})
    moved = replace(made, record=made.record.model_copy(update={"environment": elsewhere}))
    device, _ = settle_precision([entry("a")], [moved], CPU, times(a=1.0), lambda device: times(a=1.0))
    assert not device.bfloat16


def test_step_times_of_the_other_precision_do_not_count(finished_cell: PlannedCell) -> None:
    made, key = in_precision(finished_cell, "bfloat16"), step_key(finished_cell.cell)
    assert recorded_step_times([made], CPU) == {}
    assert recorded_step_times([made], replace(CPU, bfloat16=True)).keys() == {key}


def test_what_was_decided_in_the_other_precision_does_not_hold(finished_cell: PlannedCell) -> None:
    made, key = in_precision(finished_cell, "bfloat16"), step_key(finished_cell.cell)
    assert made.record is not None
    decided = (
        AtOnce(number=4, reason="it was measured").choice(),
        Stepping(way=StepWay.GRAPHED, reason="it was measured").choice(),
    )
    record = made.record.model_copy(update={"choices": (*made.record.choices, *decided)})
    planned, torch = [replace(made, record=record)], record.environment.packages["torch"]
    for bfloat16, keys in ((False, set()), (True, {key})):
        device = replace(CPU, bfloat16=bfloat16, ways=(StepWay.GRAPHED,))
        assert recorded_at_once(planned, device).keys() == keys
        assert recorded_steppings(planned, device, torch=torch).keys() == keys
