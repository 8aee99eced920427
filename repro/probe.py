"""Measures how long a training step of a cell takes on this device, for the forecast.

Random images of the right shape stand for the data set, which may not be there yet. Must not know the matrix. Read
`measure_step` first.
"""

import time

import torch
from torch import Tensor

from repro.messages import Measured, Probe
from repro.models.build import build_model
from repro.models.macs import count_parameters
from repro.training.loop import TrainingData, train_step
from repro.training.optimization import make_optimizer
from repro.training.precision import Precision
from repro.training.seeds import generator_for

WARMUP_STEPS = 3
"""Steps before the clock starts: allocation, kernel selection."""
PROBE_S = 10.0
"""About how long a probe may take; where steps are slow it makes fewer of them, at least `LEAST_STEPS`."""
LEAST_STEPS = 2
"""Timed steps that a probe makes in any case."""
MIDDLE_GREY, GREY_DEVIATION = 127.5, 73.9
"""Mean and standard deviation of even random grey values 0 … 255."""


def measure_step(probe: Probe) -> Measured:
    """Mean seconds of one optimizer step after a warm-up, over `num_steps` steps or as many as `PROBE_S` allows."""
    precision = Precision(device_type=probe.device, bfloat16=probe.bfloat16, channels_last=probe.channels_last)
    generator = generator_for(0)
    model = build_model(
        probe.model,
        image_size=probe.image_size,
        num_channels=probe.num_channels,
        num_classes=probe.num_classes,
        generator=generator,
    ).to(probe.device)
    shape = (probe.recipe.batch_size, probe.num_channels, probe.image_size, probe.image_size)
    greys_BCHW = torch.randint(0, 256, shape, generator=generator).float()
    x_BCHW = greys_BCHW.to(probe.device, memory_format=precision.memory_format)
    labels_B = torch.randint(0, probe.num_classes, (shape[0],), generator=generator).to(probe.device)

    def batch(_positions: Tensor) -> tuple[Tensor, Tensor]:
        return x_BCHW, labels_B

    def normalise(x_BCHW: Tensor) -> Tensor:
        return x_BCHW.sub(MIDDLE_GREY).div_(GREY_DEVIATION)

    nowhere = torch.empty(0, dtype=torch.int64)
    data = TrainingData(
        batch=batch,
        normalise=normalise,
        train_positions=nowhere,
        dev_positions=nowhere,
        num_classes=probe.num_classes,
        flip_keeps_label=True,
    )
    optimizer = make_optimizer(model, probe.recipe)
    model.train()

    def run(steps: range) -> float:
        """Seconds that these steps take."""
        _synchronise(probe.device)
        started = time.perf_counter()
        for step in steps:
            train_step(
                model,
                optimizer,
                data,
                probe.recipe,
                nowhere,
                upcoming_B=None,
                step=step,
                precision=precision,
                augmentation_seed=0,
            )
        _synchronise(probe.device)
        return time.perf_counter() - started

    warmup_s = [run(range(1))]
    while len(warmup_s) < WARMUP_STEPS and sum(warmup_s) < PROBE_S / 2:
        warmup_s.append(run(range(len(warmup_s), len(warmup_s) + 1)))
    num_steps = min(probe.num_steps, max(LEAST_STEPS, int(PROBE_S / warmup_s[-1])))
    step_s = run(range(len(warmup_s), len(warmup_s) + num_steps)) / num_steps
    return Measured(step_s=step_s, num_parameters=count_parameters(model))


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
