"""What is raced: a model, a recipe and made-up images of CIFAR's shape, the same for every contender.

Must not know contenders or clocks. Read `Case` first, then `prepare`.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from repro.catalog import load_catalog
from repro.cell.start import Start, choose_micro_batch
from repro.datasets import Pack
from repro.datasets.arrays import Images, Labels
from repro.datasets.memory import pack_in_memory
from repro.hardware import DeviceChoice
from repro.models.build import build_model
from repro.models.heads import head_of
from repro.spec import ModelSpec, Recipe
from repro.training.evaluation import evaluation_batch
from repro.training.precision import Precision
from repro.training.seeds import generator_for

NUM_IMAGES, NUM_CLASSES, NUM_CHANNELS = 50_000, 10, 3
"""CIFAR-10's training part."""
SOURCE_SIZE = 32
"""Side in pixels of its images."""
BRIGHTER = 12
"""Grey values by which each class is brighter than the one before, so that there is something to learn."""
NOISE = 256 - BRIGHTER * (NUM_CLASSES - 1)
"""Grey values over which the pixels of a class are spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One race."""

    name: str
    """What `--cases` calls it."""
    model: ModelSpec
    """What is trained."""
    recipe: Recipe
    """How, as the model's family does it."""
    source_size: int = SOURCE_SIZE
    """Side in pixels of the images as they come."""
    num_images: int = NUM_IMAGES
    """How many there are."""

    @property
    def image_size(self) -> int:
        """Side in pixels of what the model is given."""
        return self.recipe.image_size or self.source_size

    def with_batch(self, batch_size: int) -> "Case":
        """The same with other batches, for small machines; a micro-batch that no longer divides them is left out."""
        micro_batch = self.recipe.micro_batch
        fits = micro_batch is not None and batch_size % micro_batch == 0
        changes = {"batch_size": batch_size, "micro_batch": micro_batch if fits else None}
        return replace(self, recipe=self.recipe.model_copy(update=changes))


def shipped_cases() -> dict[str, Case]:
    """The cases by name. DeiT-Ti has random weights: they change no time, and none need be fetched."""
    catalog = load_catalog()
    chosen = {
        "resnet18-plain": ("resnet18_cifar", "cifar-plain"),
        "resnet18-strong": ("resnet18_cifar", "cifar-strong"),
        "vit-plain": ("vit_cifar", "cifar-plain"),
        "vit-strong": ("vit_cifar", "cifar-strong"),
        "deit-tiny-224": ("timm/deit_tiny_patch16_224.fb_in1k", "finetune-short"),
    }
    cases = {}
    for name, (model_name, recipe_name) in chosen.items():
        model = catalog.models.get(model_name) or ModelSpec(name=model_name, family="vit")
        recipe = catalog.recipes[recipe_name].for_size(NUM_IMAGES).for_family(model.family)
        cases[name] = Case(name=name, model=model, recipe=recipe.model_copy(update={"lr_grid": ()}))
    return cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all contenders of a case share."""

    case: Case
    """The case, with the batches that are run."""
    pack: Pack
    """The images; test part too small to matter."""
    start: Start
    """The model before training, on the device; every contender trains a copy of it."""
    precision: Precision
    """Number format and layout."""
    micro_batch: int
    """Images that go through the model at once."""
    micro_batch_reason: str
    """Why so many."""
    num_workers: int
    """Processes of each peer's loader; 0: the training process loads."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.precision.device_type)


def made_up_images(num_images: int, size: int, *, seed: int) -> tuple[Images, Labels]:
    """Random images uint8 (N, size, size, 3), brighter from class to class, and labels int64 (N,), every class in turn."""
    generator = np.random.default_rng(seed)
    labels_N = np.arange(num_images, dtype=np.int64) % NUM_CLASSES
    images_NHWC = generator.integers(0, NOISE, (num_images, size, size, NUM_CHANNELS), dtype=np.uint8)
    images_NHWC += (BRIGHTER * labels_N).astype(np.uint8).reshape(-1, 1, 1, 1)
    return images_NHWC, labels_N


def made_up_pack(num_images: int, size: int, *, seed: int = 0) -> Pack:
    """Such images as cells read them, in memory instead of mapped."""
    images_NHWC, labels_N = made_up_images(num_images, size, seed=seed)
    sample = images_NHWC[:2000] / 255
    mean, std = (tuple(of(axis=(0, 1, 2)).tolist()) for of in (sample.mean, sample.std))
    return pack_in_memory(images_NHWC, labels_N, num_classes=NUM_CLASSES, mean=mean, std=std, num_test=NUM_CLASSES)


def prepare(case: Case, device: DeviceChoice, *, pack: Pack, num_workers: int) -> Setting:
    """Build the model, put it on the device, and choose the micro-batch as a cell would."""
    precision = Precision(device_type=device.device, bfloat16=device.bfloat16, channels_last=device.channels_last)
    model: nn.Module = build_model(
        case.model,
        image_size=case.image_size,
        num_channels=NUM_CHANNELS,
        num_classes=NUM_CLASSES,
        generator=generator_for(0),
    ).to(device=device.device, memory_format=precision.memory_format)
    start = Start(
        model=model,
        head=model.get_submodule(head_of(model)),
        image_size=case.image_size,
        num_channels=NUM_CHANNELS,
        num_classes=NUM_CLASSES,
        repeats_grey=False,
        normalise=None,
        evaluation_batch=evaluation_batch(case.image_size, device.device),
        choices=(),
    )
    micro_batch, choice = choose_micro_batch(start, case.recipe, precision)
    return Setting(
        case=case,
        pack=pack,
        start=start,
        precision=precision,
        micro_batch=micro_batch,
        micro_batch_reason=choice.reason,
        num_workers=num_workers,
    )
