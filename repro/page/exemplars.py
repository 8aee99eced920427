"""Test images as the page shows them: small PNGs inside the page.

Must not know what is said of them. Read `data_uri` first.
"""

import base64
import io

from repro.datasets.arrays import Images

LARGEST_SIDE = 64
"""Pixels a side; larger images are made smaller, so that a page stays small."""
NUM_COLOURS = 96
"""Of one image. It halves the bytes; the colours of a photograph of 32 px are then off by 3 of 256 steps, which nobody sees."""


def data_uri(image: Images) -> str:
    """An image, uint8 (H, W, C) with one or three channels, as a `data:` URI of a PNG; the same bytes for the same image."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if max(picture.size) > LARGEST_SIDE:
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX)
    if picture.mode == "RGB":
        picture = picture.quantize(NUM_COLOURS, kmeans=4, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
