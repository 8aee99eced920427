"""The measures that set slopes and recipes against each other, held against plain numpy on the accuracies alone."""

from itertools import product

import numpy as np
import pytest
from full_study import NUM_IMAGES, STRONG_SIZES, UPSTREAM_SIZES, full_study
from toy_study import ToyStudy, toy_claim

from repro.analysis.claims import evaluate
from repro.analysis.results import ClaimResult, Verdict
from repro.analysis.wording import measure_in_words, scope_in_words
from repro.catalog import load_catalog
from repro.records import CellStatus
from repro.spec import Claim, Measure, Scope

RECIPES = Scope(init="scratch", recipe="cifar-strong", baseline_recipe="cifar-plain")
VIT, CNN = "vit_cifar", "resnet18_cifar"


@pytest.fixture(scope="module")
def study() -> ToyStudy:
    return full_study()


def held(claim: Claim, study: ToyStudy) -> dict[str, ClaimResult]:
    """The results by data set; fails where a data set has more than one."""
    results = evaluate(claim, study.outcomes, study.predictions, miniature=False)
    assert len({result.dataset for result in results}) == len(results)
    return {result.dataset: result for result in results}


def per_seed(study: ToyStudy, dataset: str, model: str, size: int, recipe: str, init: str = "scratch") -> np.ndarray:
    """bool (S, I) of one arm, looked up by id."""
    return np.stack([study.predictions[f"{dataset}.n{size}.{model}.{init}.{recipe}.s{seed}"] for seed in (1, 2, 3)])


def log_odds(correct_SI: np.ndarray) -> float:
    return float(np.log(correct_SI.mean() / (1 - correct_SI.mean())))


