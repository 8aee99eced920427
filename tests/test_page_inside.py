"""The section on the inside of ViTs: complete, unfinished, of an earlier version, damaged, hostile or absent, it is honest."""

import re
from pathlib import Path

import numpy as np
import pytest
import spine
from inside_fixtures import made_up_inside, numbers
from report_fixtures import HOSTILE, make_profile, make_results, make_study

from repro.analysis.claims import evaluate
from repro.analysis.inside import inside_arms, inside_rows
from repro.analysis.inside_results import InsideRow
from repro.analysis.results import ClaimResult, Outcome, Results, Verdict
from repro.catalog import load_catalog
from repro.evidence import gather
from repro.figures import draw_figures
from repro.headline import headline
from repro.inside import INSIDE, Inside, is_looked_into
from repro.page import build_page, render_html
from repro.records import CellStatus, read_record, write_record
from repro.rendering import write_report
from repro.spec import Role
from repro.stages.report import report
from repro.workspace import Workspace

ON_THE_INSIDE = ("positions-in-line-alike", "attention-distance-rises")
SEEN = "These are observations, without interval or verdict."


def looked_into(results: Results, **options: object) -> tuple[Results, dict[str, Inside]]:
    """The results with a made-up look into every finished ViT of the study and the check."""
    rows = [
        row
        for row in results.cells
        if row.status is CellStatus.DONE and is_looked_into(role=row.role, family=row.family, is_probe=row.is_probe)
    ]
    insides = {row.id: made_up_inside(**options) for row in rows}  # type: ignore[arg-type]
    return with_rows(results, inside_rows(results.cells, numbers(insides))), insides


def with_rows(results: Results, rows: tuple[InsideRow, ...]) -> Results:
    return results.model_copy(update={"inside": rows, "inside_arms": inside_arms(rows)})


def with_claims(results: Results, insides: dict[str, Inside], *, claims: tuple[str, ...] = ON_THE_INSIDE) -> Results:
    """The results with what the ledger says of the looks, put behind their other claims."""
    rows = inside_rows(results.cells, numbers(insides))
    predictions = {
        row.id: np.arange(600) < 600 * (row.test_accuracy or 0.0)
        for row in results.cells
        if row.status is CellStatus.DONE and row.role in (Role.STUDY, Role.CONVERGENCE_CHECK)
    }
    outcomes = [Outcome(row=row, record=None) for row in results.cells]
    held = [
        result
        for claim in claims
        for result in evaluate(load_catalog().claims[claim], outcomes, predictions, insides=rows, miniature=True)
    ]
    return results.model_copy(update={"claims": (*results.claims, *held)})


def section_of(results: Results, insides: dict[str, Inside]) -> str:
    figures = draw_figures(results, insides=insides)
    page = build_page(profile=make_profile(), results=results, figures=figures, catalog=load_catalog())
    markup = render_html(page).partition('<section id="inside">')[2].partition("</section>")[0]
    return " ".join(markup.replace("\u00a0", " ").replace("&nbsp;", " ").split())


def test_the_papers_words_stand_beside_the_numbers_of_every_model() -> None:
    results, insides = looked_into(make_results(make_study()))
    assert len(insides) == 41, "8 arms of 5 seeds, and a check that the page leaves to the claims"
    markup = section_of(results, insides)
    assert SEEN in markup and "40 models of this run. Looked into is every seed of every ViT" in markup
    for words in ("patches in the same row/column have similar embeddings", "increases with network depth", "already in the"):
        assert words in markup
    assert "above zero in 40 of 40 models: +0.30. In 40 of them at most 5 % of shuffles" in markup
    assert "mean rises in 40 of 40 models: from the lowest to the highest layer by +1.50 px (least squares" in markup
    assert "the lowest layer has 62.5 % of the distance" in markup
    assert markup.count("<img ") == 6 and markup.count("<svg ") == 1
    table = markup.partition("<tbody>")[2].partition("</tbody>")[0]
    assert table.count("<tr>") == 8 and table.count("1.50 px to 2.50 px") == 8
    assert all(alt for alt in re.findall(r'alt="([^"]*)"', markup))


def test_several_values_are_told_as_a_range() -> None:
    results, insides = looked_into(make_results(make_study()))
    first, *others = results.inside
    lower = {"distance_slope": -0.25, "similarity_difference": -0.011, "shuffle_share": 0.7, "widest_lowest": 4.1}
    changed = with_rows(results, (first.model_copy(update=lower), *others))
    markup = section_of(changed, insides)
    assert "above zero in 39 of 40 models: \u22120.011 to +0.30. In 39 of them" in markup
    assert "rises in 39 of 40 models: from the lowest to the highest layer by \u22120.25 px to +1.50 px" in markup
    assert "has 62.5 % to 102.5 % of" in markup


