import builtins
import csv
import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pypdf
import pytest
from report_fixtures import HOSTILE, LABELS, make_profile, make_results, make_study

from repro.analysis.results import Results
from repro.errors import DataError, EnvironmentProblem
from repro.records import CellStatus
from repro.rendering import PDF_PACKAGES, ReportPaths, write_report
from repro.workspace import Workspace

SMALL: dict[str, Any] = {"sizes": (50, 1197), "upstream_sizes": (2000,), "num_seeds": 2}


class Page(HTMLParser):
    """The elements, links and visible text of a page."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


def no_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the import of WeasyPrint fail as it does without Pango."""
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name == "weasyprint":
            raise OSError("cannot load library 'libpango-1.0-0'")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)


def predictions(results: Results) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    done = [row for row in results.cells if row.status is CellStatus.DONE and row.dataset != "glyphs"]
    return {row.id: (LABELS, (LABELS + row.seed) % 10) for row in done}


def report(home: Path, results: Results, said: list[str] | None = None) -> ReportPaths:
    return write_report(
        workspace=Workspace(home=home),
        profile=make_profile(),
        results=results,
        labels_and_predictions=predictions(results),
        out=(said if said is not None else []).append,
    )


def test_a_report_is_complete_self_contained_and_traceable(tmp_path: Path) -> None:
    results = make_results(make_study(**SMALL), warnings=("Devices are mixed.",))
    said: list[str] = []
    paths = report(tmp_path, results, said)
    assert said == []
    assert paths.html == tmp_path / "report" / "demo" / "report.html"
    assert Results.model_validate_json(paths.json.read_text()) == results
    assert json.loads(paths.json.read_text())["schema_version"] == 1
    with paths.csv.open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [row.id for row in results.cells]

    markup = paths.html.read_text()
    page = Page(markup)
    assert "script" not in page.tags and "link" not in page.tags and "img" not in page.tags
    assert [value for name, value in page.attributes if name in ("src", "href") and "//" in value] == [
        "https://arxiv.org/abs/2010.11929"
    ]
    assert "@import" not in markup and "url(http" not in markup
    assert len(page.ids) == len(set(page.ids))
    inner = {value[1:] for name, value in page.attributes if name == "href" and value.startswith("#")}
    assert inner <= set(page.ids)
    for words in ("supported", "contradicted", "inconclusive", "miniature", "Devices are mixed.", "2010.11929", "CC BY 4.0"):
        assert words in page.text
    assert "vitrepro all --profile demo" in page.text
    headings = [int(tag[1]) for tag in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))

    assert paths.pdf is not None
    pdf = pypdf.PdfReader(paths.pdf)
    assert pdf.metadata is not None and "demo" in str(pdf.metadata.title)
    assert pdf.trailer["/Root"]["/Lang"] == "en"
    text = "".join(sheet.extract_text() for sheet in pdf.pages)
    assert f"{len(pdf.pages)} / {len(pdf.pages)}" in text
    assert pdf.outline


def test_the_same_results_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    results = make_results(make_study(**SMALL), verdicts=False)
    first, second = report(tmp_path / "a", results), report(tmp_path / "b", results)
    for one, other in zip(
        (first.html, first.pdf, first.csv, first.json, first.predictions, *first.figures),
        (second.html, second.pdf, second.csv, second.json, second.predictions, *second.figures),
        strict=True,
    ):
        assert one is not None and other is not None
        assert one.read_bytes() == other.read_bytes(), one.name
    assert first.pdf is not None
    metadata = pypdf.PdfReader(first.pdf).metadata
    assert metadata is not None and "20231114221320" in str(metadata.creation_date_raw)


def test_a_bad_source_date_is_a_users_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(EnvironmentProblem, match="'soon' is no time"):
        report(tmp_path, make_results(make_study(**SMALL), verdicts=False))


def test_without_pango_the_page_is_written_and_no_stale_pdf_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "report" / "demo" / "report.pdf"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"%PDF of another day")
    no_pdf(monkeypatch)
    said: list[str] = []
    paths = report(tmp_path, make_results(make_study(**SMALL)), said)
    assert paths.pdf is None and not stale.exists()
    assert paths.html.exists()
    assert len(said) == 1 and f"apt-get install {PDF_PACKAGES}" in said[0] and "libpango" in said[0]


