"""Transfer against upstream images: one panel for each data set, upstream data set, recipe and training-set size.

Must not know where the panels stand. Read `upstream_panels` first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from repro.analysis.results import Group
from repro.figures.captions import HOW_TO_READ, grouped, series_in_words, upstream_title
from repro.figures.marks import (
    FAMILY_COLOURS,
    HEIGHT,
    WIDTH,
    accuracy_axis,
    direct_labels,
    draw_series,
    size_axis,
    styles_of,
)
from repro.formatting import count
from repro.svg import Figure, Sheet, finish, label_lines


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


def upstream_panels(groups: Sequence[Group]) -> Iterable[UpstreamPanel]:
    """One panel for each place that has groups from an upstream run."""

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
        for (family, model), style in styles_of(series).items():
            members = sorted(series[family, model], key=lambda group: group.num_upstream_images)
            draw_series(axes, [group.num_upstream_images for group in members], members, style=style)
            for reference in (group for group in scratch if group.model == model):
                draw_series(axes, [nowhere], [reference], style=replace(style, line="none"))
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
