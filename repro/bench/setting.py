"""A case made ready as a cell would make it: model, images, micro-batch; only that the images are random and the weights too.

Must not know clocks of the measurements. Read `prepared` first.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from repro.bench.clock import LEAST_BLOCKS, now_s
from repro.cell.run import FLOPS_PER_MAC_FORWARD, FLOPS_PER_MAC_TRAINED, training_data
from repro.cell.start import Start, choose_micro_batch
from repro.choices import Choice
from repro.datasets import Pack
from repro.datasets.device import PartImages
from repro.datasets.memory import pack_in_memory
from repro.datasets.streaming import place_images
from repro.hardware import image_budget_bytes
from repro.messages import Trial
from repro.models.build import build_model, channels_of
from repro.models.heads import LINEAR, head_of
from repro.models.macs import count_forward_macs
from repro.probe import FEWEST_IMAGES
from repro.spec import Recipe
from repro.training.data import TrainingData
from repro.training.evaluation import evaluation_batch
from repro.training.memory import fitting_micro_batch
from repro.training.precision import Precision
from repro.training.seeds import generator_for

QUIET_RATE = 1e-4
"""Learning rate of the timed steps. Labels are random, and a recipe's own rate might make the loss diverge on them; weights
still move, so that gradients are no zeros, which some devices multiply faster."""
LIKELY_SHARE = 0.25
"""Of a matrix product's peak, what a training step is taken to reach before any was timed."""
MOST_IMAGE_BYTES = 2**29
"""Random images that are made; a larger training part is stood for by so many of them."""
RANDOM_MEAN, RANDOM_STD = 0.5, 0.29
"""Of even random grey values, in fractions of white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What both the loop and the bare step work on."""

    start: Start
    """The model before its training."""
    head: nn.Module | None
    """What a probe trains alone, None where everything is trained."""
    data: TrainingData
    """What the loop sees."""
    images: PartImages
    """Where its batches come from."""
    recipe: Recipe
    """The case's recipe, with the batch that is timed and a rate that suits noise."""
    micro_batch: int
    """Images that go through the model at once."""
    precision: Precision
    """As chosen for the device."""
    device: str
    """`cpu` or `cuda`."""
    forward_macs: int
    """Multiply-adds of one image."""
    flops_per_image: float
    """Operations of one trained image."""
    made_ready_s: float
    """Seconds from the start of building the model until training could start."""
    choices: tuple[Choice, ...]
    """What was chosen on the way."""


@contextlib.contextmanager
def prepared(trial: Trial, *, peak_flops_per_s: float) -> Iterator[Setting]:
    """Build the case; its images are closed at the end.

    Raises ProfileError where the model cannot take such images, OutOfMemory where they do not fit.
    """
    bfloat16 = trial.bfloat16 and trial.recipe.ridge_penalty is None
    precision = Precision(device_type=trial.device, bfloat16=bfloat16, channels_last=trial.channels_last)
    num_channels = channels_of(trial.model, trial.num_channels)
    image_size = trial.recipe.image_size or trial.image_size
    pack = _random_pack(trial)

    started_s = now_s(trial.device)
    shape = {"image_size": image_size, "num_channels": num_channels}
    model = build_model(trial.model, num_classes=trial.num_classes, generator=generator_for(0), **shape)
    built_s = now_s(trial.device) - started_s
    # What only the figures here need is left out of the time that a cell would wait.
    forward_macs = count_forward_macs(model, **shape)
    affordable = int(trial.seconds / LEAST_BLOCKS * LIKELY_SHARE * peak_flops_per_s / (FLOPS_PER_MAC_FORWARD * forward_macs))
    recipe, how_large = _timed_recipe(trial.recipe, affordable)

    started_s = now_s(trial.device)
    # torch's stubs leave the memory_format overload untyped.
    model = model.to(device=trial.device, memory_format=precision.memory_format)  # type: ignore[call-overload]
    images, placement = _placed(pack, trial, precision)
    with images:
        head = model.get_submodule(head_of(model))
        assert isinstance(head, LINEAR), "head_of names no other"
        whole = evaluation_batch(image_size, trial.device)
        start = Start(
            model=model,
            head=head,
            image_size=image_size,
            num_channels=num_channels,
            num_classes=trial.num_classes,
            repeats_grey=num_channels > trial.num_channels,
            normalise=None,
            evaluation_batch=min(whole, max(FEWEST_IMAGES, affordable)),
            choices=(),
        )
        micro_batch, how_many = choose_micro_batch(start, recipe, precision)
        subset = np.linspace(0, len(images) - 1, min(trial.num_train_images, len(images))).astype(np.int64)
        data = training_data(images, start, recipe, subset, subset[:0], flip_keeps_label=trial.flip_keeps_label)
        yield Setting(
            start=start,
            head=head if recipe.is_probe else None,
            data=data,
            images=images,
            recipe=recipe,
            micro_batch=micro_batch,
            precision=precision,
            device=trial.device,
            forward_macs=forward_macs,
            flops_per_image=float(forward_macs * (FLOPS_PER_MAC_FORWARD if recipe.is_probe else FLOPS_PER_MAC_TRAINED)),
            made_ready_s=built_s + now_s(trial.device) - started_s,
            choices=(placement, how_many, *how_large, *_evaluated(start.evaluation_batch, whole)),
        )


