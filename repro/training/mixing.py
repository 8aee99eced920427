"""Mixup, CutMix and random erasing of a whole batch at once, on the device that holds it.

Shares, partners and boxes are drawn on the host, so nothing waits for the device; only the noise is drawn there. Must not know
recipes' names or models. Read `mix` first, then `erase`.

Shape letters: B batch, n images of it that are changed, C channels, H height, W width, K classes.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from repro.training.seeds import derive_seed, generator_for
from repro.training.transfer import host_generator, to_device

LEAST_ERASED, MOST_ERASED = 0.02, 1 / 3
"""Share of the image that a box is drawn from, evenly: timm's defaults (arXiv 1708.04896 has 0.02 and 0.4)."""
LEAST_ASPECT = 0.3
"""Height by width of a box is drawn between this and its inverse, evenly in its logarithm (timm; range of arXiv 1708.04896)."""
ERASING_ATTEMPTS = 10
"""Boxes that are tried until one fits into the image, as in timm; an image for which none does stays whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmixed:
    """A batch of which each image shows itself; what `Mixed` can do."""

    x_BCHW: Tensor
    """Images, float (B, C, H, W)."""
    labels_B: Tensor
    """Their labels, int64 (B,)."""

    def loss(self, logits_BK: Tensor, *, label_smoothing: float) -> Tensor:
        """Mean cross-entropy of float logits in nats; a scalar."""
        return functional.cross_entropy(logits_BK, self.labels_B, label_smoothing=label_smoothing)

    def main_labels(self) -> Tensor:
        """The labels, int64 (B,)."""
        return self.labels_B

    def split(self, num_images: int) -> list["Unmixed"]:
        """The batch in parts of `num_images`; the last one has what is left."""
        parts = zip(torch.split(self.x_BCHW, num_images), torch.split(self.labels_B, num_images), strict=True)
        return [Unmixed(x_BCHW=x_BCHW, labels_B=labels_B) for x_BCHW, labels_B in parts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """A batch of which each image shows two, and how much of each."""

    x_BCHW: Tensor
    """Images, float (B, C, H, W)."""
    labels_B: Tensor
    """Labels of the images themselves, int64 (B,)."""
    partner_labels_B: Tensor
    """Labels of the images that were mixed in, int64 (B,)."""
    share_B: Tensor
    """Weight of the image's own label, 0 … 1, float32 (B,); 1 where nothing was mixed in."""

    def loss(self, logits_BK: Tensor, *, label_smoothing: float) -> Tensor:
        """Mean cross-entropy of float logits in nats, each image's two labels weighted by their shares; a scalar."""
        own_B, partner_B = (
            functional.cross_entropy(logits_BK, labels_B, label_smoothing=label_smoothing, reduction="none")
            for labels_B in (self.labels_B, self.partner_labels_B)
        )
        return (self.share_B * own_B + (1 - self.share_B) * partner_B).mean()

    def main_labels(self) -> Tensor:
        """The label with the larger share of each image, its own where they are equal, int64 (B,)."""
        return torch.where(self.share_B >= 0.5, self.labels_B, self.partner_labels_B)

    def split(self, num_images: int) -> list["Mixed"]:
        """The batch in parts of `num_images`, mixed as it was; the last one has what is left."""
        tensors = (self.x_BCHW, self.labels_B, self.partner_labels_B, self.share_B)
        parts = zip(*(torch.split(tensor, num_images) for tensor in tensors), strict=True)
        return [
            Mixed(x_BCHW=x_BCHW, labels_B=labels_B, partner_labels_B=partner_labels_B, share_B=share_B)
            for x_BCHW, labels_B, partner_labels_B, share_B in parts
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """One box an image, in pixels; it may be empty."""

    sides_4B: npt.NDArray[np.int64]
    """First row, row after the last, first column, column after the last, int64 (4, B)."""

    def areas(self) -> npt.NDArray[np.int64]:
        """Pixels of each box, int64 (B,)."""
        top_B, bottom_B, left_B, right_B = self.sides_4B
        areas_B: npt.NDArray[np.int64] = (bottom_B - top_B) * (right_B - left_B)
        return areas_B

    def mask(self, *, height: int, width: int, device: torch.device) -> Tensor:
        """Which pixels lie in the image's box, bool (B, 1, H, W) on the device."""
        top, bottom, left, right = to_device(self.sides_4B, device).view(4, -1, 1, 1, 1).unbind()
        row_H1 = torch.arange(height, device=device).unsqueeze(1)
        column_W = torch.arange(width, device=device)
        return (row_H1 >= top) & (row_H1 < bottom) & (column_W >= left) & (column_W < right)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixingDraws:
    """What is mixed with what."""

    partner_B: npt.NDArray[np.int64]
    """Place in the batch of the image that is mixed in; its own where nothing is."""
    blend_B: npt.NDArray[np.float64]
    """Weight of the image itself outside its box."""
    boxes: Boxes
    """Where the partner is pasted."""
    share_B: npt.NDArray[np.float64]
    """Weight of the image's own label."""


def mix(x_BCHW: Tensor, labels_B: Tensor, *, mixup_alpha: float, cutmix_alpha: float, probability: float, seed: int) -> Mixed:
    """Float images (B, C, H, W) and labels (B,) → each mixed, with `probability`, with one other of the batch.

    By mixup (arXiv 1710.09412) where only its alpha is above 0, by CutMix (arXiv 1905.04899) where only that one is, by either
    with even chance where both are.
    """
    B, _, H, W = x_BCHW.shape
    draws = draw_mixing(
        B, height=H, width=W, mixup_alpha=mixup_alpha, cutmix_alpha=cutmix_alpha, probability=probability, seed=seed
    )
    device = x_BCHW.device
    partner_B = to_device(draws.partner_B, device)
    blend_B, share_B = to_device(np.stack([draws.blend_B, draws.share_B]).astype(np.float32), device).unbind()
    other_BCHW = x_BCHW.index_select(0, partner_B)
    if mixup_alpha > 0:
        # A weight of 1 gives the image bit by bit.
        x_BCHW = other_BCHW.lerp(x_BCHW, blend_B.view(-1, 1, 1, 1))
    if cutmix_alpha > 0:
        x_BCHW = torch.where(draws.boxes.mask(height=H, width=W, device=device), other_BCHW, x_BCHW)
    return Mixed(x_BCHW=x_BCHW, labels_B=labels_B, partner_labels_B=labels_B[partner_B], share_B=share_B)


def draw_mixing(
    num_images: int, *, height: int, width: int, mixup_alpha: float, cutmix_alpha: float, probability: float, seed: int
) -> MixingDraws:
    """Partners, shares and boxes of a batch; at least one alpha is above 0."""
    random = host_generator("mix", seed)
    everyone = np.arange(num_images)
    partner_B = random.permutation(num_images)
    is_mixed_B = random.random(num_images) < probability
    cutmix_chance = float(cutmix_alpha > 0) / (float(cutmix_alpha > 0) + float(mixup_alpha > 0))
    is_cut_B = is_mixed_B & (random.random(num_images) < cutmix_chance)
    is_blended_B = is_mixed_B & ~is_cut_B
    blend_B = np.where(is_blended_B, _beta(random, mixup_alpha, num_images), 1.0)
    kept_B = np.where(is_cut_B, _beta(random, cutmix_alpha, num_images), 1.0)

    # As in the paper's code: the middle may lie anywhere, what juts out is cut off, and the pixels left decide the label.
    height_B, width_B = ((side * np.sqrt(1 - kept_B)).astype(np.int64) for side in (height, width))
    middle_B, centre_B = random.integers(0, height, num_images), random.integers(0, width, num_images)
    boxes = Boxes(
        sides_4B=np.stack(
            [
                np.clip(middle_B - height_B // 2, 0, height),
                np.clip(middle_B + height_B // 2, 0, height),
                np.clip(centre_B - width_B // 2, 0, width),
                np.clip(centre_B + width_B // 2, 0, width),
            ]
        )
    )
    return MixingDraws(
        partner_B=np.where(is_mixed_B, partner_B, everyone),
        blend_B=blend_B,
        boxes=boxes,
        share_B=np.where(is_blended_B, blend_B, 1 - boxes.areas() / (height * width)),
    )


def _beta(random: np.random.Generator, alpha: float, num_images: int) -> npt.NDArray[np.float64]:
    return random.beta(alpha, alpha, num_images) if alpha > 0 else np.ones(num_images)


def erase(x_BCHW: Tensor, *, probability: float, seed: int) -> Tensor:
    """Normalised images (B, C, H, W) → the same, a box of each replaced, with `probability`, by standard normal noise.

    Random erasing (arXiv 1708.04896), one noise value a pixel and channel as in timm's mode `pixel`.
    """
    B, C, H, W = x_BCHW.shape
    boxes = draw_erasing(B, height=H, width=W, probability=probability, seed=seed)
    chosen_n = np.flatnonzero(boxes.areas())
    places_n, device = to_device(chosen_n, x_BCHW.device), x_BCHW.device
    mask_n1HW = Boxes(sides_4B=boxes.sides_4B[:, chosen_n]).mask(height=H, width=W, device=device)
    generator = generator_for(derive_seed("noise", seed), device=device.type)
    noise_nCHW = torch.randn((len(chosen_n), C, H, W), device=device, dtype=x_BCHW.dtype, generator=generator)
    erased_nCHW = torch.where(mask_n1HW, noise_nCHW, x_BCHW.index_select(0, places_n))
    return x_BCHW.index_copy(0, places_n, erased_nCHW)


def draw_erasing(num_images: int, *, height: int, width: int, probability: float, seed: int) -> Boxes:
    """One box an image, an empty one where nothing is erased."""
    random = host_generator("erase", seed)
    is_erased_B = random.random(num_images) < probability
    tries = (ERASING_ATTEMPTS, num_images)
    area = random.uniform(LEAST_ERASED, MOST_ERASED, tries) * height * width
    aspect = np.exp(random.uniform(math.log(LEAST_ASPECT), -math.log(LEAST_ASPECT), tries))
    heights, widths = (np.round(np.sqrt(value)).astype(np.int64) for value in (area * aspect, area / aspect))
    fits = (heights < height) & (widths < width)
    first_B = fits.argmax(axis=0)
    everyone = np.arange(num_images)
    is_erased_B &= fits[first_B, everyone]
    height_B, width_B = (np.where(is_erased_B, sides[first_B, everyone], 0) for sides in (heights, widths))
    top_B = random.integers(0, height - height_B + 1)
    left_B = random.integers(0, width - width_B + 1)
    return Boxes(sides_4B=np.stack([top_B, top_B + height_B, left_B, left_B + width_B]))
