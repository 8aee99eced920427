"""Measures how long a training step of a cell takes on this device, for the forecast.

Random images of the right shape stand for the data set, which may not be there yet. Must not know the matrix. Read
`measure_step` first.
"""

import time
from collections.abc import Callable

import torch
from torch import nn

from repro.hardware import activation_budget_bytes, free_memory_bytes, peak_reserved_bytes, start_peak_memory
from repro.messages import Block, Measured, Probe
from repro.models.build import build_model, channels_of
from repro.models.heads import head_of
from repro.models.macs import count_parameters
from repro.training.data import TrainingData
from repro.training.evaluation import evaluation_batch
from repro.training.freezing import freeze_all_but
from repro.training.loop import train_step
from repro.training.memory import fitting_micro_batch, saved_bytes_per_image
from repro.training.optimization import make_optimizer
from repro.training.precision import Precision
from repro.training.seeds import generator_for
from repro.training.ways import ready_steps

WARMUP_STEPS = 3
"""Steps before the clock starts: allocation, kernel selection."""
PROBE_S = 10.0
"""About how long a probe may take; where steps are slow it makes fewer of them, at least `LEAST_STEPS`."""
BLOCK_S = 0.25
"""About how long a block of steps takes in an open-ended probe: much longer than the wait for the device at its end."""
LEAST_STEPS = 2
"""Timed steps that a probe makes in any case."""
FEWEST_IMAGES = 2
"""Images that are timed in any case: BatchNorm takes its statistics from no fewer."""
FEW_IMAGES = 4
"""So many need no look at the memory."""
TRAINED_TO_EVALUATED = 3
"""A training step costs an image about three times its evaluation: forward, and twice that backward."""
MIDDLE_GREY, GREY_DEVIATION = 127.5, 73.9
"""Mean and standard deviation of even random grey values 0 … 255."""


def measure_step(
    probe: Probe, *, steady: Callable[[], None] = lambda: None, is_enough: Callable[[], bool] = lambda: True
) -> Measured:
    """Mean seconds of one optimizer step after a warm-up, over `num_steps` steps or as many as `PROBE_S` allows.

    With `until_enough` it calls `steady` after the warm-up and takes blocks of steps until `is_enough` says so. Where a whole
    batch would take too long or too much memory, fewer images are timed and the time is scaled up. Also the seconds of one
    image's evaluation; where the head is solved for in closed form that is all there is to time. Where steps are not
    plain they are made ready first, and raise what that raises.
    """
    free_bytes = free_memory_bytes(device=probe.device)
    start_peak_memory(device=probe.device)
    precision = Precision(device_type=probe.device, bfloat16=probe.bfloat16, channels_last=probe.channels_last)
    generator = generator_for(0)
    recipe = probe.recipe
    image_size = recipe.image_size or probe.image_size
    num_channels = channels_of(probe.model, probe.num_channels)
    model = build_model(
        probe.model,
        image_size=image_size,
        num_channels=num_channels,
        num_classes=probe.num_classes,
        generator=generator,
        # torch's stubs leave the memory_format overload untyped.
    ).to(device=probe.device, memory_format=precision.memory_format)  # type: ignore[call-overload]
    image_s = _seconds_an_image(model, num_channels, image_size, probe.device, precision)
    blocks: list[Block] = []
    ready_s = 0.0
    if recipe.ridge_penalty is None:
        timed, micro_batch = _images_to_time(probe, model, image_s, (num_channels, image_size, image_size), precision)
        steps = _Steps(probe, model, timed, micro_batch, precision, generator)
        warmup_s = [steps.take(1)]
        while len(warmup_s) < WARMUP_STEPS and sum(warmup_s) < PROBE_S / 2:
            warmup_s.append(steps.take(1))
        steps.blocks.clear()
        if probe.until_enough:
            steady()
            steps.take(max(1, int(BLOCK_S / warmup_s[-1])))
            while not is_enough():
                steps.take(max(1, int(BLOCK_S / warmup_s[-1])))
        else:
            steps.take(min(probe.num_steps, max(LEAST_STEPS, int(PROBE_S / warmup_s[-1]))))
        blocks, ready_s = steps.blocks, steps.ready_s
    num_steps = sum(block.num_steps for block in blocks)
    return Measured(
        step_s=sum(block.ended_s - block.began_s for block in blocks) / num_steps if blocks else 0.0,
        image_s=image_s,
        ready_s=ready_s,
        num_parameters=count_parameters(model),
        blocks=tuple(blocks),
        peak_bytes=peak_reserved_bytes(device=probe.device),
        free_bytes=free_bytes,
    )


