"""The marks and axes that the figures are made of: curves with bands, differences with bars, logarithmic size axes.

Must not know which figure they stand in. Read `draw_series` first.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING, Any, Literal

from repro.analysis.results import Estimate, Group, Point
from repro.formatting import FAMILY_NAMES, count, printable, shortened
from repro.spec import Family
from repro.svg import FONT_SIZE, LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

FAMILY_COLOURS: dict[Family, str] = {"vit": LIGHT["vit"], "cnn": LIGHT["cnn"]}
FAMILY_MARKERS: dict[Family, str] = {"vit": "o", "cnn": "s"}
Line = Literal["solid", "dashed", "dotted", "dashdot", "none"]
LINE_STYLES: tuple[Line, ...] = ("solid", "dashed", "dotted", "dashdot")
"""Of the first, second, … model of one family."""
MARKERS: dict[Family, tuple[str, ...]] = {"vit": ("o", "^", "p", "P", "8"), "cnn": ("s", "D", "v", "X", "<")}
"""The same, in a cycle of another length: colour tells the family, line and marker together the model."""
WIDTH = 440
HEIGHT = 370
"""Of a panel without legend, in px."""
LEGEND_FONT_SIZE = 12
"""In px."""
DIGIT_WIDTH = 0.62 * FONT_SIZE
"""Of a label on an axis, in px; about that of the common sans-serif fonts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How one curve is drawn."""

    line: Line
    marker: str


def draw_series(axes: "Axes", places: Sequence[float], groups: Sequence[Group], *, style: Style) -> None:
    """Mean, interval and seeds of one model's groups, in per cent."""
    family = groups[0].family
    colour = FAMILY_COLOURS[family]
    draw_dots(axes, [(place, 100 * seed) for place, group in zip(places, groups, strict=True) for seed in group.seeds], colour)
    bands = []
    for place, group in zip(places, groups, strict=True):
        if group.accuracy.ci95 is not None:
            bands.append((place, 100 * max(group.accuracy.ci95[0], 0), 100 * min(group.accuracy.ci95[1], 1)))
    if len(bands) > 1:
        band_places, lows, highs = zip(*bands, strict=True)
        axes.fill_between(band_places, lows, highs, color=colour, alpha=0.16, linewidth=0)
    else:
        for place, low, high in bands:
            axes.plot([place, place], [low, high], color=colour, linewidth=1.4)
    axes.plot(
        places,
        [100 * group.accuracy.value for group in groups],
        color=colour,
        linestyle=style.line,
        linewidth=2.2,
        marker=style.marker,
        markersize=7,
        markeredgecolor=LIGHT["surface"],
        markeredgewidth=1.2,
    )


def draw_dots(
    axes: "Axes", points: Sequence[tuple[float, float]], colour: str, *, diameter: float = 4.5, alpha: float = 0.4
) -> None:
    """Many dots as one path: lines without length whose round ends are dots. One path each would be most of the page."""
    gap = float("nan")
    xs = [x for place, _ in points for x in (place, place, gap)]
    ys = [y for _, value in points for y in (value, value, gap)]
    axes.plot(xs, ys, color=colour, linewidth=diameter, alpha=alpha, solid_capstyle="round")


def draw_estimates(
    axes: "Axes", places: Sequence[float], estimates: Sequence[Estimate], *, factor: float, style: Style
) -> None:
    """Differences with their intervals as bars, joined by a thin line."""
    values = [factor * estimate.value for estimate in estimates]
    axes.plot(places, values, color=LIGHT["ink"], linestyle=style.line, linewidth=1, alpha=0.45)
    for place, estimate in zip(places, estimates, strict=True):
        if estimate.ci95 is not None:
            axes.plot([place] * 2, [factor * bound for bound in estimate.ci95], color=LIGHT["ink"], linewidth=1.8)
    marks: dict[str, Any] = {
        "color": LIGHT["ink"],
        "markersize": 6.5,
        "markeredgecolor": LIGHT["surface"],
        "markeredgewidth": 1.2,
    }
    axes.plot(places, values, style.marker, **marks)


def draw_strip(
    axes: "Axes",
    rows: Sequence[tuple[int, Point, Estimate]],
    *,
    factor: float,
    counts: Callable[[Point], bool] = lambda _: True,
) -> None:
    """The points of a claim's strip, each at its height; hollow where the convergence rule is not met, faint where not counted.

    First all intervals, then all marks: what is alike and stands together is one path in the drawing.
    """
    looks = [
        (FAMILY_COLOURS[point.family] if point.family else LIGHT["ink"], 1.0 if counts(point) else 0.4) for _, point, _ in rows
    ]
    for (place, _, estimate), (colour, alpha) in zip(rows, looks, strict=True):
        if estimate.ci95 is not None:
            axes.plot([factor * bound for bound in estimate.ci95], [place] * 2, color=colour, linewidth=1.8, alpha=alpha)
    for (place, point, estimate), (colour, alpha) in zip(rows, looks, strict=True):
        axes.plot(
            [factor * estimate.value],
            [place],
            FAMILY_MARKERS[point.family] if point.family else "D",
            color=colour,
            markersize=6.5,
            markerfacecolor=colour if point.trained_enough else LIGHT["surface"],
            markeredgecolor=colour,
            alpha=alpha,
        )


