"""How a result is put into words: points of accuracy, log-odds, counts, lists, a claim's measure and scope.

Must not know where the numbers come from. Read `with_interval` first.
"""

from collections.abc import Sequence

from repro.analysis.results import Verdict
from repro.analysis.statistics import Scale
from repro.formatting import (
    FAMILY_NAMES,
    MINUS,
    Interval,
    enumeration,
    log_odds,
    log_odds_interval,
    points,
    points_interval,
)
from repro.spec import Claim, Measure

_PHRASES = {
    ("every", Verdict.SUPPORTED): "above {least} in each of {count} comparisons; weakest: {detail}",
    ("every", Verdict.CONTRADICTED): "wholly below 0 in some of {count} comparisons ({interval}); weakest: {detail}",
    ("every", Verdict.INCONCLUSIVE): "not clear of {least} in each of {count} comparisons; weakest: {detail}",
    ("somewhere", Verdict.SUPPORTED): "above {least} in some of {count} comparisons ({interval}); strongest: {detail}",
    ("somewhere", Verdict.CONTRADICTED): "wholly below 0 in each of {count} comparisons; strongest: {detail}",
    ("somewhere", Verdict.INCONCLUSIVE): "not clear of {least} in any of {count} comparisons ({interval}); strongest: {detail}",
}
"""What the intervals of several points say."""
_PHRASES_OF_ONE = {
    Verdict.SUPPORTED: "above {least}: {detail}",
    Verdict.CONTRADICTED: "wholly below 0: {detail}",
    Verdict.INCONCLUSIVE: "neither clear of {least} nor wholly below 0: {detail}",
}
"""What the interval of a single point says."""

_LISTED = 3
"""How many names a sentence lists before it says how many more there are."""


def number(value: float, scale: Scale, ends: Interval = None) -> str:
    """A signed value: accuracy in points (hundredths), log-odds as they are; the interval decides the digits."""
    return log_odds(value, ends) if scale is Scale.LOG_ODDS else points(value, ends)


def unit(scale: Scale, *, per_tenfold: bool) -> str:
    """The unit of `number`."""
    return ("points" if scale is Scale.ACCURACY else "in log-odds") + (" per tenfold" if per_tenfold else "")


def bounds(ends: tuple[float, float] | None, scale: Scale) -> str:
    """An interval without its unit."""
    if ends is None:
        return "[no interval]"
    return log_odds_interval(ends) if scale is Scale.LOG_ODDS else points_interval(ends)


def with_interval(value: float, ends: tuple[float, float] | None, scale: Scale, *, per_tenfold: bool) -> str:
    """For instance `+3.2 points [+1.1, +5.3]`."""
    return f"{number(value, scale, ends)} {unit(scale, per_tenfold=per_tenfold)} {bounds(ends, scale)}"


def threshold(value: float, scale: Scale, *, per_tenfold: bool) -> str:
    """A smallest effect of interest, for instance `1.0 points per tenfold`."""
    shown = 100 * value if scale is Scale.ACCURACY else value
    return (
        f"{shown:.1f} {unit(scale, per_tenfold=per_tenfold)}"
        if round(shown, 1) == round(shown, 6)
        else f"{shown:g} {unit(scale, per_tenfold=per_tenfold)}"
    )


def percent(fraction: float) -> str:
    """An accuracy as a percentage, rounded down so that 98.99 % is never printed as 99.0 %."""
    return f"{int(fraction * 1000 + 1e-9) / 10:.1f} %"


def listing(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def verdict_sentence(quantifier: str, verdict: Verdict, num_points: int, *, interval: str, least: str, detail: str) -> str:
    """What a verdict rests on: which intervals lie where, and the decisive point in `detail`."""
    phrase = _PHRASES_OF_ONE[verdict] if num_points == 1 else _PHRASES[quantifier, verdict]
    return phrase.format(count=num_points, interval=interval, least=least, detail=detail)


def scope_in_words(claim: Claim) -> str:
    """For which scale the claim is made, for a reader."""
    scope = claim.scope
    words = "trained from scratch" if scope.init == "scratch" else "fine-tuned after pre-training"
    if scope.min_upstream_images:
        words += f" on at least {scope.min_upstream_images:,} upstream images"
    if scope.max_images is not None:
        words += f", on at most {scope.max_images:,} images in all"
    if scope.datasets:
        words += f", on {enumeration(list(scope.datasets))}"
    if scope.recipe is not None:
        words += f", under recipe {scope.recipe} against {scope.baseline_recipe}"
    return words


def measure_in_words(claim: Claim) -> tuple[str, str]:
    """What a claim measures, positive in its direction, and the unit on the accuracy scale."""
    ahead = FAMILY_NAMES[claim.ahead]
    other = FAMILY_NAMES["cnn" if claim.ahead == "vit" else "vit"]
    recipe, baseline = claim.scope.recipe, claim.scope.baseline_recipe
    over = f"per tenfold of {claim.measure.slope_over} images"
    words = {
        Measure.FAMILY_GAP: f"accuracy of the {ahead} minus accuracy of the {other}",
        Measure.FAMILY_GAP_TREND: f"change of ({ahead} {MINUS} {other}) {over}",
        Measure.PRETRAINING_GAIN_GAP: f"gain of the {ahead} by pre-training minus gain of the {other}",
        Measure.UPSTREAM_TREND: f"change of accuracy {over}",
        Measure.UPSTREAM_TREND_GAP: f"change of ({ahead} {MINUS} {other}) {over}",
        Measure.RECIPE_GAIN: f"accuracy under {recipe} minus accuracy under {baseline}, of each family",
        Measure.RECIPE_GAIN_GAP: f"gain of the {ahead} by {recipe} over {baseline} minus gain of the {other}",
    }
    return words[claim.measure], f"points {over}" if claim.measure.slope_over else "points"
