"""What the page tells of ViTs from within: the paper's words, the numbers of every model that was looked into, and pictures.

Must not know how anything was measured. Read `inside_section` first.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from repro.analysis.inside_results import InsideArm
from repro.analysis.results import CellRow, Results
from repro.figures import InsidePanel
from repro.inside import is_looked_into
from repro.records import CellStatus
from repro.spec import Role

SMALL_SHARE = 0.05
"""Of shuffles that reach a value, where it is called more than chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The least and the greatest of a number over all models."""

    least: float
    greatest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideSection:
    """The section's content."""

    num_planned: int
    """Cells of the study that are to be looked into."""
    num_models: int
    """Of these, such as were."""
    arms: tuple[InsideArm, ...]
    without: tuple[CellRow, ...]
    """Finished ones among them that have left nothing to look at."""
    panels: tuple[InsidePanel, ...]
    num_undrawn: int
    """Architectures on a data set that have numbers and no pictures here."""
    num_more_in_line: int
    """Models whose position embeddings are more similar in a row or column than elsewhere."""
    num_beyond_chance: int
    """Models where at most 5 % of shuffles of the embeddings reach the difference."""
    difference: Extent | None
    num_deep: int
    """Models of several layers."""
    num_rising: int
    """Of these, such whose attention distance rises with depth."""
    rise: Extent | None
    """In pixels."""
    widest_share: Extent | None
    """The lowest layer's widest head, as a share of the distance of uniform attention."""


def inside_section(results: Results, panels: tuple[InsidePanel, ...]) -> InsideSection:
    """Arrange what was looked into; the section stands in every report, and says what is missing.

    The longer runs of the convergence check are looked into for the claims only, and left out here.
    """
    rows = [row for row in results.inside if row.role is Role.STUDY]
    seen = {row.cell for row in rows}
    study = [row for row in results.cells if row.role is Role.STUDY]
    planned = [row for row in study if is_looked_into(role=row.role, family=row.family, is_probe=row.is_probe)]
    rises = [row.distance_slope for row in rows if row.distance_slope is not None]
    return InsideSection(
        num_planned=len(planned),
        num_models=len(rows),
        arms=results.inside_arms,
        without=tuple(row for row in planned if row.status is CellStatus.DONE and row.id not in seen),
        panels=panels,
        num_undrawn=len({(row.dataset, row.model) for row in rows}) - len(panels),
        num_more_in_line=sum(row.similarity_difference > 0 for row in rows),
        num_beyond_chance=sum(row.shuffle_share is not None and row.shuffle_share <= SMALL_SHARE for row in rows),
        difference=_extent(row.similarity_difference for row in rows),
        num_deep=len(rises),
        num_rising=sum(rise > 0 for rise in rises),
        rise=_extent(rises),
        widest_share=_extent(row.widest_lowest / row.uniform_distance for row in rows if row.uniform_distance),
    )


def _extent(values: Iterable[float]) -> Extent | None:
    found = list(values)
    return Extent(least=min(found), greatest=max(found)) if found else None
