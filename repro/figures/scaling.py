"""Accuracy against training images: a panel of curves, and beside it the paired differences on both scales.

Models trained here share a panel for each data set, initialisation and recipe; published weights have one for each declared
pair, so that no panel holds more curves than can be told apart. Must not know where the panels stand. Read `scaling_panels`
first.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from repro.analysis.arms import PRETRAINED, ArmKey, contender, kind_of_init
from repro.analysis.pairs import Pair, make_pairs
from repro.analysis.results import Estimate, Gap, Group, Results
from repro.analysis.study import study_arms
from repro.figures.captions import HOW_TO_READ, gap_title, grouped, scaling_title, series_in_words, without_library
from repro.figures.marks import (
    FAMILY_COLOURS,
    HEIGHT,
    WIDTH,
    accuracy_axis,
    direct_labels,
    draw_estimates,
    draw_legend,
    draw_series,
    include_zero,
    legend_height,
    pair_styles,
    shifts,
    size_axis,
    styles_of,
)
from repro.formatting import FAMILY_NAMES, MINUS, count, points, shortened
from repro.spec import Family
from repro.svg import LIGHT, Figure, Sheet, finish, label_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPanel:
    """The curves of one data set, initialisation and recipe; of published weights those of one pair."""

    dataset: str
    init: str
    """`scratch`; `pretrained` for all published weights and files."""
    recipe: str
    pair: str
    """Title of the declared pair; empty where there is none."""
    curves: Figure
    gap: Figure | None
    """Paired differences CNN minus ViT; None where no pair is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    dataset: str
    init: str
    recipe: str
    pair: str
    groups: Sequence[Group]
    gaps: Sequence[Gap]


def scaling_panels(groups: Sequence[Group], results: Results) -> Iterable[ScalingPanel]:
    """A panel wherever there is something to draw: first what was trained from scratch, then published weights."""
    contents = [*_from_scratch(groups, results.gaps), *_published(groups, results)]
    for number, content in enumerate(contents, 1):
        yield ScalingPanel(
            dataset=content.dataset,
            init=content.init,
            recipe=content.recipe,
            pair=content.pair,
            curves=_curves(content, name=f"scaling-{number}"),
            gap=_gap_figure(content.gaps, name=f"gap-{number}") if content.gaps else None,
        )


def _from_scratch(groups: Sequence[Group], gaps: Sequence[Gap]) -> Iterable[_Content]:
    def key(row: Group | Gap) -> tuple[str, str, str]:
        return row.dataset, row.init, row.recipe

    gaps_by_panel = grouped(key, gaps)
    for place, members in grouped(key, [group for group in groups if kind_of_init(group.init) == "scratch"]).items():
        dataset, init, recipe = place
        differences = gaps_by_panel.get(place, [])
        yield _Content(dataset=dataset, init=init, recipe=recipe, pair="", groups=members, gaps=differences)


def _published(groups: Sequence[Group], results: Results) -> Iterable[_Content]:
    """For each data set and recipe one panel a declared pair, and one for all models that stand in none."""
    pairs = [pair for pair in make_pairs(study_arms(results.cells), results.pairs) if pair.kind == PRETRAINED]
    places = grouped(lambda group: (group.dataset, group.recipe), [g for g in groups if kind_of_init(g.init) == PRETRAINED])
    for (dataset, recipe), members in places.items():
        here = [pair for pair in pairs if (pair.dataset, pair.recipe) == (dataset, recipe)]
        declared, single = [pair for pair in here if pair.name], [pair for pair in here if not pair.name]
        in_pairs, alone = _contenders(declared), _contenders(single)
        rest = [name for name in dict.fromkeys(map(_name, members)) if name not in in_pairs or name in alone]
        for title, names, belonging in (
            *((pair.title, _contenders([pair]), [pair]) for pair in declared),
            ("", set(rest), single),
        ):
            combinations = {tuple(map(_name, arms)) for pair in belonging for arms in pair.combinations}
            drawn = [group for group in members if _name(group) in names]
            if drawn:
                yield _Content(
                    dataset=dataset,
                    init=PRETRAINED,
                    recipe=recipe,
                    pair=title,
                    groups=drawn,
                    gaps=[
                        gap
                        for gap in results.gaps
                        if (gap.dataset, gap.recipe) == (dataset, recipe)
                        and kind_of_init(gap.init) == PRETRAINED
                        and (gap.vit, gap.cnn) in combinations
                    ],
                )


def _contenders(pairs: Iterable[Pair]) -> set[str]:
    return {_name(key) for pair in pairs for key in (*pair.vit_arms, *pair.cnn_arms)}


def _name(one: Group | ArmKey) -> str:
    return contender(one.model, one.init)


