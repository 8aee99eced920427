"""Claims about published weights: pairs, two checkpoints, a gain between pairs, published numbers, and linear probes."""

import numpy as np
import pytest
from toy_study import LARGE_UPSTREAM, SMALL_UPSTREAM, ToyStudy, exact, toy_claim, toy_pair

from repro.analysis.assemble import assemble
from repro.analysis.claims import evaluate
from repro.analysis.results import ClaimResult, Results, Verdict
from repro.analysis.wording import measure_in_words, scope_in_words, scope_sentence
from repro.records import CellStatus
from repro.spec import CellBlock, Claim, Measure, PairSpec, Profile, Role, Scope

PRETRAINED = Scope(init="pretrained")
MINI = toy_pair("mini", "vit", ["cnn", "cnn_b"])
SCALE = toy_pair("small", "vit", "cnn"), toy_pair("large", "vit_l", "cnn_l")


def add(
    study: ToyStudy, model: str, size: int, correct: int, upstream: tuple[str, int] = SMALL_UPSTREAM, **options: object
) -> None:
    fields: dict[str, object] = {"init": "pretrained", "recipe": "tune", "upstream": upstream} | options
    study.add(model, size, [correct] * 3, **fields)  # type: ignore[arg-type]


def mini_study(sizes: tuple[int, ...] = (100, 1000), *, vit: int = 350, cnn: int = 300, cnn_b: int = 310) -> ToyStudy:
    study = ToyStudy()
    for size in sizes:
        for model, correct in (("vit", vit), ("cnn", cnn), ("cnn_b", cnn_b)):
            add(study, model, size, correct)
    return study


def held(claim: Claim, study: ToyStudy, *pairs: PairSpec) -> list[ClaimResult]:
    return evaluate(claim, study.outcomes, study.predictions, pairs=pairs, miniature=False)


def only(claim: Claim, study: ToyStudy, *pairs: PairSpec) -> ClaimResult:
    [result] = held(claim, study, *pairs)
    return result


def test_a_pair_is_judged_over_every_combination_and_size_and_names_its_models() -> None:
    result = only(toy_claim(ahead="vit", scope=PRETRAINED), mini_study(), MINI)
    assert (result.vit, result.cnn, result.pair, result.recipe) == ("vit", "cnn and cnn_b", "Mini", "tune")
    assert [(point.num_train_images, point.models) for point in result.points] == [
        (100, "against cnn"),
        (100, "against cnn_b"),
        (1000, "against cnn"),
        (1000, "against cnn_b"),
    ]
    assert [point.estimate.value for point in result.points] == pytest.approx([0.125, 0.1, 0.125, 0.1])
    assert result.points[0].label == "100 training images after 1,281,167 upstream images (photos-1k), against cnn"
    assert result.verdict is Verdict.SUPPORTED
    assert result.measured == pytest.approx(0.1)


def test_one_cnn_that_passes_does_not_carry_the_other() -> None:
    claim = toy_claim(ahead="vit", scope=PRETRAINED)
    level = only(claim, mini_study(cnn_b=350), MINI)
    assert level.verdict is Verdict.INCONCLUSIVE
    assert "weakest: 100 training images after 1,281,167 upstream images (photos-1k), against cnn_b, 0.0 points" in level.reason
    assert only(claim, mini_study(cnn_b=390), MINI).verdict is Verdict.CONTRADICTED
    somewhere = toy_claim(ahead="vit", quantifier="somewhere", scope=PRETRAINED)
    assert only(somewhere, mini_study(cnn_b=390), MINI).verdict is Verdict.SUPPORTED


def test_a_claim_about_one_pair_is_silent_on_others() -> None:
    study = mini_study()
    for model in ("vit_l", "cnn_l"):
        add(study, model, 100, 300, LARGE_UPSTREAM)
    assert [result.pair for result in held(toy_claim(scope=PRETRAINED), study, MINI, SCALE[1])] == ["Mini", "Large"]
    scope = Scope(init="pretrained", pair="large")
    assert [result.pair for result in held(toy_claim(scope=scope), study, MINI, SCALE[1])] == ["Large"]
    assert held(toy_claim(scope=Scope(init="pretrained", pair="absent")), study, MINI) == []


