"""What the page says beside the figures of pre-training: every gain in a table, and what is missing.

Must not know how gains are estimated or drawn. Read `pretraining_notes` first.
"""

from dataclasses import dataclass

from repro.analysis.arms import kind_of_init
from repro.analysis.results import Gain, Results
from repro.records import CellStatus
from repro.spec import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingNotes:
    """What stands beside the figures."""

    gains: tuple[Gain, ...]
    has_weights: bool
    """Whether the profile has study cells, finished or not, that start from anything but scratch."""
    num_unfinished: int
    """Of these, and of the cells from scratch, cells that are not finished."""
    is_single_seed: bool
    """Whether no gain has an interval."""


def pretraining_notes(results: Results) -> PretrainingNotes:
    """The notes; of an empty matrix there are no gains, and nothing is planned."""
    study = [row for row in results.cells if row.role is Role.STUDY]
    estimates = [side.accuracy for gain in results.gains for side in (gain.vit, gain.cnn) if side is not None]
    return PretrainingNotes(
        gains=results.gains,
        has_weights=any(kind_of_init(row.init) != "scratch" for row in study),
        num_unfinished=sum(row.status is not CellStatus.DONE for row in study),
        is_single_seed=bool(estimates) and all(one.ci95 is None for one in estimates),
    )
