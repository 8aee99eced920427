"""Contrasts of given models: two checkpoints, one accuracy beside a published one, and what a larger upstream set adds.

Here the claim names its models or pairs, instead of being held against every pair. Must not know verdicts. Read `model_pairs`
first.
"""

from dataclasses import replace

from repro.analysis.arms import ArmKey, contender, kind_of
from repro.analysis.pairs import Pair, pinned
from repro.analysis.planned import PlannedPoint, gap_point, in_scope, several, size_label
from repro.analysis.study import Study
from repro.formatting import MINUS
from repro.spec import Claim


def model_pairs(claim: Claim, study: Study) -> list[Pair]:
    """Wherever the claim's model, and its baseline model if it has one, have arms: these, on the side of their family."""
    names = [name for name in (claim.scope.model, claim.scope.baseline_model) if name is not None]
    found = []
    for dataset, recipe in sorted({(dataset, recipe) for dataset, recipe, _ in study.keys}):
        arms = [_arms(claim, study, dataset, recipe, name) for name in names]
        if not all(arms):
            continue
        vits, cnns = ([key for keys in arms for key in keys if key.family == family] for family in ("vit", "cnn"))
        found.append(
            Pair(
                dataset=dataset,
                recipe=recipe,
                kind=claim.scope.init,
                vits=tuple(dict.fromkeys(contender(key.model, key.init) for key in vits)),
                cnns=tuple(dict.fromkeys(contender(key.model, key.init) for key in cnns)),
                vit_arms=tuple(vits),
                cnn_arms=tuple(cnns),
                combinations=(),
            )
        )
    return found


def checkpoint_gaps(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    """The model minus its baseline at each size that both have; the scope speaks of the model."""
    scope = claim.scope
    assert scope.model is not None and scope.baseline_model is not None, "the claim's model refuses this measure without both"
    baselines = _arms(claim, study, pair.dataset, pair.recipe, scope.baseline_model)
    return [
        replace(_one_model(claim, pair, key), terms=((1.0, key), (-1.0, baseline)))
        for key in _arms(claim, study, pair.dataset, pair.recipe, scope.model)
        for baseline in baselines
        if (key.beginning, key.num_train_images) == (baseline.beginning, baseline.num_train_images)
    ]


def accuracies(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    """The model's accuracy minus the published one, at each size."""
    assert claim.scope.model is not None, "the claim's model refuses this measure without one"
    keys = _arms(claim, study, pair.dataset, pair.recipe, claim.scope.model)
    return [replace(_one_model(claim, pair, key), published=claim.published_accuracy) for key in keys]


def gain_pairs(claim: Claim, study: Study) -> list[Pair]:
    """Wherever the claim's two pairs are complete, with one ViT and one CNN each: the pair, named with its baseline."""
    found = []
    for dataset, recipe in sorted({(pair.dataset, pair.recipe) for pair in study.pairs}):
        if (both := _both_pairs(claim, study, dataset, recipe)) is None:
            continue
        pair, baseline = both
        found.append(
            replace(
                pair,
                vits=(*pair.vits, *baseline.vits),
                cnns=(*pair.cnns, *baseline.cnns),
                title=f"{pair.title} {MINUS} {baseline.title}",
                vit_arms=(*pair.vit_arms, *baseline.vit_arms),
                cnn_arms=(*pair.cnn_arms, *baseline.cnn_arms),
            )
        )
    return found


def upstream_gain_gaps(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    """How much more the pair's upstream set gives the one family than the other, at each size; the scope speaks of the pair."""
    both = _both_pairs(claim, study, pair.dataset, pair.recipe)
    assert both is not None, "there is no such comparison without both pairs"
    own, baseline = both
    by_size = {vit.num_train_images: (vit, cnn) for vit, cnn in baseline.combinations}
    return [
        gap_point(claim, own, vit, cnn, minus=by_size[vit.num_train_images])
        for vit, cnn in own.combinations
        if vit.num_train_images in by_size
    ]


def _both_pairs(claim: Claim, study: Study, dataset: str, recipe: str) -> tuple[Pair, Pair] | None:
    here = {pair.name: pair for pair in study.pairs if pair.name and (pair.dataset, pair.recipe) == (dataset, recipe)}
    both = [here[name] for name in (claim.scope.pair, claim.scope.baseline_pair) if name in here]
    if len(both) < 2 or any(len(pair.vits) > 1 or len(pair.cnns) > 1 for pair in both):
        return None
    return both[0], both[1]


def _arms(claim: Claim, study: Study, dataset: str, recipe: str, model: str) -> list[ArmKey]:
    """The model's arms whose weights begin as the scope says, in order of size."""
    return pinned(key for key in study.keys.get((dataset, recipe, model), ()) if kind_of(key) == claim.scope.init)


def _one_model(claim: Claim, pair: Pair, key: ArmKey) -> PlannedPoint:
    models = several([other for other in (*pair.vit_arms, *pair.cnn_arms) if other.model == key.model], key)
    return PlannedPoint(
        label=size_label(key) + (f", {models}" if models else ""),
        family=key.family,
        num_train_images=key.num_train_images,
        num_upstream_images=key.num_upstream_images,
        terms=((1.0, key),),
        inside=in_scope(claim.scope, key),
        models=models,
    )