def _curves(content: _Content, *, name: str) -> Figure:
    groups = content.groups
    sizes = sorted({group.num_train_images for group in groups})
    series = grouped(lambda group: (group.family, _name(group)), groups)
    styles = styles_of(series)
    # Several models of a family have long names that differ little: they stand in a legend, not beside the lines.
    has_legend = content.init == PRETRAINED or len(series) > len({family for family, _ in series})
    foot = legend_height(len(series)) if has_legend else 0.0
    height = HEIGHT + foot
    with Sheet(WIDTH, height) as canvas:
        axes = canvas.add_axes((0.1, (50 + foot) / height, 0.86 if has_legend else 0.74, (HEIGHT - 78) / height))
        size_axis(axes, sizes, label="training images (log scale)")
        accuracy_axis(axes, groups)
        # At a single size there are no lines, and what lies on top of each other cannot be told apart.
        apart = shifts(len(series), sizes) if len(sizes) == 1 else [1.0] * len(series)
        for (key, style), shift in zip(styles.items(), apart, strict=True):
            members = sorted(series[key], key=lambda group: group.num_train_images)
            draw_series(axes, [group.num_train_images * shift for group in members], members, style=style)
        if has_legend:
            draw_legend(canvas, [(styles[key], FAMILY_COLOURS[key[0]], _in_the_legend(*key)) for key in series])
        else:
            label_lines(axes, direct_labels(series, order=lambda group: group.num_train_images), at=sizes[-1])
        return finish(
            canvas,
            name=name,
            title=scaling_title(groups, content.gaps),
            description=f"Test accuracy in per cent against the number of training images, logarithmic. {HOW_TO_READ} "
            + " ".join(f"{series_in_words(members)}." for members in series.values()),
        )


def _in_the_legend(family: Family, name: str) -> str:
    return f"{FAMILY_NAMES[family]} {shortened(without_library(name), 46)}"


def _gap_figure(gaps: Sequence[Gap], *, name: str) -> Figure:
    sizes = sorted({gap.num_train_images for gap in gaps})
    pairs = grouped(lambda gap: (gap.cnn, gap.vit), gaps)
    styles = pair_styles(len(pairs))
    foot = legend_height(len(pairs)) if len(pairs) > 1 else 0.0
    height = HEIGHT + foot
    with Sheet(WIDTH, height) as canvas:
        scales: tuple[tuple[str, float, Callable[[Gap], Estimate]], ...] = (
            ("accuracy (points)", 100, lambda gap: gap.accuracy),
            ("log-odds", 1, lambda gap: gap.log_odds),
        )
        for row, (label, factor, estimate_of) in enumerate(scales):
            bottom = (0.585 - 0.45 * row) * HEIGHT + foot
            axes = canvas.add_axes((0.12, bottom / height, 0.84, 0.34 * HEIGHT / height))
            size_axis(axes, sizes, label="training images (log scale)" if row else "")
            axes.tick_params(axis="x", labelbottom=bool(row))
            axes.axhline(0, color=LIGHT["ink"], linewidth=1.2)
            for members, style, shift in zip(pairs.values(), styles, shifts(len(pairs), sizes), strict=True):
                places = [gap.num_train_images * shift for gap in members]
                draw_estimates(axes, places, [estimate_of(gap) for gap in members], factor=factor, style=style)
            include_zero(axes)
            axes.set_title(f"CNN {MINUS} ViT, {label}", loc="left", fontsize=12.5, color=LIGHT["ink"], pad=8)
            axes.text(
                0.995, 1.045, "above 0: CNN ahead", transform=axes.transAxes, ha="right", color=LIGHT["muted"], fontsize=11
            )
        if len(pairs) > 1:
            draw_legend(
                canvas,
                [
                    (style, LIGHT["ink"], text)
                    for style, text in zip(styles, _differences_in_the_legend(list(pairs)), strict=True)
                ],
            )
        return finish(
            canvas,
            name=name,
            title=gap_title(gaps),
            description="Paired difference of test accuracy, CNN minus ViT, at each number of training images: above in "
            "percentage points, below in natural log-odds; bars are 95 % intervals over seeds and test images, the heavy line "
            "is zero. "
            + " ".join(
                f"{f'{gap.cnn} {MINUS} {gap.vit}, ' if len(pairs) > 1 else ''}{count(gap.num_train_images)} images: "
                f"{points(gap.accuracy.value, gap.accuracy.ci95)} points, log-odds {gap.log_odds.value:+.2f}."
                for gap in gaps
            ),
        )


def _differences_in_the_legend(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What each (CNN, ViT) is called: a side that all have in common by its family alone."""
    cnns, vits = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    length = 20 if len(cnns) > 1 and len(vits) > 1 else 40
    cnn_names = {name: f"CNN {short}" for name, short in _brief(cnns, length).items()} if len(cnns) > 1 else {cnns[0]: "CNN"}
    vit_names = {name: f"ViT {short}" for name, short in _brief(vits, length).items()} if len(vits) > 1 else {vits[0]: "ViT"}
    return [f"{cnn_names[cnn]} {MINUS} {vit_names[vit]}" for cnn, vit in pairs]


def _brief(names: Sequence[str], length: int) -> dict[str, str]:
    """Names that fit into `length`: without their tags where the architectures alone tell them apart, else shortened."""
    whole = [without_library(name) for name in names]
    bare = [name.rpartition(".")[0] or name for name in whole]
    fitting = bare if max(map(len, whole)) > length and len(set(bare)) == len(bare) else whole
    return {name: shortened(short, length) for name, short in zip(names, fitting, strict=True)}
