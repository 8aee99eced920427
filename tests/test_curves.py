"""Learning curves: which cells, read from where, thinned how; what figures and page say; what a damaged log costs."""

import itertools
import re
from html import unescape
from pathlib import Path

import pytest
import spine
from costly_study import made_up_histories, made_up_history
from full_study import PROFILE as FULL
from full_study import full_results, full_study
from published_study import published_results, published_study
from report_fixtures import make_profile, make_results, make_study

from repro.analysis.curves import MOST_MODELS, MOST_POINTS, NO_HISTORIES, Histories, chosen_cells, thinned
from repro.analysis.results import Results
from repro.catalog import load_catalog
from repro.evidence import gather
from repro.figures import draw_figures
from repro.figures.curves import curves_title
from repro.histories import gather_histories
from repro.page import build_page, render_html
from repro.records import EPOCHS, CellStatus, read_epochs
from repro.spec import Profile, Role


@pytest.fixture(scope="module")
def full() -> Results:
    return full_results(full_study(num_images=100))


def section(results: Results, histories: Histories, profile: Profile) -> str:
    """The visible words of the section."""
    results = results.model_copy(update={"claims": (), "observations": ()})
    figures = draw_figures(results, histories)
    markup = render_html(build_page(profile=profile, results=results, figures=figures, catalog=load_catalog()))
    markup = markup.partition('<section id="curves">')[2].partition("</section>")[0]
    return " ".join(unescape(re.sub(r"<svg.*?</svg>|<[^>]*>", " ", markup, flags=re.S)).replace("\u00a0", " ").split())


def test_the_largest_size_and_first_seed_of_each_data_set_and_recipe_are_chosen(full: Results) -> None:
    chosen = chosen_cells(full.cells)
    assert [(place.cells[0].dataset, place.cells[0].recipe) for place in chosen] == [
        (dataset, recipe)
        for dataset in ("cifar10", "cifar100")
        for recipe in ("cifar-finetune", "cifar-plain", "cifar-plain+4x", "cifar-strong", "cifar-strong+4x")
    ]
    for place in chosen:
        assert [(row.family, row.num_train_images, row.seed) for row in place.cells] == [("vit", 50000, 1), ("cnn", 50000, 1)]
    assert {row.num_upstream_images for row in chosen[0].cells} == {100000}


def test_the_seed_is_the_first_that_both_families_have_finished(full: Results) -> None:
    rows = [row for row in full.cells if not (row.family == "vit" and row.seed == 1)]
    plain = next(place for place in chosen_cells(rows) if place.cells[0].recipe == "cifar-plain")
    assert [row.seed for row in plain.cells] == [2, 2]
    only_one = [row for row in full.cells if row.family == "cnn"]
    assert all(len(place.cells) == 1 for place in chosen_cells(only_one))


def test_upstream_runs_are_shown_and_searches_for_a_rate_are_not() -> None:
    results = published_results(published_study(num_images=60))
    chosen = chosen_cells(results.cells)
    assert not [row for place in chosen for row in place.cells if row.role is Role.LR_SEARCH]
    short = next(place for place in chosen if place.cells[0].recipe == "finetune-short")
    assert [row.family for row in short.cells] == ["vit"] * MOST_MODELS + ["cnn"] * MOST_MODELS
    assert short.num_left_out == 8
    own = chosen_cells(make_results(make_study(), verdicts=False).cells)
    assert "micro-upstream" in {place.cells[0].recipe for place in own}


def test_unfinished_cells_have_no_curve(full: Results) -> None:
    rows = [row.model_copy(update={"status": CellStatus.PENDING}) for row in full.cells]
    assert chosen_cells(rows) == () == chosen_cells([])


def test_a_long_log_is_thinned_evenly_with_both_ends(full: Results) -> None:
    points = made_up_history(full.cells[0], num_points=150).points
    assert thinned(points) == points
    few = thinned(points, 10)
    assert (len(few), few[0], few[-1]) == (10, points[0], points[-1])
    gaps = [after.step - before.step for before, after in itertools.pairwise(few)]
    assert max(gaps) <= 1.2 * min(gaps)
    assert len(made_up_history(full.cells[0], num_points=5000).points) == MOST_POINTS


