"""The model of a cell with the weights that it starts from, how its images are normalised, and how many go through at once.

Must not know training. Read `make_start` first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from repro.cell.files import sha256_of
from repro.choices import Choice
from repro.datasets import Pack
from repro.errors import CorruptFile
from repro.hardware import activation_budget_bytes
from repro.messages import Job, Weights
from repro.models.build import build_model, channels_of, load_backbone
from repro.models.heads import LINEAR, head_of, uses_batch_norm
from repro.models.published import load_published
from repro.records import WEIGHTS
from repro.spec import InputSpec, Recipe
from repro.training.evaluation import evaluation_batch
from repro.training.memory import fitting_micro_batch, saved_bytes_per_image
from repro.training.precision import Precision
from repro.training.seeds import generator_for
from repro.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A model before its training."""

    model: nn.Module
    """On the device, with the weights that it starts from."""
    head: nn.Linear | nn.Conv2d
    """Its linear classifier."""
    image_size: int
    """Side in pixels of what it is given."""
    num_channels: int
    """Channels of what it is given."""
    num_classes: int
    """Classes of the data set."""
    repeats_grey: bool
    """Whether a grey image is given to it as three equal channels."""
    normalise: Callable[[Tensor], Tensor] | None
    """Grey values → what the weights want; None: by the data set's own statistics."""
    evaluation_batch: int
    """Images in one evaluation batch."""
    choices: tuple[Choice, ...]
    """What was found out on the way, for the record."""


def make_start(job: Job, pack: Pack, recipe: Recipe, precision: Precision, *, seed: int) -> Start:
    """Build the cell's model and load its weights; the head is zero.

    Raises ProfileError where the model cannot take such images, CorruptFile where weights are not what they should be.
    """
    cell, manifest = job.cell, pack.manifest
    image_size = recipe.image_size or manifest.image_size
    num_channels = channels_of(cell.model, manifest.num_channels)
    model: nn.Module = build_model(
        cell.model,
        image_size=image_size,
        num_channels=num_channels,
        num_classes=manifest.num_classes,
        generator=generator_for(seed),
    )
    choices: list[Choice] = []
    normalise = None
    if cell.upstream is not None:
        assert job.upstream_fingerprint and job.upstream_id
        load_backbone(model, Workspace(home=job.home).run_dir(job.upstream_id, job.upstream_fingerprint) / WEIGHTS)
    elif cell.weights is not None:
        # Never random weights in place of missing ones: a cell that was to have some is not run without.
        assert job.weights is not None, f"{cell.id} is run without its weights"
        _verify(job.weights)
        load_published(model, cell.model, job.weights.path)
        if job.weights.input is not None:
            normalise = normaliser(job.weights.input, device=job.device)
            choices.append(_as_the_weights_want(job.weights.input, image_size))
    # torch's stubs leave the memory_format overload untyped.
    model = model.to(device=job.device, memory_format=precision.memory_format)  # type: ignore[call-overload]
    head = model.get_submodule(head_of(model))
    assert isinstance(head, LINEAR), "head_of names no other"
    return Start(
        model=model,
        head=head,
        image_size=image_size,
        num_channels=num_channels,
        num_classes=manifest.num_classes,
        repeats_grey=num_channels > manifest.num_channels,
        normalise=normalise,
        evaluation_batch=evaluation_batch(image_size, job.device),
        choices=tuple(choices),
    )


def normaliser(wanted: InputSpec, *, device: str) -> Callable[[Tensor], Tensor]:
    """Grey values 0 … 255, float (B, 3, H, W), → what weights want that were trained with this mean and deviation."""
    mean_C11 = 255 * torch.tensor(wanted.mean, device=device).view(-1, 1, 1)
    std_C11 = 255 * torch.tensor(wanted.std, device=device).view(-1, 1, 1)
    return lambda x_BCHW: x_BCHW.sub(mean_C11).div_(std_C11)


def choose_micro_batch(start: Start, recipe: Recipe, precision: Precision, *, at_once: int = 1) -> tuple[int, Choice]:
    """How many images of a batch go through the model at once, with the reason; images lie on the device already.

    With BatchNorm it is the recipe's, since it changes the statistics; otherwise as many as memory allows; on a GPU
    `at_once` cells share it.
    """
    whole = recipe.batch_size
    if recipe.is_probe:
        number = fitting_micro_batch(whole, 1, start.evaluation_batch)
        reason = "features are frozen, so that they are computed as in evaluation"
    elif uses_batch_norm(start.model):
        number = recipe.micro_batch or whole
        reason = "the recipe's: BatchNorm takes its statistics from so many images"
    else:
        shape = (start.num_channels, start.image_size, start.image_size)
        per_image = saved_bytes_per_image(start.model, shape=shape, precision=precision)
        budget_bytes, origin = activation_budget_bytes(device=precision.device_type, at_once=at_once)
        number = fitting_micro_batch(whole, per_image, budget_bytes)
        reason = f"no BatchNorm, {per_image / 2**20:.1f} MiB an image in {origin}; it changes nothing but rounding"
    return number, Choice(what="micro-batch", value=f"{number} of {whole}", reason=reason)


def _verify(weights: Weights) -> None:
    remedy = "Run `vitrepro fetch --force`: it reads the file again, and fetches it anew if it is wrong."
    try:
        found = sha256_of(weights.path)
    except OSError as error:
        raise CorruptFile(f"{weights.path} cannot be read: {error.strerror or error}.", remedy=remedy) from error
    if found != weights.sha256:
        raise CorruptFile(f"{weights.path} has changed: its sha256 is {found}, it should be {weights.sha256}.", remedy=remedy)


def _as_the_weights_want(wanted: InputSpec, image_size: int) -> Choice:
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (wanted.mean, wanted.std))
    resized = f"trained at {wanted.image_size} px with {wanted.interpolation} resizing; here {image_size} px, bicubic"
    return Choice(
        what="normalisation", value=f"mean {mean}, deviation {std}", reason=f"the weights' own ({wanted.source}); {resized}"
    )
