"""The convergence rule under recipes that are not expected to reach 99 % on their training images."""

import pytest
from toy_study import ToyStudy, toy_claim

from repro.analysis.claims import evaluate
from repro.analysis.convergence import is_regularised
from repro.analysis.results import ClaimResult, Verdict
from repro.catalog import load_catalog
from repro.records import CellStatus
from repro.spec import Claim, Measure, Recipe, Role, Scope


def only(claim: Claim, study: ToyStudy) -> ClaimResult:
    [result] = evaluate(claim, study.outcomes, study.predictions, miniature=False)
    return result


def strong_study(
    *,
    checked_at: tuple[int, ...] = (1000,),
    longer_cnn: int = 380,
    is_regularised: bool = True,
    steps: dict[int, int] | None = None,
    check_status: CellStatus = CellStatus.DONE,
    families: tuple[str, ...] = ("vit", "cnn"),
) -> ToyStudy:
    """Gaps of 80 of 400 images at 100 and 1,000 images, all cells at 93 % training accuracy."""
    study = ToyStudy()
    for size in (100, 1000):
        options = {"recipe": "strong", "is_regularised": is_regularised, "steps": (steps or {}).get(size, 400)}
        study.add("vit", size, [298, 300, 302], train_accuracy=0.93, **options)
        study.add("cnn", size, [380] * 3, train_accuracy=0.93, **options)
    for size in checked_at:
        for model, correct in (("vit", 302), ("cnn", longer_cnn)):
            if model in families:
                study.add(model, size, [correct], recipe="strong+4x", role=Role.CONVERGENCE_CHECK, status=check_status)
    return study


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"flip": True, "crop_padding": 4, "label_smoothing": 0.1}, False),
        ({"mixup_alpha": 0.2}, True),
        ({"cutmix_alpha": 1.0}, True),
        ({"trivial_augment": True}, True),
        ({"erase_probability": 0.25}, True),
    ],
)
def test_a_recipe_counts_as_regularised_by_what_it_does_to_the_images(fields: dict[str, object], expected: bool) -> None:
    assert is_regularised(Recipe.model_validate({"name": "r", "lr": 0.1, "batch_size": 8, "steps": 10} | fields)) is expected


def test_shipped_recipes_are_sorted_as_their_names_say() -> None:
    found = {name for name, recipe in load_catalog().recipes.items() if is_regularised(recipe)}
    assert "cifar-strong" in found
    assert not {"cifar-plain", "micro-scratch", "micro-finetune"} & found


def test_a_size_without_a_check_leans_on_the_next_larger_one_and_says_so() -> None:
    result = only(toy_claim(), strong_study())
    assert result.verdict is Verdict.SUPPORTED
    small, large = result.points
    assert small.trained_enough and large.trained_enough
    assert "No check at 100 images; that at 1,000 images of the same recipe speaks for it" in small.training_note
    assert "inside the interval" in small.training_note and "No check" not in large.training_note
    assert small.check_cells == large.check_cells and len(small.check_cells) == 2


def test_a_plain_recipe_never_leans() -> None:
    result = only(toy_claim(), strong_study(is_regularised=False))
    assert result.verdict is Verdict.INCONCLUSIVE and "(undertrained)" in result.reason
    assert [point.trained_enough for point in result.points] == [False, True]
    assert "No check" not in result.points[0].training_note


def test_a_larger_size_never_leans_on_a_smaller_one() -> None:
    result = only(toy_claim(), strong_study(checked_at=(100,)))
    assert [point.trained_enough for point in result.points] == [True, False]
    assert "(undertrained)" in result.reason and "as is expected of their recipe" in result.reason


def test_without_any_check_nothing_counts_and_99_per_cent_needs_none() -> None:
    result = only(toy_claim(), strong_study(checked_at=()))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "as is expected of their recipe, and there is no finished check" in result.reason
    trained = ToyStudy()
    for model, correct in (("vit", 300), ("cnn", 380)):
        trained.add(model, 100, [correct] * 3, recipe="strong", is_regularised=True, train_accuracy=0.99)
    assert only(toy_claim(), trained).verdict is Verdict.SUPPORTED


def test_a_check_that_fails_speaks_for_nobody() -> None:
    result = only(toy_claim(), strong_study(longer_cnn=399))
    assert [point.trained_enough for point in result.points] == [False, False]
    assert "does not speak for it" in result.points[0].training_note
    assert "100 training images: at 1,000 images +24.3 instead of +20.5 points (seed 1)" in result.reason


def test_a_check_of_its_own_is_what_counts_even_if_it_is_not_finished() -> None:
    study = strong_study()
    for model in ("vit", "cnn"):
        study.add(model, 100, [300], recipe="strong+4x", role=Role.CONVERGENCE_CHECK, status=CellStatus.PENDING)
    small = only(toy_claim(), study).points[0]
    assert not small.trained_enough
    assert "not finished" in small.training_note and "No check" not in small.training_note


@pytest.mark.parametrize("changes", [{"check_status": CellStatus.PENDING}, {"families": ("vit",)}])
def test_an_unfinished_or_one_sided_check_speaks_for_nobody(changes: dict[str, object]) -> None:
    assert not only(toy_claim(), strong_study(**changes)).points[0].trained_enough  # type: ignore[arg-type]


def test_the_size_leaned_on_must_not_have_seen_each_image_more_often() -> None:
    assert only(toy_claim(), strong_study(steps={100: 50, 1000: 400})).points[0].trained_enough
    assert not only(toy_claim(), strong_study(steps={100: 39, 1000: 400})).points[0].trained_enough


def test_a_trend_leans_for_the_size_that_has_no_check() -> None:
    claim = toy_claim(Measure.FAMILY_GAP_TREND, ahead="vit")
    [point] = only(claim, strong_study()).points
    assert point.trained_enough
    assert "No check at 100 images" in point.training_note
    assert "\u221219.5 instead of \u221220.5 points, inside" in point.training_note, (
        "the difference there, not a share of the slope"
    )
    assert not only(claim, strong_study(checked_at=(100,))).points[0].trained_enough


def test_a_gain_leans_for_its_strong_side_only() -> None:
    scope = Scope(init="scratch", recipe="strong", baseline_recipe="plain")
    claim = toy_claim(Measure.RECIPE_GAIN, ahead="vit", scope=scope, smallest_effect=0.005)

    def gains(plain_accuracy: float) -> list[bool]:
        study = strong_study()
        for size in (100, 1000):
            study.add("vit", size, [250] * 3, train_accuracy=plain_accuracy)
            study.add("cnn", size, [330] * 3, train_accuracy=plain_accuracy)
        return [point.trained_enough for point in only(claim, study).points]

    assert gains(1.0) == [True, True, True, True]
    assert gains(0.95) == [False, False, False, False]
