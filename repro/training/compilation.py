"""A model's training steps through `torch.compile`: compiled and tried before the first step is taken.

Everything is compiled there and then, by a forward and a backward pass on a batch as the steps will see it, so that what fails
fails before anything has changed. Code is kept in memory, where later cells of the same kind find it in the same process,
and in a folder, where other processes do. Must not know whether it pays (`timing`). Read `compile_steps` first.
"""

import os
import time
import warnings
from pathlib import Path

from torch import nn

from repro.spec import Recipe
from repro.training.data import TrainingData
from repro.training.loop import Forward, add_gradients
from repro.training.precision import Precision
from repro.training.rehearsal import rehearsal_images, rehearsing

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Where torch keeps compiled code, Triton's included."""
KINDS_IN_MEMORY = 64
"""Kinds of cells whose code one process may hold; beyond torch's own limit of 8 it would go on uncompiled without a word."""


def compile_steps(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    *,
    precision: Precision,
    head: nn.Module | None,
    micro_batch: int | None,
    cache: Path,
) -> tuple[Forward, float]:
    """What training steps call in the model's place, and the seconds until it was ready; the model itself is left as it was.

    Batches are always full and micro-batches equal, so that shapes are compiled as constants. `cache` is the folder for
    compiled code. Raises whatever torch, Triton or the compilers raise.
    """
    # No earlier, for torch makes the folder, and where nothing is compiled none is wanted. In place of what stands there: torch
    # itself writes its default into it when the first optimizer is made.
    os.environ[CACHE_VARIABLE] = str(cache)
    started = time.perf_counter()
    with warnings.catch_warnings():
        # torch's warnings on itself, and advice on settings that are the recipe's, not the user's.
        warnings.simplefilter("ignore")
        # Not at the top, since torch makes its folder then.
        import torch._dynamo

        torch._dynamo.config.recompile_limit = KINDS_IN_MEMORY
        forward: Forward = torch.compile(model, dynamic=False)
        with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
            _pass_twice(forward, model, data, recipe, precision=precision, head=head, micro_batch=micro_batch)
    return forward, time.perf_counter() - started


def _pass_twice(
    forward: Forward,
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    *,
    precision: Precision,
    head: nn.Module | None,
    micro_batch: int | None,
) -> None:
    """Compile by use: the second pass finds what still differs then."""
    with rehearsing(model, head, device_type=precision.device_type):
        for _ in range(2):
            images = rehearsal_images(data, recipe)
            loss, _ = add_gradients(forward, images, recipe, precision=precision, micro_batch=micro_batch)
            loss.item()
