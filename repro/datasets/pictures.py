"""Single pictures: what their headers say, and their pixels.

Pillow decodes them, turned as their EXIF data says, to RGB or to grey; transparency is dropped. Every function may be called
from several threads at once. Must not know how a folder is laid out. Read `decode_picture` first.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from repro.errors import DataError

GREY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV"})
DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
"""What Pillow raises for a broken file, by format and place of the damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What the headers of some pictures say."""

    sizes: Counter[tuple[int, int]]
    """How many pictures have a width and height in pixels, before they are turned; in the order in which they first occur."""
    modes: frozenset[str]
    """Pillow's names of their pixel formats."""
    strangers: tuple[Path, ...] = ()
    """Entries that are not pictures."""
    deep: tuple[Path, ...] = ()
    """Pictures that are neither grey nor colour with 8 bits a channel."""

    @property
    def are_good(self) -> bool:
        """Whether all of them can be decoded, as far as headers tell."""
        return not self.strangers and not self.deep


def load_formats() -> None:
    """Import Pillow's formats, in the order in which it would by itself; to be called before threads need them.

    A picture that breaks off is refused from here on: once WeasyPrint is imported, Pillow would fill up the rest with grey.
    """
    Image.preinit()
    Image.init()
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def read_headers(paths: Iterable[Path]) -> Headers:
    """The headers of some pictures. Raises DataError for a file that is broken already there."""
    sizes: Counter[tuple[int, int]] = Counter()
    modes: set[str] = set()
    strangers, deep = [], []
    for path in paths:
        try:
            with Image.open(path) as image:
                size, mode = image.size, image.mode
        except UnidentifiedImageError:
            strangers.append(path)
        except DECODING_ERRORS as error:
            if not path.is_dir():
                raise _corrupt(path, error) from error
            strangers.append(path)
        else:
            sizes[size] += 1
            modes.add(mode)
            if mode not in GREY_MODES | COLOUR_MODES:
                deep.append(path)
    return Headers(sizes=sizes, modes=frozenset(modes), strangers=tuple(strangers), deep=tuple(deep))


def decode_picture(path: Path, *, side: int, grey: bool) -> npt.NDArray[np.uint8]:
    """The pixels, uint8 (side, side, 1 or 3); box-resized if the picture has another size. Raises DataError if it is broken."""
    try:
        with Image.open(path) as opened:
            turned = ImageOps.exif_transpose(opened)
            if "transparency" in turned.info:
                turned = turned.convert("RGBA")
            image = turned.convert("L" if grey else "RGB")
    except DECODING_ERRORS as error:
        raise _corrupt(path, error) from error
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BOX)
    return np.asarray(image).reshape(side, side, 1 if grey else 3)


def _corrupt(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"The picture {path} cannot be decoded: {str(error) or type(error).__name__}.",
        remedy="Replace it with an intact copy, or remove it.",
    )
