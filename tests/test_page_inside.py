"""The section on the inside of ViTs: complete, unfinished, of an earlier version, damaged, hostile or absent, it is honest."""

import re
from pathlib import Path

import pytest
import spine
from inside_fixtures import made_up_inside
from report_fixtures import HOSTILE, make_profile, make_results, make_study

from repro.analysis.inside import inside_rows
from repro.analysis.results import Results
from repro.catalog import load_catalog
from repro.evidence import gather
from repro.figures import draw_figures
from repro.inside import INSIDE, Inside, is_looked_into
from repro.page import build_page, render_html
from repro.records import CellStatus, read_record, write_record
from repro.rendering import write_report
from repro.spec import Role
from repro.stages.report import report
from repro.workspace import Workspace

SEEN = "Each number is that of one model and has no interval; these are observations, without verdict."


def looked_into(results: Results, **options: object) -> tuple[Results, dict[str, Inside]]:
    """The results with a made-up look into every finished ViT of the first seed."""
    rows = [
        row
        for row in results.cells
        if row.status is CellStatus.DONE
        and is_looked_into(role=row.role, family=row.family, seed=row.seed, first_seed=1, is_probe=row.is_probe)
    ]
    insides = {row.id: made_up_inside(**options) for row in rows}  # type: ignore[arg-type]
    return results.model_copy(update={"inside": inside_rows(results.cells, insides)}), insides


def section_of(results: Results, insides: dict[str, Inside]) -> str:
    figures = draw_figures(results, insides=insides)
    page = build_page(profile=make_profile(), results=results, figures=figures, catalog=load_catalog())
    markup = render_html(page).partition('<section id="inside">')[2].partition("</section>")[0]
    return " ".join(markup.replace("\u00a0", " ").replace("&nbsp;", " ").split())


def test_the_papers_words_stand_beside_the_numbers_of_every_model() -> None:
    results, insides = looked_into(make_results(make_study()))
    assert len(insides) == 8
    markup = section_of(results, insides)
    assert SEEN in markup and "8 models of this run: seed 1" in markup
    for words in ("patches in the same row/column have similar embeddings", "increases with network depth", "already in the"):
        assert words in markup
    assert "above zero in 8 of 8 models: +0.30. In 8 of them at most 5 % of shuffles" in markup
    assert "mean rises in 8 of 8 models: from the lowest to the highest layer by +1.50 px (least squares" in markup
    assert "the lowest layer has 62.5 % of the distance" in markup
    assert markup.count("<img ") == 6 and markup.count("<svg ") == 1
    table = markup.partition("<tbody>")[2].partition("</tbody>")[0]
    assert table.count("<tr>") == 8 and table.count("1.50 px to 2.50 px") == 8
    assert all(alt for alt in re.findall(r'alt="([^"]*)"', markup))


def test_several_values_are_told_as_a_range() -> None:
    results, insides = looked_into(make_results(make_study()))
    first, *others = results.inside
    lower = {"distance_slope": -0.25, "similarity_difference": -0.011, "shuffle_share": 0.7, "widest_lowest": 4.1}
    changed = results.model_copy(update={"inside": (first.model_copy(update=lower), *others)})
    markup = section_of(changed, insides)
    assert "above zero in 7 of 8 models: \u22120.011 to +0.30. In 7 of them" in markup
    assert "rises in 7 of 8 models: from the lowest to the highest layer by \u22120.25 px to +1.50 px" in markup
    assert "has 62.5 % to 102.5 % of" in markup


def test_a_model_of_one_layer_has_no_depth() -> None:
    results, insides = looked_into(make_results(make_study()), layers=1)
    assert "Here every model has one layer only." in section_of(results, insides)


def test_a_matrix_that_is_not_begun_says_so() -> None:
    cells = make_study()
    results = make_results(cells, unfinished={cell.id: CellStatus.PENDING for cell in cells})
    assert "None of the 8 ViT cells of seed 1 that would be looked into is finished." in section_of(results, {})
    assert "This profile trains no ViT whole" in section_of(make_results([]), {})


def test_cells_without_a_file_are_counted() -> None:
    results, insides = looked_into(make_results(make_study()))
    bare = results.model_copy(update={"inside": ()})
    assert "None of the 8 finished ViTs of seed 1 left anything to look at" in section_of(bare, {})
    some = results.model_copy(update={"inside": results.inside[:5]})
    assert "3 further finished ViTs of that seed left nothing to look at" in section_of(some, insides)


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
    assert looked == {("scratch", 12), ("scratch", 40), ("upstream:marks@30", 12)} and len(written.inside) == 3
    assert {row.seed for row in written.inside} == {1}
    assert "3\u00a0models of this run" in paths.html.read_text()


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
        write_record(folder, record.model_copy(update={"files_sha256": digests}))
    entries = list(context.plan().cells)
    evidence = gather(entries, context.workspace)
    assert len(evidence.insides) == 2 and len(evidence.predictions) == spine.NUM_CELLS
    assert all(outcome.row.status is CellStatus.DONE for outcome in evidence.outcomes)
    paths = report(context, with_pdf=False)
    html = paths.html.read_text()
    assert "1\u00a0further finished ViT of that seed left nothing to look at" in html
    if damage == "unknown":
        assert evidence.problems == ()
    else:
        (problem,) = evidence.problems
        home = context.workspace.home
        assert str(path.relative_to(home)) in problem and str(home) not in html
        assert "left out of the section on the inside of ViTs" in problem
        assert any(problem in line for line in lines)
        assert path.name in html.partition('id="warnings"')[2]


def test_study_rows_are_the_only_ones_looked_for() -> None:
    results, _ = looked_into(make_results(make_study()))
    roles = {row.id: row.role for row in results.cells}
    assert {roles[row.cell] for row in results.inside} == {Role.STUDY}
