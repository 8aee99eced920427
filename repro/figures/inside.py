"""A ViT's inside, after pre-training beside from scratch: filters, position embeddings, attention distance, rollout.

As the paper's figures 6 and 7 have it. Must not know where the panels stand. Read `inside_panels` first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np

from repro.analysis.inside_results import InsideRow
from repro.figures.marks import HEIGHT, WIDTH, Style, draw_legend, legend_height
from repro.figures.rasters import Raster, in_colour, sheet, signed_colours, smaller
from repro.formatting import percent, pixels, similarity
from repro.inside import Inside
from repro.spec import Role
from repro.svg import LIGHT, Figure, Sheet, finish

MOST_BYTES = 110_000
"""What all panels may add to the page; the first is always drawn."""
LARGEST_PICTURE = 32
"""Pixels a side of a picture shown."""
MOST_PICTURES = 6
"""That stand side by side."""
FILTERS_A_ROW = 7
SCRATCH = "scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideColumn:
    """One model's pictures."""

    row: InsideRow
    filters: Raster
    similarities: Raster
    rollouts: Raster | None
    """None where no picture was kept."""

    @property
    def pictures(self) -> tuple[Raster, ...]:
        """All of them, in the page's order."""
        return (self.filters, self.similarities, *([self.rollouts] if self.rollouts else []))


@dataclass(frozen=True, slots=True, kw_only=True)
class InsidePanel:
    """One architecture on one data set at one training-set size, from each kind of initial weights."""

    dataset: str
    model: str
    num_train_images: int
    columns: tuple[InsideColumn, ...]
    distances: Figure

    @property
    def size_bytes(self) -> int:
        """What it adds to the page."""
        return len(self.distances.svg) + sum(len(one.uri) for column in self.columns for one in column.pictures)


def inside_panels(rows: Sequence[InsideRow], insides: Mapping[str, Inside]) -> tuple[InsidePanel, ...]:
    """A panel for each data set and architecture, as far as they fit; every architecture once before any a second time.

    Of an arm's models that of the first seed which has left pictures: those of five say what those of one do.
    """
    places: dict[tuple[str, str], list[InsideRow]] = {}
    for row in _of_first_seeds(row for row in rows if row.cell in insides and row.role is Role.STUDY):
        places.setdefault((row.dataset, row.model), []).append(row)
    seen: dict[str, int] = {}
    order = []
    for place in places:
        seen[place[1]] = seen.get(place[1], 0) + 1
        order.append((seen[place[1]], place))
    panels: list[InsidePanel] = []
    for number, (_, place) in enumerate(sorted(order, key=lambda one: one[0]), 1):
        panel = _panel(_compared(places[place]), insides, name=f"inside-{number}")
        if panels and panel.size_bytes + sum(one.size_bytes for one in panels) > MOST_BYTES:
            break
        panels.append(panel)
    return tuple(panels)


def _of_first_seeds(rows: Iterable[InsideRow]) -> list[InsideRow]:
    first: dict[tuple[object, ...], InsideRow] = {}
    for row in rows:
        arm = (row.dataset, row.model, row.init, row.recipe, row.num_train_images)
        if arm not in first or row.seed < first[arm].seed:
            first[arm] = row
    return list(first.values())


def _compared(members: Sequence[InsideRow]) -> list[InsideRow]:
    """From each kind of initial weights one model, from scratch first, that with the most upstream images, at one size.

    The largest training set for which there are most kinds.
    """

    def kinds(size: int) -> int:
        return len({row.init == SCRATCH for row in members if row.num_train_images == size})

    size = max({row.num_train_images for row in members}, key=lambda one: (kinds(one), one))
    here = [row for row in members if row.num_train_images == size]
    scratch = [row for row in here if row.init == SCRATCH][:1]
    given = [row for row in here if row.init != SCRATCH]
    return [*scratch, *sorted(given, key=lambda row: -row.num_upstream_images)[:1]]


