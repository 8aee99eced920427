"""Verdicts: every rule of the protocol, on toy studies whose numbers can be worked out by hand."""

import math

import numpy as np
import pytest
from full_study import full_study
from published_study import published_study
from toy_study import ToyStudy, exact, toy_claim

from repro.analysis.claims import evaluate
from repro.analysis.results import ClaimResult, Verdict
from repro.catalog import load_catalog
from repro.records import CellStatus
from repro.spec import Claim, Measure, Role, Scope

UPSTREAM = Scope(init="upstream")


def only(claim: Claim, study: ToyStudy) -> ClaimResult:
    [result] = evaluate(claim, study.outcomes, study.predictions, miniature=False)
    return result


def two_families(gaps: dict[int, int], *, vit: int = 300, num_seeds: int = 3) -> ToyStudy:
    """At each size the CNN gets gaps[size] of 400 images more than the ViT; all seeds alike."""
    study = ToyStudy()
    for size, gap in gaps.items():
        study.add("vit", size, [vit] * num_seeds)
        study.add("cnn", size, [vit + gap] * num_seeds)
    return study


def test_a_clear_gap_at_every_size_is_supported_and_the_weakest_size_decides() -> None:
    study = two_families({100: 80, 1000: 40})
    result = only(toy_claim(), study)
    assert result.verdict is Verdict.SUPPORTED
    assert [point.label for point in result.points] == ["100 training images", "1,000 training images"]
    assert [point.estimate.value for point in result.points] == pytest.approx([0.2, 0.1])
    assert result.measured == pytest.approx(0.1)
    assert result.ci95 == result.points[1].estimate.ci95
    assert (result.n, result.dataset, result.vit, result.cnn, result.recipe) == (3, "toy", "vit", "cnn", "plain")
    assert set(result.cells) == set(study.predictions)
    assert "weakest: 1,000 training images, +10.0 points" in result.reason


def test_the_family_that_the_claim_names_counts_as_positive() -> None:
    result = only(toy_claim(ahead="vit"), two_families({100: 80}))
    assert result.verdict is Verdict.CONTRADICTED
    assert result.measured == pytest.approx(-0.2)


def test_a_gap_below_the_smallest_effect_is_inconclusive_even_where_it_excludes_zero() -> None:
    result = only(toy_claim(smallest_effect=0.09), two_families({100: 40}))
    assert result.ci95 is not None
    assert 0 < result.ci95[0] < 0.09
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "either clear of 9.0 points nor wholly below 0" in result.reason


def test_every_needs_every_size_and_one_reversed_size_contradicts_it() -> None:
    assert only(toy_claim(), two_families({100: 80, 1000: 0})).verdict is Verdict.INCONCLUSIVE
    reversed_at_one = only(toy_claim(), two_families({100: 80, 1000: -40}))
    assert reversed_at_one.verdict is Verdict.CONTRADICTED
    assert reversed_at_one.measured == pytest.approx(-0.1)
    assert "holly below 0 in some of 2 comparisons (97.5 % interval (Bonferroni))" in reversed_at_one.reason


def test_the_point_that_contradicts_is_the_one_shown_not_the_noisiest() -> None:
    study = two_families({100: -40})
    study.add("vit", 1000, [300, 200, 390])
    study.add("cnn", 1000, [200, 390, 300])
    result = only(toy_claim(), study)
    noisy = result.points[1].estimate
    assert noisy.ci95 is not None and result.ci95 is not None
    assert noisy.ci95[0] < result.ci95[0]
    assert (result.verdict, result.measured) == (Verdict.CONTRADICTED, pytest.approx(-0.1))


def test_a_reversal_that_bonferroni_cannot_tell_from_chance_does_not_contradict() -> None:
    borderline = 5
    alone = only(toy_claim(), two_families({100: -borderline}))
    assert alone.verdict is Verdict.CONTRADICTED
    among_many = {100: -borderline} | dict.fromkeys(range(200, 1200, 100), 80)
    assert only(toy_claim(), two_families(among_many)).verdict is Verdict.INCONCLUSIVE


def test_somewhere_needs_one_size_and_all_reversed_to_contradict() -> None:
    claim = toy_claim(quantifier="somewhere")
    one = only(claim, two_families({100: 80, 1000: -40}))
    assert one.verdict is Verdict.SUPPORTED
    assert one.measured == pytest.approx(0.2)
    assert "(Bonferroni)" in one.reason
    assert only(claim, two_families({100: 0, 1000: -40})).verdict is Verdict.INCONCLUSIVE
    none = only(claim, two_families({100: -80, 1000: -40}))
    assert none.verdict is Verdict.CONTRADICTED
    assert none.measured == pytest.approx(-0.1)


