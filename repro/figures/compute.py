"""Test accuracy against what training cost: operations, seconds, joules, side by side on one accuracy axis.

The arms with the most training images are named, the others are faint. Must not know how costs are summed
(`repro.analysis.costs`). Read `compute_panels` first.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING, Any

from repro.analysis.costs import ArmCost, Costs, cost_places, largest_first
from repro.analysis.results import Group
from repro.figures.cost_captions import NamedArm, accuracy_of, arm_in_words, compute_title, named_arms
from repro.figures.marks import FAMILY_COLOURS, FAMILY_MARKERS, HEIGHT, WIDTH, accuracy_axis
from repro.figures.placement import Box, place_labels
from repro.formatting import NBSP, printable, quantity, seconds, shortened
from repro.spec import Family
from repro.svg import LIGHT, Figure, Sheet, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL_SIZE = 11
"""Of a point's name, in px."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputePanel:
    """One data set; of published weights one recipe there."""

    dataset: str
    recipe: str
    """Of published weights; empty for all that was trained here."""
    num_train_images: int
    """Of the named arms."""
    arms: tuple[NamedArm, ...]
    is_numbered: bool
    """Whether the figures show the arms' numbers, since not all names found room."""
    flops: Figure | None
    """None where no arm's operations are known."""
    seconds: Figure | None
    joules: Figure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    key: str
    label: str
    of: Callable[[ArmCost], float | None]
    words: Callable[[float], str]
    """A cost in words."""
    tick: Callable[[float], str]
    """A cost at the axis."""


_AXES = (
    _Axis(
        key="flops",
        label="training operations (log scale)",
        of=lambda arm: arm.train_flops,
        words=lambda number: quantity(number, "FLOP"),
        tick=lambda number: quantity(number, "FLOP"),
    ),
    _Axis(
        key="seconds",
        label="training time (log scale)",
        of=lambda arm: arm.wall_s,
        words=seconds,
        tick=lambda number: f"{number:,g}{NBSP}s",
    ),
    _Axis(
        key="joules",
        label="energy of training (log scale)",
        of=lambda arm: arm.energy_j,
        words=lambda number: quantity(number, "J"),
        tick=lambda number: quantity(number, "J"),
    ),
)


def compute_panels(costs: Costs) -> Iterable[ComputePanel]:
    """A panel for each place that has finished arms."""
    for number, ((dataset, recipe), arms) in enumerate(cost_places(costs).items(), 1):
        largest, smaller = largest_first(arms)
        named = named_arms(largest)
        drawn, fits = _drawn(named, smaller, number, with_names=True)
        if not fits:
            drawn, _ = _drawn(named, smaller, number, with_names=False)
        yield ComputePanel(
            dataset=dataset,
            recipe=recipe,
            num_train_images=largest[0].group.num_train_images,
            arms=named,
            is_numbered=not fits,
            flops=drawn["flops"],
            seconds=drawn["seconds"],
            joules=drawn["joules"],
        )


def _drawn(
    named: Sequence[NamedArm], smaller: Sequence[ArmCost], number: int, *, with_names: bool
) -> tuple[dict[str, Figure | None], bool]:
    """The figures by axis, and whether all names, or numbers, found room: all figures of a panel show the same."""
    drawn, fits = dict[str, Figure | None](), True
    for axis in _AXES:
        figure = _figure(named, smaller, axis, name=f"compute-{number}-{axis.key}", with_names=with_names)
        drawn[axis.key] = figure[0] if figure else None
        fits = fits and (figure is None or figure[1])
    return drawn, fits


def _figure(
    named: Sequence[NamedArm], smaller: Sequence[ArmCost], axis: _Axis, *, name: str, with_names: bool
) -> tuple[Figure, bool] | None:
    """The figure, and whether all names, or numbers, found room; None where no cost is known."""
    shown = [(arm, cost) for arm in named if (cost := axis.of(arm.cost)) is not None]
    if not shown:
        return None
    faint = [(arm, cost) for arm in smaller if (cost := axis.of(arm)) is not None]
    with Sheet(WIDTH, HEIGHT) as canvas:
        axes = canvas.add_axes((0.1, 0.135, 0.86, 0.775))
        accuracy_axis(axes, [*(arm.cost.group for arm in named), *map(_mean_alone, (arm.group for arm in smaller))])
        _cost_axis(axes, [cost for _, cost in (*shown, *faint)], axis)
        for arm, cost in faint:
            _point(axes, arm.group, cost, is_faint=True)
        for one, cost in shown:
            _point(axes, one.cost.group, cost, is_faint=False)
        _families(axes, {arm.cost.group.family for arm in named})
        texts = [shortened(printable(one.name), 40) if with_names else str(one.number) for one, _ in shown]
        fits = _write_names(axes, shown, texts, [(cost, arm.group) for arm, cost in faint])
        figure = finish(
            canvas,
            name=name,
            title=compute_title(shown, axis.words),
            description=f"Test accuracy in per cent against {axis.label.removesuffix(' (log scale)')}, logarithmic. Filled "
            "marks: arms with the most training images, means over seeds; bars: 95 % intervals over seeds and test images. "
            + ("Faint marks: fewer training images. " if faint else "")
            + ("" if with_names else "The numbers are those of the table beside the figure. ")
            + " ".join(f"{arm_in_words(one)}: {accuracy_of(one.cost.group)} at {axis.words(cost)}." for one, cost in shown),
        )
        return figure, fits


