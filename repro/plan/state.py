"""The plan: a profile's cells in the order in which they run, each as it stands on disk.

Must not know how a cell is run. Read `make_plan` first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from repro.catalog import Catalog
from repro.errors import CorruptFile
from repro.plan.expansion import DataFacts, Expansion, WeightsState
from repro.plan.names import lookup
from repro.records import CellStatus, Record, read_failure, read_finished
from repro.spec import Cell, CheckpointSpec, Profile, Role
from repro.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """A cell with its place on disk and its state."""

    cell: Cell
    """What to run."""
    fingerprint: str | None
    """None while its data, or its upstream's, is not fetched."""
    upstream_id: str | None
    """Id of the upstream cell, if it has one."""
    upstream_fingerprint: str | None
    """Fingerprint of the upstream cell, where it has one and that one's data are fetched."""
    search_ids: tuple[str, ...] = ()
    """Ids of the cells by which its learning rate is chosen, in ascending order of the rate; empty where it is given."""
    is_upstream: bool
    """Whether a cell of the profile starts from its weights."""
    status: CellStatus
    """Done, failed, pending, unfetched or blocked."""
    reason: str
    """Why it is not done; empty if it is or simply waits."""
    record: Record | None
    """The record of a finished cell."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the cells that must be done before it."""
        return (*((self.upstream_id,) if self.upstream_id else ()), *self.search_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The cells of a profile in the order in which they run, and what could not be resolved yet."""

    profile: Profile
    """The profile."""
    cells: tuple[PlannedCell, ...]
    """All cells, those that others need before them."""
    unsized: tuple[str, ...]
    """Data sets that must be fetched before their cells can be listed: a fraction of an unknown number was asked for."""


def make_plan(
    profile: Profile,
    catalog: Catalog,
    facts: Mapping[str, DataFacts],
    workspace: Workspace,
    weights: Callable[[CheckpointSpec], WeightsState | None] = lambda _: None,
) -> Plan:
    """Expand the profile and say of every cell how far it is.

    `facts` holds the data sets that are fetched; `weights` tells of a checkpoint how far it is, None if it was never tried.
    Raises ProfileError for anything in the profile that cannot be resolved.
    """
    for claim in profile.claims:
        lookup(catalog.claims, claim, "claim", where="claims")
    expansion = Expansion(profile, catalog, facts)
    cells = expansion.cells_by_id()
    upstream_ids = set(expansion.upstream_of.values())
    needed_ids = upstream_ids.union(*expansion.searches_of.values())
    try:
        folders = {path.name for path in workspace.runs_dir.iterdir()}
    except OSError:
        folders = set()
    planned: dict[str, PlannedCell] = {}
    for cell_id, cell in sorted(cells.items(), key=lambda item: _run_order(item[0], item[1], upstream_ids, needed_ids)):
        above = expansion.upstream_of.get(cell_id)
        known = facts.get(cell.dataset.name)
        planned[cell_id] = _planned(
            cell,
            data_sha256=known.content_sha256 if known else None,
            above=planned[above] if above else None,
            searches=tuple(planned[search] for search in expansion.searches_of.get(cell_id, ())),
            weights=weights(cell.weights) if cell.weights else None,
            is_upstream=cell_id in upstream_ids,
            workspace=workspace,
            folders=folders,
        )
    return Plan(profile=profile, cells=tuple(planned.values()), unsized=tuple(expansion.unsized))


def _run_order(cell_id: str, cell: Cell, upstream_ids: set[str], needed_ids: set[str]) -> tuple[int, int, int, str]:
    # Seed by seed, so that an interrupted day still yields a page; then longest first, so that workers end together.
    rank = 0 if cell_id in upstream_ids else 1 if cell_id in needed_ids else 2
    return (cell.seed, rank, -cell.recipe.steps * cell.recipe.batch_size, cell_id)


def _planned(
    cell: Cell,
    *,
    data_sha256: str | None,
    above: PlannedCell | None,
    searches: tuple[PlannedCell, ...],
    weights: WeightsState | None,
    is_upstream: bool,
    workspace: Workspace,
    folders: set[str],
) -> PlannedCell:
    """The cell with its state; `folders` names what lies in the runs folder, so that absent ones cost nothing."""
    upstream_fingerprint = above.fingerprint if above else None
    fingerprint, status, reason, record = None, CellStatus.UNFETCHED, "", None
    needs = (*((above,) if above else ()), *searches)
    if data_sha256 is None:
        reason = f"data set {cell.dataset.name} is not fetched"
    elif cell.weights is not None and (weights is None or weights.digest is None):
        status, reason = _without_weights(cell.weights, weights)
    elif unknown := next((entry for entry in needs if entry.fingerprint is None), None):
        status, reason = unknown.status, unknown.reason
    else:
        fingerprint = cell.fingerprint(
            data_sha256=data_sha256,
            upstream_fingerprint=upstream_fingerprint,
            weights_sha256=weights.digest if weights else None,
            search_fingerprints=[entry.fingerprint for entry in searches if entry.fingerprint],
        )
        status, reason, record = CellStatus.PENDING, "", None
        if workspace.run_dir(cell.id, fingerprint).name in folders:
            status, reason, record = _state_on_disk(cell, fingerprint, workspace)
        if status is not CellStatus.DONE:
            if weights is not None and weights.problem:
                status, reason = CellStatus.BLOCKED, weights.problem
            elif stopped := next((entry for entry in needs if entry.status in STOPPED), None):
                status, reason = CellStatus.BLOCKED, blocked_by(stopped)
    return PlannedCell(
        cell=cell,
        fingerprint=fingerprint,
        upstream_id=above.cell.id if above else None,
        upstream_fingerprint=upstream_fingerprint,
        search_ids=tuple(entry.cell.id for entry in searches),
        is_upstream=is_upstream,
        status=status,
        reason=reason,
        record=record,
    )


def _without_weights(checkpoint: CheckpointSpec, weights: WeightsState | None) -> tuple[CellStatus, str]:
    if weights is None:
        return CellStatus.UNFETCHED, f"weights {checkpoint.path or checkpoint.name} are not fetched"
    return CellStatus.BLOCKED, weights.problem


STOPPED = (CellStatus.FAILED, CellStatus.BLOCKED)
"""States in which a cell keeps those that need it from running."""


def blocked_by(entry: PlannedCell) -> str:
    """Why a cell cannot run that needs `entry`, which has failed or is blocked itself."""
    what = "the search for its learning rate" if entry.cell.role is Role.LR_SEARCH else "its upstream cell"
    return f"{what} {entry.cell.id} {entry.status}"


def _state_on_disk(cell: Cell, fingerprint: str, workspace: Workspace) -> tuple[CellStatus, str, Record | None]:
    """Status, reason and record; what cannot be read is the reason to run the cell again."""
    folder = workspace.run_dir(cell.id, fingerprint)
    try:
        record = read_finished(folder, fingerprint)
        if record is not None:
            return CellStatus.DONE, "", record
        failure = read_failure(folder)
    except CorruptFile as error:
        return CellStatus.PENDING, workspace.without_home(error.message), None
    return (CellStatus.FAILED, failure.message, None) if failure else (CellStatus.PENDING, "", None)
