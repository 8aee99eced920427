"""Which claims of a profile are shown on which data sets, which could not be tested, and which verdicts survive another recipe.

Must not know how a verdict is reached. Read `hold_claims` first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repro.analysis.arms import PRETRAINED, kind_of_init
from repro.analysis.claims import evaluate_study
from repro.analysis.pairs import Pair
from repro.analysis.results import ClaimResult, Verdict
from repro.analysis.study import Study
from repro.catalog import load_catalog
from repro.formatting import enumeration
from repro.spec import CellBlock, Claim, Measure, PairSpec, Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """All claims of a profile, held against its cells."""

    results: tuple[ClaimResult, ...]
    """With and without verdict, in the order of the claims."""
    warnings: tuple[str, ...]
    """Claims that the profile was expected to test and could not."""


def hold_claims(claims: Sequence[Claim], study: Study, profile: Profile) -> Ledger:
    """Hold every claim against the cells, once a question: a claim of its own takes the place of the general one there."""
    found = {claim.id: evaluate_study(claim, study, miniature=profile.miniature) for claim in claims}
    replaced = {(claim.instead_of, pair.order) for claim in claims if claim.instead_of for pair, _ in found[claim.id]}
    held = [one for results in found.values() for one in results if (one[1].id, one[0].order) not in replaced]
    untested = [claim.id for claim in claims if not found[claim.id] and _is_expected(claim, profile, study.declared)]
    missing = f"Not tested, because the profile has no cells for it: {', '.join(untested)}."
    return Ledger(
        results=_with_survival(held, study, recipe_pairs([*claims, *load_catalog().claims.values()])),
        warnings=(*((missing,) if untested else ()), *_unfit_pairs(claims, study.declared)),
    )


def recipe_pairs(claims: Iterable[Claim]) -> tuple[tuple[str, str], ...]:
    """Every (baseline recipe, recipe) that some claim compares, once."""
    scopes = [claim.scope for claim in claims]
    pairs = [(scope.baseline_recipe, scope.recipe) for scope in scopes if scope.baseline_recipe and scope.recipe]
    return tuple(dict.fromkeys(pairs))


def _is_expected(claim: Claim, profile: Profile, declared: Sequence[PairSpec]) -> bool:
    """Whether a reader of the profile would miss the claim: it is named there, or made for data, recipes and weights there."""
    if claim.id in profile.claims:
        return True
    if claim.measure.is_of_the_inside:
        return False  # Where there is a ViT that was trained whole, there is an entry.
    scope = claim.scope
    blocks = [block for block in profile.cells if not scope.datasets or not set(scope.datasets).isdisjoint(block.dataset)]
    recipes = {block.recipe for block in profile.cells}
    if not blocks or not {scope.recipe, scope.baseline_recipe} <= {None, *recipes}:
        return False
    named = {name for name in (scope.model, scope.baseline_model) if name}
    for spec in declared:
        if spec.name in (scope.pair, scope.baseline_pair):
            named.update(spec.vit, spec.cnn)
    there = _models(blocks, scope.init, scope.recipes)
    if not named <= there:
        return False
    if scope.init != PRETRAINED:
        return True
    # Published weights are in few profiles, and scratch runs of the same models in fewer.
    needs_scratch = claim.measure is Measure.PRETRAINING_GAIN_GAP
    return bool(there) and not (needs_scratch and _models(blocks, "scratch").isdisjoint(named or there))


def _models(blocks: Iterable[CellBlock], kind: str, recipes: Sequence[str] = ()) -> set[str]:
    """Models whose weights begin in one way, under any of `recipes`, or any at all."""
    fitting = [block for block in blocks if not recipes or block.recipe in recipes]
    return {model for block in fitting for init in block.init if kind_of_init(init) == kind for model in block.model}


def _unfit_pairs(claims: Sequence[Claim], declared: Sequence[PairSpec]) -> list[str]:
    """A profile's pair may bear the name of one that a claim measures a gain from, and have too many models for that."""
    crowded = {spec.name for spec in declared if len(spec.vit) > 1 or len(spec.cnn) > 1}
    return [
        f"Not tested: {claim.id} takes pairs of one ViT and one CNN, and {enumeration(sorted(names))} has more."
        for claim in claims
        if claim.measure is Measure.UPSTREAM_GAIN_GAP and (names := crowded & {claim.scope.pair, claim.scope.baseline_pair})
    ]


def _with_survival(
    held: Sequence[tuple[Pair, ClaimResult]], study: Study, recipes: Iterable[tuple[str, str]]
) -> tuple[ClaimResult, ...]:
    """Each result under a recipe that is compared with a baseline says what has become of the verdict under that baseline."""

    def subject(pair: Pair, result: ClaimResult, recipe: str) -> tuple[object, ...]:
        return result.id, pair.dataset, pair.vits, pair.cnns, pair.name, recipe

    by_subject = {subject(pair, result, result.recipe): (pair, result) for pair, result in held}
    baselines = {recipe: baseline for baseline, recipe in recipes}
    found = []
    for pair, result in held:
        plainer = by_subject.get(subject(pair, result, baselines.get(result.recipe, "")))
        if plainer is not None and all(_has_verdict(*one, study) for one in (plainer, (pair, result))):
            result = result.model_copy(update={"survival": _survival(plainer[1], result)})
        found.append(result)
    return tuple(found)


def _has_verdict(pair: Pair, result: ClaimResult, study: Study) -> bool:
    """Whether there is a verdict that no unfinished cell can still change."""
    arms = (*pair.vit_arms, *pair.cnn_arms)
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
