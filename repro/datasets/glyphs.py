"""The data set `glyphs`: letters rendered from the fonts that matplotlib ships, distorted and scaled as the digits are.

A procedural upstream for `digits`: any number of images, none of them a digit. Must not know where a pack lies or what is
trained. Read `draw_glyphs` first.

Each image goes through the steps by which the digits were made (Alpaydin and Kaynak 1998: binary bitmaps of 32x32 that the
digit fills, counted in blocks of 4x4), with a printed letter where they had a written digit: template (a letter of a font as
signed distance to its outline) -> affine and elastic distortion -> stroke thickness by a threshold on the distance -> 32x32
bitmap that the letter fills -> counts 0 … 16 in 8x8 blocks. Image i of a part depends on (seed, part, i) alone, so fewer images
are a prefix of more.

The same bytes come out wherever matplotlib's fonts and Pillow's FreeType are the same: random numbers are raw PCG64 bits, and
coordinates are rounded to whole template pixels before anything is looked up.

Shape letters: B images of a batch, H rows, W columns, K basis functions.
"""

import string
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFont

from repro.datasets.arrays import SIXTEENTHS_TO_BYTE, ImageArrays, Part
from repro.datasets.subsets import bit_source
from repro.errors import DataError

Floats = npt.NDArray[np.float64]

FONTS = (
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
    *(f"{name}.ttf" for name in ("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10", "cmmi10")),
)
"""The text fonts among those of matplotlib; the others hold mathematical symbols or stand-ins."""
LETTERS = string.ascii_uppercase + string.ascii_lowercase
ONE_SHAPE = "COSVWXZ"
"""Letters whose two cases have one shape once they fill the box: one class each. With 52 classes a small network took one case
for the other in over a quarter of their images (half would be a coin), and in under a tenth with the next pair, P and p."""
CLASS_NAMES = tuple(letter + letter.lower() if letter in ONE_SHAPE else letter for letter in string.ascii_uppercase) + tuple(
    letter for letter in string.ascii_lowercase if letter.upper() not in ONE_SHAPE
)
"""45 classes. Some letters keep shapes that other letters share (I and l) or digits (O and 0, l and 1); no digit is drawn."""

NUM_TRAIN = 64_000
NUM_TEST = 2_000
SEED = 0
VERSION = "generator 1"
"""Raise it when a constant or a step below changes."""

RENDER_HEIGHT = 72
"""Height in pixels of a letter in its template: a bit more than twice that of the bitmap, so that rounding does not show."""
TEMPLATE_SIDE = 112
"""Side of a template in pixels; what lies outside the letter is room for thicker strokes."""
DISTANCE_UNIT = 16
"""Steps a pixel in which a template holds distances."""
BITMAP_SIDE = 32
BLOCK_SIDE = 4

NARROWEST_ASPECT, WIDEST_ASPECT = 0.3, 0.8
"""Limits to a template's width over its height."""
MAX_ROTATION_RADIANS = 0.15
MAX_SHEAR = 0.2
"""Horizontal shift over vertical distance; to the right as italics lean, or to the left."""
ELASTIC_AMPLITUDE = 0.09
"""Largest amplitude of one elastic wave, in half heights of the letter."""
HALF_STROKE_RANGE = (0.06, 0.1)
"""Wanted half width of a stroke, in heights of the letter: strokes of 4 to 6 pixels of 32, as the digits show."""
THINNEST_OF_OWN = 0.6
"""A stroke is never thinned below this share of its own width: hairlines would tear."""
BOX_WIDTH = 22
"""Width in pixels of the box of a letter of `BOX_ASPECT`; most digits take 5 or 6 of the 8 columns."""
BOX_ASPECT = 0.75
"""Width over height, after distortion, of a letter that is fitted to just `BOX_WIDTH`."""
ASPECT_EXPONENT = 0.3
"""How far a narrow or wide letter keeps its proportions: 0 stretches all to one box, 1 stretches none."""
BOX_WIDTH_RANGE = (9, 27)
"""Limits to a box's width in pixels."""
BOX_JITTER = 0.1
"""Largest relative deviation of a box's width."""
MAX_SHIFT_PIXELS = 1.0
"""Largest horizontal shift of a box from the middle."""
FRAME = 1.7
"""The letter is looked for within ±FRAME half heights around its middle."""
SEARCH_SIDE = 40
"""Points a side of the grid on which its box is found."""
BATCH = 500
"""Images drawn at once; about 20 MB of working memory."""
NUM_RANDOM = 24
"""Random numbers an image: 8 for letter, font, affine map, stroke and box, 16 for the elastic field."""