def test_smaller_training_sets_are_shown_and_do_not_count() -> None:
    study = mini_study()
    for model, correct in (("vit", 200), ("cnn", 300), ("cnn_b", 300)):
        add(study, model, 10, correct)
    scope = Scope(init="pretrained", min_train_images=100)
    result = only(toy_claim(ahead="vit", scope=scope), study, MINI)
    assert result.verdict is Verdict.SUPPORTED
    assert [point.in_scope for point in result.points] == [False, False, True, True, True, True]
    assert "2 of 6 points lie outside the claim's scope" in result.reason
    assert "on at least 100 training images" in result.scope


def test_upstream_images_that_are_not_known_lie_outside_every_limit() -> None:
    study = ToyStudy()
    for model, correct in (("vit", 350), ("cnn", 300)):
        add(study, model, 100, correct, ("photos", 0))
    for limits in ({"min_upstream_images": 1}, {"max_images": 10**9}):
        result = only(toy_claim(ahead="vit", scope=Scope.model_validate({"init": "pretrained"} | limits)), study)
        assert result.verdict is None
        assert "from weights of unknown upstream images" in result.reason
    result = only(toy_claim(ahead="vit", scope=PRETRAINED), study)
    assert (result.verdict, result.points[0].label) == (Verdict.SUPPORTED, "100 training images after photos")


def test_of_two_upstream_sets_both_must_lie_inside_the_scope() -> None:
    study = ToyStudy()
    add(study, "vit_l", 100, 350, LARGE_UPSTREAM)
    add(study, "cnn", 100, 300, SMALL_UPSTREAM)
    scope = Scope(init="pretrained", min_upstream_images=14_000_000)
    assert only(toy_claim(ahead="vit", scope=scope), study, toy_pair("mixed", "vit_l", "cnn")).verdict is None


def test_the_gain_by_published_weights_is_measured_from_scratch_runs_of_the_same_models() -> None:
    study = mini_study((100,))
    for model, correct in (("vit", 200), ("cnn", 250)):
        study.add(model, 100, [correct] * 3)
    study.add("cnn_b", 1000, [250] * 3)
    for model in ("vit", "cnn"):
        study.add(model, 100, [10] * 5, recipe="a-probe", is_probe=True)
    claim = toy_claim(Measure.PRETRAINING_GAIN_GAP, ahead="vit", scope=PRETRAINED)
    result = only(claim, study, MINI)
    [point] = result.points
    assert point.estimate.value == pytest.approx(((350 - 200) - (300 - 250)) / 400)
    assert (point.models, len(point.cells), result.verdict) == ("against cnn", 12, Verdict.SUPPORTED)
    assert not any("a-probe" in cell for cell in result.cells), "frozen random features are no training from scratch"


def test_two_checkpoints_of_a_family_are_compared_wherever_both_are() -> None:
    study = ToyStudy()
    for dataset in ("b", "a"):
        for size, small, large in ((100, 300, 340), (1000, 340, 360)):
            add(study, "vit_b", size, small, dataset=dataset)
            add(study, "vit", size, large, LARGE_UPSTREAM, dataset=dataset)
    add(study, "vit", 100, 300, dataset="c")
    results = held(toy_claim(Measure.CHECKPOINT_GAP, ahead="vit"), study)
    assert [(result.dataset, result.vit, result.cnn) for result in results] == [
        ("a", "vit and vit_b", ""),
        ("b", "vit and vit_b", ""),
    ]
    assert [point.estimate.value for point in results[0].points] == pytest.approx([0.1, 0.05])
    assert {(point.family, point.num_upstream_images) for point in results[0].points} == {("vit", 14_197_122)}
    assert (results[0].verdict, len(results[0].cells)) == (Verdict.SUPPORTED, 12)
    claim = toy_claim(Measure.CHECKPOINT_GAP, scope=Scope(init="pretrained", model="vit_b", baseline_model="vit"))
    assert held(claim, study)[0].verdict is Verdict.CONTRADICTED
    assert measure_in_words(claim)[0] == "accuracy of vit_b minus accuracy of vit"


