"""From scratch, or from a smaller upstream set, to a larger one: accuracy as slopes, and beside it what either family gains.

Slopes are means of single arms; gains, and the ViT's minus the CNN's, are paired. Must not know how gains are estimated
(`repro.analysis.pretraining`). Read `pretraining_panels` first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.analysis.arms import kind_of_init
from repro.analysis.results import Estimate, FamilyGain, Gain, Group, Results
from repro.figures.captions import grouped
from repro.figures.gain_captions import (
    Rung,
    Side,
    difference_name,
    flat,
    gain_in_words,
    gains_title,
    rung_of,
    side_name,
    sides_of,
    slopes_title,
)
from repro.figures.marks import (
    FAMILY_COLOURS,
    HEIGHT,
    WIDTH,
    Style,
    accuracy_axis,
    draw_legend,
    draw_series,
    include_zero,
    legend_height,
    pair_styles,
    styles_of,
)
from repro.formatting import count, percent, shortened
from repro.svg import LIGHT, Figure, Sheet, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingPanel:
    """The lines of one data set, recipe and pair at one number of training images."""

    dataset: str
    recipe: str
    pair: str
    """Title of the declared pair; empty for what was trained here."""
    num_train_images: int
    start_recipes: tuple[str, ...]
    """Recipes of the arms that the lines start from, where they are others."""
    changes_models: bool
    """Whether a line ends at other weights than it starts from, of another model or recipe upstream."""
    slopes: Figure
    gains: Figure


def pretraining_panels(results: Results) -> Iterable[PretrainingPanel]:
    """A panel for each pair at its fewest and at its most training images; what lies between stands in the table."""
    arms = {_arm(group): group for group in results.groups}
    number = 0
    for members in grouped(_pair_of, results.gains).values():
        sizes = sorted({gain.num_train_images for gain in members})
        for size in dict.fromkeys((sizes[0], sizes[-1])):
            number += 1
            here = [gain for gain in members if gain.num_train_images == size]
            sides = [side for gain in here for side in (gain.vit, gain.cnn) if side is not None]
            yield PretrainingPanel(
                dataset=here[0].dataset,
                recipe=here[0].recipe,
                pair=here[0].pair,
                num_train_images=size,
                start_recipes=tuple(sorted({side.start_recipe for side in sides} - {here[0].recipe})),
                changes_models=any(side.model != side.start_model for side in sides),
                slopes=_slopes(here, arms, name=f"pretraining-{number}"),
                gains=_gains(here, name=f"gain-{number}"),
            )


def _pair_of(gain: Gain) -> tuple[str, ...]:
    upstream = "" if gain.pair else gain.upstream_dataset
    return gain.dataset, gain.recipe, gain.pair, upstream, gain.start_upstream_dataset


def _arm(group: Group) -> tuple[str, int, str, str, str]:
    return group.dataset, group.num_train_images, group.model, group.init, group.recipe


def _rung_label(rung: Rung, *, names: bool) -> str:
    num_images, name = rung
    if names and name:
        return name if len(name) <= 16 else shortened(name, 16)
    return f"{count(num_images)}\nupstream" if num_images else (name or "pre-trained")


def _axis_of(gains: Sequence[Gain]) -> tuple[list[Rung], list[str], str]:
    """Rungs in order, the start first; their labels; the label of the start."""
    later = sorted({rung_of(gain) for gain in gains})
    # Of one's own runs the size tells them apart, of published weights the name of what they were trained on.
    names = bool(gains[0].pair) or all(kind_of_init(side.init) != "upstream" for gain in gains for _, side in sides_of(gain))
    start = (gains[0].start_num_upstream_images, gains[0].start_upstream_dataset)
    first = _rung_label(start, names=names) if any(start) else "scratch"
    return later, [_rung_label(rung, names=names) for rung in later], first


def _slopes(gains: Sequence[Gain], arms: Mapping[tuple[str, int, str, str, str], Group], *, name: str) -> Figure:
    later, labels, first = _axis_of(gains)
    lines: dict[Side, dict[int, Group]] = {}
    for gain in gains:
        for side, one in sides_of(gain):
            here = lines.setdefault(side, {})
            data = (gain.dataset, gain.num_train_images)
            here[0] = arms[(*data, one.start_model, one.start_init, one.start_recipe)]
            here[1 + later.index(rung_of(gain))] = arms[(*data, one.model, one.init, one.recipe)]
    styles = dict(zip(lines, styles_of((family, f"{start} {end}") for family, start, end in lines).values(), strict=True))
    height = HEIGHT + legend_height(len(lines))
    with Sheet(WIDTH, height) as canvas:
        axes = canvas.add_axes((0.1, (50 + height - HEIGHT) / height, 0.86, (HEIGHT - 80) / height))
        accuracy_axis(axes, [group for here in lines.values() for group in here.values()])
        for number, (side, here) in enumerate(lines.items()):
            shift = _dodge(number, len(lines))
            places = [place + shift for place in here]
            values = [100 * group.accuracy.value for group in here.values()]
            axes.plot(places, values, color=FAMILY_COLOURS[side[0]], linewidth=2, linestyle=styles[side].line)
            for spot, group in zip(places, here.values(), strict=True):
                draw_series(axes, [spot], [group], style=styles[side])
        _rung_axis(axes, [first, *labels])
        draw_legend(canvas, [(styles[side], FAMILY_COLOURS[side[0]], side_name(side)) for side in lines])
        return finish(
            canvas,
            name=name,
            title=slopes_title(
                gains, {side: (here[0], here[max(here)]) for side, here in lines.items()}, last=labels[-1], first=first
            ),
            description="Test accuracy in per cent by what the weights start from, one line a model: mean over seeds; bar: "
            "95 % interval over seeds and test images; faint dots: single seeds. "
            + " ".join(
                f"{side_name(side)}: "
                + ", ".join(
                    f"{percent(group.accuracy.value, group.accuracy.ci95)} {flat([first, *labels][place])}"
                    for place, group in here.items()
                )
                + "."
                for side, here in lines.items()
            ),
        )


def _gains(gains: Sequence[Gain], *, name: str) -> Figure:
    later, labels, first = _axis_of(gains)
    by_side: dict[Side, list[tuple[Rung, FamilyGain]]] = {}
    for gain in gains:
        for side, one in sides_of(gain):
            if (rung_of(gain), one) not in by_side.setdefault(side, []):
                by_side[side].append((rung_of(gain), one))
    differences = grouped(lambda gain: gain.line, [gain for gain in gains if gain.accuracy is not None])
    styles = dict(zip(by_side, styles_of((family, f"{start} {end}") for family, start, end in by_side).values(), strict=True))
    styles_of_differences = pair_styles(len(differences))
    num_marks = len(by_side) + len(differences)
    foot = legend_height(num_marks)
    height = HEIGHT + foot
    with Sheet(WIDTH, height) as canvas:
        scales: tuple[tuple[str, float, Callable[[FamilyGain | Gain], Estimate | None]], ...] = (
            ("accuracy (points)", 100, lambda one: one.accuracy),
            ("log-odds", 1, lambda one: one.log_odds),
        )
        for row, (label, factor, estimate_of) in enumerate(scales):
            bottom = (0.58 - 0.435 * row) * HEIGHT + foot
            axes = canvas.add_axes((0.12, bottom / height, 0.84, 0.325 * HEIGHT / height))
            axes.axhline(0, color=LIGHT["ink"], linewidth=1.2)
            for number, (side, members) in enumerate(by_side.items()):
                shift = _dodge(number, num_marks, width=0.5)
                for rung, one in members:
                    _mark(axes, later.index(rung) + shift, estimate_of(one), factor, FAMILY_COLOURS[side[0]], styles[side])
            for number, (line, style) in enumerate(zip(differences.values(), styles_of_differences, strict=True), len(by_side)):
                for gain in line:
                    place = later.index(rung_of(gain)) + _dodge(number, num_marks, width=0.5)
                    _mark(axes, place, estimate_of(gain), factor, LIGHT["ink"], style)
            include_zero(axes)
            _rung_axis(axes, labels if row else [""] * len(labels))
            axes.set_title(f"gain over {flat(first)}, {label}", loc="left", fontsize=12.5, color=LIGHT["ink"], pad=8)
        entries = [(_bare(styles[side]), FAMILY_COLOURS[side[0]], side_name(side)) for side in by_side]
        entries += [
            (_bare(style), LIGHT["ink"], difference_name(line[0], several=len(differences) > 1))
            for line, style in zip(differences.values(), styles_of_differences, strict=True)
        ]
        draw_legend(canvas, entries)
        return finish(
            canvas,
            name=name,
            title=gains_title(gains),
            description=f"Gain in test accuracy over {flat(first)}: above in percentage points, below in natural log-odds; "
            "bars are 95 % intervals over seeds and test images. Round marks the ViT, square ones the CNN, dark ones the ViT's "
            "gain minus the CNN's, paired. "
            + " ".join(gain_in_words(gain, labels[later.index(rung_of(gain))]) for gain in gains),
        )


def _mark(axes: "Axes", place: float, one: Estimate | None, factor: float, colour: str, style: Style) -> None:
    if one is None:
        return
    if one.ci95 is not None:
        axes.plot([place] * 2, [factor * bound for bound in one.ci95], color=colour, linewidth=1.8)
    axes.plot(
        [place],
        [factor * one.value],
        style.marker,
        color=colour,
        markersize=7,
        markeredgecolor=LIGHT["surface"],
        markeredgewidth=1.2,
    )


def _rung_axis(axes: "Axes", labels: Sequence[str]) -> None:
    axes.set_xlim(-0.4, len(labels) - 0.6)
    axes.set_xticks(range(len(labels)), list(labels), linespacing=1.1)


def _dodge(number: int, how_many: int, *, width: float = 0.16) -> float:
    """Sets marks of one rung side by side, within `width` of a rung's distance."""
    return width * ((number + 0.5) / how_many - 0.5)


def _bare(style: Style) -> Style:
    return Style(line="none", marker=style.marker)
