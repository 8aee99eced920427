"""CIFAR-10 and CIFAR-100 in each of their published layouts: binary, python, PNG folders and parquet (Krizhevsky 2009).

Must not know where files come from or where a pack lies. Read `read_binary` first; the layouts are the constants.

Shape letters: N images, H height, W width, C channels.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.datasets import parquet
from repro.datasets.archives import read_members
from repro.datasets.arrays import ImageArrays, Images, Part
from repro.datasets.class_names import CIFAR10, CIFAR100, OTHER_SPELLINGS
from repro.datasets.encoded import PictureForm, decode_pictures, resize_images
from repro.datasets.pickles import read_pickle
from repro.errors import DataError

SIDE = 32
NUM_PIXEL_BYTES = 3 * SIDE * SIDE
"""Bytes of one image: planes R, G, B, each row by row."""
NUM_SUPERCLASSES = 20
"""Of CIFAR-100."""
PUBLISHER = "www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """A layout of files with many images each."""

    top: str
    """Folder in the archive."""
    train: Mapping[str, str]
    """Files of the training part, in order, with the md5 that is published for each."""
    test: Mapping[str, str]
    """The same of the test part."""
    class_names: tuple[str, ...]
    """Name of class k at place k."""
    num_superclasses: int = 0
    """Binary: classes of the label byte that precedes the class's; 0 for none."""
    label_key: bytes = b""
    """Python: key of the labels in a batch."""
    names: Mapping[str, str] | None = None
    """Python: the file with the class names, and its md5."""
    names_key: bytes = b""
    """Python: key of the class names in that file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFolders:
    """A layout of one folder a class, with one file an image."""

    top: str
    """Folder in the archive."""
    depth: int
    """Folders below a part's: 1 for a class, 2 for a superclass and a class."""
    class_names: tuple[str, ...]
    """Name of class k at place k."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A layout of parquet files."""

    image: str
    """Column with the pictures."""
    label: str
    """Column with the labels."""
    class_names: tuple[str, ...]
    """Name of class k at place k."""


