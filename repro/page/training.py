"""How far models were trained: the end of every arm on its own training images, and the checks at four times the steps.

Must not know the rest of the page. Read `training_rows` first.
"""

from collections import defaultdict
from dataclasses import dataclass

from repro.analysis.results import CellRow
from repro.records import CellStatus
from repro.spec import Family, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """How far the seeds of one (data set, size, init, recipe, model) were trained."""

    dataset: str
    num_train_images: int
    init: str
    recipe: str
    model: str
    family: Family
    num_seeds: int
    is_regularised: bool
    """Whether its recipe is not expected to reach 99 % training accuracy, for what it does to the images."""
    is_probe: bool
    """Whether nothing but a linear head is fitted, which need not reach it."""
    lowest_train_accuracy: float
    """The worst seed's accuracy on its training subset by the final weights."""
    highest_train_loss: float
    """The worst seed's mean cross-entropy there, in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvergenceCheck:
    """A cell with four times the steps beside the study cell that it repeats."""

    longer: CellRow
    normal: CellRow | None
    """None where it is not in the matrix."""


def training_rows(done: list[CellRow]) -> tuple[TrainingRow, ...]:
    """A row for each arm that has finished cells."""
    members: dict[tuple[str, int, str, str, str], list[CellRow]] = defaultdict(list)
    for row in done:
        if row.role is Role.STUDY:
            members[row.dataset, row.num_train_images, row.init, row.recipe, row.model].append(row)
    return tuple(
        TrainingRow(
            dataset=dataset,
            num_train_images=num_train_images,
            init=init,
            recipe=recipe,
            model=model,
            family=rows[0].family,
            num_seeds=len(rows),
            is_regularised=rows[0].is_regularised,
            is_probe=rows[0].is_probe,
            lowest_train_accuracy=min(row.train_accuracy for row in rows if row.train_accuracy is not None),
            highest_train_loss=max(row.train_loss for row in rows if row.train_loss is not None),
        )
        for (dataset, num_train_images, init, recipe, model), rows in members.items()
    )


def convergence_checks(cells: tuple[CellRow, ...]) -> tuple[ConvergenceCheck, ...]:
    """Every finished check, with the study cell that it repeats."""

    def subject(row: CellRow) -> tuple[str, int, str, str, int]:
        return row.dataset, row.num_train_images, row.init, row.model, row.seed

    study: dict[tuple[str, int, str, str, int], list[CellRow]] = defaultdict(list)
    for row in cells:
        if row.role is Role.STUDY:
            study[subject(row)].append(row)
    checks = []
    for longer in cells:
        if longer.role is Role.CONVERGENCE_CHECK and longer.status is CellStatus.DONE:
            # A check's recipe is named after the one it repeats (`NAME+4x`); the longest match is its own.
            candidates = [row for row in study[subject(longer)] if longer.recipe.startswith(row.recipe)]
            normal = max(candidates, key=lambda row: len(row.recipe), default=None)
            checks.append(ConvergenceCheck(longer=longer, normal=normal))
    return tuple(checks)
