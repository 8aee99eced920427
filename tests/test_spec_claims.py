"""What a claim's fields must have in common, and that the catalogue's claims refer to what is there."""

import pytest
from toy_study import SCOPE_OF_MEASURE, toy_claim

from repro.catalog import load_catalog
from repro.errors import ProfileError
from repro.spec import Claim, Measure, Scope, parse

NAMED = ("recipe", "baseline_recipe", "model", "baseline_model", "pair", "baseline_pair")


def fields_of(measure: Measure) -> dict[str, object]:
    """What the scope of a toy claim says, as a file would."""
    return {"init": "scratch"} | SCOPE_OF_MEASURE.get(measure, {})


@pytest.mark.parametrize("measure", list(Measure))
def test_each_measure_names_what_it_compares_and_nothing_else(measure: Measure) -> None:
    assert measure.compares_recipes == measure.value.startswith("recipe-gain")
    claim = toy_claim(measure)
    given = {name for name in NAMED if getattr(claim.scope, name) is not None}
    assert given == set(measure.scope_fields)
    for name in measure.scope_fields:
        without = Scope.model_construct(**(claim.scope.model_dump() | {name: None}))
        complaint = "both or not at all" if measure.compares_recipes else f"needs scope.{name}"
        with pytest.raises(ValueError, match=complaint):
            toy_claim(measure, scope=without)
    other = {"recipe": "strong", "baseline_recipe": "plain"} if not measure.compares_recipes else {"model": "vit"}
    with pytest.raises(ValueError, match="takes no scope"):
        toy_claim(measure, scope=Scope.model_validate(fields_of(measure) | other))


@pytest.mark.parametrize("measure", list(Measure))
def test_a_pair_may_stand_beside_every_measure_of_two_families(measure: Measure) -> None:
    if "pretrained" not in measure.inits:
        return
    scope = Scope.model_validate(fields_of(measure) | {"init": "pretrained", "pair": "large"})
    if "model" in measure.scope_fields:
        with pytest.raises(ValueError, match=r"takes no scope\.pair"):
            toy_claim(measure, scope=scope)
    else:
        assert toy_claim(measure, scope=scope).scope.pair == "large"


@pytest.mark.parametrize(
    ("measure", "init"),
    [
        (Measure.UPSTREAM_TREND, "pretrained"),
        (Measure.UPSTREAM_TREND_GAP, "scratch"),
        (Measure.PRETRAINING_GAIN_GAP, "scratch"),
    ],
)
def test_a_measure_speaks_of_weights_that_begin_as_it_says(measure: Measure, init: str) -> None:
    with pytest.raises(ValueError, match=r"takes scope\.init 'upstream'"):
        toy_claim(measure, scope=Scope.model_validate(fields_of(measure) | {"init": init}))


@pytest.mark.parametrize("measure", [measure for measure in Measure if measure.is_of_the_inside])
@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"both_scales": True}, "has no log-odds"),
        ({"smallest_effect_log_odds": 0.1}, "has no log-odds"),
        ({"ahead": "cnn"}, "speaks of ViTs: ahead = 'vit'"),
        ({"tolerance": 0.1, "published_accuracy": 0.9}, "only measure 'accuracy' takes"),
        ({"scope": {"init": "scratch"}}, r"takes scope\.init 'any'"),
        ({"scope": {"init": "pretrained", "pair": "mini"}}, r"takes no scope\.pair"),
    ],
)
def test_a_claim_on_the_inside_has_one_scale_and_one_family_and_any_weights(
    measure: Measure, fields: dict[str, object], complaint: str
) -> None:
    assert toy_claim(measure).scope.init == "any"
    given = toy_claim(measure).model_dump(mode="json", exclude_unset=True)
    with pytest.raises(ProfileError, match=complaint):
        parse(Claim, given | fields, origin="claims.toml")
    del given["smallest_effect"]
    with pytest.raises(ProfileError, match="needs a smallest_effect"):
        parse(Claim, given, origin="claims.toml")


@pytest.mark.parametrize("measure", [measure for measure in Measure if not measure.is_of_the_inside])
def test_a_contrast_of_accuracies_says_how_the_weights_began(measure: Measure) -> None:
    assert "any" not in measure.inits
    if "pair" not in measure.scope_fields:  # which speaks of published weights by itself
        with pytest.raises(ValueError, match=r"takes scope\.init"):
            toy_claim(measure, scope=Scope.model_validate(fields_of(measure) | {"init": "any"}))


