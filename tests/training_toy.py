"""A small separable task in memory: two classes that differ in brightness, four pixels a side.

Its images are plain normal numbers; `grey_data` gives the same task in grey values, as real data sets come.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from repro.models.build import build_model
from repro.spec import ModelSpec, Recipe
from repro.training.data import TrainingData
from repro.training.loop import Forward, Training, train
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
"""Every change of images that a recipe can ask for, at their own size."""
FINE_TUNING = RECIPE.model_copy(
    update={
        "optimizer": "sgd",
        "nesterov": False,
        "lr": 0.03,
        "warmup_steps": 0,
        "image_size": 8,
        "crop_min_area": 0.3,
        "flip": True,
    }
)
"""As published weights are fine-tuned: images enlarged, boxes of them cut, plain momentum."""
LINEAR_PROBE = RECIPE.model_copy(update={"trains": "head", "flip": True})
"""Only the head is trained."""


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


def grey_data(
    num_images: int = 40, *, num_dev: int = 0, image_size: int | None = None, repeat_grey: bool = False
) -> TrainingData:
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
        image_size=image_size,
        repeat_grey=repeat_grey,
    )


def toy_model(spec: ModelSpec = VIT, *, seed: int = 0, image_size: int = 4, num_channels: int = 1) -> nn.Module:
    """A fresh model for the task."""
    generator = torch.Generator().manual_seed(seed)
    return build_model(spec, image_size=image_size, num_channels=num_channels, num_classes=2, generator=generator)


def toy_head(model: nn.Module) -> nn.Linear:
    """The last layer of a ViT or a ResNet."""
    head = model.get_submodule("head" if hasattr(model, "head") else "fc")
    assert isinstance(head, nn.Linear)
    return head


def toy_features(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """What the model hands to its head."""

    def features(x_BCHW: Tensor) -> Tensor:
        handed: list[Tensor] = []
        handle = toy_head(model).register_forward_pre_hook(lambda _, inputs: handed.append(inputs[0]))
        model(x_BCHW)
        handle.remove()
        return handed[0]

    return features


def train_toy(
    model: nn.Module,
    *,
    data: TrainingData | None = None,
    recipe: Recipe = RECIPE,
    state: dict[str, Any] | None = None,
    states: list[dict[str, Any]] | None = None,
    augmentation_seed: int = 2,
    micro_batch: int | None = None,
    forward: Forward | None = None,
) -> Training:
    """Train on the task, plain numbers where no data are given; every state that is saved is put into `states`."""
    kept: list[dict[str, Any]] = states if states is not None else []
    return train(
        model,
        data or toy_data(),
        recipe,
        precision=CPU,
        order_seed=1,
        augmentation_seed=augmentation_seed,
        state=state,
        save=lambda make_state: kept.append(copy.deepcopy(make_state())),
        progress=lambda step, row: None,
        head=toy_head(model) if recipe.is_probe else None,
        micro_batch=micro_batch,
        forward=forward,
    )
