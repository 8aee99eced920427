"""Filters, position embeddings and the whole look, on weights whose answer is known."""

import numpy as np
import pytest
import torch

from repro.models.inside import (
    cosine_similarities,
    look_inside,
    principal_filters,
    row_column_similarity,
    shuffled_differences,
    spread_places,
)
from repro.models.resnet import ResNet
from repro.models.vit import VisionTransformer, initialise_vit


def row_and_column_positions(side: int) -> np.ndarray:
    """One coordinate for each row and one for each column, all orthogonal: 1 with oneself, ½ in line, 0 elsewhere."""
    rows, columns = np.divmod(np.arange(side**2), side)
    return np.hstack([np.eye(side)[rows], np.eye(side)[columns]])


def test_positions_made_of_row_and_column_have_similarity_a_half_in_line_and_none_elsewhere() -> None:
    similarities_PP = cosine_similarities(row_and_column_positions(4))
    assert np.diag(similarities_PP) == pytest.approx(1)
    assert row_column_similarity(similarities_PP) == pytest.approx((0.5, 0.0))


def test_equal_positions_and_a_single_patch_show_no_structure() -> None:
    assert row_column_similarity(cosine_similarities(np.ones((9, 5)))) == pytest.approx((1.0, 1.0))
    assert row_column_similarity(cosine_similarities(np.zeros((9, 5)))) == (0.0, 0.0)
    assert row_column_similarity(np.ones((1, 1))) == (0.0, 0.0)


def test_shuffled_differences_are_those_of_embeddings_in_another_order() -> None:
    positions_PD = np.random.default_rng(3).normal(size=(16, 5)) + 0.3
    found = shuffled_differences(positions_PD, 4, generator=np.random.default_rng(9))
    again = np.random.default_rng(9)
    for value in found:
        same_line, elsewhere = row_column_similarity(cosine_similarities(positions_PD[again.permutation(16)]))
        assert value == pytest.approx(same_line - elsewhere, abs=1e-6)
    structured = shuffled_differences(row_and_column_positions(4), 200, generator=np.random.default_rng(1))
    assert structured.max() < 0.5 and structured.mean() == pytest.approx(0, abs=0.02)
    assert shuffled_differences(np.ones((1, 3)), 2, generator=np.random.default_rng(1)).tolist() == [0, 0]


def test_principal_filters_find_the_direction_that_filters_differ_in() -> None:
    generator = np.random.default_rng(0)
    pattern = generator.normal(size=(3, 2, 2))
    strong, weak = generator.normal(size=(2, 40, 1, 1, 1))
    filters_FHWC, variances_N = principal_filters(5 + 10 * strong * pattern + weak * np.ones((3, 2, 2)))
    assert filters_FHWC.shape == (12, 2, 2, 3)
    assert variances_N.sum() == pytest.approx(1)
    assert variances_N[0] > 0.9 and variances_N[2] == pytest.approx(0, abs=1e-9)
    leading = (filters_FHWC[0].astype(float) - 128).transpose(2, 0, 1)
    scaled = 127 * pattern / pattern.flat[np.abs(pattern).argmax()]
    assert np.abs(leading - scaled).max() < 12


def test_few_filters_have_fewer_components() -> None:
    filters_FHWC, variances_N = principal_filters(np.random.default_rng(1).normal(size=(3, 1, 4, 4)))
    assert filters_FHWC.shape == (2, 4, 4, 1)
    assert len(variances_N) == 2
    equal, none = principal_filters(np.ones((3, 1, 4, 4)))
    assert np.isfinite(none).all() and equal.dtype == np.uint8


def test_places_are_spread_over_the_image() -> None:
    assert spread_places(4).tolist() == [0, 1, 2, 3]
    assert spread_places(14).tolist()[:1] + spread_places(14).tolist()[-1:] == [0, 13]
    assert len(spread_places(24)) == 7 and spread_places(1).tolist() == [0]


def test_a_look_keeps_what_belongs_together() -> None:
    model = VisionTransformer(image_size=16, patch_size=2, num_channels=3, num_classes=7, width=16, depth=2, num_heads=2)
    initialise_vit(model, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.pos_embed[0, 1:] = torch.from_numpy(row_and_column_positions(8))
    x_BCHW = torch.randn(10, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    images_IHWC = np.zeros((3, 16, 16, 3), dtype=np.uint8)
    found = look_inside(model, x_BCHW, images_IHWC=images_IHWC, indices_I=np.arange(3, dtype=np.int32))
    assert not isinstance(found, str)
    assert (found.patch_size, found.num_images, found.has_class_token) == (2, 10, True)
    assert found.filters_FHWC.shape == (12, 2, 2, 3)
    assert (found.similarity_same_line, found.similarity_elsewhere) == pytest.approx((0.5, 0.0))
    assert found.similarities_KKGG.shape == (7, 7, 8, 8)
    for row, column in np.ndindex(7, 7):
        at = found.places_K[row], found.places_K[column]
        assert found.similarities_KKGG[row, column][at] == 1
        assert found.similarities_KKGG[row, column][at[0]].astype(float).sum() == pytest.approx(1 + 7 / 2)
    assert found.distances_LA.shape == (2, 2)
    # At the start attention is nearly uniform.
    assert found.distances_LA == pytest.approx(np.full((2, 2), found.uniform_distance), rel=0.1)
    assert found.rollouts_IGG.shape == (3, 8, 8)
    assert found.rollouts_IGG.astype(float).sum(axis=(1, 2)) == pytest.approx(1, abs=0.4)


def test_a_cnn_is_refused_in_words() -> None:
    model = ResNet(num_channels=1, num_classes=3, stage_widths=(4,), stage_depths=(1,))
    said = look_inside(
        model, torch.zeros(1, 1, 8, 8), images_IHWC=np.zeros((0, 8, 8, 1), np.uint8), indices_I=np.zeros(0, np.int32)
    )
    assert said == "ResNet is no known Vision Transformer"
