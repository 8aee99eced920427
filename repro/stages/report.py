"""Stage `report`: from the records of a profile's finished cells to the page. Needs neither torch nor a GPU.

Read `report` first.
"""

from datetime import UTC, datetime

from repro.analysis.results import Results
from repro.benchmarks import read_benchmarks
from repro.context import Context
from repro.datasets.glimpses import Glimpse, glimpse
from repro.evidence import Predictions, gather
from repro.histories import gather_histories
from repro.plan import datasets_of
from repro.reckoning import reckon
from repro.rendering import ReportPaths, write_report


def report(context: Context, *, with_pdf: bool) -> ReportPaths:
    """Analyse what is finished and write HTML, PDF, tables and figures; an unfinished matrix gives an honest page."""
    plan = context.plan()
    evidence = gather(list(plan.cells), context.workspace)
    histories = gather_histories(evidence.outcomes, context.workspace)
    results = reckon(
        context.profile,
        evidence,
        catalog=context.catalog,
        workspace=context.workspace,
        unsized=plan.unsized,
        problems=histories.problems,
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    # They are no result: nothing that is claimed depends on them, and `verify` does not ask for them.
    benchmarks, unreadable = read_benchmarks(context.workspace, context.profile.name)
    for problem in (*evidence.problems, *histories.problems, *unreadable):
        context.say(f"warning: {problem}")
    return write_report(
        workspace=context.workspace,
        profile=context.profile,
        results=results,
        labels_and_predictions=evidence.predictions,
        glimpses=_glimpses(context, results, evidence.predictions),
        histories=histories,
        insides=evidence.insides,
        benchmarks=benchmarks,
        with_pdf=with_pdf,
        out=context.say,
    )


def _glimpses(context: Context, results: Results, predictions: Predictions) -> dict[str, Glimpse]:
    """The images that the comparisons of errors name, by data set."""
    specs = datasets_of(context.profile, context.catalog)
    places: dict[str, set[int]] = {}
    labels = {}
    for comparison in results.errors:
        shown = (exemplar.image for exemplar in (*comparison.only_vit, *comparison.only_cnn))
        places.setdefault(comparison.dataset, set()).update(shown)
        labels[comparison.dataset], _ = predictions[comparison.cells[0]]
    return {
        name: glimpse(context.workspace, specs[name], places=sorted(wanted), labels=labels[name])
        for name, wanted in places.items()
    }