def _panel(rows: Sequence[InsideRow], insides: Mapping[str, Inside], *, name: str) -> InsidePanel:
    found = [insides[row.cell] for row in rows]
    largest = max(_largest_similarity(inside) for inside in found)
    return InsidePanel(
        dataset=rows[0].dataset,
        model=rows[0].model,
        num_train_images=rows[0].num_train_images,
        columns=tuple(
            InsideColumn(
                row=row,
                filters=_filters(row, inside),
                similarities=_similarities(row, inside, largest=largest),
                rollouts=_rollouts(row, inside) if len(inside.images_IHWC) else None,
            )
            for row, inside in zip(rows, found, strict=True)
        ),
        distances=_distances(rows, name=name),
    )


def _filters(row: InsideRow, inside: Inside) -> Raster:
    tiles = inside.filters_FHWC
    if tiles.shape[-1] == 1:
        tiles = signed_colours(tiles[..., 0].astype(np.float64) - 128, largest=127)
    uri, width, height = sheet(tiles, columns=min(FILTERS_A_ROW, len(tiles)), gap=2, enlarged=max(20 // inside.patch_size, 1))
    return Raster(
        title=f"Filters: {row.num_leading_components} of {row.num_filter_components} principal components hold 90 % of the "
        "variance",
        description=f"The {len(tiles)} leading principal components of the patch embedding's filters, "
        f"{inside.patch_size} x {inside.patch_size} pixels each, every one on a scale of its own.",
        uri=uri,
        width=width,
        height=height,
    )


def _largest_similarity(inside: Inside) -> float:
    """The largest that a patch has with another: with itself it has 1."""
    maps = np.abs(inside.similarities_KKGG.astype(np.float64))
    for row, column in np.ndindex(maps.shape[:2]):
        maps[row, column, inside.places_K[row], inside.places_K[column]] = 0
    return float(maps.max())


def _similarities(row: InsideRow, inside: Inside, *, largest: float) -> Raster:
    num_places, side = len(inside.places_K), inside.similarities_KKGG.shape[-1]
    maps = inside.similarities_KKGG.astype(np.float64).reshape(-1, side, side)
    uri, width, height = sheet(signed_colours(maps, largest=largest), columns=num_places, gap=2, enlarged=-(-12 // side))
    return Raster(
        title=f"Position embeddings: similarity {similarity(row.similarity_difference)} in one row or column against elsewhere",
        description=f"{num_places} x {num_places} maps: cosine similarity of one patch's position embedding, the map's own "
        f"place in the grid, to those of all {side} x {side} patches. Blue is alike, orange is opposed, full colour "
        f"from {similarity(largest).removeprefix('+')}.",
        uri=uri,
        width=width,
        height=height,
    )


def _rollouts(row: InsideRow, inside: Inside) -> Raster:
    pictures = in_colour(smaller(inside.images_IHWC[:MOST_PICTURES], most=LARGEST_PICTURE))
    side, num_patches = pictures.shape[1], inside.rollouts_IGG.shape[-1]
    shares = inside.rollouts_IGG[:MOST_PICTURES].astype(np.float64)
    shares /= shares.max(axis=(1, 2), keepdims=True).clip(min=1e-12)
    patch_of = np.arange(side) * num_patches // side
    weighted = np.rint(pictures * shares[:, patch_of][:, :, patch_of, None]).astype(np.uint8)
    uri, width, height = sheet(np.concatenate([pictures, weighted]), columns=len(pictures), gap=2, enlarged=max(64 // side, 1))
    reader = "the class token" if inside.has_class_token else "all patches together"
    quarter = f"the most attended quarter of the patches gets {percent(row.top_quarter)}, uniform attention gives 25 %"
    return Raster(
        title=f"Attention rollout: {quarter}" if row.top_quarter is not None else "Attention rollout",
        description=f"{len(pictures)} test images, and below each the same weighted by what {reader} attended to through all "
        "layers: the most attended patch keeps its brightness.",
        uri=uri,
        width=width,
        height=height,
    )


def _distances(rows: Sequence[InsideRow], *, name: str) -> Figure:
    looks = [_LOOK_SCRATCH if row.init == SCRATCH else _LOOK_GIVEN for row in rows]
    foot = legend_height(len(rows))
    height = HEIGHT * 0.8 + foot
    with Sheet(WIDTH, height) as canvas:
        axes = canvas.add_axes((0.1, (46 + foot) / height, 0.86, (height - foot - 78) / height))
        uniform = rows[0].uniform_distance
        axes.axhline(uniform, color=LIGHT["muted"], linewidth=1.2, linestyle=(0, (4, 3)))
        for row, (colour, style, shift, cap) in zip(rows, looks, strict=True):
            means = [sum(layer) / len(layer) for layer in row.distances]
            places = [number + shift for number in range(1, len(means) + 1)]
            # All dots are one line of pieces too short to be seen, whose ends are: as markers 288 of them would weigh 60 kB.
            dots = [
                point
                for place, layer in zip(places, row.distances, strict=True)
                for distance in layer
                for point in ((place - 0.001, distance), (place + 0.001, distance), (nan, nan))
            ]
            ends: dict[str, Any] = {"color": colour, "alpha": 0.7, "linewidth": 5, "solid_capstyle": cap}
            axes.plot(*zip(*dots, strict=True), **ends)
            axes.plot(places, means, color=colour, linestyle=style.line, linewidth=2)
        num_layers = max(len(row.distances) for row in rows)
        axes.set_xlim(0.5, num_layers + 0.5)
        # From zero, as the paper's figure: heads that all look nearly as far are seen to do so.
        greatest = max(distance for row in rows for layer in row.distances for distance in layer)
        axes.set_ylim(0, 1.12 * max(uniform, greatest) or 1)
        axes.set_xticks(range(1, num_layers + 1, -(-num_layers // 12)))
        axes.set_xlabel("layer, from the lowest")
        axes.set_title("attention distance (px)", loc="left", fontsize=12.5, color=LIGHT["ink"], pad=8)
        axes.text(
            1.0, uniform, "uniform ", transform=axes.get_yaxis_transform(), ha="right", va="bottom",
            color=LIGHT["muted"], fontsize=11,
        )  # fmt: skip
        draw_legend(canvas, [(look[1], look[0], _init_in_words(row)) for row, look in zip(rows, looks, strict=True)])
        return finish(
            canvas,
            name=name,
            title=_distance_title(rows),
            description="Mean attention distance of every head in pixels, a dot each, by layer; the line joins the layers' "
            "means, the grey dashes are attention to all patches alike. "
            + " ".join(
                f"{_init_in_words(row)}: lowest layer {pixels(row.narrowest_lowest)} to {pixels(row.widest_lowest)}, "
                f"rise over the depth {pixels(row.distance_slope, signed=True)}."
                for row in rows
            ),
        )


_LOOK_SCRATCH = (LIGHT["muted"], Style(line="dashed", marker="s"), -0.14, "projecting")
_LOOK_GIVEN = (LIGHT["vit"], Style(line="solid", marker="o"), 0.14, "round")
"""Colour, style, shift to the side and shape of a dot: of a model from scratch, and of any other."""


def _init_in_words(row: InsideRow) -> str:
    return "from scratch" if row.init == SCRATCH else "after pre-training"


def _distance_title(rows: Sequence[InsideRow]) -> str:
    if rows[0].distance_slope is None:
        return "A single layer: attention distance has no depth to grow with"
    changes = [f"{pixels(row.distance_slope, signed=True)} {_init_in_words(row)}" for row in rows]
    return (
        f"Attention distance from the lowest to the highest layer: {' and '.join(changes)}; uniform attention has "
        f"{pixels(rows[0].uniform_distance)}"
    )
