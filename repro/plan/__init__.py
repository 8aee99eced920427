"""From a profile to its cells, in the order in which they run, each with its state.

`names` resolves what the profile names, `expansion` multiplies the blocks out, `state` orders the cells and looks each up on
disk. A wrong name, size or pair raises ProfileError before anything runs. Must not know torch, nor how images are read: it is
given the facts of the data sets that are there. Read `make_plan` in `state` first.
"""

from repro.plan.expansion import DataFacts, Expansion, WeightsState
from repro.plan.names import Models, datasets_of, resolve_recipes
from repro.plan.rates import chosen_rate
from repro.plan.state import STOPPED, Plan, PlannedCell, blocked_by, make_plan

__all__ = [
    "STOPPED",
    "DataFacts",
    "Expansion",
    "Models",
    "Plan",
    "PlannedCell",
    "WeightsState",
    "blocked_by",
    "chosen_rate",
    "datasets_of",
    "make_plan",
    "resolve_recipes",
]