def test_somewhere_is_held_to_bonferroni() -> None:
    claim = toy_claim(quantifier="somewhere", smallest_effect=0.0)
    assert only(claim, two_families({100: 5})).verdict is Verdict.SUPPORTED
    assert only(claim, two_families({100: 5} | dict.fromkeys(range(200, 1200, 100), 0))).verdict is Verdict.INCONCLUSIVE


def test_scales_that_disagree_give_no_verdict_but_both_numbers() -> None:
    study = ToyStudy()
    for size, vit, cnn in ((100, 200, 320), (1000, 380, 398)):
        study.add("vit", size, [vit] * 5)
        study.add("cnn", size, [cnn] * 5)
    result = only(toy_claim(Measure.FAMILY_GAP_TREND, ahead="vit", both_scales=True), study)
    [point] = result.points
    assert point.estimate.value == pytest.approx((380 - 398 + 320 - 200) / 400)
    expected = math.log(380 / 20) - math.log(398 / 2) - (0 - math.log(320 / 80))
    assert point.log_odds.value == pytest.approx(expected)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "(depends on scale)" in result.reason
    assert "+25.5 points per tenfold" in result.reason
    assert f"−{abs(expected):.1f} in log-odds per tenfold" in result.reason
    on_accuracy_alone = only(toy_claim(Measure.FAMILY_GAP_TREND, ahead="vit"), study)
    assert on_accuracy_alone.verdict is Verdict.SUPPORTED


def test_scales_that_agree_give_the_verdict_with_both_numbers() -> None:
    result = only(toy_claim(both_scales=True), two_families({100: 80}))
    assert result.verdict is Verdict.SUPPORTED
    assert "points" in result.reason and "log-odds" in result.reason


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_fewer_than_three_seeds_give_numbers_but_no_verdict(num_seeds: int) -> None:
    result = only(toy_claim(), two_families({100: 80}, num_seeds=num_seeds))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "too few seeds" in result.reason
    assert result.measured == pytest.approx(0.2)
    assert (result.ci95 is None) == (num_seeds == 1)
    assert result.n == num_seeds


@pytest.mark.parametrize("status", [CellStatus.PENDING, CellStatus.FAILED, CellStatus.BLOCKED, CellStatus.UNFETCHED])
def test_an_unfinished_cell_withholds_the_verdict_and_is_counted(status: CellStatus) -> None:
    study = two_families({100: 80, 1000: 80})
    study.add("vit", 100, [300], first_seed=4, status=status)
    study.add("cnn", 100, [380], first_seed=4)
    result = only(toy_claim(), study)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "unfinished): 13 of 14 cells" in result.reason
    assert result.points[0].estimate.num_seeds == 3


def test_nothing_finished_yet_is_inconclusive_without_points() -> None:
    study = ToyStudy()
    for model in ("vit", "cnn"):
        study.add(model, 100, [300] * 3, status=CellStatus.PENDING)
    result = only(toy_claim(), study)
    assert (result.verdict, result.measured, result.n, result.points) == (Verdict.INCONCLUSIVE, None, 0, ())
    assert "0 of 6 cells" in result.reason


def test_only_the_seeds_that_both_arms_have_count() -> None:
    study = ToyStudy()
    study.add("vit", 100, [300] * 5)
    study.add("cnn", 100, [380] * 3, first_seed=2)
    result = only(toy_claim(), study)
    assert (result.n, result.verdict) == (3, Verdict.SUPPORTED)
    assert {cell.rpartition(".")[2] for cell in result.cells} == {"s2", "s3", "s4"}


def test_undertrained_cells_withhold_the_verdict_and_are_named() -> None:
    study = two_families({1000: 80})
    study.add("cnn", 100, [380] * 3)
    slow = study.add("vit", 100, [300] * 3, train_accuracy=0.98)
    result = only(toy_claim(), study)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "(undertrained)" in result.reason and slow[0] in result.reason
    assert [point.trained_enough for point in result.points] == [False, True]
    assert "98.0 %" in result.points[0].training_note


