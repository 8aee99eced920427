"""PNG and JPEG pictures of one known size, as they lie in archives, to arrays, on all cores; and box-resizing.

Nothing is decoded whose header does not show the expected size, so no picture unpacks to more. A JPEG may differ by a grey
level between versions of libjpeg, a PNG never. Must not know where pictures come from. Read `decode_pictures` first.

Shape letters: N images, H height, W width, C channels.
"""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from repro.datasets.arrays import Images
from repro.datasets.pictures import DECODING_ERRORS, load_formats
from repro.errors import DataError

PICTURES_PER_TASK = 500
AGAIN = "Get the file that holds it again from its official source."


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureForm:
    """What pictures must be, and what they become."""

    side: int
    """Width and height in pixels."""
    modes: frozenset[str]
    """Legal pixel formats, by Pillow's names; all become RGB."""
    image_size: int | None
    """Side in pixels to which they are box-resized; None keeps them."""

    @property
    def side_after(self) -> int:
        """Width and height of what they become, in pixels."""
        return self.image_size or self.side


def decode_pictures(pictures: Sequence[tuple[str, bytes]], form: PictureForm) -> Images:
    """Pictures, each with its name for messages, as uint8 (N, H, W, 3), in order.

    Raises DataError for the first that is not a picture of the form.
    """
    load_formats()
    return _on_all_cores(len(pictures), form.side_after, lambda place: _decode(*pictures[place], form))


def resize_images(images: Images, image_size: int | None) -> Images:
    """Images uint8 (N, H, W, 3) box-resized to a side; with None, or where they have it, themselves."""
    if image_size is None or images.shape[1] == image_size:
        return images
    return _on_all_cores(len(images), image_size, lambda place: _resized(Image.fromarray(images[place]), image_size))


def _on_all_cores(num_images: int, side: int, make: Callable[[int], Image.Image]) -> Images:
    images = np.empty((num_images, side, side, 3), dtype=np.uint8)

    def fill(start: int) -> None:
        for place in range(start, min(start + PICTURES_PER_TASK, num_images)):
            images[place] = np.asarray(make(place))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        # Results are taken in order: of several bad pictures the first is told.
        for _ in pool.map(fill, range(0, num_images, PICTURES_PER_TASK)):
            pass
    return images


def _decode(name: str, raw: bytes, form: PictureForm) -> Image.Image:
    try:
        with Image.open(io.BytesIO(raw), formats=("PNG", "JPEG")) as picture:
            if picture.size != (form.side, form.side) or picture.mode not in form.modes:
                width, height = picture.size
                raise DataError(
                    f"{name} is a picture of {width}x{height} pixels in mode {picture.mode}, not {form.side}x{form.side} in "
                    f"{' or '.join(sorted(form.modes))}.",
                    remedy=AGAIN,
                )
            return _resized(picture.convert("RGB"), form.side_after)
    except DECODING_ERRORS as error:
        raise DataError(f"{name} cannot be decoded: {str(error) or type(error).__name__}.", remedy=AGAIN) from error


def _resized(picture: Image.Image, side: int) -> Image.Image:
    if picture.width == side:
        return picture
    if picture.width % side == 0:
        # The mean of each block, rounded once; `resize` rounds rows and columns one after the other.
        return picture.reduce(picture.width // side)
    return picture.resize((side, side), Image.Resampling.BOX)
