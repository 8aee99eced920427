"""Tiny ImageNet from its official .zip and from parquet: 64x64 JPEG pictures, a few of them grey.

A class is known by its WordNet id (wnid); classes are numbered in the order of the sorted wnids. The validation part, whose
labels are published, serves as the test part. Must not know where files come from. Read `read_zip` first.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from repro.datasets import parquet
from repro.datasets.archives import read_members
from repro.datasets.arrays import ImageArrays, Part
from repro.datasets.encoded import PictureForm, decode_pictures
from repro.errors import DataError

TOP = "tiny-imagenet-200"
SIDE = 64
MODES = frozenset({"RGB", "L", "CMYK"})
"""All that a JPEG can be in Pillow."""
CLASS_LIST = "wnids.txt"
ANNOTATIONS = "val/val_annotations.txt"
WNID = re.compile("n[0-9]{8}")
IMAGE_COLUMN, LABEL_COLUMN = "image", "label"
AGAIN = "Get tiny-imagenet-200.zip again from its official source, and check its digest."


def read_zip(path: Path, *, image_size: int | None) -> ImageArrays:
    """All images of the training and the validation part, from the archive or the folder that it unpacks to.

    Raises DataError for a missing list, a class that is not listed or has no training image, a validation picture without a
    label or the other way round, and a bad picture.
    """
    found = read_members(path, top=TOP, wanted=_is_wanted)
    for name in (CLASS_LIST, ANNOTATIONS):
        if name not in found:
            raise DataError(f"{path} lacks {name} of {TOP}.", remedy=AGAIN)
    wnids = _wnids(found[CLASS_LIST], path)
    train = {name: name.split("/")[1] for name in found if name.startswith("train/")}
    if strangers := sorted(set(train.values()) ^ set(wnids)):
        raise DataError(
            f"In {path} the class {strangers[0]} is either not listed in {CLASS_LIST} or has no training picture.", remedy=AGAIN
        )
    test = _annotations(found[ANNOTATIONS], path)
    pictures = {name for name in found if name.startswith("val/images/")}
    if strangers := sorted(pictures ^ set(test)) or sorted(name for name in test if test[name] not in wnids):
        raise DataError(
            f"In {path} the validation picture {strangers[0]} is missing, or {ANNOTATIONS} gives it no listed class.",
            remedy=AGAIN,
        )
    return ImageArrays(
        train=_part(train, found, wnids, path, image_size),
        test=_part(test, found, wnids, path, image_size),
        class_names=wnids,
    )


def read_parquet(files: Mapping[str, Path], *, image_size: int | None) -> ImageArrays:
    """All images of the parquet version: a train file, then a valid file.

    Where the files name their classes, labels are brought to the order of the sorted wnids. Raises DataError for a file that is
    not parquet, lacks a column, names classes by anything but wnids, or has a bad picture or label.
    """
    parts, named = [], []
    for path in parquet.train_and_test(files):
        part, names = parquet.read_part(
            path, image_column=IMAGE_COLUMN, label_column=LABEL_COLUMN, form=_form(image_size), num_classes=None
        )
        if names is not None and (len(set(names)) < len(names) or not all(map(WNID.fullmatch, names))):
            raise DataError(f"{path} names classes that are not distinct wnids such as n01443537.", remedy=parquet.AGAIN)
        parts.append(part)
        named.append(names)
    if named[0] != named[1]:
        raise DataError(f"{' and '.join(map(str, files.values()))} do not name the same classes.", remedy=parquet.AGAIN)
    if named[0] is None:
        return _unnamed(parts[0], parts[1], files)
    wnids = tuple(sorted(named[0]))
    rank = np.array([wnids.index(name) for name in named[0]], dtype=np.int64)
    train, test = (Part(images=part.images, labels=rank[part.labels]) for part in parts)
    return ImageArrays(train=train, test=test, class_names=wnids)


def _unnamed(train: Part, test: Part, files: Mapping[str, Path]) -> ImageArrays:
    """The parts as they are numbered."""
    num_classes = int(train.labels.max()) + 1
    if len(np.unique(train.labels)) != num_classes or int(test.labels.max()) >= num_classes:
        raise DataError(
            f"{' and '.join(map(str, files.values()))} number their classes with gaps, or test on one that is not trained on.",
            remedy=parquet.AGAIN,
        )
    return ImageArrays(train=train, test=test, class_names=tuple(str(label) for label in range(num_classes)))


def _is_wanted(name: str) -> bool:
    if name in (CLASS_LIST, ANNOTATIONS):
        return True
    match name.split("/"):
        case ["train", _, "images", file] | ["val", "images", file]:
            return file.lower().endswith((".jpeg", ".jpg")) and not file.startswith(".")
        case _:
            return False


def _wnids(raw: bytes, path: Path) -> tuple[str, ...]:
    wnids = raw.decode("ascii", errors="replace").split()
    if not wnids or len(set(wnids)) < len(wnids) or not all(map(WNID.fullmatch, wnids)):
        raise DataError(f"{CLASS_LIST} in {path} does not list distinct wnids such as n01443537.", remedy=AGAIN)
    return tuple(sorted(wnids))


def _annotations(raw: bytes, path: Path) -> dict[str, str]:
    """Wnid of each validation picture; a line is its file's name, the wnid and a box, between tabs."""
    wnid_of: dict[str, str] = {}
    for number, line in enumerate(raw.decode("utf-8", errors="replace").splitlines(), start=1):
        match line.split("\t"):
            case [file, wnid, *_] if file and f"val/images/{file}" not in wnid_of:
                wnid_of[f"val/images/{file}"] = wnid
            case _:
                raise DataError(
                    f"Line {number} of {ANNOTATIONS} in {path} is not a new file's name, a tab and a class: {line[:80]!r}.",
                    remedy=AGAIN,
                )
    if not wnid_of:
        raise DataError(f"{ANNOTATIONS} in {path} is empty.", remedy=AGAIN)
    return wnid_of


def _part(
    wnid_of: Mapping[str, str], found: Mapping[str, bytes], wnids: tuple[str, ...], path: Path, image_size: int | None
) -> Part:
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    images = decode_pictures([(f"{name} in {path}", found[name]) for name in wnid_of], _form(image_size))
    return Part(images=images, labels=np.array([label_of[wnid] for wnid in wnid_of.values()], dtype=np.int64))


def _form(image_size: int | None) -> PictureForm:
    return PictureForm(side=SIDE, modes=MODES, image_size=image_size)
