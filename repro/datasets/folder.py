"""A user's own data set as a folder of pictures: `train/<class>/…` and `test/<class>/…`, or `val` for `test`.

Classes are numbered in the order of their sorted folder names. Pictures become RGB, or grey if all of them are grey. Names that
begin with a dot are passed over. Every bad picture ends here, before any training, by its name. Millions of pictures are
decoded in threads to a scratch folder, from where an interrupted reading goes on. Must not know where a pack lies. Read
`read_folder` first.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro.datasets import pictures
from repro.datasets.arrays import ImageArrays, Part
from repro.datasets.chunks import Progress, silent
from repro.datasets.listing import Listing
from repro.datasets.pictures import GREY_MODES, Headers
from repro.datasets.scratch import decode_all, read_all_headers
from repro.errors import DataError

PARTS = ("train", "test")
TEST_FOLDERS = ("test", "val")
"""Names that the folder of the test part may have."""
LAYOUT = "Lay the pictures out as train/<class>/<picture> and test/<class>/<picture> (or val/<class>/<picture>)."
NUM_NAMED = 5
"""How many bad files a message names."""


def read_folder(path: Path, *, image_size: int | None, scratch: Path, progress: Progress = silent) -> ImageArrays:
    """All pictures, uint8 (N, H, W, C); with `image_size` each is box-resized to that square, its proportions not kept.

    Writes the folder `scratch` and maps its files: the caller removes it when the images have been used, and keeps it when
    anything goes wrong, so that the next call goes on from there. Raises DataError for a missing or unreadable folder, an empty
    class, classes that are not the same in both parts, a single class, a file that is not a picture or is corrupt, and, without
    `image_size`, pictures that are not squares of one size; DiskFull before it decodes where there is not enough space.
    """
    folders = _part_folders(path)
    class_names = _class_names(path, folders)
    pictures.load_formats()
    listings, headers, digests = {}, {}, {}
    for part, folder in folders.items():
        listings[part] = _listing(part, folder, class_names)
        headers[part], digests[part] = read_all_headers(scratch, listings[part], progress=progress)
        _refuse_strangers(headers[part], folder)
    side = image_size or _common_side(headers["train"].sizes + headers["test"].sizes, path)
    grey = headers["train"].modes | headers["test"].modes <= GREY_MODES
    images = decode_all(scratch, list(listings.values()), digests, side=side, grey=grey, progress=progress)
    train, test = (Part(images=images[part], labels=listings[part].labels) for part in PARTS)
    return ImageArrays(train=train, test=test, class_names=class_names)


def listing_sha256(path: Path) -> str:
    """Digest of names, sizes and modification times of all files below a folder: shows a change without reading them."""
    digest = hashlib.sha256()
    for folder, folder_names, file_names in os.walk(path):
        folder_names.sort()
        prefix = "".join(f"{name}/" for name in Path(folder).relative_to(path).parts)
        for name in sorted(file_names):
            status = os.stat(f"{folder}/{name}")  # noqa: PTH116 - a Path for each of a million files takes many seconds
            digest.update(f"{prefix}{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _part_folders(path: Path) -> dict[str, Path]:
    """The folder of each part."""
    if not path.is_dir():
        raise DataError(
            f"There is no folder {path}.",
            remedy=f"Correct `path` in the profile; it counts from the profile's folder. {LAYOUT}",
        )
    test = [path / name for name in TEST_FOLDERS if (path / name).is_dir()]
    if len(test) > 1:
        raise DataError(
            f"{path} has both a folder 'test' and a folder 'val'; one of them is the test part.",
            remedy="Rename the other one so that it begins with a dot, or move it away (the test pictures of ImageNet have no "
            "public labels: there it is test that goes).",
        )
    folders = {"train": path / "train", "test": test[0] if test else path / "test"}
    for part, folder in folders.items():
        if not folder.is_dir():
            raise DataError(f"{path} has no folder {part!r}; it holds {_names(_visible(path))}.", remedy=LAYOUT)
    return folders


def _class_names(path: Path, folders: Mapping[str, Path]) -> tuple[str, ...]:
    found = {}
    for part, folder in folders.items():
        entries = _visible(folder)
        stray = [entry for entry in entries if not entry.is_dir()]
        if part == "test" and len(stray) == len(entries) > 0:
            raise DataError(
                f"{folder} holds {len(stray)} files directly, not in class folders: {_names(stray)}.",
                remedy=f"Sort them into class folders {folder.name}/<class>/<picture> first, named as those of train; the "
                "validation pictures of ImageNet come unsorted, with their classes in a file of their own.",
            )
        if stray:
            raise DataError(
                f"{folder} holds files outside any class: {_names(stray)}.", remedy=f"Move or remove them. {LAYOUT}"
            )
        found[part] = [entry.name for entry in entries]
    if found["train"] != found["test"]:
        only = {part: sorted(set(found[part]) - set(found[other])) for part, other in (PARTS, PARTS[::-1])}
        described = "; ".join(
            f"only in {folders[part].name}: {', '.join(names[:NUM_NAMED])}" for part, names in only.items() if names
        )
        raise DataError(
            f"The two parts of {path} do not have the same classes ({described}).",
            remedy="Give every class both folders, or neither.",
        )
    if len(found["train"]) < 2:
        raise DataError(f"{path} has {len(found['train'])} class, and needs at least two.", remedy=LAYOUT)
    return tuple(found["train"])


def _listing(part: str, folder: Path, class_names: tuple[str, ...]) -> Listing:
    file_names = []
    for class_name in class_names:
        names = tuple(entry.name for entry in _visible(folder / class_name))
        if not names:
            raise DataError(
                f"The class folder {folder / class_name} is empty.",
                remedy="Put pictures into it, or remove the class from both parts.",
            )
        file_names.append(names)
    return Listing(part=part, folder=folder, class_names=class_names, file_names=tuple(file_names))


def _visible(path: Path) -> list[Path]:
    try:
        return sorted((entry for entry in path.iterdir() if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Make it readable for this user."
        ) from error


def _refuse_strangers(headers: Headers, folder: Path) -> None:
    if strangers := headers.strangers:
        raise DataError(
            f"{len(strangers)} of the entries in {folder} are not pictures that Pillow can read: {_names(strangers)}.",
            remedy="Remove them, or convert them to PNG or JPEG; a class folder holds pictures only.",
        )
    if deep := headers.deep:
        raise DataError(
            f"{len(deep)} of the pictures in {folder} are neither grey nor colour with 8 bits a channel: {_names(deep)}.",
            remedy="Convert them to 8-bit grey or RGB, with the brightness range that you mean.",
        )


def _common_side(sizes: Counter[tuple[int, int]], path: Path) -> int:
    (width, height), _ = sizes.most_common(1)[0]
    if len(sizes) == 1 and width == height:
        return width
    listed = ", ".join(f"{w}x{h} ({count})" for (w, h), count in sizes.most_common(NUM_NAMED))
    more = f" and {len(sizes) - NUM_NAMED} more sizes" if len(sizes) > NUM_NAMED else ""
    raise DataError(
        f"The pictures of {path} are not all squares of one size; they are {listed}{more} (width x height, number).",
        remedy="Set image_size in the profile's [[dataset]] to box-resize them all to that side, for instance image_size = 32.",
    )


def _names(paths: Sequence[Path]) -> str:
    named = ", ".join(str(path) for path in paths[:NUM_NAMED]) or "nothing"
    return named + (f" and {len(paths) - NUM_NAMED} more" if len(paths) > NUM_NAMED else "")
