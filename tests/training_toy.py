"""A small separable task in memory: two classes that differ in brightness, four pixels a side.

Its images are plain normal numbers; `grey_data` gives the same task in grey values, as real data sets come.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from repro.models.build import build_model
from repro.spec import ModelSpec, Recipe
from repro.training.loop import TrainingData
from repro.training.precision import Precision

CPU = Precision(device_type="cpu", bfloat16=False, channels_last=False)
VIT = ModelSpec(name="toy_vit", family="vit", patch_size=2, width=8, depth=1, num_heads=2)
CNN = ModelSpec(name="toy_cnn", family="cnn", stage_widths=(4,), stage_depths=(1,))
RECIPE = Recipe(name="toy", lr=0.01, batch_size=8, steps=30, warmup_steps=3, clip_norm=1.0)
STRONG = RECIPE.model_copy(
    update={
        "flip": True,
        "crop_padding": 1,
        "trivial_augment": True,
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "mix_probability": 0.8,
        "erase_probability": 0.3,
        "label_smoothing": 0.1,
    }
)
"""Every change of images that a recipe can ask for."""


def toy_batches(num_images: int = 40) -> tuple[Callable[[Tensor], tuple[Tensor, Tensor]], Tensor]:
    """Batches of `num_images` images (N, 1, 4, 4) with labels 0 and 1, and all positions."""
    generator = torch.Generator().manual_seed(7)
    labels_N = torch.arange(num_images) % 2
    images_N1HW = torch.randn(num_images, 1, 4, 4, generator=generator) + 1.5 * labels_N.view(-1, 1, 1, 1)

    def batch(positions_B: Tensor) -> tuple[Tensor, Tensor]:
        return images_N1HW[positions_B], labels_N[positions_B]

    return batch, torch.arange(num_images)


def toy_data(num_images: int = 40, *, num_dev: int = 0) -> TrainingData:
    """The task as the loop takes it."""
    batch, positions = toy_batches(num_images)
    return TrainingData(
        batch=batch,
        normalise=lambda x_BCHW: x_BCHW,
        train_positions=positions[num_dev:],
        dev_positions=positions[:num_dev],
        num_classes=2,
        flip_keeps_label=True,
    )


def grey_data(num_images: int = 40, *, num_dev: int = 0) -> TrainingData:
    """The task in whole grey values 0 … 255, and the values that the model takes from them."""
    batch, positions = toy_batches(num_images)

    def grey_batch(positions_B: Tensor) -> tuple[Tensor, Tensor]:
        x_BCHW, labels_B = batch(positions_B)
        return (x_BCHW * 32 + 100).round().clamp(0, 255), labels_B

    return TrainingData(
        batch=grey_batch,
        normalise=lambda x_BCHW: x_BCHW.sub(100).div(32),
        train_positions=positions[num_dev:],
        dev_positions=positions[:num_dev],
        num_classes=2,
        flip_keeps_label=True,
    )


def toy_model(spec: ModelSpec = VIT, *, seed: int = 0) -> torch.nn.Module:
    """A fresh model for the task."""
    return build_model(spec, image_size=4, num_channels=1, num_classes=2, generator=torch.Generator().manual_seed(seed))
