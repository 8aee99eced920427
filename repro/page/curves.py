"""What the page says beside the learning curves: which cells they are, and what is left out.

Must not know how curves are drawn or read. Read `curve_notes` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from repro.figures import CurvePanel
from repro.spec import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveNotes:
    """What stands beside the figures."""

    cells: tuple[str, ...]
    """Ids of all cells whose logs are drawn."""
    has_dev: bool
    """Whether any has a dev split."""
    has_check: bool
    """Whether runs of four times the steps are among them."""
    num_left_out: int
    """Models that are in no figure, since it would hold too many."""


def curve_notes(panels: Sequence[CurvePanel], *, num_left_out: int) -> CurveNotes:
    """The notes; without panels all are empty."""
    return CurveNotes(
        cells=tuple(cell for panel in panels for cell in panel.cells),
        has_dev=any(panel.has_dev for panel in panels),
        has_check=any(panel.role is Role.CONVERGENCE_CHECK for panel in panels),
        num_left_out=num_left_out,
    )