def size_axis(axes: "Axes", sizes: Sequence[float], *, label: str, first: str = "") -> None:
    """A logarithmic axis that is ticked at the measured sizes, and labelled there as far as the labels fit."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    ratio = sizes[-1] / sizes[0]
    margin = max(ratio**0.06, 1.15)
    axes.set_xlim(sizes[0] / margin, sizes[-1] * margin)
    labels = [first if first and size == sizes[0] else count(size) for size in sizes]
    px_per_decade = 72 * axes.bbox.width / axes.figure.dpi / log10(ratio * margin**2)
    places = [px_per_decade * log10(size / sizes[0]) for size in sizes]
    axes.set_xticks(list(sizes), _that_fit(places, labels))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label)


def _that_fit(places: Sequence[float], labels: Sequence[str]) -> list[str]:
    """The first and the last label, and of those between what does not touch a neighbour; others are empty. `places` in px."""
    half = [0.5 * DIGIT_WIDTH * len(label) + 2 for label in labels]
    shown = [0]
    last = len(labels) - 1
    for number in range(1, last):
        if all(abs(places[number] - places[other]) >= half[number] + half[other] for other in (shown[-1], last)):
            shown.append(number)
    return [label if number in (*shown, last) else "" for number, label in enumerate(labels)]


def accuracy_axis(axes: "Axes", groups: Sequence[Group]) -> None:
    """Per cent, just wide enough for every mean, interval and seed, never past 0 or 100 by more than a marker."""
    values = [bound for group in groups for bound in (group.accuracy.value, *group.seeds, *(group.accuracy.ci95 or ()))]
    low, high = 100 * max(min(values), 0), 100 * min(max(values), 1)
    margin = max(0.06 * (high - low), 0.5)
    axes.set_ylim(low - margin, min(high + margin, 101.5))
    axes.locator_params(axis="y", nbins=6)
    axes.set_title("test accuracy (%)", loc="left", fontsize=12.5, color=LIGHT["ink"], pad=8)
    axes.set_yticks([tick for tick in axes.get_yticks() if low - margin <= tick <= 100])


def include_zero(axes: "Axes") -> None:
    """Widen a vertical axis so that zero stands inside it."""
    low, high = axes.get_ylim()
    span = max(high, 0) - min(low, 0)
    axes.set_ylim(min(low, -0.08 * span), max(high, 0.08 * span))
    axes.locator_params(axis="y", nbins=5)


def direct_labels(
    series: dict[tuple[Family, str], list[Group]], *, order: Callable[[Group], int]
) -> list[tuple[float, str, str]]:
    """The family's name at each line's end, or the model's where a family has several."""
    families = [family for family, _ in series]
    return [
        (
            100 * max(members, key=order).accuracy.value,
            FAMILY_NAMES[family] if families.count(family) == 1 else shortened(model, 10),
            FAMILY_COLOURS[family],
        )
        for (family, model), members in series.items()
    ]


def styles_of(series: Iterable[tuple[Family, str]]) -> dict[tuple[Family, str], Style]:
    """A style for each (family, model): solid for the first of a family."""
    seen: dict[Family, int] = defaultdict(int)
    styles = {}
    for family, model in series:
        number, markers = seen[family], MARKERS[family]
        styles[family, model] = Style(line=LINE_STYLES[number % len(LINE_STYLES)], marker=markers[number % len(markers)])
        seen[family] += 1
    return styles


def pair_styles(number: int) -> list[Style]:
    """`number` styles for differences of pairs, beginning anew where there are no more."""
    markers = ("D", "o", "s", "^", "v", "X")
    return [Style(line=LINE_STYLES[i % len(LINE_STYLES)], marker=markers[i % len(markers)]) for i in range(number)]


def draw_legend(canvas: "Canvas", entries: Sequence[tuple[Style, str, str]]) -> None:
    """A row for each (style, colour, text) at the foot of the drawing, which must leave `legend_height` for it."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=colour,
            linestyle=style.line,
            linewidth=2,
            marker=style.marker,
            markersize=6.5,
            markeredgecolor=LIGHT["surface"],
            markeredgewidth=1,
        )
        for style, colour, _ in entries
    ]
    labels = [printable(text) for _, _, text in entries]
    canvas.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.0, 0.0),
        frameon=False,
        fontsize=LEGEND_FONT_SIZE,
        handlelength=3.4,
        labelspacing=0.4,
        borderpad=0.2,
        borderaxespad=0.1,
    )


def legend_height(num_entries: int) -> float:
    """Room for a legend, in px; 0 for none."""
    return 6 + 18.5 * num_entries if num_entries else 0.0


def shifts(number: int, sizes: Sequence[float]) -> list[float]:
    """Factors that set several marks at one size side by side, on a logarithmic axis from the first of `sizes` to the last."""
    # All marks of a size stay within the axis's margin beyond its first and last size.
    step = max((sizes[-1] / sizes[0]) ** min(0.03, 0.09 / max(number - 1, 1)), 1 + 0.2 / max(number, 7))
    return [step ** (index - (number - 1) / 2) for index in range(number)]
