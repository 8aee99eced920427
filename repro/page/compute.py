"""What the page says of costs: how many cells are left out of seconds and joules, and why.

Must not know how costs are summed or drawn. Read `compute_notes` first.
"""

from dataclasses import dataclass

from repro.analysis.arms import PRETRAINED
from repro.analysis.costs import Costs, arm_costs
from repro.analysis.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeNotes:
    """What stands beside the figures of costs."""

    costs: Costs
    has_upstream: bool
    """Whether arms start from upstream runs of this report."""
    has_published: bool
    """Whether arms start from weights that others trained."""
    on_cpu: bool
    """Whether seconds were taken on a CPU, where a worker has a core of its own."""
    has_joules: bool
    """Whether any arm's joules count."""


def compute_notes(results: Results) -> ComputeNotes:
    """The notes; of an empty matrix all are false."""
    costs = arm_costs(results)
    return ComputeNotes(
        costs=costs,
        has_upstream=any(arm.kind == "upstream" for arm in costs.arms),
        has_published=any(arm.kind == PRETRAINED for arm in costs.arms),
        on_cpu="cpu" in costs.devices,
        has_joules=any(arm.energy_j is not None for arm in costs.arms),
    )
