"""The peak that a model's operations are held against: a large matrix product in the same precision, in the same process.

Must not know models. Read `ProductPeak.measure` first.
"""

import torch

from repro.bench.clock import LEAST_BLOCKS, now_s
from repro.training.seeds import generator_for

PRODUCT_SIZE = {"cuda": 8192, "cpu": 1024}
"""Rows and columns of the matrices: large enough to keep the largest GPU, or one core, busy."""
BLOCK_S = 0.1
"""Seconds of a block: several products, but on slow devices."""


class ProductPeak:
    """Operations a second of the fastest block so far. Measured before and after a case, since clocks and neighbours change."""

    def __init__(self, *, device: str, bfloat16: bool) -> None:
        size = PRODUCT_SIZE[device]
        kind = torch.bfloat16 if bfloat16 else torch.float32
        generator = generator_for(0)
        self._left, self._right = (torch.randn(size, size, generator=generator).to(device, kind) for _ in range(2))
        self._device = device
        self.flops_per_s = 0.0

    def measure(self, seconds: float) -> None:
        """Multiply for about so long, and at least a few blocks; a first one is left out."""
        self._multiply(1)
        num_products = max(1, int(BLOCK_S / self._multiply(1)))
        times_s: list[float] = []
        while len(times_s) < LEAST_BLOCKS or sum(times_s) < seconds:
            times_s.append(self._multiply(num_products))
        flops = 2 * len(self._left) ** 3 * num_products
        self.flops_per_s = max(self.flops_per_s, flops / min(times_s))

    def _multiply(self, num_products: int) -> float:
        started_s = now_s(self._device)
        for _ in range(num_products):
            torch.mm(self._left, self._right)
        return now_s(self._device) - started_s
