"""The plan: a profile's cells in the order in which they run, each as it stands on disk.

Must not know how a cell is run. Read `make_plan` first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from repro.catalog import Catalog
from repro.errors import CorruptFile
from repro.plan.expansion import DataFacts, Expansion
from repro.plan.names import lookup
from repro.records import CellStatus, Record, read_failure, read_finished
from repro.spec import Cell, Profile
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
    is_upstream: bool
    """Whether a cell of the profile starts from its weights."""
    status: CellStatus
    """Done, failed, pending, unfetched or blocked."""
    reason: str
    """Why it is not done; empty if it is or simply waits."""
    record: Record | None
    """The record of a finished cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The cells of a profile in the order in which they run, and what could not be resolved yet."""

    profile: Profile
    """The profile."""
    cells: tuple[PlannedCell, ...]
    """All cells, upstream ones before those that start from them."""
    unsized: tuple[str, ...]
    """Data sets that must be fetched before their cells can be listed: a fraction of an unknown number was asked for."""


def make_plan(profile: Profile, catalog: Catalog, facts: Mapping[str, DataFacts], workspace: Workspace) -> Plan:
    """Expand the profile and say of every cell how far it is.

    `facts` holds the data sets that are fetched. Raises ProfileError for anything in the profile that cannot be resolved.
    """
    for claim in profile.claims:
        lookup(catalog.claims, claim, "claim", where="claims")
    expansion = Expansion(profile, catalog, facts)
    cells = expansion.cells_by_id()
    upstream_ids = set(expansion.upstream_of.values())
    try:
        folders = {path.name for path in workspace.runs_dir.iterdir()}
    except OSError:
        folders = set()
    planned: dict[str, PlannedCell] = {}
    for cell_id, cell in sorted(cells.items(), key=lambda item: _run_order(item[0], item[1], upstream_ids)):
        above = expansion.upstream_of.get(cell_id)
        known = facts.get(cell.dataset.name)
        planned[cell_id] = _planned(
            cell,
            data_sha256=known.content_sha256 if known else None,
            above=planned[above] if above else None,
            is_upstream=cell_id in upstream_ids,
            workspace=workspace,
            folders=folders,
        )
    return Plan(profile=profile, cells=tuple(planned.values()), unsized=tuple(expansion.unsized))


def _run_order(cell_id: str, cell: Cell, upstream_ids: set[str]) -> tuple[int, bool, int, str]:
    # Seed by seed, so that an interrupted day still yields a page; then longest first, so that workers end together.
    return (cell.seed, cell_id not in upstream_ids, -cell.recipe.steps * cell.recipe.batch_size, cell_id)


def _planned(
    cell: Cell,
    *,
    data_sha256: str | None,
    above: PlannedCell | None,
    is_upstream: bool,
    workspace: Workspace,
    folders: set[str],
) -> PlannedCell:
    """The cell with its state; `folders` names what lies in the runs folder, so that absent ones cost nothing."""
    upstream_fingerprint = above.fingerprint if above else None
    fingerprint, status, reason, record = None, CellStatus.UNFETCHED, "", None
    if data_sha256 is None:
        reason = f"data set {cell.dataset.name} is not fetched"
    elif above and upstream_fingerprint is None:
        reason = above.reason
    else:
        fingerprint = cell.fingerprint(data_sha256=data_sha256, upstream_fingerprint=upstream_fingerprint)
        status, reason, record = CellStatus.PENDING, "", None
        if workspace.run_dir(cell.id, fingerprint).name in folders:
            status, reason, record = _state_on_disk(cell, fingerprint, workspace)
        if status is not CellStatus.DONE and above and above.status in (CellStatus.FAILED, CellStatus.BLOCKED):
            status, reason = CellStatus.BLOCKED, f"its upstream cell {above.cell.id} {above.status}"
    return PlannedCell(
        cell=cell,
        fingerprint=fingerprint,
        upstream_id=above.cell.id if above else None,
        upstream_fingerprint=upstream_fingerprint,
        is_upstream=is_upstream,
        status=status,
        reason=reason,
        record=record,
    )


def _state_on_disk(cell: Cell, fingerprint: str, workspace: Workspace) -> tuple[CellStatus, str, Record | None]:
    """Status, reason and record; what cannot be read is the reason to run the cell again."""
    folder = workspace.run_dir(cell.id, fingerprint)
    try:
        record = read_finished(folder, fingerprint)
        if record is not None:
            return CellStatus.DONE, "", record
        failure = read_failure(folder)
    except CorruptFile as error:
        return CellStatus.PENDING, error.message, None
    return (CellStatus.FAILED, failure.message, None) if failure else (CellStatus.PENDING, "", None)
