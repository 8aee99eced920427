"""What the paper says of a ViT's inside, as numbers of one model: position embeddings, filters, attention distance, rollout.

One model gives no interval, so these are observations and no claims. Must not know files or pages. Read `inside_rows` first.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from repro.analysis.results import CellRow, InsideRow
from repro.inside import Inside

MOST_OF_VARIANCE = 0.9
"""Share of the filters' variance that the counted components hold."""
QUARTER = 0.25
"""Share of the patches whose attention is added up."""


def inside_rows(rows: Iterable[CellRow], insides: Mapping[str, Inside]) -> tuple[InsideRow, ...]:
    """The statistics of every cell that was looked into, in the order of `rows`."""
    return tuple(_row(row, insides[row.id]) for row in rows if row.id in insides)


def _row(row: CellRow, inside: Inside) -> InsideRow:
    lowest_A = inside.distances_LA[0]
    difference = inside.similarity_same_line - inside.similarity_elsewhere
    return InsideRow(
        cell=row.id,
        dataset=row.dataset,
        model=row.model,
        init=row.init,
        recipe=row.recipe,
        num_train_images=row.num_train_images,
        num_upstream_images=row.num_upstream_images,
        seed=row.seed,
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
