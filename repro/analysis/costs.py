"""What every arm cost to train: operations, seconds and joules, the upstream run that it starts from included.

It sums what stands in `Results.cells`. Seconds and joules of cells that shared a device are not theirs alone and do not count.
Must not know how costs are drawn. Read `arm_costs` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from repro.analysis.arms import PRETRAINED, Kind, kind_of_init
from repro.analysis.results import CellRow, Group, Results
from repro.records import CellStatus
from repro.spec import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCost:
    """One arm with the means of its finished seeds."""

    group: Group
    kind: Kind
    """How its weights begin."""
    train_flops: float | None
    """Operations of training and of the upstream run; None where an upstream run is not in the results."""
    wall_s: float | None
    """The same in seconds, over the seeds that had their device alone; None without any."""
    energy_j: float | None
    """The same in joules; None, too, where none were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The arms of a report with what is left out."""

    arms: tuple[ArmCost, ...]
    """In the order of `Results.groups`."""
    num_cells: int
    """Finished cells that enter: study cells, and the upstream cells that they start from, each once."""
    num_shared: int
    """Of these, cells whose device was shared, so that their seconds and joules do not count."""
    num_without_energy: int
    """Of the others, cells whose joules were not counted."""
    num_without_upstream: int
    """Study cells whose upstream cell is not in the results, or not a single one, so that their costs are not known."""
    devices: tuple[str, ...]
    """Devices of the cells whose seconds count, sorted."""


def arm_costs(results: Results) -> Costs:
    """The cost of every group of study cells; a search for a learning rate is not counted."""
    rows = {row.id: row for row in results.cells if row.status is CellStatus.DONE}
    upstream: dict[tuple[str, int, str, int], list[CellRow]] = {}
    for row in rows.values():
        if row.role is Role.UPSTREAM:
            upstream.setdefault((row.dataset, row.num_train_images, row.model, row.seed), []).append(row)
    arms, entered, num_without_upstream = [], dict[str, CellRow](), 0
    for group in results.groups:
        members = [rows[cell] for cell in group.cells if cell in rows and rows[cell].role is Role.STUDY]
        if not members:
            continue
        kind = kind_of_init(group.init)
        runs: list[tuple[CellRow, ...]] = []
        for row in members:
            before = upstream.get((row.upstream_dataset, row.num_upstream_images, row.model, row.seed), [])
            if kind != "upstream":
                runs.append((row,))
            elif len(before) == 1:
                runs.append((before[0], row))
            else:  # of two upstream recipes, the row does not tell which was its own
                num_without_upstream += 1
        entered |= {row.id: row for run in runs for row in run}
        alone = [run for run in runs if not any(row.device_shared for row in run)]
        arms.append(
            ArmCost(
                group=group,
                kind=kind,
                train_flops=_mean([_total([row.train_flops for row in run]) for run in runs]),
                wall_s=_mean([_total([row.wall_s for row in run]) for run in alone]),
                energy_j=_mean([_total([row.energy_j for row in run]) for run in alone]),
            )
        )
    alone_rows = [row for row in entered.values() if not row.device_shared]
    return Costs(
        arms=tuple(arms),
        num_cells=len(entered),
        num_shared=len(entered) - len(alone_rows),
        num_without_energy=sum(row.energy_j is None for row in alone_rows),
        num_without_upstream=num_without_upstream,
        devices=tuple(sorted({row.device for row in alone_rows if row.device is not None})),
    )


def largest_first(arms: Sequence[ArmCost]) -> tuple[list[ArmCost], list[ArmCost]]:
    """The arms with the most training images, and the others."""
    most = max(arm.group.num_train_images for arm in arms)
    return [arm for arm in arms if arm.group.num_train_images == most], [
        arm for arm in arms if arm.group.num_train_images < most
    ]


def cost_places(costs: Costs) -> dict[tuple[str, str], list[ArmCost]]:
    """What stands in one figure: all that was trained here on one data set, and published weights by data set and recipe.

    Keys are (data set, recipe), the recipe empty for what was trained here.
    """
    places: dict[tuple[str, str], list[ArmCost]] = {}
    for arm in costs.arms:
        recipe = arm.group.recipe if arm.kind == PRETRAINED else ""
        places.setdefault((arm.group.dataset, recipe), []).append(arm)
    return dict(sorted(places.items()))


def _total(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _mean(totals: Sequence[float | None]) -> float | None:
    known = [total for total in totals if total is not None and total > 0]
    return sum(known) / len(known) if known else None
