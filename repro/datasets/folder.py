"""A user's own data set as a folder of pictures: `train/<class>/…` and `test/<class>/…`.

Classes are numbered in the order of their sorted folder names. Pictures are decoded with Pillow, turned as their EXIF data
says, to RGB, or to grey if all of them are grey; transparency is dropped. Names that begin with a dot are passed over. Every
bad picture ends here, before any training, by its name. Must not know where a pack lies. Read `read_folder` first.
"""

import hashlib
import os
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from repro.datasets.arrays import ImageArrays, Part
from repro.errors import DataError

PARTS = ("train", "test")
GREY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV"})
DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
"""What Pillow raises for a broken file, by format and place of the damage."""
LAYOUT = "Lay the pictures out as train/<class>/<picture> and test/<class>/<picture>."
NUM_NAMED = 5
"""How many bad files a message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """One file, as its header describes it."""

    path: Path
    label: int
    size: tuple[int, int]
    """Width and height in pixels, before it is turned."""
    mode: str
    """Pillow's name of its pixel format."""


def read_folder(path: Path, *, image_size: int | None) -> ImageArrays:
    """All pictures, uint8 (N, H, W, C); with `image_size` each is box-resized to that square, its proportions not kept.

    Raises DataError for a missing or unreadable folder, an empty class, classes that are not the same in both parts, a single
    class, a file that is not a picture or is corrupt, and, without `image_size`, pictures that are not squares of one size.
    """
    class_names = _class_names(path)
    headers = {part: _headers(path / part, class_names) for part in PARTS}
    everything = [picture for part in PARTS for picture in headers[part]]
    side = image_size or _common_side(everything, path)
    grey = all(picture.mode in GREY_MODES for picture in everything)
    parts = {part: _decode(headers[part], side=side, grey=grey) for part in PARTS}
    return ImageArrays(train=parts["train"], test=parts["test"], class_names=class_names)


def listing_sha256(path: Path) -> str:
    """Digest of names, sizes and modification times of all files below a folder: shows a change without reading them."""
    digest = hashlib.sha256()
    for folder, folder_names, file_names in os.walk(path):
        folder_names.sort()
        for name in sorted(file_names):
            file = Path(folder, name)
            status, relative = file.stat(), file.relative_to(path)
            digest.update(f"{relative}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _class_names(path: Path) -> tuple[str, ...]:
    if not path.is_dir():
        raise DataError(
            f"There is no folder {path}.",
            remedy=f"Correct `path` in the profile; it counts from the profile's folder. {LAYOUT}",
        )
    found = {}
    for part in PARTS:
        if not (path / part).is_dir():
            raise DataError(f"{path} has no folder {part!r}; it holds {_names(_visible(path))}.", remedy=LAYOUT)
        entries = _visible(path / part)
        stray = [entry for entry in entries if not entry.is_dir()]
        if stray:
            raise DataError(
                f"{path / part} holds files outside any class: {_names(stray)}.", remedy=f"Move or remove them. {LAYOUT}"
            )
        found[part] = [entry.name for entry in entries]
    if found["train"] != found["test"]:
        only = {part: sorted(set(found[part]) - set(found[other])) for part, other in (PARTS, PARTS[::-1])}
        described = "; ".join(f"only in {part}: {', '.join(names[:NUM_NAMED])}" for part, names in only.items() if names)
        raise DataError(
            f"The two parts of {path} do not have the same classes ({described}).",
            remedy="Give every class both folders, or neither.",
        )
    if len(found["train"]) < 2:
        raise DataError(f"{path} has {len(found['train'])} class, and needs at least two.", remedy=LAYOUT)
    return tuple(found["train"])


def _visible(path: Path) -> list[Path]:
    try:
        return sorted((entry for entry in path.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Make it readable for this user."
        ) from error


def _headers(part: Path, class_names: tuple[str, ...]) -> list[_Picture]:
    pictures: list[_Picture] = []
    strangers: list[Path] = []
    for label, class_name in enumerate(class_names):
        files = _visible(part / class_name)
        if not files:
            raise DataError(
                f"The class folder {part / class_name} is empty.",
                remedy="Put pictures into it, or remove the class from both parts.",
            )
        for file in files:
            try:
                with Image.open(file) as image:
                    pictures.append(_Picture(path=file, label=label, size=image.size, mode=image.mode))
            except UnidentifiedImageError:
                strangers.append(file)
            except DECODING_ERRORS as error:
                if file.is_dir():
                    strangers.append(file)
                    continue
                raise _corrupt(file, error) from error
    if strangers:
        raise DataError(
            f"{len(strangers)} of the entries in {part} are not pictures that Pillow can read: {_names(strangers)}.",
            remedy="Remove them, or convert them to PNG or JPEG; a class folder holds pictures only.",
        )
    deep = [picture.path for picture in pictures if picture.mode not in GREY_MODES | COLOUR_MODES]
    if deep:
        raise DataError(
            f"{len(deep)} of the pictures in {part} are neither grey nor colour with 8 bits a channel: {_names(deep)}.",
            remedy="Convert them to 8-bit grey or RGB, with the brightness range that you mean.",
        )
    return pictures


def _common_side(pictures: list[_Picture], path: Path) -> int:
    sizes = Counter(picture.size for picture in pictures)
    (width, height), _ = sizes.most_common(1)[0]
    if len(sizes) == 1 and width == height:
        return width
    listed = ", ".join(f"{w}x{h} ({count})" for (w, h), count in sizes.most_common(NUM_NAMED))
    more = f" and {len(sizes) - NUM_NAMED} more sizes" if len(sizes) > NUM_NAMED else ""
    raise DataError(
        f"The pictures of {path} are not all squares of one size; they are {listed}{more} (width x height, number).",
        remedy="Set image_size in the profile's [[dataset]] to box-resize them all to that side, for instance image_size = 32.",
    )


def _decode(pictures: list[_Picture], *, side: int, grey: bool) -> Part:
    images = np.empty((len(pictures), side, side, 1 if grey else 3), dtype=np.uint8)
    for place, picture in enumerate(pictures):
        try:
            with Image.open(picture.path) as opened:
                turned = ImageOps.exif_transpose(opened)
                if "transparency" in turned.info:
                    turned = turned.convert("RGBA")
                image = turned.convert("L" if grey else "RGB")
        except DECODING_ERRORS as error:
            raise _corrupt(picture.path, error) from error
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BOX)
        images[place] = np.asarray(image).reshape(images.shape[1:])
    return Part(images=images, labels=np.array([picture.label for picture in pictures], dtype=np.int64))


def _names(paths: list[Path]) -> str:
    named = ", ".join(str(path) for path in paths[:NUM_NAMED]) or "nothing"
    return named + (f" and {len(paths) - NUM_NAMED} more" if len(paths) > NUM_NAMED else "")


def _corrupt(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"The picture {path} cannot be decoded: {str(error) or type(error).__name__}.",
        remedy="Replace it with an intact copy, or remove it.",
    )
