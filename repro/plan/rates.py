"""Which learning rate a cell trains with: its recipe's, or the one that a search on a dev split has found.

Must not know how a cell is run. Read `chosen_rate` first.
"""

from collections.abc import Mapping

from repro.choices import Choice
from repro.errors import TrainingDiverged
from repro.plan.state import PlannedCell


def chosen_rate(entry: PlannedCell, entries: Mapping[str, PlannedCell]) -> tuple[float, Choice | None]:
    """The learning rate of a cell whose needs are done, with the reason where it comes from a search.

    It is the rate with the best dev accuracy; a tie goes to the smaller one. Raises TrainingDiverged when training diverged at
    every rate.
    """
    if not entry.search_ids:
        return entry.cell.recipe.lr, None
    found = [(search.cell.recipe.lr, search.record) for name in entry.search_ids if (search := entries[name])]
    measured = [(lr, record.dev_accuracy) for lr, record in found if record and record.dev_accuracy is not None]
    if not measured:
        raise TrainingDiverged(
            f"training diverged at every rate of the grid ({', '.join(f'{lr:g}' for lr, _ in found)})",
            remedy="Give smaller rates in the recipe's lr_grid.",
        )
    lr, _ = max(measured, key=lambda one: (one[1], -one[0]))
    told = ", ".join(f"{lr:g}: {accuracy:.4f}" for lr, accuracy in measured)
    reason = f"best accuracy on the dev split of the full training part ({told})"
    return lr, Choice(what="learning rate", value=f"{lr:g}", reason=reason)
