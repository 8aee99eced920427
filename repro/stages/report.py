"""Stage `report`: from the records of a profile's finished cells to the page. Needs neither torch nor a GPU.

Read `report` first.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from repro.analysis.assemble import assemble
from repro.analysis.inside import inside_rows
from repro.analysis.results import Results
from repro.context import Context
from repro.datasets import Manifest, read_manifest
from repro.datasets.glimpses import Glimpse, glimpse
from repro.errors import CorruptFile
from repro.evidence import Predictions, gather
from repro.histories import gather_histories
from repro.plan import datasets_of
from repro.rendering import ReportPaths, write_report


def report(context: Context, *, with_pdf: bool) -> ReportPaths:
    """Analyse what is finished and write HTML, PDF, tables and figures; an unfinished matrix gives an honest page."""
    plan = context.plan()
    evidence = gather(list(plan.cells), context.workspace)
    manifests, damaged = _manifests(context)
    claims = context.profile.claims or tuple(context.catalog.claims)
    results = assemble(
        context.profile,
        evidence.outcomes,
        {cell_id: labels == predicted for cell_id, (labels, predicted) in evidence.predictions.items()},
        [context.catalog.claims[claim] for claim in claims],
        # A profile's own pair takes the place of a shipped one of the same name.
        pairs=(context.catalog.pairs | {pair.name: pair for pair in context.profile.pair}).values(),
        answers=evidence.predictions,
        class_names={name: manifest.class_names for name, manifest in manifests.items()},
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    histories = gather_histories(evidence.outcomes, context.workspace)
    problems = [*evidence.problems, *histories.problems]
    warnings = [*results.warnings, *damaged, *_leaks(manifests), *problems]
    if plan.unsized:
        warnings.append(f"Cells of {', '.join(plan.unsized)} are missing here: the data are not fetched, so sizes are unknown.")
    for problem in problems:
        context.say(f"warning: {problem}")
    return write_report(
        workspace=context.workspace,
        profile=context.profile,
        results=results.model_copy(
            update={"warnings": tuple(warnings), "inside": inside_rows(results.cells, evidence.insides)}
        ),
        insides=evidence.insides,
        labels_and_predictions=evidence.predictions,
        glimpses=_glimpses(context, results, evidence.predictions),
        histories=histories,
        with_pdf=with_pdf,
        out=context.say,
    )


def _manifests(context: Context) -> tuple[dict[str, Manifest], list[str]]:
    """The manifests of the data sets that are there, by name, and what is wrong with others."""
    found, damaged = {}, []
    for name, spec in datasets_of(context.profile, context.catalog).items():
        try:
            manifest = read_manifest(context.workspace, spec)
        except CorruptFile as error:
            damaged.append(error.message)
            continue
        if manifest is not None:
            found[name] = manifest
    return found, damaged


def _leaks(manifests: Mapping[str, Manifest]) -> list[str]:
    return [
        f"{manifest.num_test_images_in_train} of the {manifest.num_test} test images of {name} also stand in its training part."
        for name, manifest in manifests.items()
        if manifest.num_test_images_in_train
    ]


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
