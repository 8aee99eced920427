"""Results -> figures: scaling with data, paired differences, transfer against upstream images, and one strip for each claim.

Titles state the finding in numbers, without judging it: verdicts are the ledger's. Nothing is estimated here; what is
drawn stands in `Results`. Must not know records, files or HTML; how a figure looks is `repro.svg`'s. Read `draw_figures`
first.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from repro.analysis.results import ClaimResult, Estimate, Gap, Group, Point, Results
from repro.figures.captions import (
    HOW_TO_READ,
    gap_title,
    grouped,
    point_in_words,
    row_label,
    scaling_title,
    series_in_words,
    upstream_title,
)
from repro.figures.marks import (
    FAMILY_COLOURS,
    accuracy_axis,
    cycled_styles,
    direct_labels,
    draw_estimates,
    draw_series,
    draw_strip_point,
    include_zero,
    shifts,
    size_axis,
    styles_of,
)
from repro.formatting import MINUS, count, points, printable, shortened
from repro.spec import Role
from repro.svg import LIGHT, Figure, Sheet, finish, label_lines

WIDTH = 440
HEIGHT = 370


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPanel:
    """The curves of one data set, initialisation and recipe."""

    dataset: str
    init: str
    recipe: str
    curves: Figure
    gap: Figure | None
    """Paired differences CNN minus ViT; None where no pair is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamPanel:
    """Transfer to one data set at one training-set size."""

    dataset: str
    upstream_dataset: str
    recipe: str
    num_train_images: int
    scratch_recipe: str
    """Recipe of the models from scratch at the left; empty where there are none."""
    curves: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Every figure of a report."""

    scaling: tuple[ScalingPanel, ...]
    upstream: tuple[UpstreamPanel, ...]
    claims: tuple[Figure | None, ...]
    """One for each of `Results.claims`; None where a claim has no points."""
    observations: tuple[Figure | None, ...]
    """The same of `Results.observations`."""

    @property
    def all(self) -> tuple[Figure, ...]:
        """Every figure once, in the page's order."""
        strips = [figure for figure in (*self.claims, *self.observations) if figure]
        scaling = [figure for panel in self.scaling for figure in (panel.curves, panel.gap) if figure]
        return (*strips, *scaling, *(panel.curves for panel in self.upstream))


def draw_figures(results: Results) -> Figures:
    """Draw everything that the results allow; what is not measured yields no figure. Takes some 0.1 s a figure."""
    study = {row.id for row in results.cells if row.role is Role.STUDY}
    groups = [group for group in results.groups if study.issuperset(group.cells)]
    return Figures(
        scaling=tuple(_scaling_panels(groups, results.gaps)),
        upstream=tuple(_upstream_panels(groups)),
        claims=tuple(_claim_strip(result, name=f"claim-{number}") for number, result in enumerate(results.claims, 1)),
        observations=tuple(
            _claim_strip(result, name=f"observation-{number}") for number, result in enumerate(results.observations, 1)
        ),
    )


def _scaling_panels(groups: Iterable[Group], gaps: Sequence[Gap]) -> Iterable[ScalingPanel]:
    def key(row: Group | Gap) -> tuple[str, str, str]:
        return row.dataset, row.init, row.recipe

    from_upstream = "upstream:"
    panels = grouped(key, [group for group in groups if not group.init.startswith(from_upstream)])
    gaps_by_panel = grouped(key, gaps)
    for number, ((dataset, init, recipe), members) in enumerate(panels.items(), 1):
        differences = gaps_by_panel.get((dataset, init, recipe), [])
        yield ScalingPanel(
            dataset=dataset,
            init=init,
            recipe=recipe,
            curves=_scaling_curves(members, differences, name=f"scaling-{number}"),
            gap=_gap_figure(differences, name=f"gap-{number}") if differences else None,
        )


def _upstream_panels(groups: Sequence[Group]) -> Iterable[UpstreamPanel]:
    def key(group: Group) -> tuple[str, str, str, int]:
        return group.dataset, group.init.removeprefix("upstream:").rpartition("@")[0], group.recipe, group.num_train_images

    panels = grouped(key, [group for group in groups if group.init.startswith("upstream:")])
    for number, ((dataset, upstream_dataset, recipe, num_train_images), members) in enumerate(sorted(panels.items()), 1):
        scratch = _from_scratch(groups, members)
        yield UpstreamPanel(
            dataset=dataset,
            upstream_dataset=upstream_dataset,
            recipe=recipe,
            num_train_images=num_train_images,
            scratch_recipe=scratch[0].recipe if scratch else "",
            curves=_upstream_curves(members, scratch, name=f"upstream-{number}"),
        )


