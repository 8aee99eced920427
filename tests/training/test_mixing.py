"""Shares are those of the pixels, boxes lie where they say, the loss weighs both labels, and unmixed images stay bit by bit."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from repro.training.mixing import (
    LEAST_ASPECT,
    LEAST_ERASED,
    MOST_ERASED,
    Mixed,
    draw_erasing,
    draw_mixing,
    erase,
    mix,
)


def batch(num_images: int = 400, *, channels: int = 3, height: int = 12, width: int = 10) -> tuple[Tensor, Tensor]:
    """Images of one value each, which is also their label, so that every pixel tells whence it came."""
    labels_B = torch.arange(num_images)
    return labels_B.float().view(-1, 1, 1, 1).repeat(1, channels, height, width), labels_B


def test_mixup_blends_pixels_and_labels_by_one_share() -> None:
    x_BCHW, labels_B = batch()
    mixed = mix(x_BCHW, labels_B, mixup_alpha=1.0, cutmix_alpha=0.0, probability=1.0, seed=1)
    expected = mixed.share_B * labels_B + (1 - mixed.share_B) * mixed.partner_labels_B
    assert torch.allclose(mixed.x_BCHW, expected.view(-1, 1, 1, 1).expand_as(x_BCHW), rtol=1e-5, atol=1e-3)
    assert torch.equal(mixed.labels_B, labels_B)
    assert torch.equal(mixed.partner_labels_B.sort().values, labels_B), "partners are a permutation"
    # Beta(1, 1) is even.
    assert abs(mixed.share_B.mean() - 0.5) < 0.06
    assert mixed.share_B.min() < 0.05 and mixed.share_B.max() > 0.95


def test_a_small_alpha_mostly_leaves_one_of_the_two() -> None:
    draws = draw_mixing(4000, height=8, width=8, mixup_alpha=0.1, cutmix_alpha=0.0, probability=1.0, seed=0)
    assert abs(draws.share_B.mean() - 0.5) < 0.03
    # Variance of Beta(a, a): 1 / (4 (2 a + 1)).
    assert abs(draws.share_B.var() - 1 / 4.8) < 0.01


@pytest.mark.parametrize(("height", "width"), [(12, 10), (7, 13), (1, 1)])
def test_a_cutmix_boxs_area_is_the_partners_share(height: int, width: int) -> None:
    x_BCHW, labels_B = batch(height=height, width=width)
    mixed = mix(x_BCHW, labels_B, mixup_alpha=0.0, cutmix_alpha=1.0, probability=1.0, seed=1)
    is_own = mixed.x_BCHW == labels_B.view(-1, 1, 1, 1)
    is_partners = mixed.x_BCHW == mixed.partner_labels_B.view(-1, 1, 1, 1)
    assert (is_own | is_partners).all()
    is_another = mixed.partner_labels_B != labels_B
    assert torch.allclose(is_own.float().mean(dim=(1, 2, 3))[is_another], mixed.share_B[is_another], atol=1e-6)
    for place in range(100):
        rows, columns = (~is_own[place, 0]).any(1), (~is_own[place, 0]).any(0)
        assert int(rows.sum() * columns.sum()) == int((~is_own[place, 0]).sum()), "a box"


def test_cutmix_boxes_follow_the_share_that_was_drawn() -> None:
    draws = draw_mixing(20_000, height=512, width=512, mixup_alpha=0.0, cutmix_alpha=1.0, probability=1.0, seed=0)
    # Even shares of the area, of which on average (1 - r / 4)² are left where the middle may lie anywhere; r² is the share.
    share_of_box = 1 - draws.share_B
    ratio = np.sqrt(np.linspace(0, 1, 100_001))
    assert abs(share_of_box.mean() - (ratio**2 * (1 - ratio / 4) ** 2).mean()) < 0.01


def test_with_both_each_image_takes_one_with_even_chance() -> None:
    draws = draw_mixing(20_000, height=16, width=16, mixup_alpha=1.0, cutmix_alpha=1.0, probability=0.5, seed=0)
    is_blended, is_cut = draws.blend_B < 1, draws.boxes.areas() > 0
    assert not (is_blended & is_cut).any()
    assert abs(is_blended.mean() - 0.25) < 0.015
    assert abs(is_cut.mean() - 0.25) < 0.015
    is_whole = ~is_blended & ~is_cut
    assert (draws.share_B[is_whole] == 1).all()
    assert np.array_equal(draws.share_B[is_blended], draws.blend_B[is_blended])


def test_images_that_are_not_mixed_stay_bit_by_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    x_BCHW, labels_B = torch.randn(300, 3, 9, 9, generator=generator), torch.arange(300)
    mixed = mix(x_BCHW, labels_B, mixup_alpha=0.4, cutmix_alpha=1.0, probability=0.3, seed=4)
    is_whole = mixed.share_B == 1
    assert 180 < int(is_whole.sum()) < 240
    assert torch.equal(mixed.x_BCHW[is_whole], x_BCHW[is_whole])
    assert torch.equal(mixed.main_labels()[is_whole], labels_B[is_whole])


def test_the_loss_weighs_both_labels_by_their_shares() -> None:
    logits_BK = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
    mixed = Mixed(
        x_BCHW=torch.empty(0),
        labels_B=torch.tensor([0, 2]),
        partner_labels_B=torch.tensor([1, 0]),
        share_B=torch.tensor([0.75, 0.25]),
    )
    nats = -functional.log_softmax(logits_BK, dim=1)
    plain = ((0.75 * nats[0, 0] + 0.25 * nats[0, 1]) + (0.25 * nats[1, 2] + 0.75 * nats[1, 0])) / 2
    assert torch.allclose(mixed.loss(logits_BK, label_smoothing=0.0), plain)
    # Smoothing spreads a tenth over all classes, whichever label.
    smoothed = 0.9 * plain + 0.1 * nats.mean()
    assert torch.allclose(mixed.loss(logits_BK, label_smoothing=0.1), smoothed)
    assert mixed.main_labels().tolist() == [0, 0]


def test_an_unmixed_batch_has_the_usual_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BK, labels_B = torch.randn(8, 4, generator=generator), torch.arange(8) % 4
    mixed = Mixed(x_BCHW=torch.empty(0), labels_B=labels_B, partner_labels_B=labels_B.flip(0), share_B=torch.ones(8))
    assert torch.allclose(mixed.loss(logits_BK, label_smoothing=0.0), functional.cross_entropy(logits_BK, labels_B))


def test_mixing_depends_on_the_seed_alone() -> None:
    x_BCHW, labels_B = batch(16)

    def mixed(seed: int) -> Tensor:
        return mix(x_BCHW, labels_B, mixup_alpha=0.8, cutmix_alpha=1.0, probability=1.0, seed=seed).x_BCHW

    first = mixed(1)
    torch.manual_seed(0)
    assert torch.equal(mixed(1), first)
    assert not torch.equal(mixed(2), first)


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_so_many_images_are_erased_as_asked_for(probability: float) -> None:
    x_BCHW = torch.full((2000, 3, 16, 16), 7.0)
    erased = erase(x_BCHW, probability=probability, seed=1)
    is_noise = erased != 7
    assert abs(is_noise.flatten(1).any(1).float().mean() - probability) < 0.03
    assert torch.equal(is_noise.all(dim=1), is_noise.any(dim=1)), "all channels of a pixel"
    assert (x_BCHW == 7).all()
    if probability:
        assert abs(erased[is_noise].mean()) < 0.01
        assert abs(erased[is_noise].std() - 1) < 0.01


def test_erased_boxes_have_the_area_and_aspect_they_should() -> None:
    boxes = draw_erasing(20_000, height=64, width=64, probability=1.0, seed=0)
    top, bottom, left, right = boxes.sides_4B
    height, width = bottom - top, right - left
    share = boxes.areas() / 64**2
    assert (top >= 0).all() and (bottom <= 64).all() and (left >= 0).all() and (right <= 64).all()
    assert share.min() > 0.8 * LEAST_ERASED and share.max() < 1.05 * MOST_ERASED
    assert abs(share.mean() - (LEAST_ERASED + MOST_ERASED) / 2) < 0.01
    assert (height / width).min() > 0.8 * LEAST_ASPECT and (width / height).min() > 0.8 * LEAST_ASPECT
    assert abs(np.log(height / width).mean()) < 0.02
    assert {0} < set(top) and 64 in bottom, "also at the border"


def test_tiny_images_are_erased_where_a_box_fits() -> None:
    for side in (1, 2, 3):
        erased = erase(torch.zeros(50, 1, side, side), probability=1.0, seed=0)
        assert erased.shape == (50, 1, side, side)
        assert bool((erased != 0).any()) == (side > 1)
