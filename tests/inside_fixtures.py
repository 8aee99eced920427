"""Made-up looks into ViTs for tests of analysis, figures and page: formulas, not measurements."""

from collections.abc import Mapping

import numpy as np

from repro.analysis.inside import numbers_of
from repro.inside import Inside, InsideNumbers


def made_up_inside(
    *,
    side: int = 4,
    num_pictures: int = 3,
    picture: int = 8,
    channels: int = 1,
    layers: int = 4,
    heads: int = 3,
    patch: int = 2,
    structure: float = 0.3,
    rise: float = 1.5,
) -> Inside:
    """A file's content: position embeddings with so much structure, distances that rise by so many pixels."""
    generator = np.random.default_rng(side + channels)
    places_K = np.unique(np.linspace(0, side - 1, min(side, 7)).round()).astype(np.int32)
    rows, columns = np.divmod(np.arange(side**2), side)
    maps_PP = structure * ((rows[:, None] == rows) | (columns[:, None] == columns)) + (1 - structure) * np.eye(side**2)
    maps_GGGG = (maps_PP + 0.02 * generator.normal(size=maps_PP.shape)).reshape((side,) * 4)
    distances_LA = 2.0 + np.linspace(0, rise, layers)[:, None] + np.linspace(-0.5, 0.5, heads)
    num_filters = min(28, patch**2 * channels)
    return Inside(
        patch_size=patch,
        has_class_token=True,
        num_images=32,
        filters_FHWC=generator.integers(0, 256, (num_filters, patch, patch, channels), dtype=np.uint8),
        variances_N=np.full(patch**2 * channels, 1 / (patch**2 * channels), dtype=np.float32),
        similarities_KKGG=maps_GGGG[np.ix_(places_K, places_K)].astype(np.float16),
        places_K=places_K,
        similarity_same_line=structure + 0.05,
        similarity_elsewhere=0.05,
        shuffled_S=np.linspace(-0.2, 0.199, 199, dtype=np.float32),
        distances_LA=distances_LA.astype(np.float32),
        uniform_distance=4.0,
        rollouts_IGG=(generator.random((num_pictures, side, side)) + 0.1).astype(np.float16),
        images_IHWC=generator.integers(0, 256, (num_pictures, picture, picture, channels), dtype=np.uint8),
        indices_I=np.arange(num_pictures, dtype=np.int32),
    )


def numbers(insides: Mapping[str, Inside]) -> dict[str, InsideNumbers]:
    """What records would hold of these looks, by cell id."""
    return {cell: numbers_of(inside) for cell, inside in insides.items()}
