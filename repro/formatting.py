"""Numbers and names as the page and the figures show them; also registered as Jinja filters.

The uncertainty decides the digits: `decimals` applies the rounding rule of the Particle Data Group to the standard error, taken
as a quarter of the 95 % interval's width. Must not know what is measured, nor what HTML is. Read `decimals` first.
"""

import datetime
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from repro.spec import Family

Interval = tuple[float, float] | None
"""A 95 % interval, or None where fewer than two seeds leave none."""

FAMILY_NAMES: dict[Family, str] = {"vit": "ViT", "cnn": "CNN"}
"""How both sides are called in running text."""
NBSP = "\u00a0"
MINUS = "\u2212"
ABSENT = "\u2013"
MOST_DECIMALS = 4
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def decimals(standard_error: float | None, *, default: int) -> int:
    """Decimals to show beside `standard_error`: two digits of it if they lie below 3.55, else one (949 → 900, 950 → 1.0e3).

    `default` holds where there is no error or it is zero.
    """
    if standard_error is None or not math.isfinite(standard_error) or standard_error <= 0:
        return default
    exponent = math.floor(math.log10(standard_error))
    leading = standard_error / 10**exponent
    digits = 2 if leading < 3.55 else 1
    return min(max(digits - 1 - exponent, 0), MOST_DECIMALS)


def percent(value: float | None, ci95: Interval = None) -> str:
    """A fraction as per cent: `97.3 %`."""
    return ABSENT if value is None else _fixed(100 * value, _percent_decimals(ci95)) + NBSP + "%"


def points(value: float | None, ci95: Interval = None) -> str:
    """A difference of fractions in percentage points, signed, without the unit: `+3.1`."""
    return ABSENT if value is None else _signed(100 * value, _percent_decimals(ci95))


def log_odds(value: float | None, ci95: Interval = None) -> str:
    """A difference of natural log-odds, signed: `+1.35`."""
    return ABSENT if value is None else _signed(value, decimals(_standard_error(ci95), default=2))


def threshold(value: float, factor: float = 1) -> str:
    """A number that was set, not measured: as it is, without rounding: `0.25`."""
    return f"{factor * value:.10g}"


def percent_interval(ci95: Interval) -> str:
    """An interval of fractions in per cent: `[95.1, 99.0]`."""
    return _interval(ci95, _fixed, 100, _percent_decimals(ci95))


def points_interval(ci95: Interval) -> str:
    """An interval of differences in percentage points: `[+1.2, +5.0]`."""
    return _interval(ci95, _signed, 100, _percent_decimals(ci95))


def log_odds_interval(ci95: Interval) -> str:
    """An interval of differences in log-odds: `[+0.9, +1.8]`."""
    return _interval(ci95, _signed, 1, decimals(_standard_error(ci95), default=2))


def spread(sd: float | None) -> str:
    """A standard deviation of fractions in percentage points: `0.42`."""
    return ABSENT if sd is None else _fixed(100 * sd, decimals(100 * sd, default=1))


def loss(value: float | None) -> str:
    """A cross-entropy in nats, two significant digits: `0.0031`."""
    return ABSENT if value is None else f"{value:.2g}"


def similarity(value: float | None, ci95: Interval = None) -> str:
    """A cosine similarity, or a difference of two, signed, with two or three decimals: `+0.31`, `+0.004`."""
    if value is None:
        return ABSENT
    return _signed(value, (2 if abs(value) >= 0.1 else 3) if ci95 is None else _similarity_decimals(ci95))


def similarity_interval(ci95: Interval) -> str:
    """An interval of cosine similarities: `[+0.28, +0.34]`."""
    return _interval(ci95, _signed, 1, _similarity_decimals(ci95))


def pixels(value: float | None, *, signed: bool = False) -> str:
    """A length in pixels without uncertainty, three digits: `61.2 px`; signed, a change: `+3.40 px`."""
    if value is None:
        return ABSENT
    places = min(max(2 - math.floor(math.log10(abs(value))), 0), 2) if value else 2
    return (_signed if signed else _fixed)(value, places) + NBSP + "px"