def test_the_scope_of_a_comparison_of_two_speaks_of_the_model_not_of_its_baseline() -> None:
    study = ToyStudy()
    add(study, "vit", 100, 340, LARGE_UPSTREAM)
    add(study, "vit_b", 100, 300)
    scope = Scope(init="pretrained", model="vit", baseline_model="vit_b", min_upstream_images=14_000_000)
    assert only(toy_claim(Measure.CHECKPOINT_GAP, scope=scope), study).verdict is Verdict.SUPPORTED
    turned = Scope(init="pretrained", model="vit_b", baseline_model="vit", min_upstream_images=14_000_000)
    assert only(toy_claim(Measure.CHECKPOINT_GAP, scope=turned), study).verdict is None


def scale_study() -> ToyStudy:
    study = ToyStudy()
    for size in (100, 1000):
        for model, correct in (("vit", 300), ("cnn", 320)):
            add(study, model, size, correct)
        for model, correct in (("vit_l", 370), ("cnn_l", 350)):
            add(study, model, size, correct, LARGE_UPSTREAM)
    return study


def test_what_more_upstream_data_gives_is_a_difference_of_pairs() -> None:
    claim = toy_claim(Measure.UPSTREAM_GAIN_GAP, ahead="vit", both_scales=True)
    result = only(claim, scale_study(), *SCALE)
    assert result.pair == "Large − Small"
    assert (result.vit, result.cnn) == ("vit_l and vit", "cnn_l and cnn")
    assert [point.estimate.value for point in result.points] == pytest.approx([(70 - 30) / 400] * 2)
    logit = {correct: np.log(correct / (400 - correct)) for correct in (300, 320, 350, 370)}
    expected = (logit[370] - logit[300]) - (logit[350] - logit[320])
    assert result.points[0].log_odds.value == pytest.approx(expected)
    assert result.points[0].label == "100 training images after 14,197,122 upstream images (photos-21k)"
    assert (result.verdict, len(result.cells)) == (Verdict.SUPPORTED, 24)
    assert held(claim, scale_study(), SCALE[1]) == [], "nothing without the baseline"
    turned = toy_claim(Measure.UPSTREAM_GAIN_GAP, ahead="cnn")
    assert only(turned, scale_study(), *SCALE).verdict is Verdict.CONTRADICTED


def test_a_gain_between_pairs_of_many_models_is_not_tested_and_says_why() -> None:
    study = scale_study()
    for size in (100, 1000):
        add(study, "cnn_b", size, 300)
    crowded = toy_pair("small", "vit", ["cnn", "cnn_b"])
    results = ledger_of(study, [toy_claim(Measure.UPSTREAM_GAIN_GAP)], [crowded, SCALE[1]])
    assert results.claims == ()
    assert any("takes pairs of one ViT and one CNN, and small has more" in warning for warning in results.warnings)


def tuned(correct: object, **options: object) -> ToyStudy:
    study = ToyStudy()
    matrix = exact(correct) if isinstance(correct, list) else correct
    study.add("vit", 1000, matrix, init="pretrained", upstream=LARGE_UPSTREAM, recipe="tune", **options)  # type: ignore[arg-type]
    return study


