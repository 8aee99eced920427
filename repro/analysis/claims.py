"""Claims held against cells: each (data set, recipe, pair) gets its points, and they a verdict or the reason for none.

The statistic is `repro.analysis.statistics`, the points are `repro.analysis.points`, the rules `repro.analysis.verdicts`. Must
not know how results are drawn or stored. Read `evaluate` first.
"""

from collections.abc import Iterable, Mapping, Sequence

from repro.analysis.arms import kind_of
from repro.analysis.convergence import judge_training, not_asked
from repro.analysis.inside_results import InsideRow
from repro.analysis.pairs import Pair
from repro.analysis.planned import PlannedPoint
from repro.analysis.points import comparisons, has_arms, planned_points
from repro.analysis.results import ClaimResult, Outcome, Point, Verdict
from repro.analysis.rules import judged_scales
from repro.analysis.statistics import Correctness, Scale
from repro.analysis.study import Study, index_study
from repro.analysis.verdicts import Judgement, Measured, judge, observe
from repro.analysis.wording import scope_sentence
from repro.formatting import MINUS, enumeration
from repro.spec import Claim, PairSpec


def evaluate(
    claim: Claim,
    outcomes: Sequence[Outcome],
    predictions: Mapping[str, Correctness],
    *,
    pairs: Iterable[PairSpec] = (),
    insides: Iterable[InsideRow] = (),
    miniature: bool,
) -> list[ClaimResult]:
    """Hold `claim` against every (data set, recipe, pair of models) among the study cells of `outcomes`, in that order.

    A comparison of two recipes is held once for each data set and pair of models. `predictions` maps the id of each done cell
    to bool (I,), whether each test image was classified correctly; `pairs` are the declared ones; `insides` are of the cells
    that were looked into; `miniature` is copied into the results. The list is empty where no cells speak to the claim.
    """
    study = index_study((outcome.row for outcome in outcomes), predictions, pairs, insides)
    return [result for _, result in evaluate_study(claim, study, miniature=miniature)]


def evaluate_study(claim: Claim, study: Study, *, miniature: bool) -> list[tuple[Pair, ClaimResult]]:
    """As `evaluate`, for cells that are indexed already; each result with what it was held against."""
    results = [(pair, _evaluate_pair(claim, study, pair, miniature=miniature)) for pair in comparisons(claim, study)]
    return [(pair, result) for pair, result in results if result is not None]


def _evaluate_pair(claim: Claim, study: Study, pair: Pair, *, miniature: bool) -> ClaimResult | None:
    measured = [_measure(planned, study, claim) for planned in planned_points(claim, study, pair)]
    inside = [one for one in measured if one.planned.inside]
    if inside:
        judgement = judge(claim, inside)
        if len(inside) < len(measured):
            outside = (
                f" ({len(measured) - len(inside)} of {len(measured)} points lie outside the claim's scope and do not count.)"
            )
            judgement = Judgement(verdict=judgement.verdict, reason=judgement.reason + outside, decisive=judgement.decisive)
    elif measured:
        judgement = observe(claim, measured)
    elif claim.measure.slope_over and has_arms(claim, pair):
        what = "training-set" if claim.measure.slope_over == "training" else "upstream"
        reason = f"Inconclusive (too few sizes): a slope needs at least two {what} sizes with seeds in common."
        judgement = Judgement(verdict=Verdict.INCONCLUSIVE, reason=reason, decisive=None)
    else:
        return None
    points = tuple(one.point for one in measured if one.point is not None)
    decisive = judgement.decisive.point if judgement.decisive else None
    return ClaimResult(
        id=claim.id,
        claim=claim,
        statement=claim.statement,
        source=claim.source,
        scope=scope_sentence(claim, {kind_of(key) for one in measured for _, key in one.planned.terms}),
        published=claim.published,
        dataset=pair.dataset,
        vit=enumeration(list(pair.vits)),
        cnn=enumeration(list(pair.cnns)),
        pair=pair.title,
        recipe=f"{pair.recipe} {MINUS} {claim.scope.baseline_recipe}" if claim.measure.compares_recipes else pair.recipe,
        measured=decisive.estimate.value if decisive else None,
        ci95=decisive.estimate.ci95 if decisive else None,
        n=decisive.estimate.num_seeds if decisive else 0,
        verdict=judgement.verdict,
        miniature=miniature,
        reason=judgement.reason,
        points=points,
        cells=tuple(dict.fromkeys(cell for point in points for cell in point.cells)),
    )


def _measure(planned: PlannedPoint, study: Study, claim: Claim) -> Measured:
    seeds = planned.available_seeds(study)
    rows = planned.rows(study, planned.seeds(study))
    finished = [row.id for row in rows if row.id in study.correct]
    unseen = tuple(cell for cell in finished if planned.looks_inside and cell not in study.insides)
    point = training = None
    if seeds:
        estimates = planned.estimates(study, seeds)
        scales, per_tenfold = judged_scales(claim), bool(claim.measure.slope_over)
        training = not_asked()
        if claim.needs_convergence:
            training = judge_training(planned, study, seeds, estimates, scales=scales, per_tenfold=per_tenfold)
        point = Point(
            label=planned.label,
            family=planned.family,
            num_train_images=planned.num_train_images,
            num_upstream_images=planned.num_upstream_images,
            models=planned.models,
            in_scope=planned.inside,
            estimate=estimates[planned.scale],
            log_odds=estimates.get(Scale.LOG_ODDS),
            trained_enough=training.trained_enough,
            training_note=training.note,
            cells=tuple(row.id for row in planned.rows(study, seeds)),
            check_cells=training.check_cells,
        )
    return Measured(planned=planned, point=point, training=training, num_cells=len(rows), num_done=len(finished), unseen=unseen)
