"""How numbers are written inside the sentences of a result: points of accuracy, log-odds, counts, lists.

Must not know where the numbers come from. Read `with_interval` first.
"""

from collections.abc import Sequence

from repro.analysis.results import Verdict
from repro.analysis.statistics import Scale
from repro.formatting import Interval, log_odds, log_odds_interval, points, points_interval

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
