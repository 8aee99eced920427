"""The arithmetic of a forecast, and where its step times come from."""

from dataclasses import replace

import pytest
import spine

from repro.catalog import load_catalog
from repro.errors import EnvironmentProblem
from repro.forecast import (
    BYTES_PER_PARAMETER,
    CELL_FILES_BYTES,
    STATE_COPIES,
    WORKER_START_S,
    make_forecast,
)
from repro.hardware import choose_device, processor_name
from repro.messages import Measured
from repro.plan import PlannedCell
from repro.records import CellStatus
from repro.spec import Cell, DatasetSpec, ModelSpec, Recipe, Role
from repro.timing import cell_seconds, probe_step_times, recorded_step_times, step_key
from repro.timing.probed import PROBE_STEPS, image_shape

RECIPE = Recipe(name="r", lr=0.1, batch_size=8, steps=100)


def entry(
    model: str = "a", *, seed: int = 1, steps: int = 100, done: bool = False, is_upstream: bool = False, dataset: str = "digits"
) -> PlannedCell:
    cell = Cell(
        dataset=load_catalog().datasets.get(dataset, DatasetSpec(name=dataset)),
        num_train_images=50,
        model=ModelSpec(name=model, family="cnn", stage_widths=(4,), stage_depths=(1,)),
        upstream=None,
        upstream_recipe=None,
        recipe=RECIPE.model_copy(update={"steps": steps}),
        seed=seed,
        role=Role.STUDY,
    )
    return PlannedCell(
        cell=cell,
        fingerprint="f",
        upstream_id=None,
        upstream_fingerprint=None,
        is_upstream=is_upstream,
        status=CellStatus.DONE if done else CellStatus.PENDING,
        reason="",
        record=None,
    )


def times(**step_s: float) -> dict[str, Measured]:
    return {step_key(entry(model).cell): Measured(step_s=value, num_parameters=1000) for model, value in step_s.items()}


def test_one_worker_takes_the_sum() -> None:
    forecast = make_forecast([entry(seed=1), entry(seed=2, steps=300)], times(a=0.5), num_workers=1, source="here")
    assert forecast.wall_s == WORKER_START_S + 50 + 150
    assert sorted(forecast.cell_s.values()) == [50, 150]


def test_workers_take_the_next_cell_as_they_become_free() -> None:
    cells = [entry(seed=seed, steps=steps) for seed, steps in enumerate((300, 200, 100, 200), start=1)]
    # 300 beside 200 + 100; both are free at 300, and one takes the last.
    assert make_forecast(cells, times(a=1.0), num_workers=2, source="here").wall_s == WORKER_START_S + 500
    assert make_forecast(cells, times(a=1.0), num_workers=8, source="here").wall_s == WORKER_START_S + 300


def test_evaluation_counts_where_it_is_known_what_it_costs() -> None:
    made = entry()
    measured = {step_key(made.cell): Measured(step_s=0.5, image_s=0.01, num_parameters=1000)}
    forecast = make_forecast([made], measured, num_workers=1, source="here", num_test_images={"digits": 600})
    assert forecast.cell_s[made.cell.id] == pytest.approx(0.5 * 100 + 0.01 * (600 + 50))


def test_a_search_evaluates_its_dev_split_and_never_the_test_set() -> None:
    recipe = RECIPE.model_copy(update={"dev_fraction": 0.2})
    cell = entry().cell.model_copy(update={"role": Role.LR_SEARCH, "recipe": recipe})
    measured = Measured(step_s=0.5, image_s=0.01, num_parameters=1000)
    assert cell_seconds(cell, measured, 600) == pytest.approx(0.5 * 100 + 0.01 * 20 * 10)


def test_what_is_solved_for_in_closed_form_costs_its_images() -> None:
    recipe = load_catalog().recipes["few-shot"]
    cell = entry().cell.model_copy(update={"recipe": recipe})
    assert cell_seconds(cell, Measured(step_s=9.0, image_s=0.01, num_parameters=1000), 600) == pytest.approx(0.01 * 650)


def test_finished_cells_cost_nothing() -> None:
    cells = [entry(seed=1, done=True), entry(seed=2)]
    forecast = make_forecast(cells, times(a=0.5), num_workers=1, source="here")
    assert (forecast.num_cells, forecast.num_done, forecast.wall_s) == (2, 1, WORKER_START_S + 50)
    nothing = make_forecast(cells[:1], {}, num_workers=3, source="here")
    assert (nothing.wall_s, nothing.disk_bytes) == (0.0, 0)


def test_disk_is_files_of_cells_kept_weights_and_resumable_states() -> None:
    cells = [entry(seed=1, is_upstream=True), entry(seed=2), entry(seed=3)]
    weights = 1000 * BYTES_PER_PARAMETER
    expected = 3 * CELL_FILES_BYTES + weights + 2 * STATE_COPIES * weights
    assert make_forecast(cells, times(a=0.5), num_workers=2, source="here").disk_bytes == expected


def test_cells_that_cannot_be_timed_yet_are_counted_and_said() -> None:
    forecast = make_forecast([entry(), entry("b", seed=2)], times(a=0.5), num_workers=1, source="a probe")
    assert (forecast.num_cells, forecast.num_untimed, forecast.wall_s) == (2, 1, WORKER_START_S + 50)
    assert "2 of 2 cells to run, about 54 s with 1 worker," in forecast.line()
    assert forecast.line().endswith("(step times from a probe); 1 of them not counted before their data are fetched")


def test_a_long_forecast_names_the_smaller_profile() -> None:
    short = make_forecast([entry()], times(a=0.5), num_workers=1, source="a probe")
    long = make_forecast([entry()], times(a=100.0), num_workers=1, source="a probe")
    hint = "A smaller study: --profile quick"
    assert hint not in replace(short, smaller_profile="quick").line()
    assert replace(long, smaller_profile="quick").line().endswith(hint)
    assert hint not in long.line(), "there may be none"


def test_stronger_augmentation_has_step_times_of_its_own() -> None:
    cell = entry().cell
    stronger = [{"trivial_augment": True}, {"mixup_alpha": 0.2}, {"erase_probability": 0.5}]
    keys = {step_key(cell.model_copy(update={"recipe": RECIPE.model_copy(update=change)})) for change in stronger}
    assert len(keys | {step_key(cell)}) == 4


def test_the_fourfold_check_shares_its_step_time_and_other_batches_do_not() -> None:
    cell = entry().cell
    longer = cell.model_copy(update={"recipe": RECIPE.model_copy(update={"name": "r+4x", "steps": 400})})
    wider = cell.model_copy(update={"recipe": RECIPE.model_copy(update={"batch_size": 16})})
    assert step_key(longer) == step_key(cell) != step_key(wider)


def test_an_image_shape_comes_from_the_data_or_the_catalogue_or_is_unknown() -> None:
    digits = load_catalog().datasets["digits"]
    assert image_shape(digits, None) == (8, 1, 10)
    assert image_shape(digits, replace(spine.FACTS["digits"], image_size=16)) == (16, 1, 10)
    assert image_shape(DatasetSpec(name="own"), None) is None


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
