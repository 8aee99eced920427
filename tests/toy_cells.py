"""Planned cells by the name of their model, of which nothing is ever trained."""

from repro.catalog import load_catalog
from repro.hardware import DeviceChoice
from repro.messages import Measured
from repro.plan import PlannedCell
from repro.records import CellStatus
from repro.spec import Cell, DatasetSpec, ModelSpec, Recipe, Role
from repro.timing import step_key

GPU = DeviceChoice(
    device="cuda",
    name="NVIDIA Made Up",
    bfloat16=True,
    channels_last=True,
    reason="a usable GPU",
    precision_reason="bfloat16",
    driver="580",
    num_workers=8,
    workers_reason="no more are tried",
)
"""A device that nothing ever runs on."""
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
