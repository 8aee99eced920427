"""Number format and memory layout of one training.

Must not know how they were chosen (`repro.hardware`). Read `Precision` first.
"""

import contextlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How tensors are computed and laid out."""

    device_type: str
    """`cpu` or `cuda`."""
    bfloat16: bool
    """Whether matrix products and convolutions run in bfloat16 under autocast."""
    channels_last: bool
    """Whether images and convolution weights lie channels-last."""

    def autocast(self, *, keeps_weights: bool = True) -> contextlib.AbstractContextManager[object]:
        """The context for forward passes; unless it `keeps_weights`, each use of a weight rounds it anew."""
        return torch.autocast(self.device_type, dtype=torch.bfloat16, enabled=self.bfloat16, cache_enabled=keeps_weights)

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format
