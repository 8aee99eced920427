"""Results -> the page: what the templates are given, computed by pure code, and the rendering itself.

It arranges numbers that stand in `Results`; the first sentence comes from `repro.headline`.
Must not know files, records or the PDF. Read `build_page` first.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repro.analysis.results import CellRow, ClaimResult, Results, Verdict
from repro.analysis.rules import own_scale
from repro.analysis.statistics import Scale
from repro.analysis.wording import bounds, measure_in_words
from repro.analysis.wording import number as number_in_words
from repro.benchmarks import Benchmark
from repro.catalog import Catalog
from repro.datasets.glimpses import Glimpse
from repro.figures import Figures
from repro.formatting import FAMILY_NAMES, FILTERS
from repro.headline import headline
from repro.page.checkpoints import Checkpoints, checkpoints_of
from repro.page.compute import ComputeNotes, compute_notes
from repro.page.curves import CurveNotes, curve_notes
from repro.page.errors import ErrorSection, error_section
from repro.page.glance import Glance, glances
from repro.page.inside import InsideSection, inside_section
from repro.page.pretraining import PretrainingNotes, pretraining_notes
from repro.page.protocol import ModelRow, RecipeColumn, model_rows, recipe_columns
from repro.page.rates import SearchTable, search_tables
from repro.page.speed import SpeedTable, speed_section
from repro.page.training import ConvergenceCheck, TrainingRow, convergence_checks, training_rows
from repro.plan import datasets_of
from repro.records import CellStatus
from repro.spec import DatasetSpec, Profile
from repro.svg import Figure

PAPER_BIBTEX = """\
@inproceedings{dosovitskiy2021image,
  title     = {An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale},
  author    = {Alexey Dosovitskiy and Lucas Beyer and Alexander Kolesnikov and Dirk Weissenborn and Xiaohua Zhai and
               Thomas Unterthiner and Mostafa Dehghani and Matthias Minderer and Georg Heigold and Sylvain Gelly and
               Jakob Uszkoreit and Neil Houlsby},
  booktitle = {International Conference on Learning Representations},
  year      = {2021},
  url       = {https://arxiv.org/abs/2010.11929}
}"""


MOST_PRINTED = 150
"""Rows of a table that print shows; the page on the screen has them all."""
MOST_UNFOLDED = 60
"""Rows of a table that the screen shows unfolded."""
MOST_EXPLAINED = 12
"""Claims that print shows with scope and rule; beside more it has their points only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A claim or an observation with what its numbers mean."""

    result: ClaimResult
    figure: Figure | None
    anchor: str
    """Its id in the page."""
    measure: str
    """What is measured, in words."""
    unit: str
    """Of the measured value."""
    scale: Scale
    """What the measured value is a number of."""
    decisive: str
    """Which of several points is quoted; empty where there is one."""
    has_faint_points: bool
    """Whether the figure shows points that the claim is not made for beside those that count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that the templates show."""

    results: Results
    profile: Profile
    figures: Figures
    headline: str
    glances: tuple[Glance, ...]
    """What was measured, in a few lines."""
    tally: dict[Verdict, int]
    """Number of ledger entries by verdict, every verdict named."""
    claims: tuple[LedgerEntry, ...]
    observations: tuple[LedgerEntry, ...]
    num_done: int
    """Finished cells."""
    status_counts: dict[CellStatus, int]
    """Cells by status, absent ones left out."""
    unfinished: tuple[CellRow, ...]
    """Cells that are not done."""
    cell_seconds: float
    """Seconds of all finished cells together."""
    energy_j: float | None
    """Joules of all finished cells together; None unless every one has its own measurement."""
    cell_anchors: dict[str, str]
    """Id in the page of each cell's row, by cell id."""
    training: tuple[TrainingRow, ...]
    checks: tuple[ConvergenceCheck, ...]
    inside: InsideSection
    datasets: tuple[DatasetSpec, ...]
    recipes: tuple[RecipeColumn, ...]
    models: tuple[ModelRow, ...]
    checkpoints: Checkpoints | None
    """Published weights; None where no cell starts from any."""
    searches: tuple[SearchTable, ...]
    """Searches for learning rates, by recipe."""
    errors: ErrorSection
    pretraining: PretrainingNotes
    compute: ComputeNotes
    curves: CurveNotes
    speed: tuple[SpeedTable, ...]
    """Benchmarks, by device; empty where the home holds none."""
    bibtex: str


def build_page(
    *,
    profile: Profile,
    results: Results,
    figures: Figures,
    catalog: Catalog,
    glimpses: Mapping[str, Glimpse] | None = None,
    benchmarks: tuple[Benchmark, ...] = (),
) -> Page:
    """Arrange the results for the templates; `glimpses` are images of `results.errors`, by data set, `benchmarks` by device.

    Raises ProfileError where the profile names what nobody knows.
    """
    done = [row for row in results.cells if row.status is CellStatus.DONE]
    tally = dict.fromkeys(Verdict, 0)
    for result in results.claims:
        if result.verdict is not None:
            tally[result.verdict] += 1
    statuses = [row.status for row in results.cells]
    energies = [row.energy_j for row in done if row.energy_j is not None and not row.device_shared]
    return Page(
        results=results,
        profile=profile,
        figures=figures,
        headline=headline(results),
        glances=glances(results),
        tally=tally,
        claims=_entries(results.claims, figures.claims, "claim"),
        observations=_entries(results.observations, figures.observations, "observation"),
        num_done=len(done),
        status_counts={status: statuses.count(status) for status in CellStatus if status in statuses},
        unfinished=tuple(row for row in results.cells if row.status is not CellStatus.DONE),
        cell_seconds=sum(row.total_s or 0.0 for row in done),
        energy_j=sum(energies) if energies and len(energies) == len(done) else None,
        cell_anchors={row.id: f"cell-{number}" for number, row in enumerate(results.cells, 1)},
        training=training_rows(done),
        checks=convergence_checks(results.cells),
        inside=inside_section(results, figures.inside),
        datasets=tuple(datasets_of(profile, catalog).values()),
        recipes=recipe_columns(profile, catalog),
        models=model_rows(profile, catalog, results.cells),
        checkpoints=checkpoints_of(profile, results, catalog),
        searches=search_tables(results.cells),
        errors=error_section(results, figures.classes, glimpses or {}),
        pretraining=pretraining_notes(results),
        compute=compute_notes(results),
        curves=curve_notes(figures.curves, num_left_out=figures.num_curves_left_out),
        speed=speed_section(benchmarks),
        bibtex=PAPER_BIBTEX,
    )


def render_html(page: Page, *, paper: bool = False) -> str:
    """The whole page as one HTML text: CSS, figures and the script for sorting inline, names escaped.

    On `paper` there is no script, and what print leaves out is not even there: a PDF of thousands of cells takes seconds.
    """
    import jinja2

    folder = templates_dir()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS | {"number": number_in_words, "bounds": bounds})
    environment.globals |= {
        "family_names": FAMILY_NAMES,
        "paper": paper,
        "shown": (lambda rows: rows[:MOST_PRINTED]) if paper else (lambda rows: rows),
        "most_printed": MOST_PRINTED,
        "most_unfolded": MOST_UNFOLDED,
        "most_explained": MOST_EXPLAINED,
    }
    stylesheet, script = (_text_of(folder / name) for name in ("report.css", "report.js"))
    return environment.get_template("report.html").render(
        page=page, results=page.results, stylesheet=stylesheet, script=script, script_sha256=_csp_digest(script)
    )


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").rstrip()


def _csp_digest(script: str) -> str:
    """What a Content Security Policy calls the inline script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def templates_dir() -> Path:
    """The folder of templates: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).parent.parent
    inside = package / "report_templates"
    return inside if inside.is_dir() else package.parent / "report_templates"


def _entries(results: tuple[ClaimResult, ...], figures: tuple[Figure | None, ...], kind: str) -> tuple[LedgerEntry, ...]:
    entries = []
    for number, (result, figure) in enumerate(zip(results, figures, strict=True), 1):
        measure, unit = measure_in_words(result.claim)
        which = "weakest" if result.claim.quantifier == "every" else "strongest"
        # Where some points are inside the claim's scope, only those can decide.
        num_counting = sum(point.in_scope for point in result.points) or len(result.points)
        entries.append(
            LedgerEntry(
                result=result,
                figure=figure,
                anchor=f"{kind}-{number}-entry",
                measure=measure,
                unit=unit,
                scale=own_scale(result.claim),
                decisive=f"the {which} of {num_counting}" if num_counting > 1 else "",
                has_faint_points=num_counting < len(result.points),
            )
        )
    return tuple(entries)
