"""Looks into a finished ViT on a few test images and leaves `inside.npz`; a look that fails costs nothing but the file.

Must not know how the model was trained. Read `leave_inside` first.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.analysis.inside import numbers_of
from repro.datasets.device import PartImages
from repro.inside import LARGEST_SIDE, InsideNumbers, write_inside
from repro.models.inside import look_inside
from repro.models.library_models import REFUSALS

NUM_IMAGES = 32
"""Test images over which attention distances are averaged (the paper: 128). A head's mean is then within 2 % of that over 1,000
images, with the models of the demo."""
NUM_SHOWN = 8
"""Of these, how many are kept as pictures with their rollout."""


def leave_inside(
    folder: Path,
    model: nn.Module,
    images: PartImages,
    normalised_batch: Callable[[Tensor], tuple[Tensor, Tensor]],
    *,
    log: Callable[[str], None],
) -> InsideNumbers | None:
    """Write `inside.npz` of a trained model and return its numbers; where it has another layout, or the look fails, say so in
    the log instead.

    `images` are the test images, of which `normalised_batch` gives what the model is given. Neither the model nor any random
    state is changed.
    """
    try:
        places = _spread(len(images), min(NUM_IMAGES, len(images)))
        # Those that are shown come first, for they are spread over the test set as well.
        shown = places[:: -(-len(places) // NUM_SHOWN)]
        places = np.concatenate([shown, np.setdiff1d(places, shown)])
        with torch.inference_mode():
            pictures = _pictures(images.batch(torch.from_numpy(shown))[0])
            x_BCHW, _ = normalised_batch(torch.from_numpy(places))
        found = look_inside(model, x_BCHW, images_IHWC=pictures, indices_I=shown.astype(np.int32))
        if isinstance(found, str):
            log(f"not looked into: {found}")
            return None
        write_inside(folder, found)
        return numbers_of(found)
    except REFUSALS as error:
        # The cell is finished and good: a layout that is not what it looks like, or too little memory, must not take it away.
        log(f"not looked into: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return None


def _spread(number: int, wanted: int) -> npt.NDArray[np.int64]:
    """`wanted` of `number` places, evenly spread: the pack's order is by digest, so they are a random sample."""
    return np.arange(wanted) * number // wanted


def _pictures(x_BCHW: Tensor) -> npt.NDArray[np.uint8]:
    """Grey values 0 … 255, float (B, C, H, W), as uint8 (B, H, W, C), larger ones averaged down."""
    if max(x_BCHW.shape[-2:]) > LARGEST_SIDE:
        x_BCHW = functional.adaptive_avg_pool2d(x_BCHW, LARGEST_SIDE)
    return x_BCHW.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous().numpy()