@pytest.mark.parametrize(
    ("correct", "verdict", "words"),
    [
        (380, Verdict.SUPPORTED, "Inside the tolerance: 1,000 training images"),
        (385, Verdict.INCONCLUSIVE, "Neither wholly inside nor wholly outside the tolerance"),
        (398, Verdict.CONTRADICTED, "Wholly outside the tolerance"),
        (300, Verdict.CONTRADICTED, "Wholly outside the tolerance"),
    ],
)
def test_a_tolerance_has_three_verdicts(correct: int, verdict: Verdict, words: str) -> None:
    claim = toy_claim(Measure.ACCURACY, published_accuracy=0.95, tolerance=0.025)
    result = only(claim, tuned([correct] * 3))
    assert result.verdict is verdict
    assert result.reason.startswith(words)
    assert "against 95 % published, tolerance 2.5 points, 3 seeds." in result.reason
    assert result.measured == pytest.approx(correct / 400 - 0.95)
    [point] = result.points
    assert point.estimate.ci95 is not None and point.estimate.standard_error is not None
    assert point.family == "vit" and (result.vit, result.cnn) == ("vit", "")


def test_a_tolerance_names_both_numbers_in_per_cent() -> None:
    claim = toy_claim(Measure.ACCURACY, published_accuracy=0.9859, tolerance=0.003)
    rng = np.random.default_rng(1)
    result = only(claim, tuned(rng.random((3, 10_000)) < 0.9842))
    low, high = (0.9859 + end for end in result.ci95 or ())
    assert (
        f"{100 * (0.9859 + (result.measured or 0)):.2f} % [{100 * low:.2f}, {100 * high:.2f}] against 98.59 %" in result.reason
    )
    assert "tolerance 0.3 points" in result.reason and "log-odds" not in result.reason


def test_a_tolerance_is_held_at_every_size_or_somewhere() -> None:
    study = tuned([380] * 3)
    study.add("vit", 5000, [398] * 3, init="pretrained", upstream=LARGE_UPSTREAM, recipe="tune")
    fields = {"published_accuracy": 0.95, "tolerance": 0.025}
    every = only(toy_claim(Measure.ACCURACY, **fields), study)
    assert every.verdict is Verdict.CONTRADICTED
    assert every.measured == pytest.approx(398 / 400 - 0.95), "the point that contradicts is the one shown"
    somewhere = only(toy_claim(Measure.ACCURACY, quantifier="somewhere", **fields), study)
    assert somewhere.verdict is Verdict.SUPPORTED
    assert somewhere.measured == pytest.approx(0.0)


def test_a_tolerance_out_of_scope_is_an_observation_in_per_cent() -> None:
    scope = Scope(init="pretrained", model="vit", min_train_images=50_000)
    result = only(toy_claim(Measure.ACCURACY, scope=scope), tuned([380] * 3))
    assert result.verdict is None
    assert "95.0 %" in result.reason and "against 95 % published" in result.reason


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_a_tolerance_needs_three_seeds_too(num_seeds: int) -> None:
    result = only(toy_claim(Measure.ACCURACY), tuned([380] * num_seeds))
    assert result.verdict is Verdict.INCONCLUSIVE and "too few seeds" in result.reason


def test_an_unfinished_tolerance_is_inconclusive() -> None:
    study = tuned([380] * 3)
    study.add(
        "vit", 1000, [0], init="pretrained", upstream=LARGE_UPSTREAM, recipe="tune", first_seed=4, status=CellStatus.PENDING
    )
    assert "unfinished): 3 of 4 cells" in only(toy_claim(Measure.ACCURACY), study).reason


def test_a_claim_about_a_schedule_does_not_ask_for_convergence() -> None:
    fields = {"published_accuracy": 0.95, "tolerance": 0.025}
    study = tuned([380] * 3, train_accuracy=0.9)
    assert "(undertrained)" in only(toy_claim(Measure.ACCURACY, **fields), study).reason
    result = only(toy_claim(Measure.ACCURACY, needs_convergence=False, **fields), study)
    assert result.verdict is Verdict.SUPPORTED
    assert result.points[0].trained_enough
    assert "about this very schedule" in result.points[0].training_note


