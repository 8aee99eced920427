"""What a claim is held against: one planned point a size, a slope, a difference of gains or a way the weights began.

What each measure means is said in `repro.spec.Measure`; slopes are made in `repro.analysis.slopes`, points of single ViTs in
`repro.analysis.inside_points`. Must not know verdicts. Read `planned_points` first.
"""

from dataclasses import replace

from repro.analysis.arms import ArmKey, contender
from repro.analysis.checkpoints import accuracies, checkpoint_gaps, gain_pairs, model_pairs, upstream_gain_gaps
from repro.analysis.inside_points import inside_points, vits_by_dataset
from repro.analysis.pairs import Pair
from repro.analysis.planned import FAMILY_TITLES, PlannedPoint, gap_point, in_scope, several, size_label
from repro.analysis.slopes import family_gap_trends, upstream_trend_gaps, upstream_trends
from repro.analysis.study import Study
from repro.spec import Claim, Measure


def comparisons(claim: Claim, study: Study) -> list[Pair]:
    """What the claim is held against, sorted: pairs of models, or the models that it names; on its data sets and recipes.

    Linear probes are left out unless the claim names their recipe: they train something else.
    """
    scope = claim.scope
    if claim.measure in (Measure.CHECKPOINT_GAP, Measure.ACCURACY):
        found = model_pairs(claim, study)
    elif claim.measure is Measure.UPSTREAM_GAIN_GAP:
        found = gain_pairs(claim, study)
    elif claim.measure.is_of_the_inside:
        found = vits_by_dataset(study, scope.recipes)
    else:
        found = [pair for pair in study.pairs if pair.kind == scope.init]
        found = [pair for pair in found if (scope.pair == pair.name if scope.pair else not pair.has_own_claims_only)]
    if scope.datasets:
        found = [pair for pair in found if pair.dataset in scope.datasets]
    if claim.measure.is_of_the_inside:
        return found
    if scope.recipes:
        return [pair for pair in found if pair.recipe in scope.recipes]
    return [pair for pair in found if claim.measure.compares_recipes or pair.recipe not in study.probes]


def planned_points(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    """The points of `claim` for one of its `comparisons`, in order of size; empty where the cells make none.

    A comparison of two recipes belongs to the pair under the recipe whose gain is measured, so that it appears once.
    """
    match claim.measure:
        case Measure.FAMILY_GAP:
            points = [gap_point(claim, pair, vit, cnn) for vit, cnn in pair.combinations]
        case Measure.FAMILY_GAP_TREND:
            points = family_gap_trends(claim, pair)
        case Measure.PRETRAINING_GAIN_GAP:
            points = _pretraining_gain_gaps(claim, study, pair)
        case Measure.UPSTREAM_TREND:
            points = upstream_trends(claim, pair)
        case Measure.UPSTREAM_TREND_GAP:
            points = upstream_trend_gaps(claim, pair)
        case Measure.RECIPE_GAIN:
            points = _recipe_gains(claim, study, pair)
        case Measure.RECIPE_GAIN_GAP:
            points = _recipe_gain_gaps(claim, study, pair)
        case Measure.CHECKPOINT_GAP:
            points = checkpoint_gaps(claim, study, pair)
        case Measure.UPSTREAM_GAIN_GAP:
            points = upstream_gain_gaps(claim, study, pair)
        case Measure.ACCURACY:
            points = accuracies(claim, study, pair)
        case Measure.POSITION_SIMILARITY_GAP | Measure.ATTENTION_DISTANCE_RISE:
            points = inside_points(claim, study, pair)
    return [point for point in points if point.seeds(study)]


def has_arms(claim: Claim, pair: Pair) -> bool:
    """Whether the pair has arms inside the scope of a slope's claim, even if too few for one."""
    return any(in_scope(claim.scope, vit, cnn) for vit, cnn in pair.combinations)


def _pretraining_gain_gaps(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    # The largest upstream set comes last, and takes the place of the smaller ones; published weights have none to choose from.
    largest = {
        (vit.upstream_dataset, vit.num_train_images, *(contender(key.model, key.init) for key in (vit, cnn))): (vit, cnn)
        for vit, cnn in pair.combinations
    }
    scratch = {arms: scratch_arms(study, *arms) for arms in largest.values()}
    return [gap_point(claim, pair, *arms, minus=found) for arms, found in scratch.items() if found is not None]


def scratch_arms(study: Study, vit: ArmKey, cnn: ArmKey) -> tuple[ArmKey, ArmKey] | None:
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
    every = (*pair.vit_arms, *pair.cnn_arms)
    arms = [(key, baseline) for key in every if (baseline := _under_the_baseline(claim, study, key)) is not None]
    if pair.name:
        # Sorting is stable: ViTs before CNNs, and models as they were declared, which differ in their upstream data.
        arms.sort(key=lambda gain: gain[0].num_train_images)
    else:
        arms.sort(key=lambda gain: gain[0].by_size[:3])
    points = []
    for key, baseline in arms:
        models = several(every, key)
        points.append(
            PlannedPoint(
                label=f"{FAMILY_TITLES[key.family]}, {size_label(key)}" + (f", {models}" if models else ""),
                family=key.family,
                num_train_images=key.num_train_images,
                num_upstream_images=key.num_upstream_images,
                terms=((1.0, key), (-1.0, baseline)),
                inside=in_scope(claim.scope, key),
                models=models,
            )
        )
    return points


def _recipe_gain_gaps(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    if pair.recipe != claim.scope.recipe:
        return []
    points = []
    for vit, cnn in pair.combinations:
        baselines = _under_the_baseline(claim, study, vit), _under_the_baseline(claim, study, cnn)
        if baselines[0] is not None and baselines[1] is not None:
            points.append(gap_point(claim, pair, vit, cnn, minus=(baselines[0], baselines[1])))
    return points


def _under_the_baseline(claim: Claim, study: Study, key: ArmKey) -> ArmKey | None:
    """The arm that differs in the recipe only: the claim's baseline; None if it is not planned."""
    assert claim.scope.baseline_recipe is not None, "the claim's model refuses a comparison of recipes without both"
    other = replace(key, recipe=claim.scope.baseline_recipe)
    return other if other in study.arms else None