def _from_scratch(groups: Sequence[Group], transferred: Sequence[Group]) -> list[Group]:
    """The same models on the same images from scratch, by one recipe: as in the analysis that with most seeds, then by name."""
    place = (transferred[0].dataset, transferred[0].num_train_images)
    models = {group.model for group in transferred}
    found = [g for g in groups if g.init == "scratch" and g.model in models and (g.dataset, g.num_train_images) == place]
    by_recipe = grouped(lambda group: group.recipe, found)
    best = min(by_recipe, key=lambda recipe: (-min(len(group.seeds) for group in by_recipe[recipe]), recipe), default=None)
    return by_recipe[best] if best is not None else []


def _scaling_curves(groups: Sequence[Group], gaps: Sequence[Gap], *, name: str) -> Figure:
    sizes = sorted({group.num_train_images for group in groups})
    with Sheet(WIDTH, HEIGHT) as canvas:
        axes = canvas.add_axes((0.1, 0.135, 0.74, 0.79))
        size_axis(axes, sizes, label="training images (log scale)")
        series = grouped(lambda group: (group.family, group.model), groups)
        accuracy_axis(axes, groups)
        for (family, model), line_style in styles_of(series).items():
            members = sorted(series[family, model], key=lambda group: group.num_train_images)
            draw_series(axes, [group.num_train_images for group in members], members, line_style=line_style)
        label_lines(axes, direct_labels(series, order=lambda group: group.num_train_images), at=sizes[-1])
        return finish(
            canvas,
            name=name,
            title=scaling_title(groups, gaps),
            description=f"Test accuracy in per cent against the number of training images, logarithmic. {HOW_TO_READ} "
            + " ".join(f"{series_in_words(members)}." for members in series.values()),
        )


def _upstream_curves(groups: Sequence[Group], scratch: Sequence[Group], *, name: str) -> Figure:
    sizes = sorted({group.num_upstream_images for group in groups})
    # The place for "scratch" on a logarithmic axis, which has no zero: a step to the left of the smallest size.
    step = max((sizes[-1] / sizes[0]) ** 0.4, 3.0)
    nowhere = sizes[0] / step
    with Sheet(WIDTH, HEIGHT) as canvas:
        axes = canvas.add_axes((0.1, 0.135, 0.74, 0.79))
        size_axis(
            axes,
            [nowhere, *sizes] if scratch else sizes,
            label="upstream images (log scale)",
            first="scratch" if scratch else "",
        )
        series = grouped(lambda group: (group.family, group.model), groups)
        accuracy_axis(axes, [*groups, *scratch])
        for (family, model), line_style in styles_of(series).items():
            members = sorted(series[family, model], key=lambda group: group.num_upstream_images)
            draw_series(axes, [group.num_upstream_images for group in members], members, line_style=line_style)
            for reference in (group for group in scratch if group.model == model):
                draw_series(axes, [nowhere], [reference], line_style="none")
                joined = [100 * reference.accuracy.value, 100 * members[0].accuracy.value]
                axes.plot([nowhere, sizes[0]], joined, color=FAMILY_COLOURS[family], linewidth=1, linestyle=(0, (2, 3)))
        label_lines(axes, direct_labels(series, order=lambda group: group.num_upstream_images), at=sizes[-1])
        return finish(
            canvas,
            name=name,
            title=upstream_title(groups, scratch),
            description=f"Test accuracy in per cent after fine-tuning on {count(groups[0].num_train_images)} images, "
            "against the number of upstream images, logarithmic; trained from scratch at the left. "
            + f"{HOW_TO_READ} "
            + " ".join(f"{series_in_words(members, upstream=True)}." for members in series.values()),
        )


