"""The claims on what ViTs look like from within: held against all ViTs of a data set, a point for each model and recipe.

Must not know verdicts, nor how a model is looked into. Read `inside_points` first.
"""

from collections.abc import Iterable

from repro.analysis.arms import PRETRAINED, ArmKey, contender, kind_of
from repro.analysis.inside import inside_statistic
from repro.analysis.pairs import Pair
from repro.analysis.planned import PlannedPoint, in_scope, several, size_label
from repro.analysis.rules import own_scale
from repro.analysis.statistics import Scale
from repro.analysis.study import Study
from repro.formatting import enumeration
from repro.spec import Claim


def vits_by_dataset(study: Study, recipes: Iterable[str] = ()) -> list[Pair]:
    """All ViTs of every data set, under any of `recipes` (empty: any but linear probes), with nothing on the other side."""
    by_dataset: dict[str, list[ArmKey]] = {}
    for (dataset, recipe, _), keys in sorted(study.keys.items()):
        if keys[0].family == "vit" and (recipe in recipes if recipes else recipe not in study.probes):
            by_dataset.setdefault(dataset, []).extend(keys)
    return [
        Pair(
            dataset=dataset,
            recipe=enumeration(list(dict.fromkeys(key.recipe for key in keys))),
            kind="any",
            vits=tuple(dict.fromkeys(contender(key.model, key.init) for key in keys)),
            cnns=(),
            vit_arms=tuple(keys),
            cnn_arms=(),
            combinations=(),
        )
        for dataset, keys in by_dataset.items()
    ]


def inside_points(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    """Of each model and recipe, and each way its weights began, a point at the largest training set.

    Of upstream runs the largest of each data set. None for an architecture that has no such statistic, as a single layer has no
    depth to rise over; nor, where others could be looked into, for one that could not.
    """
    scale = own_scale(claim)
    largest: dict[tuple[str, ...], ArmKey] = {}
    for key in sorted(pair.vit_arms, key=lambda key: (key.num_train_images, key.num_upstream_images)):
        weights = key.init if kind_of(key) == PRETRAINED else ""
        largest[key.model, key.recipe, kind_of(key), key.upstream_dataset, weights] = key
    keys = [key for key in largest.values() if not _lacks(study, key, scale)]
    if any(_looks(study, key) for key in keys):
        keys = [key for key in keys if _looks(study, key) or not study.finished(study.arms[key])]
    keys.sort(key=lambda key: (key.model, ("scratch", "upstream", PRETRAINED).index(kind_of(key)), key.by_size, key.recipe))
    recipes = {key.recipe for key in keys}
    points = []
    for key in keys:
        models = ", ".join(filter(None, (several(keys, key), key.recipe if len(recipes) > 1 else "")))
        points.append(
            PlannedPoint(
                label=size_label(key) + (f", {models}" if models else ""),
                family="vit",
                num_train_images=key.num_train_images,
                num_upstream_images=key.num_upstream_images,
                terms=((1.0, key),),
                inside=in_scope(claim.scope, key),
                models=models,
                scale=scale,
            )
        )
    return points


def _looks(study: Study, key: ArmKey) -> bool:
    return any(row.id in study.insides for row in study.arms[key].values())


def _lacks(study: Study, key: ArmKey, scale: Scale) -> bool:
    looks = [study.insides[row.id] for row in study.arms[key].values() if row.id in study.insides]
    return any(inside_statistic(look, scale) is None for look in looks)
