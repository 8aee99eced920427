"""From results to the files of `report/<profile>/`: the page as HTML and PDF, tables, predictions, figures.

Needs neither torch nor a GPU. Must not know run folders or records: it is given results and predictions. Every file is
replaced as a whole, and what an earlier report left and this one does not make is removed. Read `write_report` first.
"""

import datetime
import html
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from repro.analysis.curves import NO_HISTORIES, Histories
from repro.analysis.results import Results
from repro.benchmarks import Benchmark
from repro.catalog import load_catalog
from repro.datasets.glimpses import Glimpse
from repro.errors import EnvironmentProblem
from repro.figures import draw_figures
from repro.inside import Inside
from repro.page import Page, build_page, render_html
from repro.report_files import Predictions, number_paths, write_numbers
from repro.spec import Profile, slug
from repro.svg import Figure, literal
from repro.workspace import Workspace, replacing, write_atomically

PDF_PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
"""What WeasyPrint needs of Debian and Ubuntu."""
SOURCE_DATE_EPOCH = "SOURCE_DATE_EPOCH"
"""Seconds since 1970 that stand in the PDF as its date, where set (reproducible-builds.org)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPaths:
    """What was written."""

    html: Path
    pdf: Path | None
    """None where it was not wanted or the PDF's system libraries are missing."""
    csv: Path
    json: Path
    predictions: Path
    figures: tuple[Path, ...]


def write_report(
    *,
    workspace: Workspace,
    profile: Profile,
    results: Results,
    labels_and_predictions: Predictions,
    glimpses: Mapping[str, Glimpse] | None = None,
    histories: Histories = NO_HISTORIES,
    insides: Mapping[str, Inside] | None = None,
    benchmarks: tuple[Benchmark, ...] = (),
    with_pdf: bool = True,
    out: Callable[[str], None],
) -> ReportPaths:
    """Write the whole report of a profile; `out` gets one line for each thing a user should know.

    `glimpses` are the images that the comparison of errors names, by data set; the page says where there are none.
    `insides` are what cells that were looked into have left, by cell id; `benchmarks` what `vitrepro bench` has measured.

    Without `with_pdf` there is no PDF afterwards, an older one is removed: it would tell of other results.

    Raises DataError where two cells of one data set disagree on its labels, EnvironmentProblem where SOURCE_DATE_EPOCH is no
    number, DiskFull.
    """
    folder = workspace.report_dir(slug(profile.name))
    figures = draw_figures(results, histories, insides)
    page = build_page(
        profile=profile,
        results=results,
        figures=figures,
        catalog=load_catalog(),
        glimpses=glimpses,
        benchmarks=benchmarks,
    )
    numbers = number_paths(folder)
    paths = ReportPaths(
        html=folder / "report.html",
        pdf=folder / "report.pdf",
        csv=numbers.csv,
        json=numbers.json,
        predictions=numbers.predictions,
        figures=tuple(folder / "figures" / f"{figure.name}.svg" for figure in figures.all),
    )
    write_numbers(folder, results, labels_and_predictions)
    _write_figures(folder / "figures", figures.all)
    write_atomically(paths.html, render_html(page))
    pdf = folder / "report.pdf"
    pdf.unlink(missing_ok=True)
    has_pdf = with_pdf and _write_pdf(pdf, page, generated_at=results.generated_at, out=out)
    return replace(paths, pdf=pdf if has_pdf else None)


def _write_figures(folder: Path, figures: tuple[Figure, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        write_atomically(folder / f"{figure.name}.svg", '<?xml version="1.0" encoding="utf-8"?>\n' + literal(figure.svg) + "\n")
    for stale in set(folder.glob("*.svg")) - {folder / f"{figure.name}.svg" for figure in figures}:
        stale.unlink()


def _write_pdf(path: Path, page: Page, *, generated_at: str, out: Callable[[str], None]) -> bool:
    """Render the page for print. Returns False, with the remedy told and no old PDF left, where libraries are missing."""
    try:
        import weasyprint
    except OSError as error:
        path.unlink(missing_ok=True)
        out(
            f"report.pdf was not written: a system library is missing ({' '.join(str(error).split())[:160]}). The HTML "
            f"report is complete. For the PDF install {PDF_PACKAGES} (Debian, Ubuntu: apt-get install {PDF_PACKAGES}) and run "
            "`vitrepro report` again."
        )
        return False
    moment = _date_of_pdf(generated_at)
    dated = re.sub(r'(<meta name="dcterms\.\w+" content=")[^"]*', rf"\g<1>{html.escape(moment)}", render_html(page, paper=True))
    # WeasyPrint says on stderr which screen-only CSS it passes over; that is no user's concern.
    logger = logging.getLogger("weasyprint")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with replacing(path) as temporary:
            weasyprint.HTML(string=literal(dated)).write_pdf(temporary, pdf_identifier=b"vitrepro", pdf_tags=True)
    finally:
        logger.setLevel(level)
    return True


def _date_of_pdf(generated_at: str) -> str:
    """ISO 8601 time of SOURCE_DATE_EPOCH where it is set, else when the results were made."""
    epoch = os.environ.get(SOURCE_DATE_EPOCH)
    if epoch is None:
        return generated_at
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError) as error:
        raise EnvironmentProblem(
            f"{SOURCE_DATE_EPOCH}={epoch!r} is no time.", remedy="Give whole seconds since 1970, or unset it."
        ) from error
