"""What finished cells tell of step times, and of how many ran at once."""

from dataclasses import replace

import pytest
import spine

from repro.hardware import choose_device, processor_name
from repro.plan import PlannedCell
from repro.timing import AtOnce, recorded_step_times, step_key
from repro.timing.recorded import recorded_at_once


@pytest.fixture(scope="module")
def finished_entries() -> list[PlannedCell]:
    context, _ = spine.make_context(spine.finished() / "study" / "tiny.toml", spine.finished() / "home")
    return list(context.plan().cells)


def test_recorded_step_times_are_medians_of_the_same_kind_and_device(finished_entries: list[PlannedCell]) -> None:
    found = recorded_step_times(finished_entries, choose_device("cpu"))
    assert found.keys() == {step_key(entry.cell) for entry in finished_entries}
    key = step_key(finished_entries[-1].cell)
    alike = [entry.record for entry in finished_entries if step_key(entry.cell) == key and entry.record]
    seconds = sorted(record.wall_s / record.cell.recipe.steps for record in alike)
    assert seconds[0] <= found[key].step_s <= seconds[-1]
    assert found[key].num_parameters == alike[0].num_parameters


def test_records_of_another_device_do_not_tell(finished_entries: list[PlannedCell]) -> None:
    assert recorded_step_times(finished_entries, replace(choose_device("cpu"), name="NVIDIA H200")) == {}
    assert all(entry.record and entry.record.environment.processor == processor_name() for entry in finished_entries)


def with_choice(
    made: PlannedCell, at_once: AtOnce | None, *, finished_at: str = "2026-01-01", wall_s: float = 12.0
) -> PlannedCell:
    assert made.record is not None
    choices = () if at_once is None else (at_once.choice(),)
    update = {"choices": choices, "finished_at": finished_at, "wall_s": wall_s}
    return replace(made, record=made.record.model_copy(update=update))


def test_cells_that_shared_the_device_and_cells_that_did_not_are_never_mixed(finished_entries: list[PlannedCell]) -> None:
    made, four = finished_entries[-1], AtOnce(number=4, reason="faster")
    key, steps = step_key(made.cell), made.cell.recipe.steps
    cells = [with_choice(made, None), with_choice(made, four, wall_s=36.0), with_choice(made, four, wall_s=60.0)]
    device = choose_device("cpu")
    assert recorded_step_times(cells, device)[key].step_s == 12.0 / steps
    assert recorded_step_times(cells, device, {key: four})[key].step_s == 48.0 / steps
    assert recorded_step_times(cells, device, {key: AtOnce(number=2, reason="")}) == {}
    assert recorded_step_times(cells, device, {"another": four})[key].step_s == 12.0 / steps


def test_the_latest_run_that_measured_says_how_many_at_once(finished_entries: list[PlannedCell]) -> None:
    made = finished_entries[-1]
    key, device = step_key(made.cell), choose_device("cpu")
    eight, two = AtOnce(number=8, reason="faster"), AtOnce(number=2, reason="4 would be no faster")
    stated = AtOnce(number=1, reason="VITREPRO_CELLS_AT_ONCE is 1", holds=False)
    cells = [
        with_choice(made, two, finished_at="2026-03-01"),
        with_choice(made, eight, finished_at="2026-02-01"),
        with_choice(made, stated, finished_at="2026-04-01"),
        with_choice(made, None, finished_at="2026-05-01"),
    ]
    assert recorded_at_once(cells, device) == {key: two}
    assert recorded_at_once(cells[2:], device) == {}, "what held for one run only is measured anew"
    assert recorded_at_once(cells, replace(device, name="NVIDIA H200")) == {}
