"""The training loop.

Must not know the disk layout, the catalogue, or how results are reported. Reads top to bottom: read `train` first.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from repro.errors import TrainingDiverged
from repro.records import EpochRow
from repro.spec import Recipe
from repro.training.augmentation import augment, draws
from repro.training.data import TrainingData
from repro.training.evaluation import Evaluation, evaluate
from repro.training.freezing import enter_training_mode, only_training
from repro.training.mixing import Mixed, Unmixed, mix
from repro.training.optimization import learning_rate, make_optimizer
from repro.training.precision import Precision
from repro.training.seeds import BatchStream, derive_seed

Forward = Callable[[Tensor], Tensor]
"""Normalised images, float (B, C, H, W) → logits (B, K): a model, or what it was compiled to or recorded as."""

LOWER_THE_RATE = "Lower the recipe's lr, lengthen warmup_steps or set clip_norm; the cell's log shows the losses before."
INTERVALS_PER_RUN = 20
"""A run is logged and made resumable this often, or once a pass over its images where that is rarer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The outcome; the model holds the weights that count."""

    rows: list[EpochRow]
    """One row per logging interval."""
    wall_s: float
    """Seconds of training over all parts of a resumed run, logging and dev evaluation included."""
    selected_step: int
    """Step whose weights count."""
    dev_accuracy: float | None
    """Dev accuracy of those weights."""
    resumed_from_step: int | None
    """Step from which an interrupted run went on."""


def train(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    *,
    precision: Precision,
    order_seed: int,
    augmentation_seed: int,
    state: dict[str, Any] | None,
    save: Callable[[Callable[[], dict[str, Any]]], None],
    progress: Callable[[int, EpochRow], None],
    head: nn.Module | None = None,
    micro_batch: int | None = None,
    forward: Forward | None = None,
) -> Training:
    """Train `model` in place by `recipe` (one family's, resolved); it must lie on the device of the batches.

    `head` is the part of the model that a recipe trains alone, None where everything is trained. `micro_batch` images go
    through the model at once, None: the whole batch. `forward` is what the steps call in the model's place, where they
    are not plain; all else is done with the model itself. After each interval `save` is given what makes the state of that
    moment, and may leave it; `state` is one of these, or None to start: a continued run ends bitwise as an undisturbed one on
    the CPU.
    `progress` is called with the steps done and the newest row after each interval. Raises TrainingDiverged, naming the step.
    """
    assert (head is not None) == (recipe.trains == "head")
    assert data.image_size == recipe.image_size, "what is evaluated has the size of what is trained on"
    with only_training(head, model):
        optimizer = make_optimizer(model, recipe)
        num_images = len(data.train_positions)
        stream = BatchStream(num_images, recipe.batch_size, seed=order_seed, positions_N=data.train_positions)
        interval = logging_interval(recipe, num_images=num_images)
        step, elapsed_before = 0, 0.0
        rows: list[EpochRow] = []
        best: dict[str, Any] | None = None
        if state is not None:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            step, elapsed_before, best = state["step"], state["elapsed_s"], state["best"]
            rows = [EpochRow.model_validate_json(row) for row in state["rows"]]
        resumed_from_step = step or None

        started = time.perf_counter()
        upcoming = stream.indices(step)
        enter_training_mode(model, head)
        while step < recipe.steps:
            first, last = step, min(step + interval, recipe.steps)
            # Kept as they come and put together once: a step of a small model is a few milliseconds.
            found: list[tuple[Tensor, Tensor]] = []
            for step in range(first, last):
                positions, upcoming = upcoming, stream.indices(step + 1)
                found.append(
                    train_step(
                        model,
                        optimizer,
                        data,
                        recipe,
                        positions,
                        upcoming_B=upcoming if step + 1 < recipe.steps else None,
                        step=step,
                        precision=precision,
                        augmentation_seed=augmentation_seed,
                        micro_batch=micro_batch,
                        forward=forward,
                    )
                )
            step = last
            losses = torch.stack([loss for loss, _ in found])
            num_correct = torch.cat([is_correct_B for _, is_correct_B in found]).sum()
            check_losses(losses, first_step=first, limit=recipe.divergence_factor * math.log(data.num_classes))

            dev = evaluate_dev(model, data, precision)
            if dev is not None:
                enter_training_mode(model, head)
                if not math.isfinite(dev.loss):
                    raise TrainingDiverged(f"The dev loss became {dev.loss} after step {step}.", remedy=LOWER_THE_RATE)
                # A tie goes to the later weights: a small dev split has many, and the schedule ends where it means to.
                if recipe.select == "best_dev" and (best is None or dev.accuracy >= best["accuracy"]):
                    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
                    best = {"accuracy": dev.accuracy, "step": step, "model": weights}
            rows.append(
                EpochRow(
                    step=step,
                    epoch=step * recipe.batch_size / num_images,
                    lr=learning_rate(step - 1, recipe),
                    train_loss=float(losses.mean()),
                    train_accuracy=int(num_correct) / ((last - first) * recipe.batch_size),
                    dev_loss=dev.loss if dev else None,
                    dev_accuracy=dev.accuracy if dev else None,
                    elapsed_s=elapsed_before + time.perf_counter() - started,
                )
            )
            save(partial(_state, step=step, best=best, rows=rows, model=model, optimizer=optimizer))
            progress(step, rows[-1])

    chosen = best if recipe.select == "best_dev" else None
    if chosen is not None:
        model.load_state_dict(chosen["model"])
    return Training(
        rows=rows,
        wall_s=rows[-1].elapsed_s,
        selected_step=chosen["step"] if chosen is not None else recipe.steps,
        dev_accuracy=chosen["accuracy"] if chosen is not None else rows[-1].dev_accuracy,
        resumed_from_step=resumed_from_step,
    )


def _state(
    *, step: int, best: dict[str, Any] | None, rows: list[EpochRow], model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """What a run goes on from; tensors are the live ones."""
    return {
        "step": step,
        "elapsed_s": rows[-1].elapsed_s,
        "best": best,
        "rows": [row.model_dump_json() for row in rows],
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }


def logging_interval(recipe: Recipe, *, num_images: int) -> int:
    """Steps from one log row, and one state that a killed run goes on from, to the next."""
    return max(math.ceil(num_images / recipe.batch_size), math.ceil(recipe.steps / INTERVALS_PER_RUN))


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: TrainingData,
    recipe: Recipe,
    positions_B: Tensor,
    *,
    upcoming_B: Tensor | None,
    step: int,
    precision: Precision,
    augmentation_seed: int,
    micro_batch: int | None = None,
    forward: Forward | None = None,
) -> tuple[Tensor, Tensor]:
    """One optimizer step: its loss, a scalar, and which answers are right, bool (B,); on the device, without waiting for them.

    `upcoming_B` are the next step's positions, None at the end of the run. An answer on a mixed image is correct if it is the
    label with the larger share.
    """
    x_BCHW, labels_B = data.model_batch(positions_B)
    if upcoming_B is not None:
        data.prefetch(upcoming_B)
    draws_any = recipe.mixes or draws(recipe, flip=recipe.flip and data.flip_keeps_label)
    seed = derive_seed("step", augmentation_seed, step) if draws_any else 0
    images = training_images(x_BCHW, labels_B, data, recipe, seed=seed)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, recipe)
    optimizer.zero_grad(set_to_none=True)
    run = model if forward is None else forward
    loss, is_correct_B = add_gradients(run, images, recipe, precision=precision, micro_batch=micro_batch)
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm, foreach=True)
    optimizer.step()
    return loss, is_correct_B


def training_images(x_BCHW: Tensor, labels_B: Tensor, data: TrainingData, recipe: Recipe, *, seed: int) -> Mixed | Unmixed:
    """Grey values as `TrainingData.model_batch` gives them → what the model is trained on: augmented, normalised, mixed."""
    flip = recipe.flip and data.flip_keeps_label
    x_BCHW = augment(x_BCHW, recipe, flip=flip, normalise=data.normalise, seed=seed)
    if not recipe.mixes:
        return Unmixed(x_BCHW=x_BCHW, labels_B=labels_B)
    alphas = {"mixup_alpha": recipe.mixup_alpha, "cutmix_alpha": recipe.cutmix_alpha}
    return mix(x_BCHW, labels_B, probability=recipe.mix_probability, seed=seed, **alphas)


def add_gradients(
    forward: Forward, images: Mixed | Unmixed, recipe: Recipe, *, precision: Precision, micro_batch: int | None
) -> tuple[Tensor, Tensor]:
    """Forward and backward pass of a batch; returns as `train_step` does.

    In micro-batches the gradients of the parts add up to that of the mean over the whole batch.
    """
    # Where a step takes milliseconds every operation counts: what a whole batch does not need is not done.
    whole = len(images.labels_B)
    at_once = min(micro_batch or whole, whole)
    losses, are_correct = [], []
    for part in images.split(at_once) if at_once < whole else [images]:
        with precision.autocast():
            logits_BK = forward(part.x_BCHW)
        part_loss = part.loss(logits_BK.float(), label_smoothing=recipe.label_smoothing)
        if at_once < whole:
            part_loss = len(part.labels_B) / whole * part_loss
        torch.autograd.backward(part_loss)
        losses.append(part_loss.detach())
        are_correct.append(logits_BK.detach().argmax(dim=1) == part.main_labels())
    return sum(losses[1:], start=losses[0]), torch.cat(are_correct) if at_once < whole else are_correct[0]


def evaluate_dev(model: nn.Module, data: TrainingData, precision: Precision) -> Evaluation | None:
    """Evaluate on the dev split; None where none is held out."""
    if not len(data.dev_positions):
        return None
    return evaluate(
        model,
        data.normalised_batch,
        positions_N=data.dev_positions,
        precision=precision,
        prefetch=data.prefetch,
        batch_images=data.evaluation_batch,
    )


def check_losses(losses: Tensor, *, first_step: int, limit: float) -> None:
    """Raise TrainingDiverged if a loss is not finite or the mean exceeds `limit` (nats); the message names the step."""
    values = losses.cpu()
    broken = (~values.isfinite()).nonzero()
    if len(broken):
        step = first_step + int(broken[0])
        raise TrainingDiverged(
            f"The training loss became {float(values[broken[0]])} at step {step + 1}.", remedy=LOWER_THE_RATE
        )
    if float(values.mean()) > limit:
        worst = first_step + int(values.argmax())
        raise TrainingDiverged(
            f"Training diverged: mean loss {float(values.mean()):.3g} over steps {first_step + 1} to "
            f"{first_step + len(values)} (limit {limit:.3g}), largest at step {worst + 1}.",
            remedy=LOWER_THE_RATE,
        )