@pytest.mark.parametrize("measure", list(Measure))
def test_a_slope_says_over_which_images(measure: Measure) -> None:
    assert bool(measure.slope_over) == ("trend" in measure.value)
    assert measure.slope_over in ("", "training", "upstream")


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"recipe": "strong"}, "both or not at all"),
        ({"baseline_recipe": "plain"}, "both or not at all"),
        ({"recipe": "plain", "baseline_recipe": "plain"}, "are both 'plain'"),
        ({"model": "vit", "baseline_model": "vit"}, "model and baseline_model are both 'vit'"),
        ({"pair": "mini"}, "needs init 'pretrained', not 'scratch'"),
        ({"datasets": [""]}, "datasets"),
    ],
)
def test_a_bad_scope_is_told(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ProfileError, match=complaint):
        parse(Scope, {"init": "scratch"} | fields, origin="claims.toml")


@pytest.mark.parametrize(
    ("measure", "fields", "complaint"),
    [
        (Measure.ACCURACY, {"tolerance": None}, "'accuracy' needs published_accuracy and tolerance"),
        (Measure.ACCURACY, {"published_accuracy": None}, "'accuracy' needs published_accuracy and tolerance"),
        (Measure.ACCURACY, {"smallest_effect": 0.01}, "no smallest effect"),
        (Measure.ACCURACY, {"both_scales": True}, "both_scales = false"),
        (Measure.FAMILY_GAP, {"tolerance": 0.01}, "only measure 'accuracy' takes published_accuracy and tolerance"),
        (Measure.FAMILY_GAP, {"published_accuracy": 0.9}, "not 'family-gap'"),
    ],
)
def test_a_tolerance_goes_with_a_published_accuracy(measure: Measure, fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        toy_claim(measure, **fields)


def test_a_smallest_effect_is_given_even_if_it_is_none() -> None:
    given = toy_claim(smallest_effect=0.0).model_dump(mode="json")
    assert parse(Claim, given, origin="claims.toml").smallest_effect == 0.0
    del given["smallest_effect"]
    with pytest.raises(ProfileError, match=r"'family-gap' needs a smallest_effect, if only 0\.0"):
        parse(Claim, given, origin="claims.toml")


@pytest.mark.parametrize("measure", list(Measure))
def test_a_claim_survives_results_json(measure: Measure) -> None:
    claim = toy_claim(measure)
    assert Claim.model_validate_json(claim.model_dump_json()) == claim


@pytest.mark.parametrize(("instead_of", "datasets"), [("toy-claim", ["a"]), ("other", [])])
def test_a_claim_replaces_another_one_on_data_sets_or_a_pair_of_its_own(instead_of: str, datasets: list[str]) -> None:
    with pytest.raises(ValueError, match="instead_of names another claim"):
        toy_claim(instead_of=instead_of, scope=Scope(init="scratch", datasets=tuple(datasets)))
    assert toy_claim(instead_of="other", scope=Scope(init="pretrained", pair="mini")).scope.datasets == ()


@pytest.mark.parametrize("claim", load_catalog().claims.values(), ids=lambda claim: claim.id)
def test_shipped_claims_refer_to_what_the_catalogue_holds(claim: Claim) -> None:
    catalog, scope = load_catalog(), claim.scope
    assert set(scope.datasets) <= set(catalog.datasets)
    assert {scope.recipe, scope.baseline_recipe, *scope.recipes} <= {None, *catalog.recipes}
    assert {scope.model, scope.baseline_model} <= {None, *catalog.models, *catalog.checkpoints}
    assert {scope.pair, scope.baseline_pair} <= {None, *catalog.pairs}
    if claim.measure is Measure.UPSTREAM_GAIN_GAP:
        pairs = [catalog.pairs[name] for name in (scope.pair, scope.baseline_pair) if name]
        assert all(len(pair.vit) == len(pair.cnn) == 1 for pair in pairs), "else it would be held against nothing"
    if claim.measure is Measure.CHECKPOINT_GAP:
        families = {catalog.checkpoints[name].family for name in (scope.model, scope.baseline_model) if name}
        assert families == {claim.ahead}


@pytest.mark.parametrize(
    "claim", [claim for claim in load_catalog().claims.values() if claim.instead_of], ids=lambda claim: claim.id
)
def test_a_claim_that_replaces_another_asks_the_same_question_of_less(claim: Claim) -> None:
    general = load_catalog().claims[claim.instead_of or ""]
    narrower = {"datasets", "pair", "min_train_images", "min_upstream_images"}
    same = {name: getattr(claim.scope, name) for name in Scope.model_fields if name not in narrower}
    assert same == {name: getattr(general.scope, name) for name in same}
    assert not general.scope.datasets and general.scope.pair is None
    assert (general.measure, general.ahead, general.quantifier) == (claim.measure, claim.ahead, claim.quantifier)
    assert general.instead_of is None
