"""Stage `report`: from the records of a profile's finished cells to the page. Needs neither torch nor a GPU.

Read `report` first.
"""

from datetime import UTC, datetime

from repro.context import Context
from repro.evidence import gather
from repro.reckoning import reckon
from repro.rendering import ReportPaths, write_report


def report(context: Context, *, with_pdf: bool) -> ReportPaths:
    """Analyse what is finished and write HTML, PDF, tables and figures; an unfinished matrix gives an honest page."""
    plan = context.plan()
    evidence = gather(list(plan.cells), context.workspace)
    results = reckon(
        context.profile,
        evidence,
        catalog=context.catalog,
        workspace=context.workspace,
        unsized=plan.unsized,
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    for problem in evidence.problems:
        context.say(f"warning: {problem}")
    return write_report(
        workspace=context.workspace,
        profile=context.profile,
        results=results,
        labels_and_predictions=evidence.predictions,
        with_pdf=with_pdf,
        out=context.say,
    )
