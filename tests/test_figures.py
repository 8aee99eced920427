import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from full_study import full_results, full_study
from published_study import published_results, published_study
from report_fixtures import HOSTILE, UPSTREAM_SIZES, make_gaps, make_groups, make_results, make_row, make_study
from test_page_inside import varied

from repro.analysis.results import Results
from repro.figures import Figures, draw_figures
from repro.figures.captions import gap_title, row_label, scaling_title, upstream_title
from repro.figures.scaling import scaling_panels
from repro.page import templates_dir
from repro.records import CellStatus
from repro.spec import Measure
from repro.svg import LIGHT, literal

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def figures() -> Figures:
    return draw_figures(make_results(make_study()))


def num_dotted(svg: str) -> int:
    """Dotted lines, of which several may be one path."""
    paths = ElementTree.fromstring(svg).iter(f"{SVG}path")
    return sum(path.get("d", "").count("m") for path in paths if "stroke-dasharray:2,2" in path.get("style", ""))


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_result_gets_its_figure(figures: Figures) -> None:
    assert [panel.init for panel in figures.scaling] == ["scratch"]
    assert figures.scaling[0].gap is not None
    assert [panel.num_train_images for panel in figures.upstream] == [50, 1197]
    assert len(figures.claims) == 3 and len(figures.observations) == 1
    assert len({figure.name for figure in figures.all}) == len(figures.all) == 9


def test_the_same_results_give_the_same_bytes(figures: Figures) -> None:
    again = draw_figures(make_results(make_study()))
    assert [figure.svg for figure in again.all] == [figure.svg for figure in figures.all]
    assert not any(re.search(r"20\d\d-\d\d-\d\d|<metadata", figure.svg) for figure in again.all)


def test_figures_name_their_finding_to_screen_readers(figures: Figures) -> None:
    for figure in figures.all:
        root = ElementTree.fromstring(figure.svg)
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"{figure.name}-title {figure.name}-desc"
        assert [root[0].tag, root[0].text] == [f"{SVG}title", figure.title]
        assert [root[1].tag, root[1].text] == [f"{SVG}desc", figure.description]
        assert "width" not in root.attrib and root.get("viewBox")


def test_every_colour_follows_the_page_and_prints_in_light(figures: Figures) -> None:
    stylesheet = (templates_dir() / "report.css").read_text()
    for name, colour in LIGHT.items():
        assert f"--{name}: {colour};" in stylesheet, "figure and page must agree on the light colours"
    for figure in figures.all:
        without = re.sub(r"var\(--[a-z]+, #[0-9a-f]{6}\)", "", figure.svg)
        assert not re.search(r"(fill|stroke): ?#(?!000000)", without)
        assert "var(" in figure.svg and "var(" not in literal(figure.svg)


def test_ids_are_unique_across_figures_and_references_resolve(figures: Figures) -> None:
    page = "".join(figure.svg for figure in figures.all)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_axes_name_sizes_and_units_and_lines_are_labelled_directly(figures: Figures) -> None:
    written = texts(figures.scaling[0].curves.svg)
    assert {"50", "150", "400", "1,197", "training images (log scale)", "test accuracy (%)", "ViT", "CNN"} <= set(written)
    upstream = texts(figures.upstream[0].curves.svg)
    assert {"scratch", "2,000", "64,000", "upstream images (log scale)"} <= set(upstream)


def test_sizes_that_lie_close_are_ticked_but_only_labelled_where_labels_fit() -> None:
    sizes = (500, 2500, 5000, 12500, 25000, 50000)
    [panel] = draw_figures(make_results(make_study(sizes=sizes, upstream_sizes=()), verdicts=False)).scaling
    labels = [text for text in texts(panel.curves.svg) if text.replace(",", "").isdigit() and int(text.replace(",", "")) >= 500]
    assert labels == ["500", "2,500", "5,000", "12,500", "50,000"]


def test_an_upstream_panel_has_one_recipe_from_scratch() -> None:
    panels = draw_figures(full_results(full_study(num_images=200))).upstream
    assert len(panels) == 4
    assert {panel.scratch_recipe for panel in panels} == {"cifar-plain"}
    assert all("From scratch to 100,000" in panel.curves.title for panel in panels)


