"""The claims on what a ViT looks like from within: held against one ViT each, a point for each way its weights began.

Must not know verdicts, nor how a model is looked into. Read `inside_points` first.
"""

from repro.analysis.arms import PRETRAINED, ArmKey, contender, kind_of
from repro.analysis.inside import inside_statistic
from repro.analysis.pairs import Pair
from repro.analysis.planned import PlannedPoint, in_scope, several, size_label
from repro.analysis.rules import own_scale
from repro.analysis.statistics import Scale
from repro.analysis.study import Study
from repro.spec import Claim


def single_vits(study: Study) -> list[Pair]:
    """Every ViT under every recipe on every data set, with nothing on the other side; sorted."""
    return [
        Pair(
            dataset=dataset,
            recipe=recipe,
            kind="any",
            vits=tuple(dict.fromkeys(contender(key.model, key.init) for key in keys)),
            cnns=(),
            vit_arms=tuple(keys),
            cnn_arms=(),
            combinations=(),
        )
        for (dataset, recipe, _), keys in sorted(study.keys.items())
        if keys[0].family == "vit"
    ]


def inside_points(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    """At the largest training set one point for each way the weights began: of upstream runs the largest of each data set.

    None for an architecture that has no such statistic, as a single layer has no depth to rise over.
    """
    scale = own_scale(claim)
    largest: dict[tuple[str, ...], ArmKey] = {}
    for key in sorted(pair.vit_arms, key=lambda key: (key.num_train_images, key.num_upstream_images)):
        largest[kind_of(key), key.upstream_dataset, key.init if kind_of(key) == PRETRAINED else ""] = key
    points = []
    for key in sorted(largest.values(), key=lambda key: (("scratch", "upstream", PRETRAINED).index(kind_of(key)), key.by_size)):
        if _lacks(study, key, scale):
            continue
        models = several(pair.vit_arms, key)
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


def _lacks(study: Study, key: ArmKey, scale: Scale) -> bool:
    looks = [study.insides[row.id] for row in study.arms[key].values() if row.id in study.insides]
    return any(inside_statistic(look, scale) is None for look in looks)