def test_a_check_of_one_model_is_held_against_the_difference_from_the_published_value() -> None:
    study = tuned([376, 380, 384], train_accuracy=0.9)
    study.add("vit", 1000, [378], init="pretrained", upstream=LARGE_UPSTREAM, recipe="tune+4x", role=Role.CONVERGENCE_CHECK)
    [point] = only(toy_claim(Measure.ACCURACY, published_accuracy=0.95, tolerance=0.1), study).points
    assert point.trained_enough
    assert "−0.5 instead of −1.0 points, inside the interval" in point.training_note


def probe_study() -> ToyStudy:
    study = mini_study((100,))
    for model, correct in (("vit", 200), ("cnn", 300), ("cnn_b", 300)):
        add(study, model, 100, correct, recipe="probe", is_probe=True, train_accuracy=0.6)
    return study


def test_linear_probes_are_held_only_against_claims_that_name_their_recipe() -> None:
    assert [result.recipe for result in held(toy_claim(scope=PRETRAINED), probe_study(), MINI)] == ["tune"]
    named = toy_claim(scope=Scope(init="pretrained", recipes=("probe",)))
    result = only(named, probe_study(), MINI)
    assert (result.recipe, result.verdict) == ("probe", Verdict.SUPPORTED)
    assert result.points[0].training_note == "A linear probe: only the head is fitted."
    assert scope_in_words(named) == "these checkpoints, under recipe probe"
    single = toy_claim(Measure.CHECKPOINT_GAP, scope=Scope(init="pretrained", model="cnn", baseline_model="cnn_b"))
    assert [result.recipe for result in held(single, probe_study(), MINI)] == ["tune"]


def test_a_gain_of_tuning_over_a_probe_counts_the_probe_as_it_is() -> None:
    scope = Scope(init="pretrained", recipe="tune", baseline_recipe="probe")
    result = only(toy_claim(Measure.RECIPE_GAIN_GAP, ahead="vit", scope=scope), probe_study(), MINI)
    assert [point.estimate.value for point in result.points] == pytest.approx([150 / 400, 140 / 400])
    assert result.points[0].training_note.startswith("A linear probe: only the head is fitted. All 6 cells end at 99 %")
    gains = only(toy_claim(Measure.RECIPE_GAIN, ahead="vit", scope=scope), probe_study(), MINI)
    assert [(point.family, point.models) for point in gains.points] == [("vit", ""), ("cnn", "cnn"), ("cnn", "cnn_b")]


def test_a_claim_may_name_the_recipes_that_it_is_made_under() -> None:
    study = mini_study((100,))
    for model in ("vit", "cnn", "cnn_b"):
        add(study, model, 100, 300, recipe="long")
    scope = Scope(init="pretrained", recipes=("long", "longer"))
    assert [result.recipe for result in held(toy_claim(scope=scope), study, MINI)] == ["long"]


def test_a_trend_over_published_weights_has_one_slope_a_combination() -> None:
    study = mini_study((100,))
    for model, correct in (("vit", 360), ("cnn", 350), ("cnn_b", 350)):
        add(study, model, 1000, correct)
    result = only(toy_claim(Measure.FAMILY_GAP_TREND, ahead="cnn", scope=PRETRAINED), study, MINI)
    assert [point.models for point in result.points] == ["against cnn", "against cnn_b"]
    assert [point.estimate.value for point in result.points] == pytest.approx([(50 - 10) / 400, (40 - 10) / 400])


def ledger_of(study: ToyStudy, claims: list[Claim], pairs: list[PairSpec], profile: Profile | None = None) -> Results:
    blocks = (CellBlock(dataset=("toy",), size=(1.0,), model=("vit", "cnn"), init=("pretrained",), recipe="tune"),)
    profile = profile or Profile(name="toy", cells=blocks)
    return assemble(profile, study.outcomes, study.predictions, claims, pairs=pairs, generated_at="2026-01-01T00:00:00Z")


