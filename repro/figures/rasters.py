"""Small pictures as PNG inside the page: sheets of tiles with gaps that let the page shine through.

Must not know what the tiles show. Read `sheet` first.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.uint8]
"""(R, H, W, 3): R tiles."""

NUM_COLOURS = 96
"""Of one sheet; more are told apart by nobody and make the page larger."""
POSITIVE, ZERO, NEGATIVE = (0, 102, 158), (242, 242, 242), (179, 71, 0)
"""Colours of a signed scale: those of the page's two families, on either page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """A finished picture."""

    title: str
    """The finding, in words and numbers."""
    description: str
    """What is shown and how to read it."""
    uri: str
    """`data:image/png;base64,…`."""
    width: int
    """In its own pixels."""
    height: int
    """In its own pixels."""

    @property
    def shown_width(self) -> int:
        """Width in CSS pixels: a whole multiple of its own while that is small, so that all of its pixels are alike."""
        return self.width * max(WIDEST // self.width, 1)


WIDEST = 420
"""What a sheet may be wide, in CSS pixels; a narrower screen shrinks it."""


def sheet(tiles: Pictures, *, columns: int, gap: int = 1, enlarged: int = 1) -> tuple[str, int, int]:
    """Tiles (R, H, W, 3) side by side in rows of `columns`; the PNG as a data URI, and its width and height.

    Every pixel is made `enlarged` x `enlarged` large, so that gaps can be finer than pixels; gaps are transparent.
    """
    from PIL import Image

    tiles = tiles.repeat(enlarged, axis=1).repeat(enlarged, axis=2)
    num, height, width, _ = tiles.shape
    rows = -(-num // columns)
    whole = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), dtype=np.uint8)
    is_gap = np.ones(whole.shape[:2], dtype=bool)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        whole[top : top + height, left : left + width] = tile
        is_gap[top : top + height, left : left + width] = False
    # The gaps take the last entry of the palette, which is declared transparent.
    painted = Image.fromarray(whole).quantize(NUM_COLOURS)
    indices = np.array(painted)
    indices[is_gap] = NUM_COLOURS
    image = Image.fromarray(indices)
    palette = (painted.getpalette() or [])[: 3 * NUM_COLOURS]
    image.putpalette(palette + [0] * (3 * (NUM_COLOURS + 1) - len(palette)))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True, transparency=NUM_COLOURS)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), whole.shape[1], whole.shape[0]


def in_colour(tiles: Pictures) -> Pictures:
    """Grey tiles (R, H, W, 1) with three equal channels; others as they are."""
    return tiles.repeat(3, axis=-1) if tiles.shape[-1] == 1 else tiles


def signed_colours(values: npt.NDArray[np.float64], *, largest: float) -> Pictures:
    """Values of any shape in colour, (…, 3): orange at -`largest`, near white at 0, blue at `largest`; clipped beyond."""
    share = (values / largest if largest > 0 else np.zeros_like(values)).clip(-1, 1)[..., None]
    end = np.where(share > 0, np.array(POSITIVE), np.array(NEGATIVE))
    colours: Pictures = np.rint(ZERO + np.abs(share) * (end - np.array(ZERO))).astype(np.uint8)
    return colours


def smaller(tiles: Pictures, *, most: int) -> Pictures:
    """Tiles averaged down by a whole factor so that no side is larger than `most` pixels; what is left over is cut off."""
    factor = -(-max(tiles.shape[1:3]) // most)
    num, height, width, channels = tiles.shape
    height, width = height // factor, width // factor
    cut = tiles[:, : height * factor, : width * factor].astype(np.float64)
    means: Pictures = np.rint(cut.reshape(num, height, factor, width, factor, channels).mean(axis=(2, 4))).astype(np.uint8)
    return means
