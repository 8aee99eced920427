"""The paper's few-shot probe (section 4.1): the head in closed form, by regularised least squares on frozen features.

Must not know models beyond their head, or the disk. Read `train_head_by_ridge` first, then `fit_ridge`.

Shape letters: N images, D features, K classes, B batch, C channels, H height, W width.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.errors import TrainingDiverged
from repro.records import EpochRow
from repro.spec import Recipe
from repro.training.data import TrainingData
from repro.training.evaluation import Batches, Prefetch, no_prefetch
from repro.training.loop import Training, evaluate_dev
from repro.training.precision import Precision

Features = Callable[[Tensor], Tensor]
"""Normalised images (B, C, H, W) → what the head is given, (B, D)."""
FEATURE_RESOLUTION = torch.finfo(torch.float32).eps
"""A feature whose deviation is below this share of its largest value is constant: what is left is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RidgeHead:
    """A linear head for features as they come: logits are weight times features plus bias."""

    weight_KD: Tensor
    """float64 (K, D)."""
    bias_K: Tensor
    """float64 (K,)."""


def train_head_by_ridge(
    model: nn.Module,
    head: nn.Linear | nn.Conv2d,
    features: Features,
    data: TrainingData,
    recipe: Recipe,
    *,
    precision: Precision,
    progress: Callable[[int, EpochRow], None],
) -> Training:
    """Solve for `head`, the linear layer or 1x1 convolution at the end of `model`; the counterpart of `loop.train`.

    The penalty is `recipe.ridge_penalty`. `features` gives what the model hands to its head. Images are taken as they are
    evaluated, without augmentation. `progress` is called once, with step 1. Raises TrainingDiverged if the features are not
    finite.
    """
    assert recipe.ridge_penalty is not None
    started = time.perf_counter()
    model.eval()
    x_ND, labels_N = extract_features(
        features,
        data.normalised_batch,
        data.train_positions,
        precision=precision,
        batch_images=data.evaluation_batch,
        prefetch=data.prefetch,
    )
    if not x_ND.isfinite().all():
        raise TrainingDiverged("The model's features are not all finite.", remedy="Its weights are of no use; take others.")
    fitted = fit_ridge(x_ND, labels_N, num_classes=data.num_classes, penalty=recipe.ridge_penalty)
    write_head(head, fitted)

    logits_NK = x_ND.double() @ fitted.weight_KD.T + fitted.bias_K
    dev = evaluate_dev(model, data, precision)
    row = EpochRow(
        step=1,
        epoch=1.0,
        lr=recipe.lr,
        train_loss=float(functional.cross_entropy(logits_NK, labels_N)),
        train_accuracy=int((logits_NK.argmax(dim=1) == labels_N).sum()) / len(labels_N),
        dev_loss=dev.loss if dev else None,
        dev_accuracy=dev.accuracy if dev else None,
        elapsed_s=time.perf_counter() - started,
    )
    progress(1, row)
    return Training(rows=[row], wall_s=row.elapsed_s, selected_step=1, dev_accuracy=row.dev_accuracy, resumed_from_step=None)


@torch.no_grad()
def extract_features(
    features: Features,
    batch: Batches,
    positions_N: Tensor,
    *,
    precision: Precision,
    batch_images: int,
    prefetch: Prefetch = no_prefetch,
) -> tuple[Tensor, Tensor]:
    """Features float32 (N, D) and labels int64 (N,), both on the CPU, of the images at `positions_N`, `batch_images` at a time.

    `batch` gives normalised images; the model behind `features` must be in evaluation mode.
    """
    extracted, labels = [], []
    chunks = torch.split(positions_N, batch_images)
    for chunk, upcoming in zip_longest(chunks, chunks[1:]):
        x_BCHW, labels_B = batch(chunk)
        if upcoming is not None:
            prefetch(upcoming)
        with precision.autocast():
            x_BD = features(x_BCHW)
        extracted.append(x_BD.float().cpu())
        labels.append(labels_B.cpu())
    return torch.cat(extracted), torch.cat(labels)


@torch.no_grad()
def fit_ridge(x_ND: Tensor, labels_N: Tensor, *, num_classes: int, penalty: float) -> RidgeHead:
    """The head that minimises squared error to targets 1 (the image's class) and -1 plus `penalty` times the squared weights.

    The weights that count are those on features brought to mean 0 and deviation 1 over these images, so that one penalty serves
    all models; constant ones get none, and the intercept costs nothing. Computed in float64 on the CPU.
    """
    x_ND = x_ND.to("cpu", torch.float64)
    N, D = x_ND.shape
    mean_D, deviation_D = x_ND.mean(dim=0), x_ND.std(dim=0, correction=0)
    is_constant_D = deviation_D <= FEATURE_RESOLUTION * x_ND.abs().amax(dim=0)
    # By infinity, so that a constant one becomes 0, and so does its weight.
    scale_D = deviation_D.masked_fill(is_constant_D, math.inf)
    z_ND = (x_ND - mean_D) / scale_D
    targets_NK = 2.0 * functional.one_hot(labels_N.cpu(), num_classes).double() - 1
    intercept_K = targets_NK.mean(dim=0)
    centred_NK = targets_NK - intercept_K

    # The same solution from features or from images, whichever there are fewer of.
    if D <= N:
        weight_DK = torch.linalg.solve(z_ND.T @ z_ND + penalty * torch.eye(D, dtype=z_ND.dtype), z_ND.T @ centred_NK)
    else:
        weight_DK = z_ND.T @ torch.linalg.solve(z_ND @ z_ND.T + penalty * torch.eye(N, dtype=z_ND.dtype), centred_NK)
    weight_KD = (weight_DK / scale_D.unsqueeze(1)).T.contiguous()
    return RidgeHead(weight_KD=weight_KD, bias_K=intercept_K - weight_KD @ mean_D)


@torch.no_grad()
def write_head(head: nn.Linear | nn.Conv2d, fitted: RidgeHead) -> None:
    """Put a solution into a linear layer or a 1x1 convolution, which must have a bias."""
    assert head.bias is not None and math.prod(head.weight.shape[2:]) == 1
    head.weight.copy_(fitted.weight_KD.view_as(head.weight))
    head.bias.copy_(fitted.bias_K)
