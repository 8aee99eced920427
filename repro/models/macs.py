"""Multiply-adds and parameters of a module.

Must not know which model it counts. Read `count_forward_macs` first.
"""

import copy

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_forward_macs(model: nn.Module, *, image_size: int, num_channels: int) -> int:
    """Multiply-adds of the forward pass of one image (1, num_channels, image_size, image_size).

    Counted on a copy on the CPU with the unfused attention: torch counts the CPU's fused attention as nothing, nor what
    `nn.MultiheadAttention` does in one call at evaluation (torchvision's ViTs would lose a third).
    """
    probe = copy.deepcopy(model).to("cpu", torch.float32).eval()
    image = torch.zeros(1, num_channels, image_size, image_size)
    counter = FlopCounterMode(display=False)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
            probe(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return int(counter.get_total_flops()) // 2


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
