"""What pre-training gives: lines and their gains, paired by the common statistics; figures, table and what is missing."""

import re
from html import unescape

import pytest
from full_study import PROFILE as FULL
from full_study import full_results, full_study
from published_study import PROFILE as PUBLISHED
from published_study import published_results, published_study
from report_fixtures import make_profile, make_results, make_study
from toy_study import LARGE_UPSTREAM, SMALL_UPSTREAM, ToyStudy, toy_claim, toy_pair

from repro.analysis.assemble import assemble
from repro.analysis.results import Gain, Results
from repro.analysis.statistics import Arm, Scale, estimate
from repro.catalog import load_catalog
from repro.figures import draw_figures
from repro.figures.gain_captions import gains_title
from repro.page import build_page, render_html
from repro.records import CellStatus
from repro.spec import CellBlock, Claim, Measure, PairSpec, Profile

TOY = Profile(name="toy", cells=(CellBlock(dataset=("toy",), size=(100,), model=("vit", "cnn"), recipe="plain"),))


@pytest.fixture(scope="module")
def full() -> Results:
    return full_results(full_study(num_images=300))


@pytest.fixture(scope="module")
def published() -> Results:
    return published_results(published_study(num_images=200))


def toy_results(study: ToyStudy, *pairs: PairSpec, claims: tuple[Claim, ...] = ()) -> Results:
    return assemble(TOY, study.outcomes, study.predictions, claims, pairs=pairs, generated_at="2026-01-01T00:00:00Z")


def section(results: Results, profile: Profile) -> str:
    """The visible words of the section."""
    results = results.model_copy(update={"claims": (), "observations": ()})
    page = build_page(profile=profile, results=results, figures=draw_figures(results), catalog=load_catalog())
    markup = render_html(page).partition('<section id="pretraining">')[2].partition("</section>")[0]
    return " ".join(unescape(re.sub(r"<svg.*?</svg>|<[^>]*>", " ", markup, flags=re.S)).replace("\u00a0", " ").split())


def own_study(*, num_seeds: int = 3) -> ToyStudy:
    study = ToyStudy()
    for model, scratch, small, large in (("vit", 200, 280, 320), ("cnn", 300, 310, 330)):
        study.add(model, 100, [scratch, scratch + 4, scratch - 2][:num_seeds])
        for images, correct in ((1000, small), (50000, large)):
            study.add(model, 100, [correct, correct + 2, correct - 2][:num_seeds], init=f"upstream:up@{images}", recipe="tuned")
    return study


def test_each_upstream_size_is_measured_from_scratch_by_the_common_statistics() -> None:
    study = own_study()
    small, large = toy_results(study).gains
    assert (small.num_upstream_images, large.num_upstream_images, small.line) == (1000, 50000, large.line)
    assert (large.start_num_upstream_images, large.start_upstream_dataset, large.upstream_dataset) == (0, "", "up")
    assert large.vit is not None and large.cnn is not None and large.accuracy is not None
    assert (large.vit.start_recipe, large.vit.recipe, large.vit.start_init) == ("plain", "tuned", "scratch")
    assert large.vit.accuracy.value == pytest.approx((960 - 602) / 1200)
    assert large.cnn.accuracy.value == pytest.approx((990 - 902) / 1200)

    def correct(model: str, init: str, recipe: str) -> list[object]:
        return [study.predictions[f"toy.n100.{model}.{init}.{recipe}.s{seed}"] for seed in (1, 2, 3)]

    import numpy as np

    arms = [
        Arm(weight=weight, correct=np.stack(correct(model, *arm)))
        for model, sign in (("vit", 1.0), ("cnn", -1.0))
        for weight, arm in ((sign, ("upstream:up@50000", "tuned")), (-sign, ("scratch", "plain")))
    ]
    for scale, found in ((Scale.ACCURACY, large.accuracy), (Scale.LOG_ODDS, large.log_odds)):
        expected = estimate(arms, scale)
        assert found is not None and expected.ci95 is not None
        assert found.value == pytest.approx(expected.value) and found.ci95 == pytest.approx(expected.ci95)
    assert len(large.vit.cells) == 6 and set(large.vit.cells) <= set(study.predictions)


def test_a_gain_agrees_with_the_claim_about_it(full: Results) -> None:
    claims = [r for r in (*full.claims, *full.observations) if r.claim.measure is Measure.PRETRAINING_GAIN_GAP]
    assert claims
    for result in claims:
        for point in result.points:
            [gain] = [
                gain
                for gain in full.gains
                if (gain.dataset, gain.num_train_images, gain.num_upstream_images)
                == (result.dataset, point.num_train_images, point.num_upstream_images)
            ]
            assert gain.accuracy is not None
            assert abs(gain.accuracy.value) == pytest.approx(abs(point.estimate.value))


def test_published_pairs_lead_from_scratch_or_from_the_pair_that_a_claim_names(published: Results) -> None:
    lines = {(gain.pair, gain.start_upstream_dataset, gain.upstream_dataset) for gain in published.gains}
    assert lines == {
        ("DeiT-Ti against ResNet-18", "", "ImageNet-1k"),
        ("ViT-B/16 against BiT-M R50x1, both after ImageNet-21k", "ImageNet-1k", "ImageNet-21k"),
    }
    assert not {gain.recipe for gain in published.gains} & {"linear-probe", "few-shot"}
    sides = [side for gain in published.gains for side in (gain.vit, gain.cnn) if side is not None]
    assert {side.start_recipe for side in sides if side.start_init == "scratch"} == {"scratch-224"}


