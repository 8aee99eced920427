"""Which cells are of one kind, and how long one takes."""

import pytest
from toy_cells import RECIPE, entry

from repro.catalog import load_catalog
from repro.messages import Measured
from repro.spec import Role
from repro.timing import cell_seconds, step_key


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


def test_a_search_evaluates_its_dev_split_and_never_the_test_set() -> None:
    recipe = RECIPE.model_copy(update={"dev_fraction": 0.2})
    cell = entry().cell.model_copy(update={"role": Role.LR_SEARCH, "recipe": recipe})
    measured = Measured(step_s=0.5, image_s=0.01, num_parameters=1000)
    assert cell_seconds(cell, measured, 600) == pytest.approx(0.5 * 100 + 0.01 * 20 * 10)


def test_what_is_solved_for_in_closed_form_costs_its_images() -> None:
    recipe = load_catalog().recipes["few-shot"]
    cell = entry().cell.model_copy(update={"recipe": recipe})
    assert cell_seconds(cell, Measured(step_s=9.0, image_s=0.01, num_parameters=1000), 600) == pytest.approx(0.01 * 650)
