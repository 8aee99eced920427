"""What a claim's fields must have in common, and that the catalogue's claims refer to what is there."""

import pytest
from toy_study import toy_claim

from repro.catalog import load_catalog
from repro.errors import ProfileError
from repro.spec import Claim, Measure, Scope, parse

RECIPES = Scope(init="scratch", recipe="strong", baseline_recipe="plain")


@pytest.mark.parametrize("measure", list(Measure))
def test_only_comparisons_of_recipes_name_recipes(measure: Measure) -> None:
    assert measure.compares_recipes == measure.value.startswith("recipe-gain")
    toy_claim(measure, scope=RECIPES if measure.compares_recipes else Scope(init="scratch"))
    with pytest.raises(ValueError, match="needs scope" if measure.compares_recipes else "takes no scope"):
        toy_claim(measure, scope=Scope(init="scratch") if measure.compares_recipes else RECIPES)


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
        ({"datasets": [""]}, "datasets"),
    ],
)
def test_a_bad_scope_is_told(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ProfileError, match=complaint):
        parse(Scope, {"init": "scratch"} | fields, origin="claims.toml")


@pytest.mark.parametrize(("instead_of", "datasets"), [("toy-claim", ["a"]), ("other", [])])
def test_a_claim_replaces_another_one_on_data_sets_of_its_own(instead_of: str, datasets: list[str]) -> None:
    with pytest.raises(ValueError, match="instead_of names another claim"):
        toy_claim(instead_of=instead_of, scope=Scope(init="scratch", datasets=tuple(datasets)))


@pytest.mark.parametrize("claim", load_catalog().claims.values(), ids=lambda claim: claim.id)
def test_shipped_claims_refer_to_what_the_catalogue_holds(claim: Claim) -> None:
    catalog = load_catalog()
    assert set(claim.scope.datasets) <= set(catalog.datasets)
    assert {claim.scope.recipe, claim.scope.baseline_recipe} <= {None, *catalog.recipes}
    if claim.instead_of is not None:
        general = catalog.claims[claim.instead_of]
        assert general.scope == claim.scope.model_copy(update={"datasets": ()}), "the same question, asked of fewer data sets"
        assert (general.measure, general.ahead, general.quantifier) == (claim.measure, claim.ahead, claim.quantifier)
        assert general.instead_of is None