def test_somewhere_may_rest_on_a_size_that_is_trained_enough() -> None:
    study = two_families({1000: 80})
    study.add("cnn", 100, [390] * 3)
    study.add("vit", 100, [300] * 3, train_accuracy=0.5)
    claim = toy_claim(quantifier="somewhere")
    result = only(claim, study)
    assert result.verdict is Verdict.SUPPORTED
    assert result.measured == pytest.approx(0.2), "the undertrained size has the larger gap and must not decide"
    reversed_claim = toy_claim(quantifier="somewhere", ahead="vit")
    assert "(undertrained)" in only(reversed_claim, study).reason


def checked_study(*, longer_vit: int, train_accuracy: float, check_cnn: bool = True) -> ToyStudy:
    study = ToyStudy()
    study.add("vit", 100, [298, 300, 302], train_accuracy=train_accuracy)
    study.add("cnn", 100, [380] * 3)
    study.add("vit", 100, [longer_vit], recipe="plain+4x", role=Role.CONVERGENCE_CHECK)
    if check_cnn:
        study.add("cnn", 100, [380], recipe="plain+4x", role=Role.CONVERGENCE_CHECK)
    return study


def test_a_check_inside_the_interval_makes_up_for_training_accuracy() -> None:
    result = only(toy_claim(), checked_study(longer_vit=304, train_accuracy=0.95))
    assert result.verdict is Verdict.SUPPORTED
    [point] = result.points
    assert point.trained_enough
    assert "+19.0 instead of +20.5 points, inside the interval" in point.training_note
    assert len(point.check_cells) == 2
    assert not set(point.check_cells) & set(point.cells)


def test_a_check_outside_the_interval_leaves_the_point_undertrained() -> None:
    result = only(toy_claim(), checked_study(longer_vit=370, train_accuracy=0.95))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "(undertrained)" in result.reason
    assert "four times the steps" in result.reason and "+2.5 instead of +20.5 points" in result.reason


def test_a_check_outside_is_told_but_changes_nothing_where_training_accuracy_suffices() -> None:
    result = only(toy_claim(), checked_study(longer_vit=370, train_accuracy=0.99))
    assert result.verdict is Verdict.SUPPORTED
    assert "four times the steps" in result.reason and "+2.5 instead of +20.5" in result.reason
    assert "outside the interval" in result.points[0].training_note


def test_a_check_of_one_family_only_is_no_check() -> None:
    result = only(toy_claim(), checked_study(longer_vit=304, train_accuracy=0.95, check_cnn=False))
    assert "(undertrained)" in result.reason
    assert result.points[0].check_cells == ()


def test_an_unfinished_check_is_said_to_be_unfinished() -> None:
    study = checked_study(longer_vit=304, train_accuracy=0.95, check_cnn=False)
    study.add("cnn", 100, [380], recipe="plain+4x", role=Role.CONVERGENCE_CHECK, status=CellStatus.PENDING)
    assert "not finished" in only(toy_claim(), study).points[0].training_note


def test_checks_and_upstream_cells_are_no_arms() -> None:
    study = ToyStudy()
    for model in ("vit", "cnn"):
        study.add(model, 100, [300] * 3, role=Role.UPSTREAM)
        study.add(model, 100, [300] * 3, recipe="plain+4x", role=Role.CONVERGENCE_CHECK)
    assert evaluate(toy_claim(), study.outcomes, study.predictions, miniature=False) == []


def test_a_check_must_hold_on_both_scales_where_the_claim_is_judged_on_both() -> None:
    study = ToyStudy()
    for model, correct, longer in (("vit", 200, 224), ("cnn", 360, 384)):
        study.add(model, 100, [correct] * 3, train_accuracy=0.9)
        study.add(model, 100, [longer], recipe="plain+4x", role=Role.CONVERGENCE_CHECK)
    one, both = only(toy_claim(), study), only(toy_claim(both_scales=True), study)
    assert one.verdict is Verdict.SUPPORTED
    assert "+40.0 instead of +40.0 points, inside" in one.points[0].training_note
    assert "(undertrained)" in both.reason
    assert "in log-odds, outside the interval" in both.points[0].training_note


def test_a_slope_takes_the_checks_of_the_sizes_that_have_them() -> None:
    study = two_families({100: 80, 1000: 40})
    for model, correct in (("vit", 310), ("cnn", 380)):
        study.add(model, 100, [correct], recipe="plain+4x", role=Role.CONVERGENCE_CHECK)
    [point] = only(toy_claim(Measure.FAMILY_GAP_TREND, ahead="vit"), study).points
    assert "+7.5 instead of +10.0 points per tenfold" in point.training_note
    assert len(point.check_cells) == 2