def test_a_pairs_own_claim_takes_the_place_of_the_general_one_there() -> None:
    study = mini_study((100,))
    for model in ("vit_l", "cnn_l"):
        add(study, model, 100, 300, LARGE_UPSTREAM)
    for model in ("vit", "cnn", "cnn_b"):
        add(study, model, 100, 300, dataset="else")
    general = toy_claim(scope=PRETRAINED)
    own = toy_claim(id="own", instead_of="toy-claim", scope=Scope(init="pretrained", pair="mini", datasets=("toy",)))
    for claims in ([general, own], [own, general]):
        found = {(claim.id, claim.dataset, claim.pair) for claim in ledger_of(study, claims, [MINI, SCALE[1]]).claims}
        assert found == {("own", "toy", "Mini"), ("toy-claim", "toy", "Large"), ("toy-claim", "else", "Mini")}
    everywhere = toy_claim(id="own", instead_of="toy-claim", scope=Scope(init="pretrained", pair="mini"))
    found = {(claim.id, claim.dataset) for claim in ledger_of(study, [general, everywhere], [MINI]).claims}
    assert found == {("own", "toy"), ("own", "else")} | {("toy-claim", "toy")}


def test_a_narrower_claim_replaces_the_general_one_only_where_it_is_tested() -> None:
    own = toy_claim(id="own", instead_of="toy-claim", scope=Scope(init="pretrained", pair="mini", recipes=("long",)))
    results = ledger_of(mini_study((100,)), [toy_claim(scope=PRETRAINED), own], [MINI])
    assert [claim.id for claim in results.claims] == ["toy-claim"]


@pytest.mark.parametrize(
    ("claim", "missed"),
    [
        (toy_claim(scope=PRETRAINED), True),
        (toy_claim(scope=Scope(init="pretrained", datasets=("elsewhere",))), False),
        (toy_claim(scope=Scope(init="pretrained", recipes=("long",))), False),
        (toy_claim(scope=Scope(init="pretrained", pair="small")), True),
        (toy_claim(scope=Scope(init="pretrained", pair="large")), False),
        (toy_claim(Measure.ACCURACY), True),
        (toy_claim(Measure.CHECKPOINT_GAP), False),
        (toy_claim(Measure.PRETRAINING_GAIN_GAP, scope=PRETRAINED), False),
    ],
)
def test_claims_are_missed_where_the_profile_has_their_weights(claim: Claim, missed: bool) -> None:
    warnings = ledger_of(ToyStudy(), [claim], list(SCALE)).warnings
    assert (warnings != ()) == missed
    scratch = Profile(name="toy", cells=(CellBlock(dataset=("toy",), size=(1.0,), model=("vit", "cnn"), recipe="plain"),))
    assert ledger_of(ToyStudy(), [claim], list(SCALE), scratch).warnings == ()


def test_verdicts_about_published_weights_say_what_they_do_not_say() -> None:
    scope = Scope(init="pretrained", pair="mini", min_upstream_images=1000, datasets=("a", "b"))
    assert scope_in_words(toy_claim(scope=scope)) == (
        "these checkpoints, fine-tuned, of the pair mini, pre-trained on at least 1,000 upstream images, on a and b"
    )
    assert scope_sentence(toy_claim(scope=scope)).endswith(
        "on a and b. Published weights are one draw each: the interval says nothing about training them anew."
    )
    assert scope_sentence(toy_claim()) == "trained from scratch"
    gain = toy_claim(Measure.UPSTREAM_GAIN_GAP, ahead="vit")
    assert measure_in_words(gain)[0] == "gain of the ViT from pair small to pair large minus gain of the CNN"
    assert "of the pair large, measured from the pair small" in scope_in_words(gain)
    assert measure_in_words(toy_claim(Measure.ACCURACY)) == ("accuracy of vit minus the published accuracy", "points")
