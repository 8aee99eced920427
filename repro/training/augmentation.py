"""Augmentation of a whole batch at once, on the device that holds it.

Shape letters: B batch, C channels, H height, W width. Must not know recipes' names or models. Read `augment` first.
"""

import torch
from torch import Tensor
from torch.nn import functional


def augment(x_BCHW: Tensor, *, flip: bool, crop_padding: int, generator: torch.Generator) -> Tensor:
    """Float images (B, C, H, W) → the same shape, each mirrored and shifted by its own draw from `generator`.

    The generator must live on the images' device.
    """
    if crop_padding:
        x_BCHW = reflect_pad_crop(x_BCHW, crop_padding, generator=generator)
    if flip:
        x_BCHW = random_flip(x_BCHW, generator=generator)
    return x_BCHW


def random_flip(x_BCHW: Tensor, *, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    is_flipped_B = torch.rand(len(x_BCHW), device=x_BCHW.device, generator=generator) < 0.5
    return torch.where(is_flipped_B.view(-1, 1, 1, 1), x_BCHW.flip(-1), x_BCHW)


def reflect_pad_crop(x_BCHW: Tensor, padding: int, *, generator: torch.Generator) -> Tensor:
    """Pad by reflection and crop each image back to its size at its own random offset in 0 … 2 * padding."""
    B, C, H, W = x_BCHW.shape
    padded = functional.pad(x_BCHW, (padding,) * 4, mode="reflect")
    offsets_2B = torch.randint(0, 2 * padding + 1, (2, B), device=x_BCHW.device, generator=generator)
    rows_BH = offsets_2B[0].unsqueeze(1) + torch.arange(H, device=x_BCHW.device)
    columns_BW = offsets_2B[1].unsqueeze(1) + torch.arange(W, device=x_BCHW.device)
    padded = padded.gather(2, rows_BH.view(B, 1, H, 1).expand(B, C, H, W + 2 * padding))
    return padded.gather(3, columns_BW.view(B, 1, 1, W).expand(B, C, H, W))
