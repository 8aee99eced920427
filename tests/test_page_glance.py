"""The lines below the first sentence: which gaps are picked, and that "ahead" is said only where an interval excludes zero."""

import pytest
from report_fixtures import estimate, make_profile, make_results, make_study

from repro.analysis.results import Gap, Results
from repro.catalog import load_catalog
from repro.figures import draw_figures
from repro.page import build_page, render_html
from repro.page.glance import glances


def gap(
    size: int,
    value: float = 0.05,
    half_width: float | None = 0.01,
    *,
    dataset: str = "digits",
    init: str = "scratch",
    recipe: str = "plain",
    vit: str = "vit_micro",
) -> Gap:
    return Gap(
        dataset=dataset,
        num_train_images=size,
        init=init,
        num_upstream_images=int(init.rpartition("@")[2]) if "@" in init else 0,
        recipe=recipe,
        vit=vit,
        cnn="resnet_micro",
        accuracy=estimate(value, half_width),
        log_odds=estimate(10 * value, half_width),
        cells=("a", "b"),
    )


def with_gaps(*gaps: Gap) -> Results:
    results = make_results(make_study())
    groups = [results.groups[0].model_copy(update={"dataset": name}) for name in dict.fromkeys(one.dataset for one in gaps)]
    return results.model_copy(update={"gaps": gaps, "groups": tuple(groups)})


def html_of(results: Results) -> str:
    profile = make_profile()
    page = build_page(profile=profile, results=results, figures=draw_figures(results), catalog=load_catalog())
    return " ".join(render_html(page).partition('<dl class="facts">')[0].split())


@pytest.mark.parametrize(
    ("value", "half_width", "ahead"),
    [(0.05, 0.01, "cnn"), (-0.05, 0.01, "vit"), (0.05, 0.06, None), (0.05, None, None), (0.01, 0.01, None)],
)
def test_ahead_needs_an_interval_that_excludes_zero(value: float, half_width: float | None, ahead: str | None) -> None:
    [line] = glances(with_gaps(gap(100, value, half_width)))
    assert line.most is not None and line.most.ahead == ahead
    assert line.fewest is None
    assert line.num_ahead == {"vit": 0, "cnn": 0, None: 0} | {ahead: 1}


def test_each_way_to_begin_has_a_line_and_of_upstream_sets_the_largest() -> None:
    inits = ("upstream:glyphs@64000", "upstream:glyphs@2000", "pretrained", "scratch")
    lines = glances(with_gaps(*(gap(size, init=init) for init in inits for size in (50, 1197))))
    assert [line.init for line in lines] == ["scratch", "upstream:glyphs@64000", "pretrained"]
    for line in lines:
        assert line.most is not None and line.most.gap.num_train_images == 1197
        assert line.fewest is not None and line.fewest.gap.num_train_images == 50


def test_the_recipe_of_most_sizes_speaks() -> None:
    [line] = glances(with_gaps(gap(1197, recipe="a-strong"), gap(50), gap(1197)))
    assert line.most is not None and line.most.gap.recipe == "plain"


def test_several_pairs_of_models_are_counted() -> None:
    [line] = glances(with_gaps(gap(50), gap(1197), gap(1197, -0.1, vit="b"), gap(1197, -0.2, vit="c"), gap(1197, 0.0, vit="d")))
    assert line.most is None and line.fewest is None
    assert line.num_ahead == {"vit": 2, "cnn": 1, None: 1}
    assert 'ViT ahead</b> in 2, <b class="cnn">CNN ahead</b> in 1, neither in 1 of 4 pairs of models' in html_of(
        with_gaps(gap(1197), gap(1197, -0.1, vit="b"), gap(1197, -0.2, vit="c"), gap(1197, 0.0, vit="d"))
    )


def test_no_more_than_two_data_sets_stand_in_the_head() -> None:
    lines = glances(with_gaps(*(gap(50, dataset=name) for name in ("one", "two", "three"))))
    assert [line.dataset for line in lines] == ["one", "two"]


def test_without_a_gap_nothing_is_said() -> None:
    results = with_gaps()
    assert glances(results) == ()
    assert "Measured, CNN" not in html_of(results)


def test_the_page_says_who_is_ahead_and_when_nobody_is() -> None:
    text = html_of(with_gaps(gap(50, 0.25, 0.05), gap(1197, 0.005, 0.02)))
    assert "no clear difference</b> with 1,197 training images" in text
    assert '<b class="cnn">CNN ahead</b> with 50 <span class="interval">(+25.0&nbsp;points [+20.0, +30.0])' in text
    assert "no interval</b> with 50 training images" in html_of(with_gaps(gap(50, 0.25, None)))