def test_a_model_of_one_layer_has_no_depth() -> None:
    results, insides = looked_into(make_results(make_study()), layers=1)
    assert "Here every model has one layer only." in section_of(results, insides)


def test_a_matrix_that_is_not_begun_says_so() -> None:
    cells = make_study()
    results = make_results(cells, unfinished={cell.id: CellStatus.PENDING for cell in cells})
    assert "None of the 40 ViT cells that would be looked into is finished." in section_of(results, {})
    assert "This profile trains no ViT whole" in section_of(make_results([]), {})


def test_cells_without_a_file_are_counted() -> None:
    results, insides = looked_into(make_results(make_study()))
    bare = with_rows(results, ())
    assert "None of the 40 finished ViTs left anything to look at" in section_of(bare, {})
    some = with_rows(results, tuple(row for row in results.inside if row.role is Role.STUDY)[:37])
    assert "3 further finished ViTs left nothing to look at" in section_of(some, insides)


def test_names_that_are_no_names_are_escaped() -> None:
    results, insides = looked_into(make_results(make_study(num_seeds=1, dataset=HOSTILE, vit=HOSTILE)))
    markup = section_of(results, insides)
    assert "<script" not in markup and "&lt;script&gt;" in markup and "\u202e" not in markup


def test_the_section_is_small_and_its_figure_a_file_and_its_numbers_in_the_json(tmp_path: Path) -> None:
    results, insides = looked_into(
        make_results(make_study()), side=14, channels=3, patch=16, picture=64, num_pictures=8, layers=12, heads=12
    )
    assert len(section_of(results, insides)) < 150_000
    paths = write_report(
        workspace=Workspace(home=tmp_path),
        profile=make_profile(),
        results=results,
        labels_and_predictions={},
        insides=insides,
        with_pdf=False,
        out=print,
    )
    assert "inside-1.svg" in {path.name for path in paths.figures}
    written = Results.model_validate_json(paths.json.read_text())
    assert written.inside == results.inside


