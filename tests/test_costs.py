"""What an accuracy cost: sums with the upstream run, what is left out and said, figures and their section."""

import re
from html import unescape

import pytest
from costly_study import with_costs
from full_study import PROFILE as FULL
from full_study import full_results, full_study
from published_study import PROFILE as PUBLISHED
from published_study import published_results, published_study
from report_fixtures import HOSTILE, make_profile, make_results, make_study
from toy_study import ToyStudy

from repro.analysis.assemble import assemble
from repro.analysis.costs import arm_costs, cost_places
from repro.analysis.results import CellRow, Results
from repro.catalog import load_catalog
from repro.figures import ComputePanel, draw_figures
from repro.figures.placement import place_labels
from repro.page import build_page, render_html
from repro.records import CellStatus
from repro.spec import CellBlock, Profile, Role


@pytest.fixture(scope="module")
def full() -> Results:
    return with_costs(full_results(full_study(num_images=200)), shared=7)


@pytest.fixture(scope="module")
def published() -> Results:
    return with_costs(published_results(published_study(num_images=200)))


def section(results: Results, profile: Profile) -> str:
    """The visible words of the section."""
    results = results.model_copy(update={"claims": (), "observations": ()})
    page = build_page(profile=profile, results=results, figures=draw_figures(results), catalog=load_catalog())
    markup = render_html(page).partition('<section id="compute">')[2].partition("</section>")[0]
    return " ".join(unescape(re.sub(r"<svg.*?</svg>|<[^>]*>", " ", markup, flags=re.S)).replace("\u00a0", " ").split())


def change(results: Results, **fields: object) -> Results:
    rows = tuple(row.model_copy(update=fields) if row.status is CellStatus.DONE else row for row in results.cells)
    return results.model_copy(update={"cells": rows})


def own_study() -> Results:
    study = ToyStudy()
    profile = Profile(name="toy", cells=(CellBlock(dataset=("toy",), size=(100,), model=("vit", "cnn"), recipe="plain"),))
    for model in ("vit", "cnn"):
        study.add(model, 100, [300, 320])
        study.add(model, 100, [350, 360], init="upstream:up@500", recipe="tuned")
        study.add(model, 500, [1, 1], dataset="up", role=Role.UPSTREAM)
    return assemble(profile, study.outcomes, study.predictions, [], generated_at="2026-01-01T00:00:00Z")


def priced(results: Results) -> Results:
    """One hundred operations a study cell, a thousand an upstream cell, seconds by seed."""

    def price(row: CellRow) -> CellRow:
        flops = 1000.0 if row.role is Role.UPSTREAM else 100.0
        return row.model_copy(update={"train_flops": flops, "wall_s": flops / 10 + row.seed, "energy_j": flops})

    return results.model_copy(update={"cells": tuple(map(price, results.cells))})


def test_the_upstream_run_of_the_same_seed_and_model_is_counted_once() -> None:
    costs = arm_costs(priced(own_study()))
    found = {(arm.group.model, arm.group.init): (arm.train_flops, arm.wall_s, arm.energy_j) for arm in costs.arms}
    assert found["vit", "scratch"] == found["cnn", "scratch"] == (100.0, 11.5, 100.0)
    assert found["vit", "upstream:up@500"] == (1100.0, 113.0, 1100.0)
    assert (costs.num_cells, costs.num_shared, costs.num_without_upstream) == (12, 0, 0)


def test_an_upstream_run_that_is_missing_or_ambiguous_leaves_the_cost_unknown() -> None:
    results = priced(own_study())
    upstream = [row for row in results.cells if row.role is Role.UPSTREAM]
    twins = [row.model_copy(update={"id": f"{row.id}-other", "recipe": "other"}) for row in upstream]
    for rows in (
        [row for row in results.cells if row.role is not Role.UPSTREAM],
        [*results.cells, *twins],
    ):
        costs = arm_costs(results.model_copy(update={"cells": tuple(rows)}))
        assert costs.num_without_upstream == 4
        assert {arm.train_flops for arm in costs.arms if arm.kind == "upstream"} == {None}
        assert {arm.train_flops for arm in costs.arms if arm.kind == "scratch"} == {100.0}