def test_a_check_does_not_speak_for_sizes_that_it_leaves_out() -> None:
    study = two_families({100: 80})
    study.add("vit", 1000, [300] * 3, train_accuracy=0.9)
    study.add("cnn", 1000, [340] * 3)
    for model, correct in (("vit", 300), ("cnn", 380)):
        study.add(model, 100, [correct], recipe="plain+4x", role=Role.CONVERGENCE_CHECK)
    result = only(toy_claim(Measure.FAMILY_GAP_TREND, ahead="vit"), study)
    assert "inside the interval" in result.points[0].training_note
    assert "leaves out arms that end below 99 %" in result.points[0].training_note
    assert "(undertrained)" in result.reason


def test_the_trend_is_the_slope_of_the_gap_on_the_logarithm_of_the_size() -> None:
    gaps = {50: 100, 150: 60, 400: 50, 1197: 20}
    result = only(toy_claim(Measure.FAMILY_GAP_TREND, ahead="vit"), two_families(gaps))
    [point] = result.points
    expected = -np.polyfit(np.log10(list(gaps)), np.array(list(gaps.values())) / 400, 1)[0]
    assert point.estimate.value == pytest.approx(expected)
    assert (point.num_train_images, point.num_upstream_images, len(point.cells)) == (None, 0, 24)
    assert result.verdict is Verdict.SUPPORTED


def test_a_trend_over_one_size_says_so() -> None:
    result = only(toy_claim(Measure.FAMILY_GAP_TREND), two_families({100: 40}))
    assert (result.verdict, result.points) == (Verdict.INCONCLUSIVE, ())
    assert "at least two training-set sizes" in result.reason


def upstream_study() -> ToyStudy:
    study = ToyStudy()
    for size, scratch_vit, scratch_cnn in ((50, 200, 320), (1000, 320, 360)):
        study.add("vit", size, [scratch_vit] * 5)
        study.add("cnn", size, [scratch_cnn] * 5)
    for images, bonus in ((2000, 20), (64000, 60)):
        for size, vit, cnn in ((50, 220, 310), (1000, 310, 320)):
            for model, correct in (("vit", vit), ("cnn", cnn)):
                study.add(model, size, [correct + bonus] * 3, init=f"upstream:glyphs@{images}", recipe="tune")
    return study


def test_the_gain_gap_pairs_the_largest_upstream_set_with_scratch_over_common_seeds() -> None:
    result = only(toy_claim(Measure.PRETRAINING_GAIN_GAP, ahead="vit", scope=UPSTREAM), upstream_study())
    assert result.recipe == "tune"
    assert [(p.num_train_images, p.num_upstream_images) for p in result.points] == [(50, 64000), (1000, 64000)]
    first = (280 - 200) - (370 - 320)
    second = (370 - 320) - (380 - 360)
    assert [point.estimate.value for point in result.points] == pytest.approx([first / 400, second / 400])
    assert {point.estimate.num_seeds for point in result.points} == {3}
    assert result.verdict is Verdict.SUPPORTED


def test_the_scratch_recipe_with_most_common_seeds_is_taken_then_by_name() -> None:
    study = upstream_study()
    for recipe, num_seeds in (("a-brief", 2), ("a-long", 5)):
        study.add("vit", 50, [100] * num_seeds, recipe=recipe)
        study.add("cnn", 50, [100] * num_seeds, recipe=recipe)
    result = only(toy_claim(Measure.PRETRAINING_GAIN_GAP, ahead="vit", scope=UPSTREAM), study)
    assert result.points[0].estimate.value == pytest.approx((280 - 370) / 400), "a-long and plain share three; a-long is first"
    assert any(".a-long." in cell for cell in result.cells)


def test_the_upstream_trend_has_one_point_a_family_and_size() -> None:
    result = only(toy_claim(Measure.UPSTREAM_TREND, scope=UPSTREAM, smallest_effect=0.0025), upstream_study())
    assert [(p.num_train_images, p.family) for p in result.points] == [(50, "vit"), (50, "cnn"), (1000, "vit"), (1000, "cnn")]
    assert result.points[0].estimate.value == pytest.approx((40 / 400) / math.log10(32))
    assert result.verdict is Verdict.SUPPORTED


