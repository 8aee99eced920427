"""One strip for each claim: every point on both scales, with the zero line and the thresholds.

Must not know other figures. Read `claim_strip` first.
"""

from collections.abc import Callable

from repro.analysis.results import ClaimResult, Estimate, Point
from repro.figures.captions import point_in_words, row_label
from repro.figures.marks import WIDTH, draw_strip
from repro.spec import Claim
from repro.svg import LIGHT, Figure, Sheet, finish


def claim_strip(result: ClaimResult, *, name: str) -> Figure | None:
    """Every point of a claim on both scales; None where it has none."""
    if not result.points:
        return None
    labels = [row_label(point) for point in result.points]
    any_inside = any(point.in_scope for point in result.points)
    rows, row_height = len(labels), max(34, 16 * max(label.count("\n") + 1 for label in labels))
    height = 62 + row_height * rows
    per_tenfold = " per tenfold" if result.claim.measure.slope_over else ""
    with Sheet(WIDTH, height) as canvas:
        scales: tuple[tuple[str, float, tuple[float, ...], Callable[[Point], Estimate]], ...] = (
            (f"points{per_tenfold}", 100, _thresholds(result.claim), lambda point: point.accuracy),
            (f"log-odds{per_tenfold}", 1, _thresholds_log_odds(result.claim), lambda point: point.log_odds),
        )
        for column, (label, factor, thresholds, estimate_of) in enumerate(scales):
            axes = canvas.add_axes((0.34 + 0.335 * column, 38 / height, 0.3, (height - 44) / height))
            axes.grid(visible=False)
            axes.axvline(0, color=LIGHT["ink"], linewidth=1.2)
            for threshold in thresholds:
                axes.axvline(factor * threshold, color=LIGHT["muted"], linewidth=1, linestyle=(0, (2, 2)))
            drawn = [(rows - 1 - place, point, estimate_of(point)) for place, point in enumerate(result.points)]
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
            title=f"{result.statement} Measured: " + "; ".join(point_in_words(point) for point in result.points),
            description=f"Each row is one measured contrast, {direction}: left in percentage points, "
            f"right in log-odds, with its 95 % interval. Solid line: zero. Dotted line: {marked}. "
            "Hollow: convergence rule not met. Faint: outside the claim's scope.",
        )


def _thresholds(claim: Claim) -> tuple[float, ...]:
    return (claim.smallest_effect,) if claim.tolerance is None else (-claim.tolerance, claim.tolerance)


def _thresholds_log_odds(claim: Claim) -> tuple[float, ...]:
    return (claim.smallest_effect_log_odds,) if claim.tolerance is None else ()