def count(number: float | None) -> str:
    """A whole number with separators: `64,000`."""
    return ABSENT if number is None else f"{number:,.0f}"


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count(number)}{NBSP}{noun}{'' if number == 1 else 's'}"


def quantity(number: float | None, unit: str) -> str:
    """A magnitude with an SI prefix, three digits: `3.41 TFLOP`, `12.3 kJ`."""
    if number is None:
        return ABSENT
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.3g}{NBSP}{prefix}{unit}"
    return f"{number:.3g}{NBSP}{unit}"


def size_bytes(number: float | None) -> str:
    """Bytes in binary units: `1.2 GiB`."""
    if number is None:
        return ABSENT
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= size:
            return f"{number / size:.3g}{NBSP}{unit}"
    return f"{number:.0f}{NBSP}B"


def seconds(number: float | None) -> str:
    """A duration: `47 ms`, `3.4 s`, `2 min 05 s`, `1 h 07 min`."""
    if number is None:
        return ABSENT
    if number < 0.095:
        return f"{1000 * number:.0f}{NBSP}ms"
    if number < 9.95:
        return f"{number:.1f}{NBSP}s"
    whole = round(number)
    if whole < 60:
        return f"{whole}{NBSP}s"
    if whole < 3600:
        return f"{whole // 60}{NBSP}min{NBSP}{whole % 60:02d}{NBSP}s"
    return f"{whole // 3600}{NBSP}h{NBSP}{whole % 3600 // 60:02d}{NBSP}min"


def utc(moment: str) -> str:
    """An ISO 8601 time as `2026-01-31 14:05 UTC`; anything else is returned as it is."""
    try:
        parsed = datetime.datetime.fromisoformat(moment)
    except ValueError:
        return moment
    if parsed.tzinfo is not None:
        parsed = parsed.astimezone(datetime.UTC)
    return f"{parsed:%Y-%m-%d %H:%M} UTC"


def shortened(text: str, length: int) -> str:
    """`text`, its middle replaced by an ellipsis where it is longer than `length`: names differ at both ends."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return text[: length - 1 - tail] + "…" + (text[-tail:] if tail else "")


def printable(text: str) -> str:
    """`text` with what XML forbids, and what would turn the direction of the text after it, replaced by `\ufffd`."""
    return _UNPRINTABLE.sub("\ufffd", text)


def enumeration(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""


def arms(cell_ids: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Ids of cells, `arm.seed`, as arms with their seeds, in the order in which they are first named."""
    found: dict[str, list[str]] = {}
    for cell_id in cell_ids:
        arm, _, seed = cell_id.rpartition(".")
        found.setdefault(arm, []).append(seed)
    return list(found.items())


FILTERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        percent,
        points,
        log_odds,
        threshold,
        percent_interval,
        points_interval,
        log_odds_interval,
        similarity_interval,
        spread,
        loss,
        similarity,
        pixels,
        count,
        plural,
        quantity,
        size_bytes,
        seconds,
        utc,
        shortened,
        printable,
        arms,
    )
}
"""What the templates may use, by name."""


def _standard_error(ci95: Interval) -> float | None:
    return None if ci95 is None else (ci95[1] - ci95[0]) / 4


def _percent_decimals(ci95: Interval) -> int:
    return decimals(None if ci95 is None else 25 * (ci95[1] - ci95[0]), default=1)


def _similarity_decimals(ci95: Interval) -> int:
    return min(max(decimals(_standard_error(ci95), default=2), 2), 3)


def _fixed(value: float, places: int) -> str:
    text = f"{value:.{places}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def _signed(value: float, places: int) -> str:
    text = _fixed(value, places)
    return text if text.startswith(MINUS) or float(text) == 0 else "+" + text


def _interval(ci95: Interval, show: Callable[[float, int], str], factor: float, places: int) -> str:
    return "no interval" if ci95 is None else f"[{show(factor * ci95[0], places)}, {show(factor * ci95[1], places)}]"
