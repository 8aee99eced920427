"""Which cells' learning curves are shown, and how one is thinned.

For each data set and recipe the largest size, of upstream runs there the largest, the first seed that both families have
finished: a few cells of however many. Must not know files or drawings. Read `chosen_cells` first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repro.analysis.arms import contender
from repro.analysis.results import CellRow
from repro.records import CellStatus, EpochRow
from repro.spec import Family, Role

MOST_POINTS = 200
"""Of one curve."""
MOST_MODELS = 4
"""Of one family in one figure; more cannot be told apart."""
_ROLES = (Role.STUDY, Role.UPSTREAM, Role.CONVERGENCE_CHECK)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How the training of one cell went."""

    row: CellRow
    points: tuple[EpochRow, ...]
    """At least two, at most `MOST_POINTS`, the first and the last among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """The learning curves that a report shows."""

    places: tuple[tuple[History, ...], ...]
    """The curves of each figure; none is empty."""
    num_left_out: int
    """Models that are in no figure, since it would hold too many."""
    problems: tuple[str, ...]
    """What could not be read, for the user."""


NO_HISTORIES = Histories(places=(), num_left_out=0, problems=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenCells:
    """The cells of one figure."""

    cells: tuple[CellRow, ...]
    """ViTs before CNNs, in order of name."""
    num_left_out: int
    """Models that would have stood beside them."""


def chosen_cells(rows: Iterable[CellRow]) -> tuple[ChosenCells, ...]:
    """The cells whose curves are shown, figure by figure, in order of data set and recipe (a fourfold run after its own)."""
    places: dict[tuple[str, str], list[CellRow]] = {}
    for row in rows:
        if row.status is CellStatus.DONE and row.role in _ROLES:
            places.setdefault((row.dataset, row.recipe), []).append(row)
    return tuple(_of_one_place(members) for _, members in sorted(places.items()))


def thinned(points: Sequence[EpochRow], most: int = MOST_POINTS) -> tuple[EpochRow, ...]:
    """At most `most` (two or more) of the points, evenly spaced, the first and the last among them."""
    if len(points) <= most:
        return tuple(points)
    last = len(points) - 1
    return tuple(points[round(number * last / (most - 1))] for number in range(most))


def _of_one_place(rows: Sequence[CellRow]) -> ChosenCells:
    largest = max((row.num_train_images for row in rows), default=0)
    members = [row for row in rows if row.num_train_images == largest]
    # Published weights of all upstream sets stand beside each other; of one's own upstream runs the largest is shown.
    most = max((row.num_upstream_images for row in members if row.init.startswith("upstream:")), default=0)
    members = [row for row in members if not row.init.startswith("upstream:") or row.num_upstream_images == most]
    seeds: dict[Family, set[int]] = {}
    for row in members:
        seeds.setdefault(row.family, set()).add(row.seed)
    common = set.intersection(*seeds.values())
    by_model: dict[tuple[Family, str], list[CellRow]] = {}
    for row in members:
        by_model.setdefault((row.family, contender(row.model, row.init)), []).append(row)
    first = min(common) if common else None
    found: dict[Family, list[CellRow]] = {"vit": [], "cnn": []}
    for (family, _), cells in sorted(by_model.items()):
        # A model that has not finished that seed is shown by its own first one.
        found[family].append(min(cells, key=lambda row: (row.seed != first, row.seed, row.id)))
    shown = tuple(row for cells in found.values() for row in cells[:MOST_MODELS])
    return ChosenCells(cells=shown, num_left_out=sum(map(len, found.values())) - len(shown))
