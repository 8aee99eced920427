"""Claims on what ViTs look like from within: which models make a point, its interval, and every verdict or reason for none."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from toy_study import ToyStudy, toy_claim

from repro.analysis.claims import evaluate
from repro.analysis.results import ClaimResult, Verdict
from repro.catalog import load_catalog
from repro.records import CellStatus
from repro.spec import Claim, Measure, Role

POSITIONS, DEPTH = toy_claim(Measure.POSITION_SIMILARITY_GAP), toy_claim(Measure.ATTENTION_DISTANCE_RISE)
CLEAR = (0.30, 0.34, 0.29, 0.33, 0.31)


def held(claim: Claim, study: ToyStudy) -> list[ClaimResult]:
    return evaluate(claim, study.outcomes, study.predictions, insides=study.insides, miniature=True)


def only(claim: Claim, study: ToyStudy) -> ClaimResult:
    [result] = held(claim, study)
    return result


def vits(values: Sequence[float] = CLEAR, **options: object) -> ToyStudy:
    """One arm of ViTs whose similarity and rise are both `values`, and a CNN, which has neither."""
    study = ToyStudy()
    ids = study.add("vit", 1000, [300] * len(values), **options)  # type: ignore[arg-type]
    study.add("cnn", 1000, [320] * len(values))
    study.look_into(ids, similarity=values, rise=values)
    return study


@pytest.mark.parametrize("claim", [POSITIONS, DEPTH], ids=lambda claim: claim.measure.value)
def test_the_interval_is_students_over_the_seeds(claim: Claim) -> None:
    result = only(claim, vits())
    [point] = result.points
    low, high = stats.t.interval(0.95, len(CLEAR) - 1, loc=np.mean(CLEAR), scale=stats.sem(CLEAR))
    assert point.estimate.value == pytest.approx(np.mean(CLEAR))
    assert point.estimate.ci95 == pytest.approx((low, high))
    assert point.estimate.standard_error == pytest.approx(stats.sem(CLEAR))
    assert (point.estimate.degrees_of_freedom, point.estimate.num_seeds) == (4, 5)
    assert point.estimate.num_images == (0 if claim is POSITIONS else 32)
    assert point.log_odds is None and point.family == "vit"
    assert (result.measured, result.ci95, result.n) == (point.estimate.value, point.estimate.ci95, 5)
    assert (result.vit, result.cnn, result.miniature) == ("vit", "", True)


def test_the_words_are_true_of_single_models_and_name_the_unit() -> None:
    assert only(POSITIONS, vits()).reason == (
        "Above 0.05 in cosine similarity: 1,000 training images, +0.314 in cosine similarity [+0.288, +0.340], 5 seeds."
    )
    assert only(DEPTH, vits()).reason == (
        "Above 5.0 % of uniform attention's distance: 1,000 training images, "
        "+31.4 % of uniform attention's distance [+28.8, +34.0], 5 seeds."
    )
    assert only(DEPTH, vits()).scope == "however the weights began"


@pytest.mark.parametrize("claim", [POSITIONS, DEPTH], ids=lambda claim: claim.measure.value)
@pytest.mark.parametrize(
    ("values", "verdict", "words"),
    [
        (CLEAR, Verdict.SUPPORTED, "Above "),
        ((-0.2, -0.21, -0.19), Verdict.CONTRADICTED, "Wholly below 0: "),
        ((0.01, 0.02, 0.03), Verdict.INCONCLUSIVE, "Neither clear of "),
        ((0.3, 0.31), Verdict.INCONCLUSIVE, "Inconclusive (too few seeds): 2 of at least 3."),
        ((0.3,), Verdict.INCONCLUSIVE, "Inconclusive (too few seeds): 1 of at least 3."),
        ((0.3, 0.3, 0.3), Verdict.INCONCLUSIVE, "Inconclusive (no interval): all seeds give the same value."),
    ],
)
def test_every_verdict(claim: Claim, values: Sequence[float], verdict: Verdict, words: str) -> None:
    result = only(claim, vits(values))
    assert result.verdict is verdict
    assert result.reason.startswith(words)
    assert result.measured == pytest.approx(np.mean(values))


def test_a_finished_vit_without_a_look_withholds_the_verdict_and_is_named() -> None:
    study = vits()
    gone = study.insides.pop(1)
    result = only(POSITIONS, study)
    assert result.verdict is Verdict.INCONCLUSIVE and result.n == 4
    assert result.reason.startswith("Inconclusive (not looked into): 1 of 5 cells left nothing to look at (run by an earlier")
    assert result.reason.endswith(f": {gone.cell}.")
    study.insides.clear()
    bare = only(POSITIONS, study)
    assert (bare.verdict, bare.measured, bare.points) == (Verdict.INCONCLUSIVE, None, ())
    assert "5 of 5 cells left nothing to look at" in bare.reason and "and 2 more." in bare.reason


def test_an_unfinished_cell_withholds_it_too() -> None:
    study = vits()
    study.add("vit", 1000, [300], first_seed=6, status=CellStatus.PENDING)
    assert only(POSITIONS, study).reason == "Inconclusive (unfinished): 5 of 6 cells are done."


def checked(*, longer: float | None, train_accuracy: float = 0.9) -> ToyStudy:
    study = vits(train_accuracy=train_accuracy)
    ids = study.add("vit", 1000, [300], recipe="plain+4x", role=Role.CONVERGENCE_CHECK)
    if longer is not None:
        study.look_into(ids, similarity=[longer], rise=[longer])
    return study


@pytest.mark.parametrize("claim", [POSITIONS, DEPTH], ids=lambda claim: claim.measure.value)
def test_undertrained_models_count_only_if_the_longer_runs_own_statistic_lies_inside(claim: Claim) -> None:
    assert "(undertrained): 5 cell(s) end below 99 %" in only(claim, vits(train_accuracy=0.9)).reason
    inside = only(claim, checked(longer=0.33))
    assert inside.verdict is Verdict.SUPPORTED
    [point] = inside.points
    assert point.trained_enough and point.check_cells == ("toy.n1000.vit.scratch.plain+4x.s1",)
    assert " instead of " in point.training_note and ", inside the interval [" in point.training_note
    outside = only(claim, checked(longer=0.5))
    assert outside.verdict is Verdict.INCONCLUSIVE and "At four times the steps it leaves its interval" in outside.reason
    unseen = only(claim, checked(longer=None))
    assert unseen.verdict is Verdict.INCONCLUSIVE
    assert "The check at four times the steps left nothing to look at." in unseen.points[0].training_note


def test_where_training_suffices_a_check_is_told_and_changes_nothing() -> None:
    result = only(POSITIONS, checked(longer=0.5, train_accuracy=1.0))
    assert result.verdict is Verdict.SUPPORTED
    assert result.reason.endswith(
        "At four times the steps it leaves its interval: 1,000 training images: "
        "+0.50 instead of +0.30 in cosine similarity (seed 1)."
    )


def test_each_way_the_weights_began_is_a_point_at_the_largest_sizes_only() -> None:
    study = ToyStudy()
    for size in (50, 1000):
        for init in ("scratch", "upstream:a@10", "upstream:a@200", "upstream:b@30"):
            ids = study.add("vit", size, [300] * 3, init=init)
            shift = {"scratch": 0.0}.get(init, 0.1)
            study.look_into(ids, similarity=[0.2 + shift, 0.21 + shift, 0.22 + shift])
    result = only(POSITIONS, study)
    assert [(point.num_train_images, point.num_upstream_images) for point in result.points] == [
        (1000, 0),
        (1000, 200),
        (1000, 30),
    ]
    assert result.verdict is Verdict.SUPPORTED and result.measured == pytest.approx(0.21)
    assert "in each of 3 groups of models; weakest: 1,000 training images, +0.210" in result.reason


def test_all_vits_and_recipes_of_a_data_set_make_one_entry_and_probes_none() -> None:
    study = ToyStudy()
    for dataset, recipe, model in (("b", "plain", "vit"), ("a", "plain", "vit_b"), ("a", "plain", "vit"), ("a", "tune", "vit")):
        study.look_into(study.add(model, 100, [300] * 3, dataset=dataset, recipe=recipe), similarity=CLEAR[:3])
    study.add("vit", 100, [300] * 3, dataset="a", recipe="probe", is_probe=True)
    study.add("cnn", 100, [300] * 3, dataset="c")
    first, second = held(POSITIONS, study)
    assert (first.dataset, first.recipe, first.vit) == ("a", "plain and tune", "vit and vit_b")
    assert [point.label for point in first.points] == [
        "100 training images, vit, plain",
        "100 training images, vit, tune",
        "100 training images, vit_b, plain",
    ]
    assert (second.dataset, second.recipe, [point.label for point in second.points]) == ("b", "plain", ["100 training images"])


def test_an_architecture_that_cannot_be_looked_into_is_left_to_the_section_where_another_could_be() -> None:
    study = ToyStudy()
    study.look_into(study.add("vit", 100, [300] * 3), similarity=CLEAR[:3])
    study.add("vit_b", 100, [300] * 3)
    [result] = held(POSITIONS, study)
    assert result.verdict is Verdict.SUPPORTED and [point.models for point in result.points] == [""]
    study.insides.clear()
    [result] = held(POSITIONS, study)
    assert result.verdict is Verdict.INCONCLUSIVE and "not looked into" in result.reason


def test_given_weights_are_said_to_be_one_draw() -> None:
    result = only(POSITIONS, vits(init="pretrained", upstream=("photos", 1000)))
    assert result.scope.startswith("however the weights began. Published weights are one draw each")


def test_an_architecture_without_the_statistic_has_no_entry() -> None:
    study = ToyStudy()
    study.look_into(study.add("vit", 100, [300] * 3), similarity=CLEAR[:3], rise=[None] * 3)
    assert held(DEPTH, study) == [] and only(POSITIONS, study).verdict is Verdict.SUPPORTED
    single_patch = ToyStudy()
    single_patch.look_into(single_patch.add("vit", 100, [300] * 3), similarity=CLEAR[:3], uniform=0.0)
    assert held(POSITIONS, single_patch) == held(DEPTH, single_patch) == []


def test_a_study_of_cnns_has_no_entry() -> None:
    study = ToyStudy()
    study.add("cnn", 100, [300] * 3)
    assert held(POSITIONS, study) == held(DEPTH, study) == []


@pytest.mark.parametrize("claim_id", ["positions-in-line-alike", "attention-distance-rises"])
def test_the_shipped_claims_say_that_the_paper_gives_no_number_and_what_had_been_seen(claim_id: str) -> None:
    claim = load_catalog().claims[claim_id]
    assert claim.published.startswith("No number in the paper") and "Chosen after a look" in claim.reason
    assert claim.scope.init == "any" and claim.smallest_effect > 0
