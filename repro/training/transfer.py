"""Random decisions are made on the host, so that they are the same on every device; this brings them to the images.

Must not know what they decide. Read `to_device` first.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from repro.training.seeds import derive_seed


def host_generator(purpose: str, seed: int) -> np.random.Generator:
    """The generator of one purpose's decisions in one step."""
    return np.random.Generator(np.random.PCG64(derive_seed(purpose, seed)))


def to_device(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """`values` on the device, of the same shape and type, without waiting for what the device is doing.

    On a CPU the array itself, which must not be changed afterwards.
    """
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
