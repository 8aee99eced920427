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


def measure_step(probe: Probe) -> Measured:
    """Mean seconds of one optimizer step, over `num_steps` steps after a warm-up, and the model's size."""
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
    x_BCHW = torch.randn(shape, generator=generator).to(probe.device, memory_format=precision.memory_format)
    labels_B = torch.randint(0, probe.num_classes, (shape[0],), generator=generator).to(probe.device)

    def batch(_positions: Tensor) -> tuple[Tensor, Tensor]:
        return x_BCHW, labels_B

    nowhere = torch.empty(0, dtype=torch.int64)
    data = TrainingData(
        batch=batch, train_positions=nowhere, dev_positions=nowhere, num_classes=probe.num_classes, flip_keeps_label=True
    )
    optimizer = make_optimizer(model, probe.recipe)
    model.train()
    for step in range(WARMUP_STEPS + probe.num_steps):
        if step == WARMUP_STEPS:
            _synchronise(probe.device)
            started = time.perf_counter()
        train_step(model, optimizer, data, probe.recipe, nowhere, step=step, precision=precision, augmentation_seed=0)
    _synchronise(probe.device)
    step_s = (time.perf_counter() - started) / probe.num_steps
    return Measured(step_s=step_s, num_parameters=count_parameters(model))


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
