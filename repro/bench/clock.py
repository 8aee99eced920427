"""The clock of all measurements: it waits for the device before it is read. Read `now_s` first."""

import time

import torch

MOST_BLOCKS = 8
"""The time of a measurement is cut into about so many blocks: enough for quartiles, each long against a clock's error."""
LEAST_BLOCKS = 3
"""Blocks that are measured in any case."""


def now_s(device: str) -> float:
    """Seconds on a clock that only goes forward, when all that was asked of the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()
