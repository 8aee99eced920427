"""Accuracy by class: both families on each class' test images, and their paired difference, sorted by it.

Must not know other figures. Read `class_figure` first.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repro.analysis.error_results import ClassAccuracy, ErrorComparison, Measured
from repro.figures.marks import FAMILY_COLOURS, FAMILY_MARKERS
from repro.formatting import FAMILY_NAMES, MINUS, count, percent, points, printable, shortened
from repro.spec import Family
from repro.svg import LIGHT, Figure, Sheet, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_A_SIDE = 10
"""Classes shown at either end of the order; where there are at most twice as many all are shown."""
WIDTH = 480
ROW_HEIGHT = 23
FAMILIES: tuple[Family, Family] = ("vit", "cnn")


def class_figure(comparison: ErrorComparison, *, name: str) -> Figure | None:
    """A row for each class, or for those at both ends of the order; None where no class has a test image."""
    rows = shown_classes(comparison)
    if not rows:
        return None
    labels = [printable(shortened(class_name(comparison, row.label), 16)) for row in rows]
    places = list(range(len(rows)))
    if num_left_out := len(comparison.classes) - len(rows):
        # An empty row stands for the classes between.
        labels.insert(MOST_A_SIDE, f"\u2026 {count(num_left_out)} between")
        places = [place + (place >= MOST_A_SIDE) for place in places]
    height = 70 + ROW_HEIGHT * len(labels)
    with Sheet(WIDTH, height) as canvas:
        for left, width, draw, label, num_ticks in (
            (0.25, 0.4, _draw_accuracies, "test accuracy (%)", 5),
            (0.69, 0.29, _draw_differences, f"CNN {MINUS} ViT (points)", 4),
        ):
            axes = canvas.add_axes((left, 40 / height, width, (height - 70) / height))
            axes.grid(visible=True, axis="x")
            axes.grid(visible=False, axis="y")
            draw(axes, rows, places)
            axes.set_ylim(len(labels) - 0.4, -0.6)
            axes.locator_params(axis="x", nbins=num_ticks)
            axes.set_xlabel(label, fontsize=11.5)
            axes.tick_params(axis="x", labelsize=11.5)
            axes.set_yticks(range(len(labels)), labels if draw is _draw_accuracies else [""] * len(labels), fontsize=11.5)
        for left, family, sign in zip((0.25, 0.37), FAMILIES, ("\u25cf", "\u25a0"), strict=True):
            canvas.text(left, 1 - 16 / height, f"{sign} {FAMILY_NAMES[family]}", color=FAMILY_COLOURS[family], weight="bold")
        return finish(canvas, name=name, title=_title(comparison), description=_description(comparison, rows))


def shown_classes(comparison: ErrorComparison) -> tuple[ClassAccuracy, ...]:
    """The classes of the figure, in order: all, or those at both ends."""
    rows = comparison.classes
    return rows if len(rows) <= 2 * MOST_A_SIDE else (*rows[:MOST_A_SIDE], *rows[-MOST_A_SIDE:])


def class_name(comparison: ErrorComparison, label: int) -> str:
    """A class' name in one line."""
    return " ".join(comparison.class_names[label].split())


def _draw_accuracies(axes: "Axes", rows: Sequence[ClassAccuracy], places: Sequence[int]) -> None:
    for row, place in zip(rows, places, strict=True):
        for family, measured, shift in zip(FAMILIES, (row.vit, row.cnn), (-0.17, 0.17), strict=True):
            _draw(axes, measured, place + shift, colour=FAMILY_COLOURS[family], marker=FAMILY_MARKERS[family])
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -2.0), min(high, 102.0))


def _draw_differences(axes: "Axes", rows: Sequence[ClassAccuracy], places: Sequence[int]) -> None:
    axes.axvline(0, color=LIGHT["ink"], linewidth=1.2)
    for row, place in zip(rows, places, strict=True):
        _draw(axes, row.difference, place, colour=LIGHT["ink"], marker="D")
    axes.margins(x=0.1)


def _draw(axes: "Axes", measured: Measured, place: float, *, colour: str, marker: str) -> None:
    if measured.ci95 is not None:
        axes.plot([100 * end for end in measured.ci95], [place] * 2, color=colour, linewidth=1.4)
    axes.plot(
        [100 * measured.value],
        [place],
        marker,
        color=colour,
        markersize=6,
        markeredgecolor=LIGHT["surface"],
        markeredgewidth=0.8,
    )


def _title(comparison: ErrorComparison) -> str:
    """Both ends of the order, and how many intervals exclude zero."""
    first, last = comparison.classes[0], comparison.classes[-1]
    low, high = (
        f"{points(row.difference.value, row.difference.ci95)} points ({class_name(comparison, row.label)})"
        for row in (last, first)
    )
    measured = sum(row.difference.ci95 is not None for row in comparison.classes)
    intervals = (
        f"its 95 % interval excludes zero in {count(comparison.num_apart)} of {count(measured)} classes"
        if measured
        else "a single seed gives no interval"
    )
    return f"By class, CNN {MINUS} ViT goes from {low} to {high}; {intervals}"


def _description(comparison: ErrorComparison, rows: Sequence[ClassAccuracy]) -> str:
    told = "; ".join(
        f"{class_name(comparison, row.label)}: ViT {percent(row.vit.value, row.vit.ci95)}, CNN "
        f"{percent(row.cnn.value, row.cnn.ci95)}, difference {points(row.difference.value, row.difference.ci95)}"
        for row in rows
    )
    left_out = len(comparison.classes) - len(rows)
    return (
        "One row a class, from the one on which the CNN is furthest ahead to the one on which the ViT is"
        + (f", {count(left_out)} classes between them left out" if left_out else "")
        + ". Left: accuracy of both families on the class' test images, disc ViT, square CNN. Right: the paired difference in "
        f"percentage points; the solid line is zero. Bars: 95 % intervals over seeds and test images. {told}."
    )
