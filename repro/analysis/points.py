"""Which contrasts a claim is held against: one planned point a size, a slope or a difference of gains.

What each measure means is said in `repro.spec.Measure`; slopes are made in `repro.analysis.slopes`. Must not know verdicts.
Read `planned_points` first.
"""

from dataclasses import replace

from repro.analysis.planned import (
    FAMILY_TITLES,
    PlannedPoint,
    gap_keys,
    gap_terms,
    in_scope,
    kind_of,
    size_label,
)
from repro.analysis.slopes import family_gap_trends, upstream_trend_gaps, upstream_trends
from repro.analysis.study import ArmKey, Pair, Study
from repro.spec import Claim, Measure


def planned_points(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    """The points of `claim` for one pair of models, in order of size; empty where the cells make none.

    A comparison of two recipes belongs to the pair under the recipe whose gain is measured, so that it appears once.
    """
    points = {
        Measure.FAMILY_GAP: _family_gaps,
        Measure.FAMILY_GAP_TREND: family_gap_trends,
        Measure.PRETRAINING_GAIN_GAP: _pretraining_gain_gaps,
        Measure.UPSTREAM_TREND: upstream_trends,
        Measure.UPSTREAM_TREND_GAP: upstream_trend_gaps,
        Measure.RECIPE_GAIN: _recipe_gains,
        Measure.RECIPE_GAIN_GAP: _recipe_gain_gaps,
    }[claim.measure](claim, study, pair)
    return [point for point in points if point.seeds(study)]


def has_arms(claim: Claim, study: Study, pair: Pair) -> bool:
    """Whether the pair has arms of the kind and scope that a slope's claim speaks of, even if too few for one."""
    kind = "upstream" if claim.measure.slope_over == "upstream" else claim.scope.init
    return any(in_scope(claim.scope, vit) for vit, _ in gap_keys(study, pair, kind))


def _family_gaps(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    return [
        PlannedPoint(
            label=size_label(vit),
            family=None,
            num_train_images=vit.num_train_images,
            num_upstream_images=vit.num_upstream_images,
            terms=gap_terms(claim, vit, cnn),
            inside=in_scope(claim.scope, vit),
        )
        for vit, cnn in gap_keys(study, pair, claim.scope.init)
    ]


def _pretraining_gain_gaps(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    largest: dict[tuple[str, int], tuple[ArmKey, ArmKey]] = {}
    for vit, cnn in gap_keys(study, pair, "upstream"):
        largest[vit.upstream_dataset, vit.num_train_images] = (vit, cnn)
    points = []
    for vit, cnn in largest.values():
        scratch = _scratch_arms(study, vit, cnn)
        if scratch is None:
            continue
        points.append(
            PlannedPoint(
                label=size_label(vit),
                family=None,
                num_train_images=vit.num_train_images,
                num_upstream_images=vit.num_upstream_images,
                terms=gap_terms(claim, vit, cnn) + gap_terms(claim, *scratch, -1.0),
                inside=in_scope(claim.scope, vit),
            )
        )
    return points


def _scratch_arms(study: Study, vit: ArmKey, cnn: ArmKey) -> tuple[ArmKey, ArmKey] | None:
    """The scratch arms of the same data set, size and models: of the recipe that shares most seeds, then by its name."""
    candidates = []
    for scratch_vit in study.scratch_keys.get((vit.dataset, vit.model, vit.num_train_images), ()):
        scratch_cnn = study.counterpart(scratch_vit, cnn.model, "cnn")
        if scratch_cnn is not None:
            arms = (scratch_vit, scratch_cnn)
            common = set.intersection(*(set(study.arms[key]) for key in (vit, cnn, *arms)))
            candidates.append((-len(common), scratch_vit.recipe, arms))
    return min(candidates)[2] if candidates else None


def _recipe_gains(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    if pair.recipe != claim.scope.recipe:
        return []
    arms = [
        (key, baseline)
        for model in (pair.vit, pair.cnn)
        for key in study.keys.get((pair.dataset, pair.recipe, model), ())
        if kind_of(key) == claim.scope.init and (baseline := _under_the_baseline(claim, study, key)) is not None
    ]
    return [
        PlannedPoint(
            label=f"{FAMILY_TITLES[key.family]}, {size_label(key)}",
            family=key.family,
            num_train_images=key.num_train_images,
            num_upstream_images=key.num_upstream_images,
            terms=((1.0, key), (-1.0, baseline)),
            inside=in_scope(claim.scope, key),
        )
        for key, baseline in sorted(arms, key=lambda pair: (*pair[0].by_size[:3], pair[0].family == "cnn"))
    ]


def _recipe_gain_gaps(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    if pair.recipe != claim.scope.recipe:
        return []
    points = []
    for vit, cnn in gap_keys(study, pair, claim.scope.init):
        baselines = _under_the_baseline(claim, study, vit), _under_the_baseline(claim, study, cnn)
        if baselines[0] is None or baselines[1] is None:
            continue
        points.append(
            PlannedPoint(
                label=size_label(vit),
                family=None,
                num_train_images=vit.num_train_images,
                num_upstream_images=vit.num_upstream_images,
                terms=gap_terms(claim, vit, cnn) + gap_terms(claim, baselines[0], baselines[1], -1.0),
                inside=in_scope(claim.scope, vit),
            )
        )
    return points


def _under_the_baseline(claim: Claim, study: Study, key: ArmKey) -> ArmKey | None:
    """The arm that differs in the recipe only: the claim's baseline; None if it is not planned."""
    assert claim.scope.baseline_recipe is not None, "the claim's model refuses a comparison of recipes without both"
    other = replace(key, recipe=claim.scope.baseline_recipe)
    return other if other in study.arms else None
