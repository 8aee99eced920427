"""Stage `verify`: everything that a report says, recomputed from what lies in the home. Needs neither torch nor a GPU.

Reads only; takes no lock, so that a run may go on meanwhile. Read `verify` first.
"""

from repro.analysis.results import Results
from repro.catalog import load_profile, shipped_profiles
from repro.context import Context
from repro.errors import NothingToVerify
from repro.histories import gather_histories
from repro.reckoning import reckon
from repro.spec import slug
from repro.verification import (
    Part,
    Verification,
    check_downloads,
    check_packs,
    check_weights,
    hold_references,
    read_cells,
    read_report,
    verify_report,
)
from repro.verification.cells import Surroundings


def verify(context: Context) -> Verification:
    """Compare report, records, files, data and references. Raises NothingToVerify where there is no report or finished cell."""
    workspace, profile = context.workspace, context.profile
    folder = workspace.report_dir(slug(profile.name))
    stored = read_report(folder, profile.name)
    plan = context.plan()
    packs, manifests, labels = check_packs(context.datasets(), workspace)
    check_downloads(packs, workspace)
    weights, weight_manifests = check_weights([checkpoint for checkpoint, _ in context.checkpoints().values()], workspace)
    around = Surroundings(
        workspace=workspace,
        entries={entry.cell.id: entry for entry in plan.cells},
        manifests=manifests,
        labels=labels,
        weights_digest=lambda checkpoint: found.digest if (found := weight_manifests.get(checkpoint.key)) else None,
    )
    found = read_cells(around, stored.told, reported_at=stored.generated_at)
    if not found.num_finished and not found.lost:
        raise NothingToVerify(
            f"No cell of profile {profile.name} is finished in {workspace.home}.",
            remedy="Run `vitrepro run` with this profile and home, then `vitrepro report`.",
        )
    # A training log that was damaged afterwards is told once, by its digest.
    warned = stored.results.warnings if stored.results else ()
    unread = [problem for problem in gather_histories(found.evidence.outcomes, workspace).problems if problem in warned]
    recomputed = reckon(
        profile,
        found.evidence,
        catalog=context.catalog,
        workspace=workspace,
        unsized=plan.unsized,
        problems=unread,
        generated_at="",
    )
    verify_report(stored, recomputed, found, folder)
    if found.num_later:
        stored.json_part.notes.append(
            f"{found.num_later} cell(s) were finished after this report was written; `vitrepro report` renews it"
        )
    references = _references(context, recomputed, is_whole=not found.lost)
    parts = (found.records, found.files, packs, weights, stored.json_part, stored.csv_part, stored.predictions_part, references)
    return Verification(
        profile=profile.name,
        home=str(workspace.home),
        num_cells=len(plan.cells),
        num_unfinished=len(plan.cells) - found.num_finished,
        parts=parts,
    )


def _references(context: Context, recomputed: Results, *, is_whole: bool) -> Part:
    """The comparison with published runs; a profile of the same name with other cells is no counterpart of them."""
    name, part = context.profile.name, Part(name="references")
    if not is_whole:
        part.notes.append("not compared: finished cells cannot be read")
    elif name in shipped_profiles() and context.profile != load_profile(name):
        part.notes.append(f"not compared: this profile is called {name}, but is not the one that comes with the kit")
    else:
        return hold_references(context.catalog.references, recomputed)
    return part