def test_predictions_hold_each_cell_once_and_labels_once_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pdf(monkeypatch)
    results = make_results(make_study(**SMALL))
    with np.load(report(tmp_path, results).predictions, allow_pickle=False) as archive:
        assert set(archive) == {"labels/digits"} | {f"predicted/{cell_id}" for cell_id in predictions(results)}
        for cell_id, (labels, predicted) in predictions(results).items():
            assert np.array_equal(archive["labels/digits"], labels)
            assert np.array_equal(archive[f"predicted/{cell_id}"], predicted)
            assert archive[f"predicted/{cell_id}"].dtype == np.int32


def test_cells_that_disagree_on_the_labels_are_refused(tmp_path: Path) -> None:
    results = make_results(make_study(**SMALL))
    given = dict(predictions(results))
    last = list(given)[-1]
    given[last] = (LABELS[::-1], LABELS)
    with pytest.raises(DataError, match="other labels"):
        write_report(
            workspace=Workspace(home=tmp_path), profile=make_profile(), results=results, labels_and_predictions=given, out=print
        )


def test_figures_of_an_earlier_report_do_not_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pdf(monkeypatch)
    cells = make_study(**SMALL)
    before = report(tmp_path, make_results(cells))
    after = report(tmp_path, make_results(cells, unfinished={cell.id: CellStatus.PENDING for cell in cells}, verdicts=False))
    assert len(before.figures) == 9 and after.figures == ()
    assert not any(path.exists() for path in before.figures)


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_unfinished_matrices_give_an_honest_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_seeds: int) -> None:
    no_pdf(monkeypatch)
    cells = make_study(**{**SMALL, "num_seeds": num_seeds})
    states = {
        cells[0].id: CellStatus.FAILED,
        cells[1].id: CellStatus.BLOCKED,
        cells[2].id: CellStatus.UNFETCHED,
        cells[3].id: CellStatus.PENDING,
    }
    text = Page(report(tmp_path, make_results(cells, unfinished=states, verdicts=False)).html.read_text()).text
    assert f"{len(cells) - 4} of {len(cells)}" in text
    for cell_id, state in states.items():
        assert cell_id in text and f"because of {state.value}" in text
    assert "reaches no verdict" in text
    if num_seeds == 1:
        assert "no interval" in text


def test_an_empty_matrix_gives_a_page_without_numbers_or_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pdf(monkeypatch)
    cells = make_study(**SMALL)
    results = make_results(cells, unfinished={cell.id: CellStatus.PENDING for cell in cells}, verdicts=False)
    paths = report(tmp_path, results)
    text = Page(paths.html.read_text()).text
    assert "Nothing is measured yet" in text
    assert "No claim has been held against measurements" in text
    assert "<svg" not in paths.html.read_text()
    no_cells = report(tmp_path / "none", results.model_copy(update={"cells": ()}))
    assert "The profile has no cells yet." in Page(no_cells.html.read_text()).text


def test_hostile_names_are_shown_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pdf(monkeypatch)
    hostile = HOSTILE[:200]
    cells = make_study(**SMALL, dataset=hostile, vit=HOSTILE[:150], cnn=f"\u05d0\u05d1 {HOSTILE[:100]}")
    results = make_results(cells, profile=hostile, warnings=(HOSTILE,))
    paths = report(tmp_path, results)
    page = Page(paths.html.read_text())
    assert "script" not in page.tags
    assert "<script>alert('x')</script> \"quoted\" & $\\alpha$" in page.text
    assert "\u202e" not in paths.html.read_text(), "an override would turn the direction of what follows"
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert all(tmp_path in path.parents for path in (paths.html, *paths.figures))


def test_importing_the_stage_loads_nothing_heavy() -> None:
    heavy = ("torch", "matplotlib", "weasyprint", "jinja2")
    code = f"import sys, repro.rendering; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert result.stdout.strip() == "[]"