def test_cells_that_shared_a_device_count_for_operations_only() -> None:
    results = priced(own_study())
    shared = [row for row in results.cells if row.role is Role.UPSTREAM and row.seed == 1]
    rows = tuple(row.model_copy(update={"device_shared": row in shared}) for row in results.cells)
    costs = arm_costs(results.model_copy(update={"cells": rows}))
    assert costs.num_shared == 2
    transferred = [arm for arm in costs.arms if arm.kind == "upstream"]
    assert {(arm.train_flops, arm.wall_s) for arm in transferred} == {(1100.0, 114.0)}, "seed 2 alone has its seconds"


def test_a_cell_without_joules_has_no_energy_instead_of_a_smaller_one() -> None:
    results = priced(own_study())
    rows = tuple(row.model_copy(update={"energy_j": None}) if row.role is Role.UPSTREAM else row for row in results.cells)
    costs = arm_costs(results.model_copy(update={"cells": rows}))
    assert {arm.energy_j for arm in costs.arms if arm.kind == "upstream"} == {None}
    assert costs.num_without_energy == 4


def test_searches_for_a_rate_and_longer_runs_are_no_arms(published: Results) -> None:
    costs = arm_costs(published)
    searches = [row.id for row in published.cells if row.role is Role.LR_SEARCH]
    assert searches and costs.num_cells == len(published.cells) - len(searches)


def test_published_weights_have_a_panel_for_each_recipe(published: Results) -> None:
    places = cost_places(arm_costs(published))
    assert [recipe for dataset, recipe in places if dataset == "cifar10"] == [
        "",
        "few-shot",
        "finetune-long-384",
        "finetune-short",
        "linear-probe",
    ]


@pytest.fixture(scope="module")
def panels(full: Results) -> tuple[ComputePanel, ...]:
    return draw_figures(full.model_copy(update={"claims": (), "observations": ()})).compute


def test_the_title_tells_the_most_accurate_of_both_families_and_their_costs(panels: tuple[ComputePanel, ...]) -> None:
    panel = panels[0]
    assert panel.flops and panel.seconds and panel.joules
    best = max(panel.arms, key=lambda arm: arm.cost.group.accuracy.value)
    assert best.cost.group.family == "cnn"
    for figure, unit in ((panel.flops, "PFLOP"), (panel.seconds, "min"), (panel.joules, "kJ")):
        assert figure.title.startswith("Most accurate at 50,000 training images: CNN (100,000 upstream) ")
        assert ", against ViT (100,000 upstream) " in figure.title
        assert unit in figure.title and "times the cost)" in figure.title


def test_all_figures_of_a_panel_have_one_accuracy_axis(panels: tuple[ComputePanel, ...]) -> None:
    for panel in panels:
        axes = [
            [text for text in re.findall(r">(\d+(?:\.\d+)?)</text>", figure.svg) if float(text) > 10]
            for figure in (panel.flops, panel.seconds, panel.joules)
            if figure
        ]
        assert axes[0] and axes[0] == axes[1] == axes[2]


def test_families_differ_in_colour_and_shape_and_every_arm_is_named(panels: tuple[ComputePanel, ...]) -> None:
    for panel in panels:
        assert panel.flops is not None
        assert "\u25cf ViT" in panel.flops.svg and "\u25a0 CNN" in panel.flops.svg
        written = re.findall(r">([^<>]+)</text>", panel.flops.svg)
        for arm in panel.arms:
            assert (str(arm.number) if panel.is_numbered else arm.name) in written


def test_the_section_says_what_is_left_out_and_why(full: Results) -> None:
    text = section(full, FULL)
    assert "7 cells of 186 shared the device with other cells" in text and "left out of both" in text
    assert "carries that run’s cost too, once" in text
    assert "what their authors spent upstream" not in text and "No joules" not in text and "one core" not in text


