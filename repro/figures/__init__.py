"""Results -> figures: scaling with data, paired differences, transfer against upstream images, and one strip for each claim.

Titles state the finding in numbers, without judging it: verdicts are the ledger's. Nothing is estimated here; what is
drawn stands in `Results`. Must not know records, files or HTML; how a figure looks is `repro.svg`'s. Read `draw_figures`
first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from repro.analysis.results import Results
from repro.figures.inside import InsidePanel, inside_panels
from repro.figures.scaling import ScalingPanel, scaling_panels
from repro.figures.strips import claim_strip
from repro.figures.upstream import UpstreamPanel, upstream_panels
from repro.inside import Inside
from repro.spec import Role
from repro.svg import Figure

__all__ = ["Figures", "InsidePanel", "ScalingPanel", "UpstreamPanel", "draw_figures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Every figure of a report."""

    scaling: tuple[ScalingPanel, ...]
    upstream: tuple[UpstreamPanel, ...]
    claims: tuple[Figure | None, ...]
    """One for each of `Results.claims`; None where a claim has no points."""
    observations: tuple[Figure | None, ...]
    """The same of `Results.observations`."""
    inside: tuple[InsidePanel, ...] = ()
    """What trained ViTs look like from within."""

    @property
    def all(self) -> tuple[Figure, ...]:
        """Every figure once, in the page's order."""
        strips = [figure for figure in (*self.claims, *self.observations) if figure]
        scaling = [figure for panel in self.scaling for figure in (panel.curves, panel.gap) if figure]
        inside = [panel.distances for panel in self.inside]
        return (*strips, *scaling, *(panel.curves for panel in self.upstream), *inside)


def draw_figures(results: Results, insides: Mapping[str, Inside] | None = None) -> Figures:
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
    )
