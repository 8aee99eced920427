"""Which claims are shown where, which are missed, and what becomes of a verdict under the stronger recipe."""

import pytest
from full_study import PROFILE as FULL
from full_study import full_results, full_study
from toy_study import ToyStudy, toy_claim

from repro.analysis.assemble import assemble
from repro.analysis.ledger import recipe_pairs
from repro.analysis.results import Results, Verdict
from repro.catalog import load_catalog, load_profile
from repro.records import CellStatus
from repro.spec import Claim, Profile, Scope

EVERY = tuple(load_catalog().claims.values())
OWN = toy_claim(id="own", instead_of="toy-claim", scope=Scope(init="scratch", datasets=("a",)))


def results_of(study: ToyStudy, claims: tuple[Claim, ...], profile: Profile = FULL) -> Results:
    return assemble(profile, study.outcomes, study.predictions, claims, generated_at="2026-01-01T00:00:00Z")


@pytest.fixture(scope="module")
def full() -> Results:
    return full_results(full_study())


def demo_shape() -> ToyStudy:
    study = ToyStudy()
    for size in (50, 1197):
        for model in ("vit", "cnn"):
            study.add(model, size, [300] * 3, dataset="digits", recipe="micro-scratch")
            for images in (2000, 64000):
                init = f"upstream:glyphs@{images}"
                study.add(model, size, [320] * 3, dataset="digits", init=init, recipe="micro-finetune")
    return study


def test_the_miniature_shows_its_claims_the_inside_last_and_one_observation_and_misses_none() -> None:
    results = results_of(demo_shape(), EVERY, load_profile("demo"))
    assert [claim.id for claim in results.claims] == [
        "scratch-cnn-ahead",
        "gap-narrows-with-data",
        "pretraining-helps-vit-more",
        "more-upstream-images-help",
        "positions-in-line-alike",
        "attention-distance-rises",
    ]
    assert {claim.recipe for claim in results.claims[4:]} == {"micro-finetune and micro-scratch"}
    assert [claim.id for claim in results.observations] == ["vit-overtakes-at-scale"]
    assert results.warnings == ()


def test_a_claim_that_the_profile_names_is_missed_wherever_it_is_made_for() -> None:
    named = load_profile("demo").model_copy(update={"claims": ("scratch-cnn-ahead-cifar10",)})
    [warning] = results_of(demo_shape(), (load_catalog().claims["scratch-cnn-ahead-cifar10"],), named).warnings
    assert warning == "Not tested, because the profile has no cells for it: scratch-cnn-ahead-cifar10."


def test_a_claim_on_the_inside_is_missed_only_where_the_profile_names_it() -> None:
    claim = load_catalog().claims["attention-distance-rises"]
    assert results_of(ToyStudy(), (claim,), FULL).warnings == ()
    named = FULL.model_copy(update={"claims": (claim.id,)})
    [warning] = results_of(ToyStudy(), (claim,), named).warnings
    assert warning == "Not tested, because the profile has no cells for it: attention-distance-rises."


def test_claims_for_the_profiles_data_and_recipes_are_missed_where_cells_are_not() -> None:
    [warning] = results_of(ToyStudy(), EVERY, FULL).warnings
    assert all((claim.id in warning) == (claim.scope.init not in ("pretrained", "any")) for claim in EVERY)
    plain = FULL.model_copy(update={"cells": FULL.cells[:1]})
    assert "augmentation" not in results_of(ToyStudy(), EVERY, plain).warnings[0]


def test_a_data_sets_own_claim_takes_the_place_of_the_general_one(full: Results) -> None:
    shown = {(claim.id, claim.dataset) for claim in full.claims if claim.id.startswith("scratch-cnn-ahead")}
    assert shown == {("scratch-cnn-ahead-cifar10", "cifar10"), ("scratch-cnn-ahead-cifar100", "cifar100")}
    assert full.warnings == ()
    general = load_catalog().claims["scratch-cnn-ahead"]
    alone = results_of(full_study(num_images=200), (general,))
    assert {claim.dataset for claim in alone.claims} == {"cifar10", "cifar100"}


def test_the_general_claim_stays_on_all_other_data_sets() -> None:
    study = ToyStudy()
    for dataset in ("a", "b"):
        for model in ("vit", "cnn"):
            study.add(model, 100, [300] * 3, dataset=dataset)
    for claims in ((toy_claim(), OWN), (OWN, toy_claim())):
        assert {(r.id, r.dataset) for r in results_of(study, claims).claims} == {("own", "a"), ("toy-claim", "b")}


def test_each_comparison_of_recipes_stands_once_in_the_ledger(full: Results) -> None:
    compared = [(claim.id, claim.dataset, claim.recipe) for claim in full.claims if claim.id.startswith("augmentation")]
    assert len(compared) == len(set(compared)) == 4
    assert {recipe for _, _, recipe in compared} == {"cifar-strong \u2212 cifar-plain"}


def test_pairs_of_recipes_are_those_that_claims_compare() -> None:
    assert recipe_pairs(EVERY) == (("cifar-plain", "cifar-strong"),)


def two_recipes(strong_gap: int, *, plain_sizes: tuple[int, ...] = (100,)) -> ToyStudy:
    study = ToyStudy()
    for size in plain_sizes:
        study.add("vit", size, [300] * 3, recipe="cifar-plain")
        study.add("cnn", size, [380] * 3, recipe="cifar-plain")
    study.add("vit", 100, [300] * 3, recipe="cifar-strong")
    study.add("cnn", 100, [300 + strong_gap] * 3, recipe="cifar-strong")
    return study


@pytest.mark.parametrize(
    ("strong_gap", "becomes"),
    [(80, "it survives"), (-80, "it changes to contradicted"), (0, "it changes to inconclusive")],
)
def test_the_stronger_recipes_entry_says_what_becomes_of_the_verdict(strong_gap: int, becomes: str) -> None:
    plain, strong = results_of(two_recipes(strong_gap), (toy_claim(),)).claims
    assert (plain.verdict, plain.survival) == (Verdict.SUPPORTED, "")
    assert strong.survival == f"Under cifar-plain the verdict was supported; {becomes} under cifar-strong."


def test_no_verdict_survives_what_was_no_verdict() -> None:
    plain, strong = results_of(two_recipes(80), (toy_claim(smallest_effect=0.5),)).claims
    assert plain.verdict is strong.verdict is Verdict.INCONCLUSIVE
    assert "inconclusive; it stays inconclusive under" in strong.survival


def test_a_verdict_over_other_sizes_is_said_to_be_one() -> None:
    _, strong = results_of(two_recipes(80, plain_sizes=(100, 1000)), (toy_claim(),)).claims
    assert strong.survival.endswith("survives under cifar-strong. The sizes are not the same: 2 comparisons there, 1 here.")


def test_nothing_is_said_while_cells_are_missing() -> None:
    study = two_recipes(80)
    study.add("vit", 100, [300], recipe="cifar-strong", first_seed=4, status=CellStatus.PENDING)
    assert [claim.survival for claim in results_of(study, (toy_claim(),)).claims] == ["", ""]


def test_observations_and_other_recipes_have_no_verdict_that_could_survive(full: Results) -> None:
    assert {claim.recipe for claim in full.claims if claim.survival} == {"cifar-strong"}
    assert {claim.survival for claim in full.observations} == {""}