def test_an_upstream_trend_over_one_upstream_size_says_so() -> None:
    study = ToyStudy()
    for model in ("vit", "cnn"):
        study.add(model, 50, [300] * 3, init="upstream:glyphs@2000")
    assert "two upstream sizes" in only(toy_claim(Measure.UPSTREAM_TREND, scope=UPSTREAM), study).reason


def test_upstream_data_sets_are_never_on_one_slope() -> None:
    study = ToyStudy()
    for init in ("upstream:glyphs@2000", "upstream:photos@64000"):
        for model in ("vit", "cnn"):
            study.add(model, 50, [300] * 3, init=init)
    assert only(toy_claim(Measure.UPSTREAM_TREND, scope=UPSTREAM), study).points == ()


def test_out_of_scope_is_an_observation_with_numbers() -> None:
    claim = load_catalog().claims["vit-overtakes-at-scale"]
    result = only(claim, upstream_study())
    assert result.verdict is None
    assert "Outside the claim's scope" in result.reason and "14,000,000 upstream images" in result.reason
    assert len(result.points) == 4
    assert result.measured == pytest.approx((370 - 380) / 400)


def test_points_outside_the_scope_do_not_decide() -> None:
    study = two_families({100: 80, 5000: -80})
    result = only(toy_claim(scope=Scope(init="scratch", max_images=1000)), study)
    assert result.verdict is Verdict.SUPPORTED
    assert result.measured == pytest.approx(0.2)
    assert "1 of 2 points lie outside" in result.reason
    assert len(result.points) == 2


def test_a_slope_leaves_out_sizes_beyond_the_scope() -> None:
    study = two_families({100: 80, 1000: 40, 50_000: 400 - 300})
    claim = toy_claim(Measure.FAMILY_GAP_TREND, ahead="vit", scope=Scope(init="scratch", max_images=2000))
    result = only(claim, study)
    assert result.points[0].estimate.value == pytest.approx(0.1)
    assert result.verdict is Verdict.SUPPORTED


def test_each_pair_data_set_and_recipe_has_its_own_result_in_a_fixed_order() -> None:
    study = ToyStudy()
    for dataset in ("b", "a"):
        for model in ("vit", "vit_b", "cnn", "cnn_b"):
            study.add(model, 100, [300] * 3, dataset=dataset)
    for model in ("vit", "cnn"):
        study.add(model, 100, [300] * 3, dataset="a", recipe="other")
    study.add("vit", 100, [300] * 3, dataset="c")
    found = evaluate(toy_claim(), study.outcomes, study.predictions, miniature=True)
    pairs = [(r.dataset, r.recipe, r.vit, r.cnn) for r in found]
    assert pairs == sorted(pairs)
    assert len(pairs) == 9
    assert all(result.miniature for result in found)
    backwards = evaluate(toy_claim(), study.outcomes[::-1], study.predictions, miniature=True)
    assert backwards == found


def test_cells_with_another_test_set_are_not_paired() -> None:
    study = two_families({100: 80})
    study.add("cnn", 100, exact([90], 100), first_seed=4)
    study.add("vit", 100, [300], first_seed=4)
    result = only(toy_claim(), study)
    assert "unfinished): 7 of 8" in result.reason
    assert result.n == 3


def test_perfect_and_equal_families_are_inconclusive_not_an_error() -> None:
    result = only(
        toy_claim(both_scales=True, smallest_effect=0.0, smallest_effect_log_odds=0.0), two_families({100: 0}, vit=400)
    )
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.measured == 0.0


@pytest.mark.parametrize("claim_id", sorted(load_catalog().claims))
def test_every_shipped_claim_gives_a_sentence_where_it_is_made(claim_id: str) -> None:
    claim = load_catalog().claims[claim_id]
    if claim.scope.init == "pretrained":
        study = published_study(num_images=200)
    else:
        study = full_study(num_images=200) if claim.scope.datasets or claim.scope.recipe else upstream_study()
    pairs = load_catalog().pairs.values()
    results = evaluate(claim, study.outcomes, study.predictions, pairs=pairs, miniature=True)
    assert results
    for result in results:
        assert result.reason.endswith((".", ")"))
        assert "\n" not in result.reason and "nan" not in result.reason
        assert ("one draw each" in result.scope) == (claim.scope.init == "pretrained")
