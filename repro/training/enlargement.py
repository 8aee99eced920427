"""Brings a batch to the size that a model takes, on the device that holds it: whole images, or a random box of each.

Bicubic with antialiasing, as Pillow and torch have it, as two products with small matrices of weights; boxes are drawn on the
host, so nothing waits for the device. Results are not clipped: beside an edge they leave 0 … 255 by a few grey values, in
training and evaluation alike, as with torch's and TensorFlow's own functions on floats. Must not know recipes or models. Read
`crop_and_enlarge` first, then `enlarge`.

Shape letters: B batch, b the same or 1 where all images share their weights, C channels, H height, W width, S side of the
result, n pixels along a side.
"""

import math

import numpy as np
import torch
from torch import Tensor

from repro.training.mixing import Boxes
from repro.training.transfer import host_generator, to_device

LARGEST_ASPECT = 4 / 3
"""Width by height of a box is drawn between the inverse of this and this, evenly in its logarithm (as in arXiv 1409.4842)."""
CROP_ATTEMPTS = 10
"""Boxes that are tried until one fits into the image, as in torchvision; then the largest in the middle is taken."""
SUPPORT = 2
"""Pixels, of the coarser of the two grids, that the bicubic kernel reaches to either side."""


def enlarge(x_BCHW: Tensor, size: int) -> Tensor:
    """Float images (B, C, H, W) → (B, C, size, size), bicubic; also smaller ones. Those that have the size are given back."""
    height, width = x_BCHW.shape[2:]
    if height == width == size:
        return x_BCHW
    return _resample(x_BCHW, Boxes(sides_4B=np.array([[0], [height], [0], [width]])), height=size, width=size)


def crop_and_enlarge(x_BCHW: Tensor, size: int | None, *, min_area: float, seed: int) -> Tensor:
    """Cut a box of its own from each float image (B, C, H, W) and bring it to (B, C, size, size); None: to the images' own.

    The Inception crop: a box covers `min_area` to all of its image, its sides are 3:4 to 4:3. All draws follow from `seed`.
    """
    B, _, H, W = x_BCHW.shape
    boxes = draw_crops(B, height=H, width=W, min_area=min_area, seed=seed)
    return _resample(x_BCHW, boxes, height=size or H, width=size or W)


def draw_crops(num_images: int, *, height: int, width: int, min_area: float, seed: int) -> Boxes:
    """One box an image, of whole pixels and at least one, drawn as torchvision's RandomResizedCrop draws them."""
    random = host_generator("crop", seed)
    tries = (CROP_ATTEMPTS, num_images)
    area = random.uniform(min_area, 1, tries) * height * width
    aspect = np.exp(random.uniform(-math.log(LARGEST_ASPECT), math.log(LARGEST_ASPECT), tries))
    heights, widths = (np.round(np.sqrt(value)).astype(np.int64) for value in (area / aspect, area * aspect))
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first_B, everyone = fits.argmax(axis=0), np.arange(num_images)
    has_fitting_B = fits[first_B, everyone]
    largest_height, largest_width = min(height, round(width * LARGEST_ASPECT)), min(width, round(height * LARGEST_ASPECT))
    height_B = np.where(has_fitting_B, heights[first_B, everyone], largest_height)
    width_B = np.where(has_fitting_B, widths[first_B, everyone], largest_width)
    top_B = np.where(has_fitting_B, random.integers(0, height - height_B + 1), (height - height_B) // 2)
    left_B = np.where(has_fitting_B, random.integers(0, width - width_B + 1), (width - width_B) // 2)
    return Boxes(sides_4B=np.stack([top_B, top_B + height_B, left_B, left_B + width_B]))


def _resample(x_BCHW: Tensor, boxes: Boxes, *, height: int, width: int) -> Tensor:
    """What each image shows in its box, or all in one box, as (B, C, height, width) in the images' memory format."""
    _, C, H, W = x_BCHW.shape
    is_channels_last = C > 1 and x_BCHW.is_contiguous(memory_format=torch.channels_last)
    top_b, bottom_b, left_b, right_b = to_device(boxes.sides_4B, x_BCHW.device).to(x_BCHW.dtype).unbind()
    rows_bSH = _weights(top_b, bottom_b, num_pixels=H, size=height)
    columns_bSW = _weights(left_b, right_b, num_pixels=W, size=width)
    # Columns first, all rows and channels in one product: the other order would copy the large result once more.
    x_BCHS = torch.matmul(x_BCHW.flatten(1, 2), columns_bSW.mT).reshape(-1, C, H, width)
    x_BCSS = torch.matmul(rows_bSH.unsqueeze(1), x_BCHS)
    return x_BCSS.contiguous(memory_format=torch.channels_last) if is_channels_last else x_BCSS


def _weights(first_b: Tensor, end_b: Tensor, *, num_pixels: int, size: int) -> Tensor:
    """How much of each pixel of a side is in each of the `size` pixels that its part from `first_b` to `end_b` is brought to.

    Float (b, S, n); each row sums to 1, and what lies outside of the part has no weight.
    """
    device, dtype = first_b.device, first_b.dtype
    length_b11 = (end_b - first_b).view(-1, 1, 1)
    place_b1n = torch.arange(num_pixels, device=device, dtype=dtype) - first_b.view(-1, 1, 1)
    middle_bS1 = torch.arange(1, 2 * size, 2, device=device, dtype=dtype).view(-1, 1) * length_b11 / (2 * size)
    # Where the part is made smaller, the kernel is as much wider: that is the antialiasing.
    distance_bSn = (place_b1n + 0.5 - middle_bS1).abs_().div_((length_b11 / size).clamp_(min=1))
    is_inside_b1n = (place_b1n >= 0) & (place_b1n < length_b11)
    weights_bSn = _bicubic(distance_bSn).mul_(is_inside_b1n)
    return weights_bSn.div_(weights_bSn.sum(dim=2, keepdim=True))


def _bicubic(distance: Tensor) -> Tensor:
    """The cubic convolution kernel with slope -1/2 (Keys 1981) at distances >= 0, in pixels; they are changed on the way."""
    far = distance.clamp_(max=SUPPORT)
    return torch.where(far < 1, (1.5 * far - 2.5) * far * far + 1, ((2.5 - 0.5 * far) * far - 4) * far + 2)