def three_rungs() -> Results:
    study, small, large = ToyStudy(), SMALL_UPSTREAM, LARGE_UPSTREAM
    for names, correct in ((("vit", "cnn"), 300), (("vit_b", "cnn_b"), 350)):
        for model in names:
            study.add(model, 100, [correct] * 2, init="pretrained", upstream=small if correct == 300 else large, recipe="tuned")
    for model in ("vit", "cnn"):
        study.add(model, 100, [200] * 2)
    claim = toy_claim(Measure.UPSTREAM_GAIN_GAP, both_scales=True)
    return toy_results(study, toy_pair("small", "vit", "cnn"), toy_pair("large", "vit_b", "cnn_b"), claims=(claim,))


def test_a_line_may_lead_from_scratch_over_one_upstream_set_to_another() -> None:
    results = three_rungs()
    by_pair: dict[str, list[Gain]] = {}
    for gain in results.gains:
        by_pair.setdefault(gain.pair, []).append(gain)
    assert [gain.upstream_dataset for gain in by_pair["Large"]] == ["photos-1k", "photos-21k"]
    assert {gain.start_upstream_dataset for gain in results.gains} == {""}
    vit = by_pair["Large"][1].vit
    assert vit is not None
    assert (vit.start_model, vit.start_init, vit.model) == ("vit", "scratch", "vit_b")
    large = next(panel for panel in draw_figures(results).pretraining if panel.pair == "Large")
    assert large.changes_models
    written = re.findall(r">([^<>]+)</text>", large.slopes.svg)
    assert [text for text in written if text in ("scratch", "photos-1k", "photos-21k")] == [
        "scratch",
        "photos-1k",
        "photos-21k",
    ]


def test_titles_state_both_gains_and_their_difference_with_its_interval() -> None:
    results = toy_results(own_study())
    [panel] = draw_figures(results).pretraining
    assert re.fullmatch(
        r"The ViT gains \+29\.\d+ points, the CNN \+7\.\d+: ViT − CNN \+22\.\d* \(95 % interval \[\+\d.*\]\)", panel.gains.title
    )
    slopes = panel.slopes.title.replace("\u00a0", " ")
    assert slopes.startswith("Scratch → 50,000 upstream, 100 training images: ViT 5") and ", CNN 7" in slopes


def test_several_combinations_are_counted(published: Results) -> None:
    panels = draw_figures(published.model_copy(update={"claims": (), "observations": ()})).pretraining
    mini = next(panel for panel in panels if panel.pair.startswith("DeiT-Ti"))
    assert re.match(r"The ViT gains more than the CNN in \d of 2 combinations \(by ", mini.gains.title)
    assert [panel.num_train_images for panel in panels if panel.dataset == "cifar10"] == [500, 50000] * 2


def test_a_single_seed_has_gains_without_an_interval() -> None:
    results = toy_results(own_study(num_seeds=1))
    assert all(gain.accuracy is not None and gain.accuracy.ci95 is None for gain in results.gains)
    assert "a single seed, no interval" in draw_figures(results).pretraining[0].gains.title
    assert "From a single seed there is no interval." in section(results, make_profile())


def test_one_family_alone_has_its_gain_and_no_difference() -> None:
    study = own_study()
    pending = [
        outcome.model_copy(update={"row": outcome.row.model_copy(update={"status": CellStatus.PENDING})})
        if outcome.row.model == "cnn"
        else outcome
        for outcome in study.outcomes
    ]
    predictions = {cell: correct for cell, correct in study.predictions.items() if ".cnn." not in cell}
    results = assemble(TOY, pending, predictions, [], generated_at="2026-01-01T00:00:00Z")
    assert [(gain.vit is not None, gain.cnn, gain.accuracy) for gain in results.gains] == [(True, None, None)] * 2
    assert gains_title(results.gains).startswith("Only the ViT has finished cells at both ends")
    assert "Only the ViT has finished" in section(results, make_profile())


def test_seeds_that_only_some_arms_have_finished_do_not_enter() -> None:
    study = own_study(num_seeds=2)
    study.add("vit", 100, [100], first_seed=3)
    gains = toy_results(study).gains
    assert all(gain.vit is not None and gain.vit.accuracy.num_seeds == 2 for gain in gains)


def test_the_section_tells_what_a_gain_is_made_of(full: Results, published: Results) -> None:
    text = section(full, FULL)
    assert "a gain is that of weights and recipe together" in text and "12 gains, at every number" in text
    text = section(published, PUBLISHED)
    assert "it is no gain of upstream images alone" in text and "ImageNet-21k , 14,197,122 images" in text


def test_what_is_missing_is_said() -> None:
    cells = make_study()
    pending = make_results(cells, unfinished={cell.id: CellStatus.PENDING for cell in cells}, verdicts=False)
    assert "Nothing to show yet" in section(pending, make_profile())
    scratch_only = make_results(make_study(upstream_sizes=()), verdicts=False)
    for results in (scratch_only, make_results([], verdicts=False)):
        assert "trains from scratch only" in section(results, make_profile())
    study = ToyStudy()
    for model in ("vit", "cnn"):
        study.add(model, 100, [200] * 2, init="pretrained", upstream=SMALL_UPSTREAM)
    assert "no pair of models was trained both from scratch" in section(toy_results(study), make_profile())


def test_gains_survive_results_json(full: Results) -> None:
    assert Results.model_validate_json(full.model_dump_json()).gains == full.gains
