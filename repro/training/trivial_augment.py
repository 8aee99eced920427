"""TrivialAugment (Müller & Hutter, arXiv 2103.10158), wide: each image goes through one random operation of random strength.

The operations are those of `torchvision.transforms.TrivialAugmentWide`, here on whole batches: images of one kind of operation
are brought together, changed by their own strengths, and put back. Images are float, but hold whole grey values 0 … 255 before
and after, as there. All decisions are drawn on the host, so nothing waits for the device. Must not know recipes or models. Read
`trivial_augment` first, then `apply_operations`.

Shape letters: B images of the batch, n images of one operation, C channels, H height, W width, P numbers an operation needs.
"""

from collections.abc import Callable
from enum import IntEnum
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from repro.training.transfer import host_generator, to_device

Floats = npt.NDArray[np.float64]
Operations = npt.NDArray[np.int64]


class Operation(IntEnum):
    """What can happen to an image; neighbours of one kind are computed together."""

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    BRIGHTNESS = 6
    COLOR = 7
    CONTRAST = 8
    SHARPNESS = 9
    POSTERIZE = 10
    SOLARIZE = 11
    AUTOCONTRAST = 12
    EQUALIZE = 13


NUM_STRENGTHS = 31
"""Strengths that an operation is drawn from, evenly spaced."""
LARGEST_SHEAR = 0.99
"""Pixels sideways per pixel. This and the following: the wide space of arXiv 2103.10158, as torchvision has it."""
LARGEST_TRANSLATION = 32
"""Pixels, whatever the image size, in the authors' code (wide space, on 32-px CIFAR too) and in torchvision. A smaller image is
moved by its own side at most, since it would else be black most of the time."""
LARGEST_ROTATION = 135.0
"""Degrees."""
LARGEST_ENHANCEMENT = 0.99
"""Brightness, colour, contrast and sharpness are multiplied by 1 ± this at most."""
FEWEST_BITS = 2
"""Of 8, that posterize leaves."""
WHITE = 255
"""Largest grey value."""
NUM_GREYS = 256
"""Grey values."""
LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in the grey value, as torchvision has them."""
SHARP_CENTRE = 5
"""Weight of the middle pixel among its eight neighbours of weight 1 in the blurred image (Pillow's SMOOTH filter)."""

SIGNED = frozenset(range(Operation.SHEAR_X, Operation.POSTERIZE))
"""Operations whose strength has either sign."""
NUM_PARAMETERS = 6
"""Numbers that an operation needs at most: a 2x3 matrix."""


def trivial_augment(x_BCHW: Tensor, *, seed: int) -> Tensor:
    """Float images (B, C, H, W) of grey values 0 … 255, C = 1 or 3 → the same, each changed by an operation of its own."""
    B, _, H, W = x_BCHW.shape
    operations_B, strengths_B = draw_operations(B, height=H, width=W, seed=seed)
    return apply_operations(x_BCHW, operations_B, strengths_B)


def draw_operations(num_images: int, *, height: int, width: int, seed: int) -> tuple[Operations, Floats]:
    """Operation and signed strength of each image, independent and evenly distributed; int64 (B,) and float64 (B,)."""
    random = host_generator("trivial augment", seed)
    operations_B = random.integers(0, len(Operation), num_images)
    places_B = random.integers(0, NUM_STRENGTHS, num_images)
    signs_B = random.choice([-1.0, 1.0], num_images)
    strengths_B = strength_table(height=height, width=width)[operations_B, places_B]
    return operations_B, np.where(np.isin(operations_B, list(SIGNED)), signs_B, 1.0) * strengths_B


def strength_table(*, height: int, width: int) -> Floats:
    """All strengths without sign, float64 (operations, NUM_STRENGTHS); 0 for an operation that has none.

    Shear in pixels per pixel, translation in pixels, rotation in degrees, enhancement as a difference from 1, posterize in bits
    that are left, solarize in grey values.
    """
    evenly = np.linspace(0.0, 1.0, NUM_STRENGTHS)
    table = np.zeros((len(Operation), NUM_STRENGTHS))
    table[[Operation.SHEAR_X, Operation.SHEAR_Y]] = LARGEST_SHEAR * evenly
    table[Operation.TRANSLATE_X] = min(LARGEST_TRANSLATION, width) * evenly
    table[Operation.TRANSLATE_Y] = min(LARGEST_TRANSLATION, height) * evenly
    table[Operation.ROTATE] = LARGEST_ROTATION * evenly
    table[Operation.BRIGHTNESS : Operation.POSTERIZE] = LARGEST_ENHANCEMENT * evenly
    table[Operation.POSTERIZE] = 8 - np.round((8 - FEWEST_BITS) * evenly)
    table[Operation.SOLARIZE] = WHITE * (1 - evenly)
    return table


def apply_operations(x_BCHW: Tensor, operations_B: Operations, strengths_B: Floats) -> Tensor:
    """Change image b by `operations_B[b]` with `strengths_B[b]`, the latter in the units of `strength_table`."""
    _, _, H, W = x_BCHW.shape
    order_B = np.argsort(operations_B, kind="stable")
    back_B = np.argsort(order_B, kind="stable")
    indices_2B = to_device(np.stack([order_B, back_B]), x_BCHW.device)
    parameters_BP = _parameters(operations_B[order_B], strengths_B[order_B], height=H, width=W)
    parameters_on_device_BP = to_device(parameters_BP.astype(np.float32), x_BCHW.device)

    # The operations are sorted, so each kind has a slice whose ends are known here without asking the device.
    ends = list(accumulate(np.bincount(operations_B, minlength=len(Operation)).tolist()))
    sorted_BCHW = x_BCHW.index_select(0, indices_2B[0])
    changed = []
    for first, last, change in KINDS:
        chosen = slice(ends[first - 1] if first else 0, ends[last])
        if chosen.start < chosen.stop:
            changed.append(change(sorted_BCHW[chosen], parameters_on_device_BP[chosen]))
    return torch.cat(changed).index_select(0, indices_2B[1])


def _parameters(operations_B: Operations, strengths_B: Floats, *, height: int, width: int) -> Floats:
    """What each image's operation computes with, float64 (B, P).

    Geometric operations: the 2x3 matrix from places in the result to places in the original, both counted from the middle of
    the image, the result in units of half a side. Enhancements: share of the image and of its opposite. Posterize: grey values
    to a step. Solarize: the first grey value that is inverted.
    """
    parameters_BP = np.zeros((len(operations_B), NUM_PARAMETERS))
    matrices = parameters_BP.reshape(-1, 2, 3)
    is_geometric_B = (operations_B >= Operation.SHEAR_X) & (operations_B <= Operation.ROTATE)
    matrices[is_geometric_B] = [[1, 0, 0], [0, 1, 0]]

    chosen, shear = _chosen(Operation.SHEAR_X, operations_B, strengths_B)
    matrices[chosen, 0, 1], matrices[chosen, 0, 2] = shear, shear * height / 2  # about the top left corner
    chosen, shear = _chosen(Operation.SHEAR_Y, operations_B, strengths_B)
    matrices[chosen, 1, 0], matrices[chosen, 1, 2] = shear, shear * width / 2
    chosen, pixels = _chosen(Operation.TRANSLATE_X, operations_B, strengths_B)
    matrices[chosen, 0, 2] = -np.trunc(pixels)
    chosen, pixels = _chosen(Operation.TRANSLATE_Y, operations_B, strengths_B)
    matrices[chosen, 1, 2] = -np.trunc(pixels)
    chosen, degrees = _chosen(Operation.ROTATE, operations_B, strengths_B)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrices[chosen, 0, :2] = np.stack([cosine, -sine], axis=1)
    matrices[chosen, 1, :2] = np.stack([sine, cosine], axis=1)
    matrices[is_geometric_B] /= [[width / 2], [height / 2]]

    is_enhanced_B = (operations_B >= Operation.BRIGHTNESS) & (operations_B <= Operation.SHARPNESS)
    parameters_BP[is_enhanced_B, 0] = 1 + strengths_B[is_enhanced_B]
    parameters_BP[is_enhanced_B, 1] = -strengths_B[is_enhanced_B]
    chosen, num_bits = _chosen(Operation.POSTERIZE, operations_B, strengths_B)
    parameters_BP[chosen, 0] = 2.0 ** (8 - num_bits)
    chosen, threshold = _chosen(Operation.SOLARIZE, operations_B, strengths_B)
    parameters_BP[chosen, 0] = threshold
    return parameters_BP


def _chosen(operation: Operation, operations_B: Operations, strengths_B: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    places = np.flatnonzero(operations_B == operation)
    return places, strengths_B[places]


def _identity(x_nCHW: Tensor, _: Tensor) -> Tensor:
    return x_nCHW


def _move(x_nCHW: Tensor, parameters_nP: Tensor) -> Tensor:
    """Take each pixel from where the image's matrix says, the nearest one there is; black from outside."""
    n, _, H, W = x_nCHW.shape
    column_W = torch.arange(W, device=x_nCHW.device, dtype=torch.float32) - (W - 1) / 2
    row_H1 = torch.arange(H, device=x_nCHW.device, dtype=torch.float32).unsqueeze(1) - (H - 1) / 2
    # Not as a matrix product: its rounding differs between devices, and a place may lie half-way between two pixels.
    across, down, along = parameters_nP.view(n, 2, 3, 1, 1).unbind(dim=2)
    places_n2HW = column_W * across + row_H1 * down + along
    return functional.grid_sample(x_nCHW, places_n2HW.permute(0, 2, 3, 1), mode="nearest", align_corners=False)


def _brighten(x_nCHW: Tensor, parameters_nP: Tensor) -> Tensor:
    return _blend(x_nCHW, torch.zeros_like(x_nCHW), parameters_nP)


def _saturate(x_nCHW: Tensor, parameters_nP: Tensor) -> Tensor:
    return x_nCHW if x_nCHW.shape[1] == 1 else _blend(x_nCHW, _grey(x_nCHW), parameters_nP)


def _contrast(x_nCHW: Tensor, parameters_nP: Tensor) -> Tensor:
    return _blend(x_nCHW, _grey(x_nCHW).mean(dim=(1, 2, 3), keepdim=True), parameters_nP)


def _sharpen(x_nCHW: Tensor, parameters_nP: Tensor) -> Tensor:
    if min(x_nCHW.shape[2:]) < 3:
        return x_nCHW
    inside = x_nCHW[:, :, 1:-1, 1:-1]
    # Sums of whole numbers, hence exact; the smallest distance of a thirteenth to a half is far above the rounding of `div`.
    sums = functional.avg_pool2d(x_nCHW, 3, stride=1, divisor_override=1) + (SHARP_CENTRE - 1) * inside
    blurred = x_nCHW.clone()
    blurred[:, :, 1:-1, 1:-1] = sums.div_(8 + SHARP_CENTRE).round_()
    return _blend(x_nCHW, blurred, parameters_nP)


def _blend(x_nCHW: Tensor, opposite: Tensor, parameters_nP: Tensor) -> Tensor:
    own, other = (parameters_nP[:, place].view(-1, 1, 1, 1) for place in (0, 1))
    return (own * x_nCHW + other * opposite).clamp_(0, WHITE).floor_()


def _grey(x_nCHW: Tensor) -> Tensor:
    """Whole grey values (n, 1, H, W)."""
    if x_nCHW.shape[1] == 1:
        return x_nCHW
    red, green, blue = (x_nCHW[:, channel : channel + 1] * weight for channel, weight in enumerate(LUMA))
    return (red + green + blue).floor_()


def _posterize(x_nCHW: Tensor, parameters_nP: Tensor) -> Tensor:
    step_n111 = parameters_nP[:, 0].view(-1, 1, 1, 1)
    return (x_nCHW / step_n111).floor_() * step_n111


def _solarize(x_nCHW: Tensor, parameters_nP: Tensor) -> Tensor:
    return torch.where(x_nCHW >= parameters_nP[:, 0].view(-1, 1, 1, 1), WHITE - x_nCHW, x_nCHW)


def _autocontrast(x_nCHW: Tensor, _: Tensor) -> Tensor:
    darkest = x_nCHW.amin(dim=(2, 3), keepdim=True)
    extent = x_nCHW.amax(dim=(2, 3), keepdim=True) - darkest
    is_flat = extent == 0
    scale = (WHITE / extent).masked_fill_(is_flat, 1.0)
    return ((x_nCHW - darkest.masked_fill(is_flat, 0.0)) * scale).clamp_(0, WHITE).floor_()


def _equalize(x_nCHW: Tensor, _: Tensor) -> Tensor:
    """Spread the grey values of each channel evenly, as Pillow does: the brightest one present does not count."""
    n, C, H, W = x_nCHW.shape
    values = x_nCHW.reshape(n * C, H * W).long()
    counts = torch.zeros(n * C, NUM_GREYS, dtype=torch.int64, device=x_nCHW.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    num_brightest = counts.gather(1, values.amax(dim=1, keepdim=True))
    step = (H * W - num_brightest).div_(WHITE, rounding_mode="floor")
    before = counts.cumsum(dim=1) - counts
    # An image of few or nearly equal pixels has step 0 and stays; the divisor 1 only keeps the device from dividing by 0.
    levels = (before + step.div(2, rounding_mode="floor")).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=WHITE)
    return torch.where(step == 0, values, levels.gather(1, values)).view(n, C, H, W).to(x_nCHW.dtype)


Change = Callable[[Tensor, Tensor], Tensor]
KINDS: tuple[tuple[Operation, Operation, Change], ...] = (
    (Operation.IDENTITY, Operation.IDENTITY, _identity),
    (Operation.SHEAR_X, Operation.ROTATE, _move),
    (Operation.BRIGHTNESS, Operation.BRIGHTNESS, _brighten),
    (Operation.COLOR, Operation.COLOR, _saturate),
    (Operation.CONTRAST, Operation.CONTRAST, _contrast),
    (Operation.SHARPNESS, Operation.SHARPNESS, _sharpen),
    (Operation.POSTERIZE, Operation.POSTERIZE, _posterize),
    (Operation.SOLARIZE, Operation.SOLARIZE, _solarize),
    (Operation.AUTOCONTRAST, Operation.AUTOCONTRAST, _autocontrast),
    (Operation.EQUALIZE, Operation.EQUALIZE, _equalize),
)
"""First and last operation of each kind, and the function that changes images by it; all operations, in their order."""
