"""Stage `report`: from the records of a profile's finished cells to the page. Needs neither torch nor a GPU.

Read `report` first.
"""

from datetime import UTC, datetime

from repro.analysis.assemble import assemble
from repro.analysis.inside import inside_rows
from repro.context import Context
from repro.datasets import read_manifest
from repro.errors import CorruptFile
from repro.evidence import gather
from repro.plan import datasets_of
from repro.rendering import ReportPaths, write_report


def report(context: Context, *, with_pdf: bool) -> ReportPaths:
    """Analyse what is finished and write HTML, PDF, tables and figures; an unfinished matrix gives an honest page."""
    plan = context.plan()
    evidence = gather(list(plan.cells), context.workspace)
    claims = context.profile.claims or tuple(context.catalog.claims)
    results = assemble(
        context.profile,
        evidence.outcomes,
        {cell_id: labels == predicted for cell_id, (labels, predicted) in evidence.predictions.items()},
        [context.catalog.claims[claim] for claim in claims],
        # A profile's own pair takes the place of a shipped one of the same name.
        pairs=(context.catalog.pairs | {pair.name: pair for pair in context.profile.pair}).values(),
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    warnings = [*results.warnings, *_leaks(context), *evidence.problems]
    if plan.unsized:
        warnings.append(f"Cells of {', '.join(plan.unsized)} are missing here: the data are not fetched, so sizes are unknown.")
    for problem in evidence.problems:
        context.say(f"warning: {problem}")
    return write_report(
        workspace=context.workspace,
        profile=context.profile,
        results=results.model_copy(
            update={"warnings": tuple(warnings), "inside": inside_rows(results.cells, evidence.insides)}
        ),
        insides=evidence.insides,
        labels_and_predictions=evidence.predictions,
        with_pdf=with_pdf,
        out=context.say,
    )


def _leaks(context: Context) -> list[str]:
    lines = []
    for name, spec in datasets_of(context.profile, context.catalog).items():
        try:
            manifest = read_manifest(context.workspace, spec)
        except CorruptFile as error:
            lines.append(error.message)
            continue
        if manifest is not None and manifest.num_test_images_in_train:
            count, total = manifest.num_test_images_in_train, manifest.num_test
            lines.append(f"{count} of the {total} test images of {name} also stand in its training part.")
    return lines
