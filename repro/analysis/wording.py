"""How a result is put into words: points of accuracy, log-odds, counts, lists, a claim's measure and scope.

Must not know where the numbers come from. Read `with_interval` first.
"""

from collections.abc import Collection, Sequence

from repro import formatting
from repro.analysis.arms import PRETRAINED
from repro.analysis.results import Verdict
from repro.analysis.rules import least_effect, own_scale
from repro.analysis.statistics import Scale
from repro.formatting import (
    FAMILY_NAMES,
    MINUS,
    NBSP,
    Interval,
    enumeration,
    log_odds,
    log_odds_interval,
    points,
    points_interval,
    similarity,
    similarity_interval,
)
from repro.spec import Claim, Measure

_WORDS = {
    "direction": {
        "passes": "above {least}",
        "fails": "wholly below 0",
        "open": "not clear of {least}",
        "clear": "clear of {least}",
    },
    "tolerance": {
        "passes": "inside the tolerance",
        "fails": "wholly outside the tolerance",
        "open": "not wholly inside the tolerance",
        "clear": "wholly inside",
    },
}
"""Where an interval lies that supports, that contradicts, and that does neither, by what the claim is judged."""
_PHRASES = {
    ("every", Verdict.SUPPORTED): "{passes} in each of {count} {what}; weakest: {detail}",
    ("every", Verdict.CONTRADICTED): "{fails} in some of {count} {what} ({interval}); weakest: {detail}",
    ("every", Verdict.INCONCLUSIVE): "{open} in each of {count} {what}; weakest: {detail}",
    ("somewhere", Verdict.SUPPORTED): "{passes} in some of {count} {what} ({interval}); strongest: {detail}",
    ("somewhere", Verdict.CONTRADICTED): "{fails} in each of {count} {what}; strongest: {detail}",
    ("somewhere", Verdict.INCONCLUSIVE): "{open} in any of {count} {what} ({interval}); strongest: {detail}",
}
"""What the intervals of several points say."""
_PHRASES_OF_ONE = {
    Verdict.SUPPORTED: "{passes}: {detail}",
    Verdict.CONTRADICTED: "{fails}: {detail}",
    Verdict.INCONCLUSIVE: "neither {clear} nor {fails}: {detail}",
}
"""What the interval of a single point says."""
ONE_DRAW = "Published weights are one draw each: the interval says nothing about training them anew."
"""What a verdict about given weights does not say."""

_UNITS = {
    Scale.ACCURACY: "points",
    Scale.LOG_ODDS: "in log-odds",
    Scale.SIMILARITY: "in cosine similarity",
    Scale.DISTANCE: "% of uniform attention's distance",
}
"""What `number` is a number of."""
_LISTED = 3
"""How many names a sentence lists before it says how many more there are."""


def number(value: float | None, scale: Scale, ends: Interval = None) -> str:
    """A signed value: accuracies and distances in hundredths, others as they are; the interval decides the digits."""
    if scale is Scale.LOG_ODDS:
        return log_odds(value, ends)
    return similarity(value, ends) if scale is Scale.SIMILARITY else points(value, ends)


def unit(scale: Scale, *, per_tenfold: bool) -> str:
    """The unit of `number`."""
    return _UNITS[scale] + (" per tenfold" if per_tenfold else "")


def bounds(ends: tuple[float, float] | None, scale: Scale) -> str:
    """An interval without its unit."""
    if ends is None:
        return "[no interval]"
    if scale is Scale.LOG_ODDS:
        return log_odds_interval(ends)
    return similarity_interval(ends) if scale is Scale.SIMILARITY else points_interval(ends)


def with_interval(value: float, ends: tuple[float, float] | None, scale: Scale, *, per_tenfold: bool) -> str:
    """For instance `+3.2 points [+1.1, +5.3]`."""
    return f"{number(value, scale, ends)} {unit(scale, per_tenfold=per_tenfold)} {bounds(ends, scale)}"


def threshold(value: float, scale: Scale, *, per_tenfold: bool) -> str:
    """A smallest effect of interest, for instance `1.0 points per tenfold`."""
    shown = scale.factor * value
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


def numbers_in_words(claim: Claim, value: float, ends: tuple[float, float] | None, scale: Scale) -> str:
    """A point's value with its interval; beside a published accuracy both in per cent, with the tolerance."""
    published, tolerance = claim.published_accuracy, claim.tolerance
    if published is None or tolerance is None:
        return with_interval(value, ends, scale, per_tenfold=bool(claim.measure.slope_over))
    within = None if ends is None else (max(published + ends[0], 0.0), min(published + ends[1], 1.0))
    return (
        f"{formatting.percent(published + value, ends).replace(NBSP, ' ')} "
        f"{formatting.percent_interval(within) if within else '[no interval]'} against "
        f"{formatting.threshold(published, 100)} % published, "
        f"tolerance {threshold(tolerance, Scale.ACCURACY, per_tenfold=False)}"
    )