def draw_glyphs(num_train: int = NUM_TRAIN, num_test: int = NUM_TEST, *, seed: int = SEED) -> ImageArrays:
    """Both parts, uint8 (N, 8, 8, 1); the classes follow one another, so that any number of images is balanced."""
    return ImageArrays(
        train=draw_part("train", num_train, seed=seed), test=draw_part("test", num_test, seed=seed), class_names=CLASS_NAMES
    )


def draw_part(part: str, num_images: int, *, seed: int) -> Part:
    """The first `num_images` images of a part. Raises DataError if matplotlib's fonts are missing."""
    bits = bit_source("glyphs", part, seed)
    images = np.empty((num_images, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(num_images, dtype=np.int64) % len(CLASS_NAMES)
    for start in range(0, num_images, BATCH):
        stop = min(start + BATCH, num_images)
        raw = np.asarray(bits.random_raw((stop - start) * NUM_RANDOM)).reshape(stop - start, NUM_RANDOM)
        uniform: Floats = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        images[start:stop, :, :, 0] = SIXTEENTHS_TO_BYTE[_draw_batch(labels[start:stop], uniform)]
    return Part(images=images, labels=labels)


def _draw_batch(labels: npt.NDArray[np.int64], uniform: Floats) -> npt.NDArray[np.int64]:
    """Inked pixels of each 4x4 block, 0 … 16, (B, 8, 8), from classes (B,) and random numbers in [0, 1), (B, NUM_RANDOM)."""
    distances, half_strokes = _templates()
    font = (uniform[:, 0] * len(FONTS)).astype(np.int64)
    case = (uniform[:, 6] * np.array([len(name) for name in CLASS_NAMES])[labels]).astype(np.int64)
    letter = np.array([[LETTERS.index(name[0]), LETTERS.index(name[-1])] for name in CLASS_NAMES])[labels, case]
    template = font * len(LETTERS) + letter
    field = _distortion(uniform)
    own = half_strokes[template]
    wanted = np.interp(uniform[:, 3], (0, 1), HALF_STROKE_RANGE) * RENDER_HEIGHT
    level = np.rint((own - np.maximum(wanted, THINNEST_OF_OWN * own)) * DISTANCE_UNIT).astype(np.int64)

    def inked(rows: Floats, columns: Floats) -> npt.NDArray[np.bool_]:
        """Whether the points at `rows` (B, H) and `columns` (B, W), in half heights, lie in the letter: (B, H, W)."""
        rows_BHK, columns_BKW = _basis(rows), _basis(columns).transpose(0, 2, 1)
        y, x = (
            np.rint(rows_BHK @ field[:, axis] @ columns_BKW * (RENDER_HEIGHT / 2) + (TEMPLATE_SIDE - 1) / 2)
            .astype(np.int64)
            .clip(0, TEMPLATE_SIDE - 1)
            for axis in (0, 1)
        )
        flat = (template[:, None, None] * TEMPLATE_SIDE + y) * TEMPLATE_SIDE + x
        inside: npt.NDArray[np.bool_] = distances.ravel()[flat] > level[:, None, None]
        return inside

    grid = np.broadcast_to((np.arange(SEARCH_SIDE) + 0.5) / SEARCH_SIDE * 2 * FRAME - FRAME, (len(labels), SEARCH_SIDE))
    found = inked(grid, grid)
    (top, bottom), (left, right) = (_extent(np.any(found, axis=axis)) for axis in (2, 1))
    aspect = (right - left) / (bottom - top)
    jitter = 1 + (2 * uniform[:, 4] - 1) * BOX_JITTER
    width = (BOX_WIDTH * (aspect / BOX_ASPECT) ** ASPECT_EXPONENT * jitter).clip(*BOX_WIDTH_RANGE)
    shift = (2 * uniform[:, 5] - 1) * MAX_SHIFT_PIXELS
    pixel = np.arange(BITMAP_SIDE) + 0.5
    rows = top[:, None] + pixel / BITMAP_SIDE * (bottom - top)[:, None]
    along = (pixel - BITMAP_SIDE / 2 - shift[:, None]) / width[:, None] + 0.5
    columns = left[:, None] + along * (right - left)[:, None]
    bitmap = inked(rows, columns) & ((along >= 0) & (along <= 1))[:, None, :]
    blocks = BITMAP_SIDE // BLOCK_SIDE
    counts: npt.NDArray[np.int64] = bitmap.reshape(-1, blocks, BLOCK_SIDE, blocks, BLOCK_SIDE).sum(axis=(2, 4))
    return counts


def _extent(present: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """First and last edge of what is present on the search grid, each (B,) in half heights, from (B, SEARCH_SIDE)."""
    cell = 2 * FRAME / SEARCH_SIDE
    first = present.argmax(axis=1)
    last = SEARCH_SIDE - present[:, ::-1].argmax(axis=1)
    return first * cell - FRAME, last * cell - FRAME


def _basis(t: Floats) -> Floats:
    """1, t and three slow waves at points t in half heights: (B, n) -> (B, n, 5)."""
    angle = np.pi / 2 * t
    return np.stack([np.ones_like(t), t, np.cos(angle), np.sin(2 * angle), np.cos(3 * angle)], axis=-1)


def _distortion(uniform: Floats) -> Floats:
    """Coefficients (B, 2, 5, 5) that take basis products of (row, column) to (y, x) in the template, in half heights."""
    angle = (2 * uniform[:, 1] - 1) * MAX_ROTATION_RADIANS
    shear = (2 * uniform[:, 2] - 1) * MAX_SHEAR
    field = np.zeros((len(uniform), 2, 5, 5))
    field[:, 0, 1, 0] = np.cos(angle)
    field[:, 0, 0, 1] = np.sin(angle)
    field[:, 1, 1, 0] = shear - np.sin(angle)
    field[:, 1, 0, 1] = np.cos(angle)
    waves = (2 * uniform[:, 8:].reshape(-1, 2, 8) - 1) * ELASTIC_AMPLITUDE
    for place, (row, column) in enumerate([(0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0), (3, 2), (2, 3)]):
        field[:, :, row, column] += waves[:, :, place]
    return field


@cache
def _templates() -> tuple[npt.NDArray[np.int16], Floats]:
    """Signed distances to the outline (fonts x letters, side, side), positive inside; each letter's half stroke in pixels."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    distances = np.empty((len(FONTS) * len(LETTERS), TEMPLATE_SIDE, TEMPLATE_SIDE), dtype=np.int16)
    half_strokes = np.empty(len(distances))
    for place, font_name in enumerate(FONTS):
        try:
            font = ImageFont.truetype(str(folder / font_name), 2 * RENDER_HEIGHT, layout_engine=ImageFont.Layout.BASIC)
        except OSError as error:
            raise DataError(
                f"The font {font_name}, which matplotlib ships, cannot be read in {folder}: {error}.",
                remedy="Install matplotlib anew, with its fonts.",
            ) from error
        for number, letter in enumerate(LETTERS):
            signed = _signed_distance(_letter_bitmap(font, letter))
            distances[place * len(LETTERS) + number] = np.rint(signed * DISTANCE_UNIT)
            half_strokes[place * len(LETTERS) + number] = 2 * signed[signed > 0].mean()
    return distances, half_strokes


def _letter_bitmap(font: ImageFont.FreeTypeFont, letter: str) -> npt.NDArray[np.bool_]:
    """The letter, RENDER_HEIGHT high, in the middle of a template: bool (TEMPLATE_SIDE, TEMPLATE_SIDE)."""
    mask = font.getmask(letter, mode="L")
    drawn = Image.frombytes("L", mask.size, bytes(mask)).crop(mask.getbbox())
    aspect = min(max(drawn.width / drawn.height, NARROWEST_ASPECT), WIDEST_ASPECT)
    width = round(RENDER_HEIGHT * aspect)
    scaled = np.asarray(drawn.resize((width, RENDER_HEIGHT), Image.Resampling.BOX))
    bitmap = np.zeros((TEMPLATE_SIDE, TEMPLATE_SIDE), dtype=bool)
    top, left = (TEMPLATE_SIDE - RENDER_HEIGHT) // 2, (TEMPLATE_SIDE - width) // 2
    bitmap[top : top + RENDER_HEIGHT, left : left + width] = scaled >= 128
    return bitmap


def _signed_distance(bitmap: npt.NDArray[np.bool_]) -> Floats:
    """Distance of every pixel to the outline, in pixels: positive inside, negative outside."""
    from scipy import ndimage

    inside: Floats = ndimage.distance_transform_edt(bitmap)
    outside: Floats = ndimage.distance_transform_edt(~bitmap)
    return np.where(bitmap, inside - 0.5, 0.5 - outside)
