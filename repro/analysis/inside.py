"""What the paper says of a ViT's inside, as numbers of one model: position embeddings, filters, attention distance, rollout.

Of two of them the ledger makes claims, with an interval over seeds (`repro.analysis.inside_points`). Must not know files or
pages. Read `numbers_of` first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from repro.analysis.inside_results import InsideArm, InsideRow
from repro.analysis.results import CellRow
from repro.analysis.statistics import Scale
from repro.inside import Inside, InsideNumbers
from repro.spec import Role

MOST_OF_VARIANCE = 0.9
"""Share of the filters' variance that the counted components hold."""
QUARTER = 0.25
"""Share of the patches whose attention is added up."""


def inside_rows(rows: Iterable[CellRow], numbers: Mapping[str, InsideNumbers]) -> tuple[InsideRow, ...]:
    """The numbers of every cell that was looked into, in the order of `rows`."""
    return tuple(_row(row, numbers[row.id]) for row in rows if row.id in numbers)


def _row(row: CellRow, numbers: InsideNumbers) -> InsideRow:
    return InsideRow(
        cell=row.id,
        role=row.role,
        dataset=row.dataset,
        model=row.model,
        init=row.init,
        recipe=row.recipe,
        num_train_images=row.num_train_images,
        num_upstream_images=row.num_upstream_images,
        seed=row.seed,
        **dict(numbers),
    )


def numbers_of(inside: Inside) -> InsideNumbers:
    """What a look comes to, for the cell's record."""
    lowest_A = inside.distances_LA[0]
    difference = inside.similarity_same_line - inside.similarity_elsewhere
    return InsideNumbers(
        patch_size=inside.patch_size,
        num_images=inside.num_images,
        num_filter_components=len(inside.variances_N),
        num_leading_components=leading_components(inside.variances_N),
        similarity_same_line=inside.similarity_same_line,
        similarity_elsewhere=inside.similarity_elsewhere,
        similarity_difference=difference,
        shuffle_share=share_reached(inside.shuffled_S, difference),
        distances=tuple(tuple(map(float, layer_A)) for layer_A in inside.distances_LA),
        distance_slope=depth_slope(inside.distances_LA),
        uniform_distance=inside.uniform_distance,
        narrowest_lowest=float(lowest_A.min()),
        widest_lowest=float(lowest_A.max()),
        top_quarter=top_quarter(inside.rollouts_IGG),
    )


def inside_statistic(row: InsideRow, scale: Scale) -> float | None:
    """What a claim says of one model: how much more alike positions in line are, or by how much attention distance rises.

    The rise is in distances of uniform attention, so that it depends on neither pixels nor patches. None where the model has
    no such thing: an image of one patch, a single layer.
    """
    if not row.uniform_distance:
        return None
    if scale is Scale.SIMILARITY:
        return row.similarity_difference
    return None if row.distance_slope is None else row.distance_slope / row.uniform_distance


def inside_arms(rows: Iterable[InsideRow]) -> tuple[InsideArm, ...]:
    """Means over the seeds of every arm of the study, in the order of `rows`."""
    arms: dict[tuple[str, ...], list[InsideRow]] = {}
    for row in rows:
        if row.role is Role.STUDY:
            key = (row.dataset, row.model, row.init, row.recipe, str(row.num_train_images))
            arms.setdefault(key, []).append(row)
    return tuple(_arm(members) for members in arms.values())


def _arm(members: Sequence[InsideRow]) -> InsideArm:
    first = members[0]

    def mean(value: Callable[[InsideRow], float]) -> float:
        return fmean(map(value, members))

    def mean_if_any(value: Callable[[InsideRow], float | None]) -> float | None:
        values = [found for row in members if (found := value(row)) is not None]
        return fmean(values) if values else None

    return InsideArm(
        dataset=first.dataset,
        model=first.model,
        init=first.init,
        recipe=first.recipe,
        num_train_images=first.num_train_images,
        num_upstream_images=first.num_upstream_images,
        num_seeds=len(members),
        similarity_difference=mean(lambda row: row.similarity_difference),
        shuffle_share=mean_if_any(lambda row: row.shuffle_share),
        distance_slope=mean_if_any(lambda row: row.distance_slope),
        uniform_distance=mean(lambda row: row.uniform_distance),
        narrowest_lowest=mean(lambda row: row.narrowest_lowest),
        widest_lowest=mean(lambda row: row.widest_lowest),
        top_quarter=mean_if_any(lambda row: row.top_quarter),
        num_leading_components=mean(lambda row: row.num_leading_components),
        num_filter_components=first.num_filter_components,
        cells=tuple(row.cell for row in members),
    )


def leading_components(variances_N: npt.NDArray[np.float32]) -> int:
    """How few principal components hold `MOST_OF_VARIANCE` of the filters' variance; 0 where they do not vary."""
    reached_N = np.cumsum(variances_N.astype(np.float64)) >= MOST_OF_VARIANCE
    return int(reached_N.argmax()) + 1 if reached_N.any() else 0


def share_reached(shuffled_S: npt.NDArray[np.float32], value: float) -> float | None:
    """How often shuffles reach the value, which is counted as one of them, so that none has a share of 0; None without any."""
    if not len(shuffled_S):
        return None
    # Shuffles are kept with seven digits: one that is the true order must count as such.
    return float((np.sum(shuffled_S >= value - 1e-6) + 1) / (len(shuffled_S) + 1))


def depth_slope(distances_LA: npt.NDArray[np.float32]) -> float | None:
    """By how much the mean distance of a layer's heads rises from the lowest layer to the highest, by least squares.

    In the unit of the distances; None for a single layer.
    """
    if len(distances_LA) < 2:
        return None
    depth_L = np.linspace(0, 1, len(distances_LA))
    return float(np.polyfit(depth_L, distances_LA.astype(np.float64).mean(axis=1), 1)[0])


def top_quarter(rollouts_IGG: npt.NDArray[np.float16]) -> float | None:
    """Share of the attention to patches that the most attended quarter of them gets, mean over images.

    A quarter where attention is uniform; None where there is no image. Of the patch that the quarter ends in, its part counts.
    """
    shares_IP = rollouts_IGG.reshape(len(rollouts_IGG), rollouts_IGG.shape[-1] ** 2).astype(np.float64)
    totals_I = shares_IP.sum(axis=1)
    if not len(shares_IP) or not totals_I.all():
        return None
    falling_IP = -np.sort(-shares_IP, axis=1)
    num_patches = shares_IP.shape[1]
    counted_P = (QUARTER * num_patches - np.arange(num_patches)).clip(0, 1)
    return float((falling_IP @ counted_P / totals_I).mean())
