"""The arithmetic of a forecast."""

import json
from dataclasses import asdict, replace

import pytest
from toy_cells import entry, times

from repro.forecast import (
    BYTES_PER_PARAMETER,
    CELL_FILES_BYTES,
    STATE_COPIES,
    WORKER_START_S,
    make_forecast,
)
from repro.messages import Measured
from repro.timing import AtOnce, Sharing, by_cores, step_key


def test_one_worker_takes_the_sum() -> None:
    forecast = make_forecast([entry(seed=1), entry(seed=2, steps=300)], times(a=0.5), sharing=by_cores(1), source="here")
    assert forecast.wall_s == WORKER_START_S + 50 + 150
    assert sorted(forecast.cell_s.values()) == [50, 150]


def test_workers_take_the_next_cell_as_they_become_free() -> None:
    cells = [entry(seed=seed, steps=steps) for seed, steps in enumerate((300, 200, 100, 200), start=1)]
    # 300 beside 200 + 100; both are free at 300, and one takes the last.
    assert make_forecast(cells, times(a=1.0), sharing=by_cores(2), source="here").wall_s == WORKER_START_S + 500
    assert make_forecast(cells, times(a=1.0), sharing=by_cores(8), source="here").wall_s == WORKER_START_S + 300


def on_a_gpu(**numbers: int) -> Sharing:
    kinds = {step_key(entry(model).cell): AtOnce(number=number, reason="") for model, number in numbers.items()}
    return Sharing(otherwise=AtOnce(number=1, reason=""), kinds=kinds, on_gpu=True)


def test_on_a_gpu_cells_start_in_order_as_soon_as_there_is_room_for_their_part_of_it() -> None:
    # Four small ones, and two more that wait behind the one that needs the whole device.
    small = [entry("small", seed=seed) for seed in range(1, 7)]
    cells = [*small[:4], entry("large", steps=300), *small[4:]]
    known = times(small=1.0, large=1.0)
    assert make_forecast(cells, known, sharing=on_a_gpu(small=4), source="here").wall_s == WORKER_START_S + 100 + 300 + 100
    assert make_forecast(cells, known, sharing=on_a_gpu(), source="here").wall_s == WORKER_START_S + 900
    assert make_forecast(cells, known, sharing=on_a_gpu(small=4, large=2), source="here").wall_s == WORKER_START_S + 400


def test_the_forecast_says_how_many_run_at_once_on_a_gpu() -> None:
    shared = make_forecast([entry()], times(a=0.5), sharing=on_a_gpu(a=4), source="a probe")
    assert "about 54 s with up to 4 cells at once on the GPU, 0 MB of disk (step times from a probe)" in shared.line()
    assert shared.num_workers == 4
    assert json.loads(json.dumps(asdict(shared)))["sharing"]["on_gpu"], "`check --json` tells it"
    alone = make_forecast([entry()], times(a=0.5), sharing=on_a_gpu(), source="a probe")
    assert "about 54 s with 1 worker, 0 MB of disk" in alone.line()


def test_evaluation_counts_where_it_is_known_what_it_costs() -> None:
    made = entry()
    measured = {step_key(made.cell): Measured(step_s=0.5, image_s=0.01, num_parameters=1000)}
    forecast = make_forecast([made], measured, sharing=by_cores(1), source="here", num_test_images={"digits": 600})
    assert forecast.cell_s[made.cell.id] == pytest.approx(0.5 * 100 + 0.01 * (600 + 50))


def test_finished_cells_cost_nothing() -> None:
    cells = [entry(seed=1, done=True), entry(seed=2)]
    forecast = make_forecast(cells, times(a=0.5), sharing=by_cores(1), source="here")
    assert (forecast.num_cells, forecast.num_done, forecast.wall_s) == (2, 1, WORKER_START_S + 50)
    nothing = make_forecast(cells[:1], {}, sharing=by_cores(3), source="here")
    assert (nothing.wall_s, nothing.disk_bytes) == (0.0, 0)


def test_disk_is_files_of_cells_kept_weights_and_resumable_states() -> None:
    cells = [entry(seed=1, is_upstream=True), entry(seed=2), entry(seed=3)]
    weights = 1000 * BYTES_PER_PARAMETER
    expected = 3 * CELL_FILES_BYTES + weights + 2 * STATE_COPIES * weights
    assert make_forecast(cells, times(a=0.5), sharing=by_cores(2), source="here").disk_bytes == expected


def test_cells_that_cannot_be_timed_yet_are_counted_and_said() -> None:
    forecast = make_forecast([entry(), entry("b", seed=2)], times(a=0.5), sharing=by_cores(1), source="a probe")
    assert (forecast.num_cells, forecast.num_untimed, forecast.wall_s) == (2, 1, WORKER_START_S + 50)
    assert "2 of 2 cells to run, about 54 s with 1 worker," in forecast.line()
    assert forecast.line().endswith("(step times from a probe); 1 of them not counted before their data are fetched")


def test_a_long_forecast_names_the_smaller_profile() -> None:
    short = make_forecast([entry()], times(a=0.5), sharing=by_cores(1), source="a probe")
    long = make_forecast([entry()], times(a=100.0), sharing=by_cores(1), source="a probe")
    hint = "A smaller study: --profile quick"
    assert hint not in replace(short, smaller_profile="quick").line()
    assert replace(long, smaller_profile="quick").line().endswith(hint)
    assert hint not in long.line(), "there may be none"
