"""One strip for each claim: every point on each of its scales, with the zero line and the thresholds.

Must not know other figures. Read `claim_strip` first.
"""

from collections.abc import Callable

from repro.analysis.results import ClaimResult, Estimate, Point
from repro.analysis.rules import own_scale
from repro.analysis.statistics import CONTRAST_SCALES, Scale
from repro.figures.captions import point_in_words, row_label
from repro.figures.marks import WIDTH, draw_strip
from repro.spec import Claim
from repro.svg import LIGHT, Figure, Sheet, finish


def claim_strip(result: ClaimResult, *, name: str) -> Figure | None:
    """Every point of a claim on both scales, or on the one that its measure has; None where it has no point."""
    if not result.points:
        return None
    labels = [row_label(point) for point in result.points]
    any_inside = any(point.in_scope for point in result.points)
    rows, row_height = len(labels), max(34, 16 * max(label.count("\n") + 1 for label in labels))
    height = 62 + row_height * rows
    per_tenfold = " per tenfold" if result.claim.measure.slope_over else ""
    own = own_scale(result.claim)
    with Sheet(WIDTH, height) as canvas:
        thresholds = _thresholds(result.claim)
        scales: list[_Panel] = [(f"{_AXES[own]}{per_tenfold}", own.factor, thresholds, lambda point: point.estimate)]
        if own in CONTRAST_SCALES:
            thresholds = _thresholds_log_odds(result.claim)
            scales.append((f"log-odds{per_tenfold}", Scale.LOG_ODDS.factor, thresholds, lambda point: point.log_odds))
        for column, (label, factor, thresholds, estimate_of) in enumerate(scales):
            axes = canvas.add_axes(
                (0.34 + 0.335 * column, 38 / height, 0.3 if len(scales) > 1 else 0.6, (height - 44) / height)
            )
            axes.grid(visible=False)
            axes.axvline(0, color=LIGHT["ink"], linewidth=1.2)
            for threshold in thresholds:
                axes.axvline(factor * threshold, color=LIGHT["muted"], linewidth=1, linestyle=(0, (2, 2)))
            estimates = [(rows - 1 - place, point, estimate_of(point)) for place, point in enumerate(result.points)]
            drawn = [(place, point, estimate) for place, point, estimate in estimates if estimate is not None]
            draw_strip(axes, drawn, factor=factor, counts=lambda point: point.in_scope or not any_inside)
            axes.set_ylim(-0.6, rows - 0.4)
            axes.locator_params(axis="x", nbins=4)
            axes.margins(x=0.12)
            axes.set_xlabel(label, fontsize=11.5)
            axes.tick_params(axis="x", labelsize=11.5)
            axes.set_yticks(range(rows), labels[::-1] if column == 0 else [""] * rows, fontsize=11.5, linespacing=1.05)
        marked = "edges of the tolerance" if result.claim.tolerance is not None else "smallest effect of interest"
        direction = (
            "ours minus the published accuracy" if result.claim.tolerance is not None else "positive in the claim's direction"
        )
        return finish(
            canvas,
            name=name,
            title=f"{result.statement} Measured: " + "; ".join(point_in_words(point, own) for point in result.points),
            description=f"Each row is one {_rows_in_words(own, direction)}, with its 95 % interval. Solid line: zero. "
            f"Dotted line: {marked}. Hollow: convergence rule not met. Faint: outside the claim's scope.",
        )


_Panel = tuple[str, float, tuple[float, ...], Callable[[Point], Estimate | None]]
"""Label of the axis, factor to its unit, thresholds, and which estimate of a point stands there."""
_AXES = {
    Scale.ACCURACY: "points",
    Scale.SIMILARITY: "cosine similarity",
    Scale.DISTANCE: "% of uniform attention's distance",
}
"""Label of a measure's own unit."""


def _rows_in_words(own: Scale, direction: str) -> str:
    if own in CONTRAST_SCALES:
        return f"measured contrast, {direction}: left in percentage points, right in log-odds"
    return f"mean over the models of all seeds, {direction}, in {_AXES[own].replace('%', 'per cent')}"


def _thresholds(claim: Claim) -> tuple[float, ...]:
    return (claim.smallest_effect,) if claim.tolerance is None else (-claim.tolerance, claim.tolerance)


def _thresholds_log_odds(claim: Claim) -> tuple[float, ...]:
    return (claim.smallest_effect_log_odds,) if claim.tolerance is None else ()