def _timed_recipe(recipe: Recipe, num_evaluated: int) -> tuple[Recipe, tuple[Choice, ...]]:
    """The recipe as it is timed. `num_evaluated` images could be evaluated in the time that a step may take."""
    changes: dict[str, object] = {"lr": QUIET_RATE, "lr_grid": (), "dev_fraction": 0.0, "select": "last"}
    whole = recipe.batch_size
    per_image = 1 if recipe.is_probe else FLOPS_PER_MAC_TRAINED // FLOPS_PER_MAC_FORWARD
    number = max(fitting_micro_batch(whole, per_image, num_evaluated), min(FEWEST_IMAGES, whole))
    if number == whole or recipe.ridge_penalty is not None:
        return recipe.model_copy(update=changes), ()
    changes |= {"batch_size": number, "micro_batch": recipe.micro_batch and fitting_micro_batch(number, 1, recipe.micro_batch)}
    reason = "a whole batch would take longer here than the time given; --seconds gives more"
    return recipe.model_copy(update=changes), (Choice(what="batch", value=f"{number} of {whole}", reason=reason),)


def _evaluated(number: int, whole: int) -> tuple[Choice, ...]:
    if number == whole:
        return ()
    reason = "so many at once would take longer here than the time given; --seconds gives more"
    return (Choice(what="evaluation batch", value=f"{number} of {whole}", reason=reason),)


def _random_pack(trial: Trial) -> Pack:
    """Random images in memory in the shape of the data set."""
    side, channels = trial.image_size, trial.num_channels
    number = max(1, min(trial.num_images, MOST_IMAGE_BYTES // (side * side * channels)))
    random = np.random.default_rng(0)
    x_NHWC = random.integers(0, 256, (number, side, side, channels), dtype=np.uint8)
    labels_N = random.integers(0, trial.num_classes, number)
    mean, std = (RANDOM_MEAN,) * channels, (RANDOM_STD,) * channels
    return pack_in_memory(x_NHWC, labels_N, num_classes=trial.num_classes, mean=mean, std=std, num_test=1)


def _placed(pack: Pack, trial: Trial, precision: Precision) -> tuple[PartImages, Choice]:
    """The images, resident or streamed as the data set itself would be."""
    budget_bytes, origin = image_budget_bytes(device=trial.device)
    made_bytes = pack.x_train.nbytes
    true_bytes = made_bytes // len(pack.x_train) * trial.num_images
    images, reason = place_images(
        pack,
        part="train",
        device=torch.device(trial.device),
        memory_format=precision.memory_format,
        # Fewer images than there would be must not be held where all of them would not.
        budget_bytes=budget_bytes if true_bytes <= budget_bytes else min(budget_bytes, made_bytes - 1),
    )
    stand = f"; {len(pack.x_train)} random ones stand for {trial.num_images}" if true_bytes > made_bytes else ""
    value = "resident" if true_bytes <= budget_bytes else "streamed"
    return images, Choice(what="images", value=value, reason=f"{reason}; {origin}{stand}")
