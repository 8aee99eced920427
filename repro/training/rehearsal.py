"""Passes over a batch before the first step, of which nothing is left: how other ways of taking steps are made ready and tried.

Must not know those ways. Read `rehearsing` first.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from repro.spec import Recipe
from repro.training.data import TrainingData
from repro.training.freezing import enter_training_mode, only_training
from repro.training.loop import training_images
from repro.training.mixing import Mixed, Unmixed


@contextlib.contextmanager
def rehearsing(model: nn.Module, head: nn.Module | None, *, device_type: str) -> Iterator[None]:
    """The model in training mode, as its steps will find it; with a `head` only that is trained.

    Afterwards buffers and random states are as they were, and there are no gradients, as before the first step.
    """
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = [torch.cuda.current_device()] if device_type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), only_training(head, model):
            enter_training_mode(model, head)
            yield
    finally:
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def rehearsal_images(data: TrainingData, recipe: Recipe) -> Mixed | Unmixed:
    """A whole batch as the steps will see them: augmented, normalised, mixed."""
    positions_B = data.train_positions[torch.arange(recipe.batch_size) % len(data.train_positions)]
    x_BCHW, labels_B = data.model_batch(positions_B)
    return training_images(x_BCHW, labels_B, data, recipe, seed=0)
