"""Kinds of cells: those whose steps take the same time, and how long a cell of a kind takes.

Must not know where step times come from. Read `step_key` first.
"""

from repro.messages import Measured
from repro.spec import Cell, Role

EVALUATED_TRAIN_IMAGES = 10_000
"""Training images that are evaluated at most."""
EVALUATIONS_PER_RUN = 20
"""How often a dev split is evaluated at most."""


def step_key(cell: Cell) -> str:
    """What the time of a step depends on, apart from the hardware and the images' shape."""
    recipe = cell.recipe
    augmented = f"{recipe.flip} {recipe.crop_padding} {recipe.trivial_augment} {recipe.mixes} {recipe.erase_probability > 0}"
    enlarged = f"{recipe.image_size} {recipe.crop_min_area < 1} {recipe.micro_batch}"
    trained = f"{recipe.trains} {recipe.ridge_penalty is not None}"
    return f"{cell.model.name} {cell.dataset.name} {recipe.batch_size} {recipe.optimizer} {augmented} {enlarged} {trained}"


def cell_seconds(cell: Cell, measured: Measured, num_test_images: int) -> float:
    """Seconds of a cell: its steps, and the images that are evaluated (so many of the test part, and a sample of the rest)."""
    if cell.recipe.ridge_penalty is not None:
        return measured.image_s * (cell.num_train_images + num_test_images)
    evaluated = num_test_images + min(cell.num_train_images, EVALUATED_TRAIN_IMAGES)
    if cell.role is Role.LR_SEARCH:
        evaluated = round(cell.recipe.dev_fraction * cell.num_train_images) * EVALUATIONS_PER_RUN
    return measured.step_s * cell.recipe.steps + measured.image_s * evaluated