def test_titles_state_the_numbers() -> None:
    groups = make_groups([make_row(cell) for cell in make_study()])
    scratch = [group for group in groups if group.init == "scratch"]
    gaps = [gap for gap in make_gaps(groups) if gap.init == "scratch"]
    vit, cnn = (
        next(g.accuracy.value for g in scratch if g.family == family and g.num_train_images == 50) for family in ("vit", "cnn")
    )
    assert (
        f"CNN mean above ViT mean at 4 of 4 training-set sizes (CNN \u2212 ViT: +{100 * (cnn - vit):.1f} points"
        in scaling_title(scratch, gaps)
    )
    assert "excludes zero at 4 of 4 sizes in accuracy and at 4 of 4 in log-odds" in gap_title(gaps)
    members = [group for group in groups if group.init != "scratch" and group.num_train_images == 50]
    assert upstream_title(members, []).startswith(f"With {UPSTREAM_SIZES[-1]:,} upstream images, 50 training images: ViT ")


def test_rows_of_a_claim_are_labelled_briefly() -> None:
    point = make_results(make_study()).claims[0].points[0]
    labels = {
        row_label(point.model_copy(update=changes))
        for changes in (
            {"num_train_images": 1197, "num_upstream_images": 0},
            {"num_train_images": 50, "num_upstream_images": 64000},
            {"num_train_images": None, "num_upstream_images": 0},
            {"num_train_images": 50, "num_upstream_images": None, "family": "vit"},
        )
    }
    assert labels == {
        "1,197 training images",
        "50 training\n64,000 upstream",
        "slope over\ntraining images",
        "ViT, 50 training\nslope over upstream",
    }


def test_a_point_of_one_of_several_models_is_labelled_with_its_name_and_tag() -> None:
    point = make_results(make_study()).claims[0].points[0]
    models = {
        "against timm/resnet18.a1_in1k": "50 training\nresnet18.a1_in1k",
        "timm/vit_base_patch16_224.augreg_in21k": "50 training\nvit_base_patch16_224\naugreg_in21k",
        "vit against own_cnn": "50 training\nvit\nown_cnn",
    }
    for names, label in models.items():
        assert row_label(point.model_copy(update={"models": names})) == label


@pytest.fixture(scope="module")
def published() -> Results:
    return published_results(published_study(num_images=200))


@pytest.fixture(scope="module")
def published_figures(published: Results) -> Figures:
    return draw_figures(published)


def test_published_weights_have_a_panel_for_each_pair_with_its_own_models(
    published: Results, published_figures: Figures
) -> None:
    panels = [panel for panel in published_figures.scaling if panel.init == "pretrained"]
    short = [panel for panel in panels if (panel.dataset, panel.recipe) == ("cifar10", "finetune-short")]
    assert {panel.pair for panel in short} == {pair.title for pair in published.pairs}
    assert len(short) == len(published.pairs)
    mini = next(panel for panel in short if panel.pair == "DeiT-Ti against ResNet-18")
    assert mini.gap is not None
    written = texts(mini.curves.svg)
    assert {"ViT deit_tiny_patch16_224.fb_in1k", "CNN resnet18.IMAGENET1K_V1", "CNN resnet18.a1_in1k"} <= set(written)
    assert not any("BiT" in text or "vit_base" in text for text in written)
    assert {"CNN resnet18.IMAGENET1K_V1 \u2212 ViT", "CNN resnet18.a1_in1k \u2212 ViT"} <= set(texts(mini.gap.svg))
    assert "of 6 comparisons" in mini.curves.title and "of 6 comparisons" in mini.gap.title


def test_models_in_no_pair_share_a_panel_with_those_they_are_paired_with(
    published: Results, published_figures: Figures
) -> None:
    alone = next(panel for panel in published_figures.scaling if (panel.recipe, panel.pair) == ("few-shot", ""))
    written = texts(alone.curves.svg)
    assert "ViT deit_tiny_patch16_224.fb_in1k" in written and "CNN resnet18.IMAGENET1K_V1" in written
    assert not any("in21k" in text for text in written), "other upstream data"
    few = [group for group in published.groups if (group.dataset, group.recipe) == ("cifar10", "few-shot")]
    [drawn] = scaling_panels(few, published.model_copy(update={"gaps": ()}))
    assert (drawn.pair, drawn.gap) == ("", None)


def test_a_single_size_sets_its_models_side_by_side(published_figures: Figures) -> None:
    panel = next(panel for panel in published_figures.scaling if panel.recipe == "finetune-long-384")
    assert [text for text in texts(panel.curves.svg) if text.replace(",", "").isdigit() and "," in text] == ["50,000"]