def _point(axes: "Axes", group: Group, cost: float, *, is_faint: bool) -> None:
    colour = FAMILY_COLOURS[group.family]
    alpha = 0.35 if is_faint else 1.0
    if group.accuracy.ci95 is not None and not is_faint:
        ends = [100 * max(group.accuracy.ci95[0], 0), 100 * min(group.accuracy.ci95[1], 1)]
        axes.plot([cost, cost], ends, color=colour, linewidth=1.4, alpha=alpha)
    edge: dict[str, Any] = {"markeredgecolor": LIGHT["surface"], "markeredgewidth": 1.1}
    size = 5 if is_faint else 8
    axes.plot(
        [cost], [100 * group.accuracy.value], FAMILY_MARKERS[group.family], color=colour, markersize=size, alpha=alpha, **edge
    )


def _mean_alone(group: Group) -> Group:
    """What is drawn of a faint arm."""
    return group.model_copy(update={"seeds": (), "accuracy": group.accuracy.model_copy(update={"ci95": None})})


def _cost_axis(axes: "Axes", costs: Sequence[float], axis: _Axis) -> None:
    """A logarithmic axis, at least half a decade long, ticked at round costs that are written as the report writes them."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = log10(min(costs)), log10(max(costs))
    margin = max(0.1 * (high - low), 0.25)
    low, high = low - margin, high + margin
    steps = (1, 2, 5) if high - low < 1.6 else (1, 3) if high - low < 2.6 else (1,)
    every = 1 if high - low < 6 else 2
    ticks = [step * 10.0**power for power in range(int(low) - 1, int(high) + 2, every) for step in steps]
    ticks = [tick for tick in ticks if low <= log10(tick) <= high]
    axes.set_xscale("log")
    axes.set_xlim(10**low, 10**high)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [axis.tick(tick) for tick in ticks])
    axes.set_xlabel(axis.label)


def _families(axes: "Axes", families: set[Family]) -> None:
    """Which mark is which family, above the axes at the right."""
    place = 1.0
    for family in sorted(families):
        text = {"vit": "\u25cf ViT", "cnn": "\u25a0 CNN"}[family]
        axes.text(
            place, 1.035, text, transform=axes.transAxes, ha="right", color=FAMILY_COLOURS[family], weight="bold", fontsize=12
        )
        place -= 0.16


def _write_names(
    axes: "Axes", shown: Sequence[tuple[NamedArm, float]], texts: Sequence[str], faint: Sequence[tuple[float, Group]]
) -> bool:
    """Write each text beside its point. Returns whether all found room; else they may cover faint marks, or each other."""
    spots, obstacles = [], list[Box]()
    for one, cost in shown:
        spots.append(_pixel(axes, cost, one.cost.group.accuracy.value))
        obstacles += _boxes(axes, cost, one.cost.group, radius=5)
    clear = [*obstacles, *(box for cost, group in faint for box in _boxes(axes, cost, _mean_alone(group), radius=3))]
    left, bottom, right, top = (float(edge) * _px_per_dot(axes) for edge in axes.get_window_extent().extents)
    found = None
    for around in (clear, obstacles, []):
        found = place_labels(
            spots,
            [0.6 * LABEL_SIZE * len(text) for text in texts],
            height=1.15 * LABEL_SIZE,
            inside=(left, bottom, right + 12, top + 4),
            obstacles=around,
        )
        if found is not None:
            break
    fits = found is not None and around is clear
    places = found or [(x + 7, y) for x, y in spots]
    for (one, cost), text, (x, y), (point_x, point_y) in zip(shown, texts, places, spots, strict=True):
        axes.annotate(
            text,
            xy=(cost, 100 * one.cost.group.accuracy.value),
            xytext=(x - point_x, y - point_y),
            textcoords="offset points",
            va="center_baseline",
            fontsize=LABEL_SIZE,
            color=FAMILY_COLOURS[one.cost.group.family],
            annotation_clip=False,
        )
    return fits


def _pixel(axes: "Axes", cost: float, accuracy: float) -> tuple[float, float]:
    x, y = axes.transData.transform((cost, 100 * accuracy))
    scale = _px_per_dot(axes)
    return float(x) * scale, float(y) * scale


def _px_per_dot(axes: "Axes") -> float:
    """CSS pixels in one of the drawing's own dots: a sheet measures a pixel as a point."""
    return 72 / float(axes.figure.dpi)


def _boxes(axes: "Axes", cost: float, group: Group, *, radius: float) -> list[Box]:
    """What a point covers: its mark and its bar."""
    x, y = _pixel(axes, cost, group.accuracy.value)
    boxes = [(x - radius, y - radius, x + radius, y + radius)]
    if group.accuracy.ci95 is not None:
        low, high = (_pixel(axes, cost, min(max(bound, 0), 1))[1] for bound in group.accuracy.ci95)
        boxes.append((x - 1.5, low, x + 1.5, high))
    return boxes
