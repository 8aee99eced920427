"""The numbers of a ViT's inside, on arrays whose answer is known."""

import numpy as np
import pytest
from inside_fixtures import made_up_inside, numbers
from report_fixtures import make_row, make_study

from repro.analysis.inside import (
    depth_slope,
    inside_arms,
    inside_rows,
    inside_statistic,
    leading_components,
    share_reached,
    top_quarter,
)
from repro.analysis.statistics import Scale
from repro.spec import Role


def test_the_slope_over_depth_is_the_rise_from_the_lowest_layer_to_the_highest() -> None:
    rising_LA = np.array([[1, 3], [3, 5], [5, 7]], dtype=np.float32)
    assert depth_slope(rising_LA) == pytest.approx(4)
    assert depth_slope(rising_LA[::-1]) == pytest.approx(-4)
    # Least squares, not the difference of the ends: 0, 3, 0 has no slope.
    assert depth_slope(np.array([[0], [3], [0]], dtype=np.float32)) == pytest.approx(0)
    assert depth_slope(rising_LA[:1]) is None


def test_the_top_quarter_of_uniform_attention_is_a_quarter_and_of_one_patch_all() -> None:
    assert top_quarter(np.full((2, 4, 4), 0.5, dtype=np.float16)) == pytest.approx(0.25)
    assert top_quarter(np.full((2, 3, 3), 0.5, dtype=np.float16)) == pytest.approx(0.25)
    single = np.zeros((1, 4, 4), dtype=np.float16)
    single[0, 1, 2] = 0.3
    assert top_quarter(single) == pytest.approx(1)
    assert top_quarter(np.concatenate([single, np.full((1, 4, 4), 0.5, dtype=np.float16)])) == pytest.approx(0.625)
    assert top_quarter(np.zeros((0, 4, 4), dtype=np.float16)) is None
    assert top_quarter(np.zeros((1, 4, 4), dtype=np.float16)) is None


def test_leading_components_hold_nine_tenths() -> None:
    assert leading_components(np.array([0.5, 0.39, 0.02, 0.09], dtype=np.float32)) == 3
    assert leading_components(np.array([0.95, 0.05], dtype=np.float32)) == 1
    assert leading_components(np.zeros(3, dtype=np.float32)) == 0


def test_the_true_order_is_one_of_the_shuffles() -> None:
    shuffled_S = np.array([-0.1, 0.0, 0.1, 0.2], dtype=np.float32)
    assert share_reached(shuffled_S, 0.5) == pytest.approx(1 / 5)
    assert share_reached(shuffled_S, 0.1) == pytest.approx(3 / 5)
    assert share_reached(shuffled_S, -1) == 1
    assert share_reached(shuffled_S[:0], 0.5) is None


def test_rows_stand_in_the_order_of_the_cells_and_name_them() -> None:
    rows = [make_row(cell) for cell in make_study(num_seeds=1)]
    vits = [row for row in rows if row.family == "vit"]
    found = inside_rows(rows, numbers({row.id: made_up_inside() for row in reversed(vits)} | {"unknown": made_up_inside()}))
    assert [row.cell for row in found] == [row.id for row in vits]
    first = found[0]
    assert (first.dataset, first.init, first.num_train_images) == (vits[0].dataset, vits[0].init, vits[0].num_train_images)
    assert first.similarity_difference == pytest.approx(0.3)
    assert first.shuffle_share == pytest.approx(1 / 200)
    assert first.distance_slope == pytest.approx(1.5, rel=1e-5)
    assert (first.narrowest_lowest, first.widest_lowest, first.uniform_distance) == pytest.approx((1.5, 2.5, 4))
    assert (len(first.distances), len(first.distances[0])) == (4, 3)


def test_an_arm_has_the_means_over_its_seeds_and_checks_are_in_none() -> None:
    rows = [row for row in (make_row(cell) for cell in make_study(num_seeds=3, upstream_sizes=())) if row.family == "vit"]
    insides = {row.id: made_up_inside(structure=0.1 * row.seed, rise=row.seed - 1.0) for row in rows}
    looks = inside_rows(rows, numbers(insides))
    assert sum(look.role is Role.CONVERGENCE_CHECK for look in looks) == 1
    arms = inside_arms(looks)
    assert [arm.num_train_images for arm in arms] == [50, 150, 400, 1197]
    for arm in arms:
        assert arm.num_seeds == len(arm.cells) == 3 and arm.recipe == "micro-scratch"
        assert arm.similarity_difference == pytest.approx((0.1 + 0.2 + 0.3) / 3)
        assert arm.distance_slope == pytest.approx(1.0, rel=1e-5)
        assert arm.shuffle_share == pytest.approx(np.mean([look.shuffle_share for look in looks if look.cell in arm.cells]))


def test_of_single_layers_there_is_no_mean_slope() -> None:
    rows = [row for row in (make_row(cell) for cell in make_study(sizes=(50,), num_seeds=2)) if row.family == "vit"]
    [*_, arm] = inside_arms(inside_rows(rows, numbers({row.id: made_up_inside(layers=1) for row in rows})))
    assert arm.distance_slope is None and arm.num_seeds == 2


def test_a_claims_rise_is_free_of_pixels_and_what_is_not_there_has_no_statistic() -> None:
    [row] = [
        row
        for row in (make_row(cell) for cell in make_study(sizes=(50,), upstream_sizes=(), num_seeds=1))
        if row.family == "vit"
    ][:1]

    def statistics(**options: object) -> list[float | None]:
        [look] = inside_rows([row], numbers({row.id: made_up_inside(**options)}))  # type: ignore[arg-type]
        return [inside_statistic(look, scale) for scale in (Scale.SIMILARITY, Scale.DISTANCE)]

    assert statistics(rise=1.5) == pytest.approx([0.3, 1.5 / 4], rel=1e-5)
    assert statistics(layers=1) == [pytest.approx(0.3), None]
    [look] = inside_rows([row], numbers({row.id: made_up_inside()}))
    single_patch = look.model_copy(update={"uniform_distance": 0.0})
    assert [inside_statistic(single_patch, scale) for scale in (Scale.SIMILARITY, Scale.DISTANCE)] == [None, None]