def test_the_title_says_when_models_count_as_trained_or_how_far_they_came(full: Results) -> None:
    vit, cnn = (
        made_up_history(next(r for r in full.cells if r.recipe == "cifar-plain" and r.family == family))
        for family in ("vit", "cnn")
    )
    steps = [next(point.step for point in one.points if point.train_accuracy >= 0.99) for one in (vit, cnn)]
    assert curves_title([vit, cnn]).replace("\u00a0", " ") == (
        f"99 % of the training images right, as seen: ViT by step {steps[0]:,}, CNN by step {steps[1]:,}; 4,000 steps"
    )
    strong = made_up_history(next(row for row in full.cells if row.is_regularised and row.family == "vit"))
    best = max(point.train_accuracy for point in strong.points)
    assert f"ViT never, {100 * best:.1f} % at most" in curves_title([strong]).replace("\u00a0", " ")
    assert curves_title([vit, vit, cnn]).startswith("3 of 3 models get 99")


def test_figures_have_the_line_at_99_per_cent_and_the_dev_split_where_there_is_one(full: Results) -> None:
    row = full.cells[0]
    histories = Histories(
        places=((made_up_history(row, dev=True),), (made_up_history(row, dev=False),)), num_left_out=0, problems=()
    )
    with_dev, without = draw_figures(full.model_copy(update={"claims": (), "observations": ()}), histories).curves
    assert "99\u00a0%" in with_dev.curves.svg and "99\u00a0%" in without.curves.svg
    assert (with_dev.has_dev, without.has_dev) == (True, False)
    assert "dots: dev split" in with_dev.curves.svg and "dev" not in without.curves.svg


def test_the_section_names_its_source_and_the_longer_runs(full: Results) -> None:
    text = section(full, made_up_histories(full), FULL)
    assert "epochs.jsonl in the folders of these cells" in text and "20 files" in text
    assert "cifar10.n50000.vit_cifar.scratch.cifar-plain+4x.s1" in text
    assert "four times the steps" in text and "Dots: the dev split" not in text and "more are not drawn" not in text


def test_without_logs_or_cells_the_section_says_so(full: Results) -> None:
    assert section(full, NO_HISTORIES, FULL).endswith("No curve to show: no training log of a finished cell is at hand.")
    cells = make_study(num_seeds=1)
    nothing = make_results(cells, unfinished={cell.id: CellStatus.PENDING for cell in cells}, verdicts=False)
    for results in (nothing, make_results([], verdicts=False)):
        assert section(results, NO_HISTORIES, make_profile()).endswith("No curve to show: no cell is finished.")


def test_the_logs_of_chosen_cells_are_read_and_no_others(tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    outcomes = gather(list(context.plan().cells), context.workspace).outcomes
    chosen = {row.id for place in chosen_cells(outcome.row for outcome in outcomes) for row in place.cells}
    others = [outcome.row for outcome in outcomes if outcome.row.id not in chosen]
    assert others
    for row in others:
        (spine.cell_dir(home, row.id) / EPOCHS).unlink()
    found = gather_histories(outcomes, context.workspace)
    assert found.problems == ()
    shown = {history.row.id: history for place in found.places for history in place}
    assert shown.keys() == {cell for cell in chosen if len(read_epochs(spine.cell_dir(home, cell))) > 1}
    assert shown
    for cell, history in shown.items():
        assert list(history.points) == read_epochs(spine.cell_dir(home, cell))


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "not text"])
def test_a_damaged_log_is_a_warning_and_costs_its_own_curve(damage: str, tmp_path: Path) -> None:
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    outcomes = gather(list(context.plan().cells), context.workspace).outcomes
    whole = gather_histories(outcomes, context.workspace)
    cell = whole.places[0][0].row.id
    path = spine.cell_dir(home, cell) / EPOCHS
    text = path.read_text()
    if damage == "gone":
        path.unlink()
    elif damage == "not text":
        path.write_bytes(b"\xff\xfe\x00")
    else:
        path.write_text(text[:-20] if damage == "cut" else text.replace('"step":', '"step": '))
    found = gather_histories(outcomes, context.workspace)
    (problem,) = found.problems
    assert cell in problem and str(path.relative_to(home)) in problem and "Its results count." in problem
    assert str(home) not in problem, "a report is passed on"
    assert sum(map(len, found.places)) == sum(map(len, whole.places)) - 1