# The md5 of the inner files are those that torchvision's datasets/cifar.py and the mirrors publish.
CIFAR10_BINARY = Batches(
    top="cifar-10-batches-bin",
    train={
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    },
    test={"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
    class_names=CIFAR10,
)
CIFAR100_BINARY = Batches(
    top="cifar-100-binary",
    train={"train.bin": "6172c7755cfe09b2fe270c85cebc1b15"},
    test={"test.bin": "4499cfba6c016c1be1438163640a0898"},
    class_names=CIFAR100,
    num_superclasses=NUM_SUPERCLASSES,
)
CIFAR10_PYTHON = Batches(
    top="cifar-10-batches-py",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    class_names=CIFAR10,
    label_key=b"labels",
    names={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
    names_key=b"label_names",
)
CIFAR100_PYTHON = Batches(
    top="cifar-100-python",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    class_names=CIFAR100,
    label_key=b"fine_labels",
    names={"meta": "7973b15100ade9c7d40fb424638fde48"},
    names_key=b"fine_label_names",
)
CIFAR10_PNG = PictureFolders(top="cifar10", depth=1, class_names=CIFAR10)
CIFAR100_PNG = PictureFolders(top="cifar100", depth=2, class_names=CIFAR100)
CIFAR10_PARQUET = Columns(image="img", label="label", class_names=CIFAR10)
CIFAR100_PARQUET = Columns(image="img", label="fine_label", class_names=CIFAR100)


def read_binary(path: Path, batches: Batches, *, image_size: int | None, official: bool) -> ImageArrays:
    """All images of the binary version, from its archive or the folder that it unpacks to.

    Where `official`, the files of a folder are held to their published md5. Raises DataError for a missing file, other bytes,
    a cut record and a label out of range.
    """
    contents = _read_batches(path, batches, {**batches.train, **batches.test}, official=official)
    parts = [
        [decode_records(contents[name], batches, name=f"{name} in {path}") for name in names]
        for names in (batches.train, batches.test)
    ]
    return _arrays(_joined(parts[0]), _joined(parts[1]), batches.class_names, image_size)


def decode_records(raw: bytes, batches: Batches, *, name: str) -> Part:
    """The records of one binary file: images uint8 (N, H, W, C), labels int64 (N,). Raises DataError for a broken record."""
    num_label_bytes = 2 if batches.num_superclasses else 1
    length = num_label_bytes + NUM_PIXEL_BYTES
    if not raw or len(raw) % length:
        raise DataError(
            f"{name} holds {len(raw)} bytes, which is no multiple of a record's {length}.",
            remedy="Get it again; it was cut off.",
        )
    table = np.frombuffer(raw, np.uint8).reshape(-1, length)
    if batches.num_superclasses:
        _check_labels(table[:, 0], batches.num_superclasses, name=name, what="superclass")
    labels = table[:, num_label_bytes - 1]
    _check_labels(labels, len(batches.class_names), name=name)
    return Part(images=_images(table[:, num_label_bytes:]), labels=labels.astype(np.int64))


def read_python(path: Path, batches: Batches, *, image_size: int | None, official: bool) -> ImageArrays:
    """All images of the python version, from its archive or the folder that it unpacks to; nothing in a pickle is run.

    Where `official`, the files of a folder are held to their published md5. Raises DataError for a missing file, other bytes, a
    pickle of anything but a batch, other class names, and a label out of range.
    """
    assert batches.names is not None
    contents = _read_batches(path, batches, {**batches.train, **batches.test, **batches.names}, official=official)
    for name in batches.names:
        names = read_pickle(contents[name], name=f"{name} in {path}").get(batches.names_key)
        _check_names(names, batches.class_names, name=f"{name} in {path}")
    parts = [
        [_decode_pickle(contents[name], batches, name=f"{name} in {path}") for name in names]
        for names in (batches.train, batches.test)
    ]
    return _arrays(_joined(parts[0]), _joined(parts[1]), batches.class_names, image_size)


def _decode_pickle(raw: bytes, batches: Batches, *, name: str) -> Part:
    entries = read_pickle(raw, name=name)
    rows, labels = entries.get(b"data"), entries.get(batches.label_key)
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != NUM_PIXEL_BYTES or not len(rows):
        found = f"of shape {rows.shape}" if isinstance(rows, np.ndarray) else f"a {type(rows).__name__}"
        raise _wrong(name, f"its data is {found}, not a uint8 array of shape (N, {NUM_PIXEL_BYTES})")
    if not isinstance(labels, list) or len(labels) != len(rows) or any(type(label) is not int for label in labels):
        raise _wrong(name, f"its {batches.label_key.decode()} are not a list of {len(rows)} whole numbers, one an image")
    # Python's numbers have no end, numpy's do.
    if wrong := next((label for label in labels if not 0 <= label < len(batches.class_names)), None):
        raise _wrong(name, f"it holds the label {wrong}; classes go from 0 to {len(batches.class_names) - 1}")
    return Part(images=_images(rows), labels=np.array(labels, dtype=np.int64))


def read_folders(path: Path, folders: PictureFolders, *, image_size: int | None) -> ImageArrays:
    """All images of the PNG version, from its archive or the folder that it unpacks to; other files are passed over.

    Raises DataError for a picture outside a class folder, a class that is none, a picture of another size, and an empty part.
    """
    found = read_members(path, top=folders.top, wanted=_is_picture)
    parts = []
    for part in ("train", "test"):
        names = [name for name in found if name.startswith(f"{part}/")]
        if not names:
            raise DataError(f"{path} holds no PNG picture in {folders.top}/{part}.", remedy=f"Get {folders.top}.tgz again.")
        labels = [_label_of(name, folders, path) for name in names]
        images = decode_pictures([(f"{name} in {path}", found[name]) for name in names], _picture_form(image_size))
        parts.append(Part(images=images, labels=np.array(labels, dtype=np.int64)))
    return ImageArrays(train=parts[0], test=parts[1], class_names=folders.class_names)


def _is_picture(name: str) -> bool:
    part, _, rest = name.partition("/")
    return part in ("train", "test") and rest.lower().endswith(".png") and not rest.rpartition("/")[2].startswith(".")


def _label_of(name: str, folders: PictureFolders, path: Path) -> int:
    classes = name.split("/")[1:-1]
    if len(classes) != folders.depth or classes[-1] not in folders.class_names:
        layout = "train/<superclass>/<class>" if folders.depth == 2 else "train/<class>"
        raise DataError(
            f"{name} in {path} does not lie in {layout} with one of the {len(folders.class_names)} official class names.",
            remedy=f"Get {folders.top}.tgz again. A data set of your own is named in the profile, by the path of its folder.",
        )
    return folders.class_names.index(classes[-1])


def read_parquet(files: Mapping[str, Path], columns: Columns, *, image_size: int | None) -> ImageArrays:
    """All images of the parquet version: a train file, then a test file.

    Raises DataError for a file that is not parquet, lacks a column, names other classes, or has a bad picture or label.
    """
    parts = []
    for path in parquet.train_and_test(files):
        part, names = parquet.read_part(
            path,
            image_column=columns.image,
            label_column=columns.label,
            form=_picture_form(image_size),
            num_classes=len(columns.class_names),
        )
        if names is not None:
            _check_names(list(names), columns.class_names, name=str(path))
        parts.append(part)
    return ImageArrays(train=parts[0], test=parts[1], class_names=columns.class_names)


def _read_batches(path: Path, batches: Batches, md5_by_name: Mapping[str, str], *, official: bool) -> dict[str, bytes]:
    found = read_members(path, top=batches.top, wanted=md5_by_name.__contains__)
    if missing := [name for name in md5_by_name if name not in found]:
        raise DataError(
            f"{path} lacks {', '.join(missing)} of {batches.top}.",
            remedy=f"Get the {batches.top} version of {PUBLISHER} again.",
        )
    # An archive is held to its own digest instead.
    for name, md5 in md5_by_name.items() if official and path.is_dir() else ():
        computed = hashlib.md5(found[name], usedforsecurity=False).hexdigest()
        if computed != md5:
            raise DataError(
                f"{name} in {path} is not the official file: its md5 is {computed}, it should be {md5}.",
                remedy=f"Get the {batches.top} version of {PUBLISHER} again.",
            )
    return found


def _images(rows: npt.NDArray[np.uint8]) -> Images:
    """Images (N, H, W, C) from rows of planes, (N, 3072)."""
    return np.ascontiguousarray(rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def _joined(parts: list[Part]) -> Part:
    return Part(images=np.concatenate([part.images for part in parts]), labels=np.concatenate([part.labels for part in parts]))


def _arrays(train: Part, test: Part, names: tuple[str, ...], image_size: int | None) -> ImageArrays:
    resized = [Part(images=resize_images(part.images, image_size), labels=part.labels) for part in (train, test)]
    return ImageArrays(train=resized[0], test=resized[1], class_names=names)


def _picture_form(image_size: int | None) -> PictureForm:
    return PictureForm(side=SIDE, modes=frozenset({"RGB"}), image_size=image_size)


def _check_labels(labels: npt.NDArray[np.uint8], num_classes: int, *, name: str, what: str = "class") -> None:
    bad = np.flatnonzero(labels >= num_classes)
    if len(bad):
        raise _wrong(name, f"record {bad[0]} has {what} {labels[bad[0]]}; the last is {num_classes - 1}")


def _check_names(names: object, class_names: tuple[str, ...], *, name: str) -> None:
    if not isinstance(names, list):
        raise _wrong(name, "it does not list the class names")
    texts = [text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in names]
    texts = [OTHER_SPELLINGS.get(text, text) for text in texts]
    if len(texts) != len(class_names):
        raise _wrong(name, f"it names {len(texts)} classes, not {len(class_names)}")
    for place, (found, expected) in enumerate(zip(texts, class_names, strict=True)):
        if found != expected:
            raise _wrong(name, f"it names class {place} {found[:80]!r}, not {expected!r}")


def _wrong(name: str, what: str) -> DataError:
    return DataError(f"{name} is not as published: {what}.", remedy="Get the file again from its official source.")