def two_way_interval(z_SI: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean by the textbook's sums of squares."""
    from scipy import stats

    num_seeds, num_images = z_SI.shape
    grand, seed_S, image_I = z_SI.mean(), z_SI.mean(axis=1), z_SI.mean(axis=0)
    ms_seed = num_images * seed_S.var(ddof=1)
    ms_image = num_seeds * image_I.var(ddof=1)
    rest = z_SI - seed_S[:, None] - image_I + grand
    ms_rest = (rest**2).sum() / ((num_seeds - 1) * (num_images - 1))
    total = max(ms_seed + ms_image - ms_rest, ms_seed, ms_image)
    spread = ms_seed**2 / (num_seeds - 1) + ms_image**2 / (num_images - 1)
    spread += ms_rest**2 / ((num_seeds - 1) * (num_images - 1))
    half = stats.t.ppf(0.975, max(total**2 / spread, num_seeds - 1)) * np.sqrt(total / (num_seeds * num_images))
    return grand - half, grand + half


def test_a_gain_is_the_paired_difference_of_recipes_for_each_family_and_size(study: ToyStudy) -> None:
    results = held(toy_claim(Measure.RECIPE_GAIN, ahead="vit", scope=RECIPES), study)
    assert list(results) == ["cifar10", "cifar100"]
    for dataset, result in results.items():
        assert result.recipe == "cifar-strong \u2212 cifar-plain"
        expected = list(product(STRONG_SIZES, ("vit", "cnn")))
        assert [(point.num_train_images, point.family) for point in result.points] == expected
        for point, (size, family) in zip(result.points, expected, strict=True):
            model = VIT if family == "vit" else CNN
            strong, plain = (per_seed(study, dataset, model, size, f"cifar-{name}") for name in ("strong", "plain"))
            assert point.estimate.value == pytest.approx(strong.mean() - plain.mean())
            assert point.log_odds.value == pytest.approx(log_odds(strong) - log_odds(plain))
            assert point.estimate.ci95 == pytest.approx(two_way_interval(strong.astype(float) - plain))
            assert len(point.cells) == 6


def test_the_gain_of_one_family_minus_the_others_is_the_difference_of_their_gains(study: ToyStudy) -> None:
    gaps = held(toy_claim(Measure.RECIPE_GAIN_GAP, ahead="vit", scope=RECIPES), study)
    gains = held(toy_claim(Measure.RECIPE_GAIN, ahead="vit", scope=RECIPES), study)
    for dataset, result in gaps.items():
        by_family = {(p.num_train_images, p.family): p for p in gains[dataset].points}
        assert [point.num_train_images for point in result.points] == list(STRONG_SIZES)
        for point in result.points:
            vit, cnn = (by_family[point.num_train_images, family] for family in ("vit", "cnn"))
            assert point.estimate.value == pytest.approx(vit.estimate.value - cnn.estimate.value)
            assert point.log_odds.value == pytest.approx(vit.log_odds.value - cnn.log_odds.value)
            assert point.family is None
    turned = held(toy_claim(Measure.RECIPE_GAIN_GAP, ahead="cnn", scope=RECIPES), study)
    assert turned["cifar10"].points[0].estimate.value == pytest.approx(-gaps["cifar10"].points[0].estimate.value)


def test_the_difference_of_slopes_is_the_slope_of_the_differences(study: ToyStudy) -> None:
    claim = load_catalog().claims["more-upstream-images-help-vit-more"]
    slopes = held(load_catalog().claims["more-upstream-images-help"], study)
    for dataset, result in held(claim, study).items():
        assert [point.num_train_images for point in result.points] == list(STRONG_SIZES)
        for point in result.points:
            arms = {
                model: [
                    per_seed(
                        study, dataset, model, point.num_train_images or 0, "cifar-finetune", f"upstream:tinyimagenet32@{n}"
                    )
                    for n in UPSTREAM_SIZES
                ]
                for model in (VIT, CNN)
            }
            x = np.log10(UPSTREAM_SIZES)
            gap = np.array([v.mean() - c.mean() for v, c in zip(arms[VIT], arms[CNN], strict=True)])
            assert point.estimate.value == pytest.approx(np.polyfit(x, gap, 1)[0])
            by_family = [np.polyfit(x, [log_odds(arm) for arm in arms[model]], 1)[0] for model in (VIT, CNN)]
            assert point.log_odds.value == pytest.approx(by_family[0] - by_family[1])
            one_family = {p.family: p for p in slopes[dataset].points if p.num_train_images == point.num_train_images}
            difference = one_family["vit"].estimate.value - one_family["cnn"].estimate.value
            assert point.estimate.value == pytest.approx(difference)
            # One slope for each seed and image is a linear map, so that the interval is that of a single matrix.
            weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
            z = sum(w * (v.astype(float) - c.astype(float)) for w, v, c in zip(weights, arms[VIT], arms[CNN], strict=True))
            assert isinstance(z, np.ndarray) and z.shape == (3, NUM_IMAGES)
            assert point.estimate.ci95 == pytest.approx(two_way_interval(z))


NEW = ("more-upstream-images-help-vit-more", "augmentation-helps-both", "augmentation-helps-vit-more")


@pytest.mark.parametrize("claim_id", NEW)
def test_a_single_seed_gives_numbers_but_no_verdict(claim_id: str) -> None:
    for result in held(load_catalog().claims[claim_id], full_study(num_seeds=1, num_images=200)).values():
        assert (result.verdict, result.ci95, result.n) == (Verdict.INCONCLUSIVE, None, 1)
        assert "too few seeds" in result.reason and result.survival == ""


@pytest.mark.parametrize(
    ("claim_id", "unfinished"), [(NEW[0], "cifar-finetune"), (NEW[1], "cifar-plain"), (NEW[2], "cifar-strong")]
)
def test_an_unfinished_matrix_gives_no_verdict(claim_id: str, unfinished: str) -> None:
    for result in held(load_catalog().claims[claim_id], full_study(unfinished=unfinished, num_images=200)).values():
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "(unfinished)" in result.reason


def test_sizes_under_one_recipe_only_are_left_out_and_no_common_size_gives_nothing() -> None:
    study = ToyStudy()
    for model in ("vit", "cnn"):
        study.add(model, 100, [200] * 3, recipe="cifar-plain")
        study.add(model, 1000, [300] * 3, recipe="cifar-strong")
    claim = toy_claim(Measure.RECIPE_GAIN, scope=RECIPES)
    assert held(claim, study) == {}
    study.add("vit", 1000, [250] * 3, recipe="cifar-plain")
    [point] = held(claim, study)["toy"].points
    assert (point.label, point.estimate.value) == ("ViT, 1,000 training images", pytest.approx(50 / 400))
    assert held(toy_claim(Measure.RECIPE_GAIN_GAP, scope=RECIPES), study) == {}


def test_a_gain_is_taken_between_arms_of_the_scopes_kind_and_of_the_same_initial_weights() -> None:
    study = ToyStudy()
    for init, plain, strong in (("scratch", 200, 300), ("upstream:glyphs@2000", 250, 260), ("upstream:glyphs@64000", 260, 300)):
        for model in ("vit", "cnn"):
            study.add(model, 100, [plain] * 3, recipe="cifar-plain", init=init)
            study.add(model, 100, [strong] * 3, recipe="cifar-strong", init=init)
    scratch = held(toy_claim(Measure.RECIPE_GAIN, scope=RECIPES), study)["toy"]
    assert [point.estimate.value for point in scratch.points] == pytest.approx([0.25, 0.25])
    scope = RECIPES.model_copy(update={"init": "upstream"})
    upstream = held(toy_claim(Measure.RECIPE_GAIN, scope=scope), study)["toy"]
    assert [point.estimate.value for point in upstream.points] == pytest.approx([0.025, 0.025, 0.1, 0.1])
    assert "after 2,000 upstream images (glyphs)" in upstream.points[0].label


def test_slopes_of_two_families_need_two_common_upstream_sizes() -> None:
    study = ToyStudy()
    for images in (1000, 10000):
        study.add("vit", 100, [300] * 3, init=f"upstream:glyphs@{images}")
    study.add("cnn", 100, [300] * 3, init="upstream:glyphs@1000")
    claim = toy_claim(Measure.UPSTREAM_TREND_GAP, ahead="vit", scope=Scope(init="upstream"))
    result = held(claim, study)["toy"]
    assert (result.verdict, result.points) == (Verdict.INCONCLUSIVE, ())
    assert "two upstream sizes" in result.reason
    study.add("cnn", 100, [300] * 3, init="upstream:glyphs@10000", status=CellStatus.PENDING)
    assert "unfinished" in held(claim, study)["toy"].reason


def test_a_claim_is_silent_on_data_sets_that_it_is_not_made_for(study: ToyStudy) -> None:
    scope = Scope(init="scratch", datasets=("cifar100",))
    assert list({r.dataset for r in evaluate(toy_claim(scope=scope), study.outcomes, study.predictions, miniature=False)}) == [
        "cifar100"
    ]
    assert scope_in_words(toy_claim(scope=scope)) == "trained from scratch, on cifar100"


def test_measures_are_put_into_words_with_their_unit() -> None:
    claims = load_catalog().claims
    assert measure_in_words(claims["more-upstream-images-help-vit-more"]) == (
        "change of (ViT \u2212 CNN) per tenfold of upstream images",
        "points per tenfold of upstream images",
    )
    assert measure_in_words(claims["augmentation-helps-vit-more"]) == (
        "gain of the ViT by cifar-strong over cifar-plain minus gain of the CNN",
        "points",
    )
    assert scope_in_words(claims["augmentation-helps-both"]) == (
        "trained from scratch, on at most 1,300,000 images in all, under recipe cifar-strong against cifar-plain"
    )