def verdict_sentence(claim: Claim, verdict: Verdict, num_points: int, *, interval: str, scale: Scale, detail: str) -> str:
    """What a verdict rests on: which intervals lie where, and the decisive point in `detail`."""
    least = threshold(least_effect(claim, scale), scale, per_tenfold=bool(claim.measure.slope_over))
    words = _WORDS["direction" if claim.tolerance is None else "tolerance"]
    named = {name: phrase.format(least=least) for name, phrase in words.items()}
    phrase = _PHRASES_OF_ONE[verdict] if num_points == 1 else _PHRASES[claim.quantifier, verdict]
    what = "groups of models" if claim.measure.is_of_the_inside else "comparisons"
    return phrase.format(**named, count=num_points, what=what, interval=interval, detail=detail)


def scope_sentence(claim: Claim, kinds: Collection[str] = ()) -> str:
    """For which scale the claim is made, and what no verdict there can say; `kinds` are the ways that weights began here."""
    is_of_given_weights = PRETRAINED in (claim.scope.init, *kinds)
    return f"{scope_in_words(claim)}. {ONE_DRAW}" if is_of_given_weights else scope_in_words(claim)


def scope_in_words(claim: Claim) -> str:
    """For which scale the claim is made, for a reader."""
    scope = claim.scope
    words = _START[scope.init]
    if scope.init == PRETRAINED:
        words += "" if scope.recipes else ", fine-tuned"
        words += f", of the pair {scope.pair}" if scope.pair else ""
        words += f", measured from the pair {scope.baseline_pair}" if scope.baseline_pair else ""
    if scope.min_upstream_images:
        words += f"{', pre-trained' * (scope.init == PRETRAINED)} on at least {scope.min_upstream_images:,} upstream images"
    if scope.min_train_images:
        words += f", on at least {scope.min_train_images:,} training images"
    if scope.max_images is not None:
        words += f", on at most {scope.max_images:,} images in all"
    if scope.datasets:
        words += f", on {enumeration(list(scope.datasets))}"
    if scope.recipe is not None:
        words += f", under recipe {scope.recipe} against {scope.baseline_recipe}"
    if scope.recipes:
        words += f", under recipe {enumeration(list(scope.recipes))}"
    return words


def measure_in_words(claim: Claim) -> tuple[str, str]:
    """What a claim measures, positive in its direction, and its unit."""
    ahead = FAMILY_NAMES[claim.ahead]
    other = FAMILY_NAMES["cnn" if claim.ahead == "vit" else "vit"]
    scope = claim.scope
    recipe, baseline = scope.recipe, scope.baseline_recipe
    over = f"per tenfold of {claim.measure.slope_over} images"
    words = {
        Measure.FAMILY_GAP: f"accuracy of the {ahead} minus accuracy of the {other}",
        Measure.FAMILY_GAP_TREND: f"change of ({ahead} {MINUS} {other}) {over}",
        Measure.PRETRAINING_GAIN_GAP: f"gain of the {ahead} by pre-training minus gain of the {other}",
        Measure.UPSTREAM_TREND: f"change of accuracy {over}",
        Measure.UPSTREAM_TREND_GAP: f"change of ({ahead} {MINUS} {other}) {over}",
        Measure.RECIPE_GAIN: f"accuracy under {recipe} minus accuracy under {baseline}, of each family",
        Measure.RECIPE_GAIN_GAP: f"gain of the {ahead} by {recipe} over {baseline} minus gain of the {other}",
        Measure.CHECKPOINT_GAP: f"accuracy of {scope.model} minus accuracy of {scope.baseline_model}",
        Measure.UPSTREAM_GAIN_GAP: (
            f"gain of the {ahead} from pair {scope.baseline_pair} to pair {scope.pair} minus gain of the {other}"
        ),
        Measure.ACCURACY: f"accuracy of {scope.model} minus the published accuracy",
        Measure.POSITION_SIMILARITY_GAP: (
            "cosine similarity of two position embeddings in one row or column minus that of all other pairs, mean over seeds"
        ),
        Measure.ATTENTION_DISTANCE_RISE: (
            "rise of the layers' mean attention distance from the lowest to the highest layer, by least squares, "
            "beside the distance of uniform attention, mean over seeds"
        ),
    }
    own = unit(own_scale(claim), per_tenfold=False)
    return words[claim.measure], f"{own} {over}" if claim.measure.slope_over else own


_START = {
    "scratch": "trained from scratch",
    "upstream": "fine-tuned after pre-training",
    "pretrained": "these checkpoints",
    "any": "however the weights began",
}
"""How a scope begins: how weights begin."""