def test_of_published_weights_only_training_on_is_counted(published: Results) -> None:
    text = section(published, PUBLISHED)
    assert "what their authors spent upstream is not ours, and not counted" in text
    assert "start from an upstream run" not in text


def test_on_a_cpu_seconds_are_those_of_one_core_and_joules_are_a_sentence(full: Results) -> None:
    changed = change(full, device="cpu", device_shared=False, energy_j=None)
    text = section(changed, FULL)
    assert "cells ran one core each" in text
    assert "No joules are shown: no cell has a GPU’s energy counter to itself." in text
    assert all(panel.joules is None and panel.seconds for panel in draw_figures(changed).compute)


def test_where_every_cell_shared_its_device_only_operations_are_drawn(full: Results) -> None:
    changed = change(full, device_shared=True)
    text = section(changed, FULL)
    assert "186 cells of 186 shared the device" in text and "No joules are shown: every cell shared its device." in text
    for panel in draw_figures(changed).compute:
        assert panel.flops is not None and (panel.seconds, panel.joules) == (None, None)


def test_several_devices_are_named(full: Results) -> None:
    rows = tuple(row.model_copy(update={"device": f"GPU {row.seed % 2}"}) for row in full.cells)
    assert "Seconds come from several devices ( GPU 0 , GPU 1 )" in section(full.model_copy(update={"cells": rows}), FULL)


def test_unfinished_single_seed_and_empty_studies_have_an_honest_section() -> None:
    cells = make_study()
    nothing = make_results(cells, unfinished={cell.id: CellStatus.PENDING for cell in cells}, verdicts=False)
    assert section(nothing, make_profile()).endswith("No cell of the study is finished, so nothing has a cost yet.")
    assert section(make_results([], verdicts=False), make_profile()).startswith("Compute and energy No cell of the study")
    single = draw_figures(make_results(make_study(num_seeds=1), verdicts=False)).compute
    assert single[0].flops is not None
    without_upstream = {cell.id: CellStatus.FAILED for cell in cells if cell.role is Role.UPSTREAM}
    text = section(make_results(cells, unfinished=without_upstream, verdicts=False), make_profile())
    assert "40 cells start from an upstream run that is not finished" in text
    only_upstream = without_upstream | {cell.id: CellStatus.PENDING for cell in cells if cell.init == "scratch"}
    text = section(make_results(cells, unfinished=only_upstream, verdicts=False), make_profile())
    assert "without its cost, they are left out" in text


def test_hostile_names_stay_text() -> None:
    cells = make_study(vit=HOSTILE[:120], cnn=HOSTILE[:90]) + make_study(vit="second_vit", cnn="second_cnn")
    [panel] = draw_figures(make_results(cells, verdicts=False)).compute
    assert panel.flops is not None and "<script" not in panel.flops.svg


def test_labels_stay_inside_and_clear_of_points_and_of_each_other() -> None:
    points = [(100.0, 100.0), (103.0, 104.0), (180.0, 100.0), (195.0, 20.0)]
    marks = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    widths = [50.0, 50.0, 40.0, 60.0]
    places = place_labels(points, widths, height=12, inside=(0, 0, 200, 200), obstacles=marks)
    assert places is not None
    boxes = [(x, y - 6, x + width, y + 6) for (x, y), width in zip(places, widths, strict=True)]
    for number, (left, bottom, right, top) in enumerate(boxes):
        assert left >= 0 and bottom >= 0 and right <= 200 and top <= 200
        for other in [*marks, *boxes[:number]]:
            assert right <= other[0] or other[2] <= left or top <= other[1] or other[3] <= bottom


def test_labels_that_cannot_all_be_placed_are_not_placed() -> None:
    points = [(50.0, 50.0)] * 30
    assert place_labels(points, [60.0] * 30, height=12, inside=(0, 0, 100, 100), obstacles=[]) is None
