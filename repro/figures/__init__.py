"""Results -> figures: scaling with data, paired differences, transfer against upstream images, and one strip for each claim.

Titles state the finding in numbers, without judging it: verdicts are the ledger's. Nothing is estimated here; what is
drawn stands in `Results`. Must not know records, files or HTML; how a figure looks is `repro.svg`'s. Read `draw_figures`
first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from repro.analysis.costs import arm_costs
from repro.analysis.curves import NO_HISTORIES, Histories
from repro.analysis.results import Results
from repro.figures.classes import class_figure
from repro.figures.compute import ComputePanel, compute_panels
from repro.figures.curves import CurvePanel, curve_panels
from repro.figures.inside import InsidePanel, inside_panels
from repro.figures.pretraining import PretrainingPanel, pretraining_panels
from repro.figures.scaling import ScalingPanel, scaling_panels
from repro.figures.strips import claim_strip
from repro.figures.upstream import UpstreamPanel, upstream_panels
from repro.inside import Inside
from repro.spec import Role
from repro.svg import Figure

__all__ = [
    "ComputePanel",
    "CurvePanel",
    "Figures",
    "InsidePanel",
    "PretrainingPanel",
    "ScalingPanel",
    "UpstreamPanel",
    "draw_figures",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Every figure of a report."""

    scaling: tuple[ScalingPanel, ...]
    upstream: tuple[UpstreamPanel, ...]
    claims: tuple[Figure | None, ...]
    """One for each of `Results.claims`; None where a claim has no points."""
    observations: tuple[Figure | None, ...]
    """The same of `Results.observations`."""
    classes: tuple[Figure | None, ...] = ()
    """One for each of `Results.errors`; None where it has no classes."""
    pretraining: tuple[PretrainingPanel, ...] = ()
    compute: tuple[ComputePanel, ...] = ()
    curves: tuple[CurvePanel, ...] = ()
    num_curves_left_out: int = 0
    """Models whose learning curves are in no figure."""
    inside: tuple[InsidePanel, ...] = ()
    """What trained ViTs look like from within."""

    @property
    def all(self) -> tuple[Figure, ...]:
        """Every figure once, in the page's order."""
        strips = [figure for figure in (*self.claims, *self.observations) if figure]
        scaling = [figure for panel in self.scaling for figure in (panel.curves, panel.gap) if figure]
        classes = [figure for figure in self.classes if figure]
        pretraining = [figure for panel in self.pretraining for figure in (panel.slopes, panel.gains)]
        compute = [figure for panel in self.compute for figure in (panel.flops, panel.seconds, panel.joules) if figure]
        curves = [panel.curves for panel in self.curves]
        inside = [panel.distances for panel in self.inside]
        upstream = [panel.curves for panel in self.upstream]
        return (*strips, *scaling, *pretraining, *upstream, *compute, *curves, *inside, *classes)


def draw_figures(results: Results, histories: Histories = NO_HISTORIES, insides: Mapping[str, Inside] | None = None) -> Figures:
    """Draw everything that the results allow; what is not measured yields no figure. Takes some 0.1 s a figure.

    `insides` are the pictures of the models that were looked into, by cell id.
    """
    study = {row.id for row in results.cells if row.role is Role.STUDY}
    groups = [group for group in results.groups if study.issuperset(group.cells)]
    return Figures(
        scaling=tuple(scaling_panels(groups, results)),
        upstream=tuple(upstream_panels(groups)),
        inside=inside_panels(results.inside, insides or {}),
        claims=tuple(claim_strip(result, name=f"claim-{number}") for number, result in enumerate(results.claims, 1)),
        observations=tuple(
            claim_strip(result, name=f"observation-{number}") for number, result in enumerate(results.observations, 1)
        ),
        classes=tuple(class_figure(found, name=f"classes-{number}") for number, found in enumerate(results.errors, 1)),
        pretraining=tuple(pretraining_panels(results)),
        compute=tuple(compute_panels(arm_costs(results))),
        curves=tuple(curve_panels(histories.places)),
        num_curves_left_out=histories.num_left_out,
    )