def test_a_tolerance_is_drawn_at_both_sides_of_zero(published: Results, published_figures: Figures) -> None:
    drawn = zip(published.claims, published_figures.claims, strict=True)
    strips = {result.claim.measure: figure for result, figure in drawn}
    strip, other = strips[Measure.ACCURACY], strips[Measure.FAMILY_GAP]
    assert strip is not None and other is not None
    assert "edges of the tolerance" in strip.description and "ours minus the published accuracy" in strip.description
    assert (num_dotted(strip.svg), num_dotted(other.svg)) == (2, 2), "two edges of one scale; one threshold on either"


def test_points_outside_the_scope_are_faint_where_others_count(published: Results, published_figures: Figures) -> None:
    for result, figure in zip(published.claims, published_figures.claims, strict=True):
        if not result.points:  # a claim on the inside, of models that nobody has looked into here
            assert figure is None and result.claim.measure.is_of_the_inside
            continue
        assert figure is not None
        outside = [point for point in result.points if not point.in_scope]
        assert bool(outside) == ("opacity:0.4" in figure.svg), result.id


def test_a_claim_on_the_inside_has_one_axis_in_its_own_unit() -> None:
    results, _ = varied(make_results(make_study()))
    *_, similarity, rise = draw_figures(results).claims
    assert similarity is not None and rise is not None
    for strip, label in ((similarity, "cosine similarity"), (rise, "% of uniform attention's distance")):
        written = texts(strip.svg)
        assert label in written and not {"points", "log-odds"} & set(written)
        assert strip.svg.count("stroke-dasharray:2,2") == 1, "one scale, one threshold"
        assert "mean over the models of all seeds" in strip.description and "log-odds" not in strip.description
    assert "+0.330 in cosine similarity" in similarity.title and "% of uniform attention's distance" in rise.title


def test_titles_turn_when_the_vit_is_ahead() -> None:
    groups = make_groups([make_row(cell) for cell in make_study(upstream_sizes=())])
    gaps = [
        gap.model_copy(update={"accuracy": gap.accuracy.model_copy(update={"value": -0.05, "ci95": (-0.11, 0.01)})})
        for gap in make_gaps(groups)
    ]
    assert scaling_title(groups, gaps).startswith("ViT mean above CNN mean at 4 of 4")
    assert "at 0 of 4 sizes in accuracy and at 4 of 4" in gap_title(gaps)


def test_a_single_seed_is_drawn_without_an_interval() -> None:
    figures = draw_figures(make_results(make_study(num_seeds=1)))
    assert figures.scaling[0].gap is not None
    assert "single seed" in figures.scaling[0].gap.title
    band = "opacity:0.16"
    assert band in draw_figures(make_results(make_study())).scaling[0].curves.svg
    assert all(band not in figure.svg for figure in figures.all)


def test_only_finished_study_cells_are_drawn() -> None:
    cells = make_study()
    nothing = make_results(cells, unfinished={cell.id: CellStatus.PENDING for cell in cells}, verdicts=False)
    assert draw_figures(nothing).all == ()
    one_family = {cell.id: CellStatus.FAILED for cell in cells if cell.model.family == "vit"}
    half = draw_figures(make_results(cells, unfinished=one_family, verdicts=False))
    assert half.scaling[0].gap is None
    assert "ViT" not in texts(half.scaling[0].curves.svg)


def test_hostile_names_stay_text() -> None:
    cells = make_study(vit=HOSTILE[:150], cnn=f"\u05d0{HOSTILE[:100]}") + make_study(vit="second_vit", cnn="second_cnn")
    figures = draw_figures(make_results(cells))
    for figure in figures.all:
        root = ElementTree.fromstring(figure.svg)
        assert not list(root.iter(f"{SVG}script"))
    assert any("second" in text for text in texts(figures.scaling[0].curves.svg)), "several models of a family are told apart"


def contrast(first: str, second: str) -> float:
    """WCAG 2 contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_colours_reach_aa_contrast_in_light_and_dark() -> None:
    stylesheet = Path(templates_dir() / "report.css").read_text()
    modes = [
        dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.*?)\}", stylesheet, re.S)
    ]
    assert len(modes) == 2
    for mode in modes:
        for name in ("ink", "muted", "link", "vit", "cnn", "supported", "contradicted", "inconclusive"):
            for ground in ("surface", "panel"):
                assert contrast(mode[name], mode[ground]) >= 4.5, (name, ground)
