"""What an interval says of a claim: direction with a smallest effect of interest, or tolerance around a published value.

Must not know arms, points or wording. Read `passes` first.
"""

from repro.analysis.results import Verdict
from repro.analysis.statistics import Scale
from repro.spec import Claim, Measure

Ends = tuple[float, float]
"""Both ends of an interval."""


def own_scale(claim: Claim) -> Scale:
    """The scale of the measure's own unit: accuracy, but of what a ViT looks like from within."""
    inside = {Measure.POSITION_SIMILARITY_GAP: Scale.SIMILARITY, Measure.ATTENTION_DISTANCE_RISE: Scale.DISTANCE}
    return inside.get(claim.measure, Scale.ACCURACY)


def judged_scales(claim: Claim) -> tuple[Scale, ...]:
    """The scales that the claim is judged on, its own first."""
    return (own_scale(claim), Scale.LOG_ODDS) if claim.both_scales else (own_scale(claim),)


def least_effect(claim: Claim, scale: Scale) -> float:
    """The smallest effect of interest on one scale."""
    return claim.smallest_effect_log_odds if scale is Scale.LOG_ODDS else claim.smallest_effect


def passes(claim: Claim, ends: Ends, scale: Scale) -> bool:
    """Whether the interval lies above the smallest effect of interest; of a tolerance, whether it lies inside."""
    low, high = ends
    if claim.tolerance is not None:
        return -claim.tolerance <= low and high <= claim.tolerance
    return low > least_effect(claim, scale)


def fails(claim: Claim, ends: Ends) -> bool:
    """Whether the interval lies wholly below zero; of a tolerance, whether it lies wholly outside."""
    low, high = ends
    if claim.tolerance is not None:
        return low > claim.tolerance or high < -claim.tolerance
    return high < 0


def strength(claim: Claim, ends: Ends, verdict: Verdict | None) -> float:
    """By what the points of a claim are ordered, the strongest last: the end of the interval that the verdict looks at."""
    low, high = ends
    if claim.tolerance is None:
        return high if verdict is Verdict.CONTRADICTED else low
    nearest = max(low, -high, 0.0)
    return -nearest if verdict is Verdict.CONTRADICTED else -max(abs(low), abs(high))
