"""Which claims of a profile are shown on which data sets, which could not be tested, and which verdicts survive another recipe.

Must not know how a verdict is reached. Read `hold_claims` first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repro.analysis.claims import evaluate_study
from repro.analysis.results import ClaimResult, Verdict
from repro.analysis.study import Study
from repro.catalog import load_catalog
from repro.spec import Claim, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """All claims of a profile, held against its cells."""

    results: tuple[ClaimResult, ...]
    """With and without verdict, in the order of the claims."""
    warnings: tuple[str, ...]
    """Claims that the profile was expected to test and could not."""


def hold_claims(claims: Sequence[Claim], study: Study, profile: Profile) -> Ledger:
    """Hold every claim against the cells, once a question: a data set's own claim takes the place of the general one there."""
    found = {claim.id: evaluate_study(claim, study, miniature=profile.miniature) for claim in claims}
    replaced = {(claim.instead_of, dataset) for claim in claims if claim.instead_of for dataset in claim.scope.datasets}
    results = [result for held in found.values() for result in held if (result.id, result.dataset) not in replaced]
    untested = [claim.id for claim in claims if not found[claim.id] and _is_expected(claim, profile)]
    return Ledger(
        results=_with_survival(results, study, recipe_pairs([*claims, *load_catalog().claims.values()])),
        warnings=(f"Not tested, because the profile has no cells for it: {', '.join(untested)}.",) if untested else (),
    )


def recipe_pairs(claims: Iterable[Claim]) -> tuple[tuple[str, str], ...]:
    """Every (baseline recipe, recipe) that some claim compares, once."""
    scopes = [claim.scope for claim in claims]
    pairs = [(scope.baseline_recipe, scope.recipe) for scope in scopes if scope.baseline_recipe and scope.recipe]
    return tuple(dict.fromkeys(pairs))


def _is_expected(claim: Claim, profile: Profile) -> bool:
    """Whether a reader of the profile would miss the claim: it is named there, or made for data and recipes that are there."""
    datasets = {name for block in profile.cells for name in block.dataset}
    recipes = {block.recipe for block in profile.cells}
    scope = claim.scope
    fits = not scope.datasets or not datasets.isdisjoint(scope.datasets)
    return claim.id in profile.claims or (fits and (scope.recipe is None or {scope.recipe, scope.baseline_recipe} <= recipes))


def _with_survival(results: Sequence[ClaimResult], study: Study, pairs: Iterable[tuple[str, str]]) -> tuple[ClaimResult, ...]:
    """Each result under a recipe that is compared with a baseline says what has become of the verdict under that baseline."""

    def subject(result: ClaimResult, recipe: str) -> tuple[str, str, str, str, str]:
        return result.id, result.dataset, result.vit, result.cnn, recipe

    by_subject = {subject(result, result.recipe): result for result in results}
    baselines = {recipe: baseline for baseline, recipe in pairs}
    found = []
    for result in results:
        plainer = by_subject.get(subject(result, baselines[result.recipe])) if result.recipe in baselines else None
        if plainer is not None and all(_has_verdict(one, study) for one in (plainer, result)):
            result = result.model_copy(update={"survival": _survival(plainer, result)})
        found.append(result)
    return tuple(found)


def _has_verdict(result: ClaimResult, study: Study) -> bool:
    """Whether there is a verdict that no unfinished cell can still change."""
    arms = [key for model in (result.vit, result.cnn) for key in study.keys[result.dataset, result.recipe, model]]
    return result.verdict is not None and all(row.id in study.correct for key in arms for row in study.arms[key].values())


def _survival(plainer: ClaimResult, result: ClaimResult) -> str:
    if result.verdict is not plainer.verdict:
        becomes = f"changes to {result.verdict}"
    elif result.verdict is Verdict.INCONCLUSIVE:
        becomes = "stays inconclusive"
    else:
        becomes = "survives"
    sentence = f"Under {plainer.recipe} the verdict was {plainer.verdict}; it {becomes} under {result.recipe}."
    there, here = ([point.label for point in one.points] for one in (plainer, result))
    if len(there) == len(here) == 1 and there != here:
        sentence += f" The sizes are not the same: {there[0]} there, {here[0]} here."
    elif there != here:
        sentence += f" The sizes are not the same: {len(there)} comparisons there, {len(here)} here."
    return sentence