def _gap_figure(gaps: Sequence[Gap], *, name: str) -> Figure:
    sizes = sorted({gap.num_train_images for gap in gaps})
    pairs = grouped(lambda gap: (gap.cnn, gap.vit), gaps)
    with Sheet(WIDTH, HEIGHT) as canvas:
        scales: tuple[tuple[str, float, Callable[[Gap], Estimate]], ...] = (
            ("accuracy (points)", 100, lambda gap: gap.accuracy),
            ("log-odds", 1, lambda gap: gap.log_odds),
        )
        for row, (label, factor, estimate_of) in enumerate(scales):
            axes = canvas.add_axes((0.12, 0.585 - 0.45 * row, 0.84, 0.34))
            size_axis(axes, sizes, label="training images (log scale)" if row else "")
            axes.tick_params(axis="x", labelbottom=bool(row))
            axes.axhline(0, color=LIGHT["ink"], linewidth=1.2)
            for (pair, members), line_style, shift in zip(
                pairs.items(), cycled_styles(len(pairs)), shifts(len(pairs)), strict=True
            ):
                places = [gap.num_train_images * shift for gap in members]
                draw_estimates(axes, places, [estimate_of(gap) for gap in members], factor=factor, line_style=line_style)
                if len(pairs) > 1:
                    text = shortened(f"{pair[0]} {MINUS} {pair[1]}", 26)
                    last = factor * estimate_of(members[-1]).value
                    axes.annotate(
                        printable(text), (places[-1], last), (-6, 6), textcoords="offset points", ha="right", fontsize=10
                    )
            include_zero(axes)
            axes.set_title(f"CNN {MINUS} ViT, {label}", loc="left", fontsize=12.5, color=LIGHT["ink"], pad=8)
            axes.text(
                0.995, 1.045, "above 0: CNN ahead", transform=axes.transAxes, ha="right", color=LIGHT["muted"], fontsize=11
            )
        return finish(
            canvas,
            name=name,
            title=gap_title(gaps),
            description="Paired difference of test accuracy, CNN minus ViT, at each number of training images: above in "
            "percentage points, below in natural log-odds; bars are 95 % intervals over seeds and test images, the heavy line "
            "is zero. "
            + " ".join(
                f"{count(gap.num_train_images)} images: {points(gap.accuracy.value, gap.accuracy.ci95)} points, "
                f"log-odds {gap.log_odds.value:+.2f}."
                for gap in gaps
            ),
        )


def _claim_strip(result: ClaimResult, *, name: str) -> Figure | None:
    """Every point of a claim on both scales, with the zero line and the smallest effect of interest."""
    if not result.points:
        return None
    rows = len(result.points)
    height = 62 + 34 * rows
    per_tenfold = " per tenfold" if result.claim.measure.slope_over else ""
    with Sheet(WIDTH, height) as canvas:
        scales: tuple[tuple[str, float, float, Callable[[Point], Estimate]], ...] = (
            (f"points{per_tenfold}", 100, result.claim.smallest_effect, lambda point: point.accuracy),
            (f"log-odds{per_tenfold}", 1, result.claim.smallest_effect_log_odds, lambda point: point.log_odds),
        )
        for column, (label, factor, smallest_effect, estimate_of) in enumerate(scales):
            axes = canvas.add_axes((0.34 + 0.335 * column, 38 / height, 0.3, (height - 44) / height))
            axes.grid(visible=False)
            axes.axvline(0, color=LIGHT["ink"], linewidth=1.2)
            axes.axvline(factor * smallest_effect, color=LIGHT["muted"], linewidth=1, linestyle=(0, (2, 2)))
            for place, point in enumerate(result.points):
                draw_strip_point(axes, rows - 1 - place, point, estimate_of(point), factor=factor)
            axes.set_ylim(-0.6, rows - 0.4)
            axes.locator_params(axis="x", nbins=4)
            axes.margins(x=0.12)
            axes.set_xlabel(label, fontsize=11.5)
            axes.tick_params(axis="x", labelsize=11.5)
            labels = [row_label(point) for point in reversed(result.points)]
            axes.set_yticks(range(rows), labels if column == 0 else [""] * rows, fontsize=11.5, linespacing=1.05)
        return finish(
            canvas,
            name=name,
            title=f"{result.statement} Measured: " + "; ".join(point_in_words(point) for point in result.points),
            description="Each row is one measured contrast, positive in the claim's direction: left in percentage points, "
            "right in log-odds, with its 95 % interval. Solid line: zero. Dotted line: smallest effect of interest. "
            "Hollow: convergence rule not met.",
        )