def test_a_real_run_is_looked_into(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    paths = report(context, with_pdf=False)
    written = Results.model_validate_json(paths.json.read_text())
    looked = {(row.init, row.num_train_images) for row in written.inside}
    assert looked == {("scratch", 12), ("scratch", 40), ("upstream:marks@30", 12)}
    study = [row for row in written.inside if row.role is Role.STUDY]
    assert sorted(row.seed for row in study) == [1] * 3 + [2] * 3 and len(written.inside) == 7
    assert [arm.num_seeds for arm in written.inside_arms] == [2, 2, 2]
    assert "6\u00a0models of this run" in paths.html.read_text()
    held = [result for result in written.claims if result.id == "positions-in-line-alike"]
    [point] = [point for result in held for point in result.points if point.num_train_images == 40]
    values = [row.similarity_difference for row in study if row.cell in point.cells]
    assert point.estimate.value == pytest.approx(np.mean(values)) and point.estimate.num_seeds == len(values) == 2
    assert not any(result.id == "attention-distance-rises" for result in written.claims), "one layer has no depth"


@pytest.mark.parametrize("damage", ["cut", "absent", "unknown"])
def test_a_file_that_is_not_what_the_record_says_is_a_warning_and_costs_nothing_else(damage: str, tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, lines = spine.make_context(profile, home)
    spine.fetch(context)
    [folder] = [one for cell, one in spine.cell_dirs(home).items() if cell == "dots.n40.tiny_vit.scratch.plain.s1"]
    path = folder / INSIDE
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif damage == "absent":
        path.unlink()
    else:  # an older record, of a version that knew no such file
        record = read_record(folder)
        assert record is not None
        digests = {name: digest for name, digest in record.files_sha256.items() if name != INSIDE}
        write_record(folder, record.model_copy(update={"files_sha256": digests, "inside": None}))
    entries = list(context.plan().cells)
    evidence = gather(entries, context.workspace)
    # Of each of three arms one seed's file is read; where the first cannot be, the second takes its place.
    assert {cell.rpartition(".")[2] for cell in evidence.insides} == {"s1", "s2"} and len(evidence.insides) == 3
    assert len(evidence.predictions) == spine.NUM_CELLS
    assert all(outcome.row.status is CellStatus.DONE for outcome in evidence.outcomes)
    paths = report(context, with_pdf=False)
    html = paths.html.read_text()
    [claim] = [
        result
        for result in Results.model_validate_json(paths.json.read_text()).claims
        if result.id == "positions-in-line-alike"
    ]
    if damage == "unknown":
        assert evidence.problems == ()
        assert "1\u00a0further finished ViT left nothing to look at" in html
        assert "not looked into" in claim.reason and "dots.n40.tiny_vit.scratch.plain.s1" in claim.reason
    else:
        (problem,) = evidence.problems
        home = context.workspace.home
        assert str(path.relative_to(home)) in problem and str(home) not in html
        assert "The pictures of dots.n40.tiny_vit.scratch.plain.s1 from within" in problem
        assert any(problem in line for line in lines)
        assert path.name in html.partition('id="warnings"')[2]
        assert "left nothing to look at" not in html and "not looked into" not in claim.reason, "numbers are in the record"


def varied(results: Results) -> tuple[Results, dict[str, Inside]]:
    """A look into every ViT whose numbers differ from seed to seed, with what the ledger says of them."""
    results, insides = looked_into(results)
    seeds = {row.id: row.seed for row in results.cells}
    insides = {cell: made_up_inside(structure=0.3 + 0.01 * seeds[cell], rise=0.1 * seeds[cell] - 0.3) for cell in insides}
    return with_claims(with_rows(results, inside_rows(results.cells, numbers(insides))), insides), insides


def page_of(results: Results, insides: dict[str, Inside], *, paper: bool = False) -> str:
    figures = draw_figures(results, insides=insides)
    page = build_page(profile=make_profile(), results=results, figures=figures, catalog=load_catalog())
    return " ".join(render_html(page, paper=paper).replace("\u00a0", " ").replace("&nbsp;", " ").split())


def test_the_section_leads_to_the_ledgers_entries_and_says_what_they_found() -> None:
    results, insides = varied(make_results(make_study()))
    assert [result.verdict for result in results.claims[3:]] == [Verdict.SUPPORTED, Verdict.INCONCLUSIVE]
    markup = section_of(results, insides)
    assert SEEN not in markup and "The first two statements stand in the ledger, with interval and verdict" in markup
    links = re.findall(r'<a href="#(claim-\d+-entry)">(\w+)</a>, (\S+ [^.<]*)', markup)
    assert [found[:2] for found in links] == [("claim-4-entry", "supported"), ("claim-5-entry", "inconclusive")]
    assert "+0.330 in cosine similarity [+0.310, +0.350]" in markup
    assert "0.0 % of uniform attention&#39;s distance [\u22124.9, +4.9]" in markup
    page = page_of(results, insides)
    assert all(f'id="{anchor}"' in page for anchor, _, _ in links)


@pytest.mark.parametrize("paper", [False, True])
def test_the_ledger_has_their_units_and_no_log_odds_for_them(paper: bool) -> None:
    results, insides = varied(make_results(make_study()))
    page = page_of(results, insides, paper=paper)
    entry = page.partition('id="claim-4-entry"')[2].partition("</article>")[0]
    assert "log-odds" not in entry and "percentage points" not in entry and "Accuracy (" not in entry
    assert '<b class="value">+0.330 in cosine similarity</b> 95 % interval [+0.310, +0.350], 5 seeds' in entry
    assert "Mean, in cosine similarity</th>" in entry and "over seeds alone" in page
    several = results.model_copy(update={"claims": (*results.claims, *results.claims[3:])})
    overview = page_of(several, insides, paper=paper).partition('<table class="overview">')[2].partition("</table>")[0]
    assert (
        "Measured (points, or as named)" in overview
        and '+0.330 <span class="unit">in cosine similarity</span></td>' in overview
    )


def test_the_first_sentence_stays_on_vit_against_cnn() -> None:
    results = make_results(make_study())
    more, insides = varied(results)
    assert headline(more) == headline(results)
    alone = with_claims(more.model_copy(update={"claims": ()}), insides)
    assert "supports that position embeddings in one row or column are alike" in headline(alone)
    counted = more.model_copy(
        update={"claims": (*[_of(results, Verdict.SUPPORTED, number) for number in range(3)], *more.claims)}
    )
    assert "supports 4 of the 6 accuracy claims tested" in headline(counted)


def _of(results: Results, verdict: Verdict, number: int) -> ClaimResult:
    return results.claims[0].model_copy(update={"id": f"claim-{number}", "verdict": verdict})


def test_many_entries_are_counted() -> None:
    results, insides = varied(make_results(make_study()))
    several = results.model_copy(update={"claims": (*results.claims[:3], *results.claims[3:4] * 8)})
    markup = section_of(several, insides)
    assert 'In the <a href="#claim-4-entry">ledger</a> it is supported in 8 of 8 entries.' in markup