class _Steps:
    """Takes training steps, always on the same random images, and notes how long."""

    def __init__(
        self,
        probe: Probe,
        model: nn.Module,
        timed: int,
        micro_batch: int,
        precision: Precision,
        generator: torch.Generator,
    ) -> None:
        recipe = probe.recipe
        shape = (timed, probe.num_channels, probe.image_size, probe.image_size)
        greys_BCHW = torch.randint(0, 256, shape, generator=generator).float()
        self.x_BCHW = greys_BCHW.to(probe.device, memory_format=precision.memory_format)
        self.labels_B = torch.randint(0, probe.num_classes, (timed,), generator=generator).to(probe.device)
        self.data = TrainingData(
            batch=lambda _positions: (self.x_BCHW, self.labels_B),
            normalise=lambda x_BCHW: x_BCHW.sub(MIDDLE_GREY).div_(GREY_DEVIATION),
            train_positions=torch.arange(timed),
            dev_positions=torch.arange(0),
            num_classes=probe.num_classes,
            flip_keeps_label=True,
            image_size=recipe.image_size,
            repeat_grey=channels_of(probe.model, probe.num_channels) > probe.num_channels,
        )
        head = model.get_submodule(head_of(model)) if recipe.is_probe else None
        freeze_all_but(head, model)
        self.optimizer = make_optimizer(model, recipe)
        if head is None:
            model.train()
        self.probe, self.model, self.precision = probe, model, precision
        self.timed, self.micro_batch = timed, micro_batch
        self.forward, self.ready_s = ready_steps(
            probe.way,
            model,
            self.data,
            recipe,
            precision=precision,
            head=head,
            micro_batch=micro_batch,
            cache=probe.cache,
        )
        self.num_taken = 0
        self.blocks: list[Block] = []

    def take(self, num_steps: int) -> float:
        """Take so many steps in one block; the seconds of one of them."""
        _synchronise(self.probe.device)
        began_s = time.monotonic()
        for step in range(self.num_taken, self.num_taken + num_steps):
            train_step(
                self.model,
                self.optimizer,
                self.data,
                self.probe.recipe,
                self.data.train_positions,
                upcoming_B=None,
                step=step,
                precision=self.precision,
                augmentation_seed=0,
                micro_batch=self.micro_batch,
                forward=self.forward,
            )
        _synchronise(self.probe.device)
        ended_s = time.monotonic()
        self.num_taken += num_steps
        whole_steps = num_steps * self.timed / self.probe.recipe.batch_size
        self.blocks.append(Block(began_s=began_s, ended_s=ended_s, num_steps=whole_steps))
        return (ended_s - began_s) / num_steps


def _seconds_an_image(model: nn.Module, num_channels: int, image_size: int, device: str, precision: Precision) -> float:
    """Seconds of an image's evaluation: of a single one where that is slow, else of a few, else of a whole batch."""
    whole = evaluation_batch(image_size, device)

    def run(num_images: int) -> float:
        x_BCHW = torch.zeros(num_images, num_channels, image_size, image_size, device=device)
        x_BCHW = x_BCHW.contiguous(memory_format=precision.memory_format)
        _synchronise(device)
        started = time.perf_counter()
        model(x_BCHW)
        _synchronise(device)
        return (time.perf_counter() - started) / num_images

    model.eval()
    with torch.inference_mode(), precision.autocast():
        run(1)  # starts the device's libraries
        image_s = run(1)
        for num_images in (min(FEW_IMAGES, whole), whole):
            if image_s * num_images < PROBE_S / 5:
                image_s = run(num_images)
        return image_s


def _images_to_time(
    probe: Probe, model: nn.Module, image_s: float, shape: tuple[int, int, int], precision: Precision
) -> tuple[int, int]:
    """How many images of a batch to time, and how many of them go through the model at once."""
    recipe = probe.recipe
    affordable = max(FEWEST_IMAGES, int(PROBE_S / LEAST_STEPS / (TRAINED_TO_EVALUATED * image_s)))
    timed = fitting_micro_batch(recipe.batch_size, 1, min(affordable, recipe.batch_size))
    if recipe.is_probe:
        return timed, min(timed, evaluation_batch(shape[-1], precision.device_type))
    if timed <= FEW_IMAGES:
        return timed, timed
    budget_bytes, _ = activation_budget_bytes(device=precision.device_type, at_once=probe.at_once)
    micro_batch = fitting_micro_batch(timed, saved_bytes_per_image(model, shape=shape, precision=precision), budget_bytes)
    return timed, min(micro_batch, recipe.micro_batch or micro_batch)


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
