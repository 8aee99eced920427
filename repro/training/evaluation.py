"""Accuracy and loss of a model on a set of images.

Must not know training. Read `evaluate` first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.training.precision import Precision

Batches = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Positions int64 (B,) → images float (B, C, H, W) on the device and labels int64 (B,)."""
Prefetch = Callable[[Tensor], None]
"""Takes the positions that will be asked for next."""

EVALUATION_BATCH = 1000
"""Images in one evaluation batch; small enough for 8 GB GPUs at 32 px, and it does not change the numbers' meaning."""
LARGEST_SMALL_IMAGE = 64
"""Side in pixels up to which images are evaluated `EVALUATION_BATCH` at once."""
REFERENCE_SIZE = 224
"""Side in pixels of the images that the following are for; at other sizes it goes by the number of pixels."""
REFERENCE_BATCH = {"cuda": 256, "cpu": 64}
"""Images in one evaluation batch at that size, by kind of device; ViT-B's widest layer then takes 0.6 GB and 0.15 GB."""
FEWEST_IMAGES = 8
"""Images in one evaluation batch at any size."""


def evaluation_batch(image_size: int, device_type: str) -> int:
    """Images of `image_size` pixels a side that are evaluated at once on a `cpu` or `cuda`."""
    if image_size <= LARGEST_SMALL_IMAGE:
        return EVALUATION_BATCH
    fitting = REFERENCE_BATCH[device_type] * REFERENCE_SIZE**2 // image_size**2
    return min(max(fitting, FEWEST_IMAGES), EVALUATION_BATCH)


def no_prefetch(_: Tensor) -> None:
    """For images that need none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A model's answers on a set of images."""

    predicted_N: Tensor
    """Predicted classes, int64 (N,), on the CPU."""
    accuracy: float
    """Fraction answered correctly."""
    loss: float
    """Mean cross-entropy in nats, without smoothing."""


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batch: Batches,
    *,
    positions_N: Tensor,
    precision: Precision,
    prefetch: Prefetch = no_prefetch,
    batch_images: int = EVALUATION_BATCH,
) -> Evaluation:
    """Evaluate on the images at `positions_N` (int64), of which `batch` gives normalised ones, `batch_images` at a time.

    The model is put in evaluation mode and left so.
    """
    model.eval()
    predicted, losses, num_correct = [], [], []
    chunks = torch.split(positions_N, batch_images)
    for chunk, upcoming in zip_longest(chunks, chunks[1:]):
        x_BCHW, labels_B = batch(chunk)
        if upcoming is not None:
            prefetch(upcoming)
        with precision.autocast():
            logits_BK = model(x_BCHW)
        logits_BK = logits_BK.float()
        losses.append(functional.cross_entropy(logits_BK, labels_B, reduction="sum"))
        answers_B = logits_BK.argmax(dim=1)
        num_correct.append((answers_B == labels_B).sum())
        predicted.append(answers_B)
    count = len(positions_N)
    return Evaluation(
        predicted_N=torch.cat(predicted).cpu(),
        accuracy=int(torch.stack(num_correct).sum()) / count,
        loss=float(torch.stack(losses).double().sum()) / count,
    )
