"""Tiny ImageNet's classes are numbered by sorted wnid, its validation part is the test part, and nothing may be missing."""

import io
from pathlib import Path

import numpy as np
import pytest
from data_files import WNIDS, jpeg, members_of, random_part, tiny_imagenet_members, write_distribution, write_parquet, write_zip
from PIL import Image

from repro.datasets import tinyimagenet
from repro.datasets.arrays import ImageArrays, Part
from repro.errors import DataError
from repro.spec.distributions import DataFormat

TOP = "tiny-imagenet-200"
TRAIN, TEST = random_part(12, 1, num_classes=4, side=64), random_part(6, 2, num_classes=4, side=64)


def read_members(tmp_path: Path, members: dict[str, bytes]) -> ImageArrays:
    write_zip(tmp_path / "tiny.zip", members)
    return tinyimagenet.read_zip(tmp_path / "tiny.zip", image_size=None)


def decoded(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg(image))).convert("RGB"))


def test_labels_follow_the_sorted_wnids_and_validation_is_the_test_part(tmp_path: Path) -> None:
    arrays = read_members(tmp_path, tiny_imagenet_members(TRAIN, TEST))
    assert arrays.class_names == WNIDS
    assert np.array_equal(arrays.test.labels, TEST.labels)
    assert np.array_equal(arrays.test.images, np.stack([decoded(image) for image in TEST.images]))
    assert np.array_equal(np.bincount(arrays.train.labels), [3, 3, 3, 3])


def test_grey_pictures_become_rgb(tmp_path: Path) -> None:
    images = TRAIN.images.copy()
    images[3] = images[3, ..., :1]
    arrays = read_members(tmp_path, tiny_imagenet_members(Part(images=images, labels=TRAIN.labels), TEST))
    grey = [image for image in arrays.train.images if (image == image[..., :1]).all()]
    assert len(grey) == 1
    assert np.array_equal(grey[0], decoded(images[3]))


def without(name: str) -> dict[str, bytes]:
    return {key: raw for key, raw in tiny_imagenet_members(TRAIN, TEST).items() if not key.startswith(f"{TOP}/{name}")}


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (without("wnids.txt"), "lacks wnids.txt"),
        (without("val/val_annotations.txt"), "lacks val/val_annotations.txt"),
        (without(f"train/{WNIDS[2]}"), f"class {WNIDS[2]} is either not listed in wnids.txt or has no training picture"),
        (without("val/images/val_2."), r"validation picture val/images/val_2\.JPEG is missing"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, members: dict[str, bytes], told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_members(tmp_path, members)


@pytest.mark.parametrize(
    ("name", "raw", "told"),
    [
        ("wnids.txt", b"n01443537\nn01443537\n", "does not list distinct wnids"),
        ("wnids.txt", b"goldfish\n", "does not list distinct wnids"),
        ("wnids.txt", "\n".join(WNIDS[:3]).encode(), f"class {WNIDS[3]} is either not listed"),
        ("val/val_annotations.txt", b"", "is empty"),
        ("val/val_annotations.txt", b"val_0.JPEG n01443537\n", "Line 1 of val/val_annotations.txt"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn01443537\nval_0.JPEG\tn01443537\n", "Line 2 of"),
        ("val/val_annotations.txt", "".join(f"val_{n}.JPEG\tn09999999\n" for n in range(6)).encode(), "no listed class"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn01443537\n", r"picture val/images/val_1\.JPEG is missing, or"),
        ("val/images/val_0.JPEG", b"nothing", r"val/images/val_0\.JPEG in .* cannot be decoded"),
        ("val/images/val_0.JPEG", jpeg(np.zeros((32, 32, 3), np.uint8)), "is a picture of 32x32 pixels in mode L, not 64x64"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, raw: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_members(tmp_path, tiny_imagenet_members(TRAIN, TEST) | {f"{TOP}/{name}": raw})


def test_parquet_labels_are_brought_to_the_sorted_order(tmp_path: Path) -> None:
    files = write_distribution(DataFormat.TINY_IMAGENET_PARQUET, tmp_path, TRAIN, TEST)
    for path, part in zip(files.values(), (TRAIN, TEST), strict=True):
        backwards = Part(images=part.images, labels=3 - part.labels)
        write_parquet(path, backwards, DataFormat.TINY_IMAGENET_PARQUET, class_names=WNIDS[::-1])
    arrays = tinyimagenet.read_parquet(files, image_size=None)
    assert arrays.class_names == WNIDS
    assert np.array_equal(arrays.train.labels, TRAIN.labels)
    assert np.array_equal(arrays.test.labels, TEST.labels)


def test_parquet_without_names_keeps_its_numbers(tmp_path: Path) -> None:
    files = write_distribution(DataFormat.TINY_IMAGENET_PARQUET, tmp_path, TRAIN, TEST)
    train, test = files.values()
    for path, part in ((train, TRAIN), (test, TEST)):
        write_parquet(path, part, DataFormat.TINY_IMAGENET_PARQUET, with_names=False)
    arrays = tinyimagenet.read_parquet(files, image_size=32)
    assert arrays.class_names == ("0", "1", "2", "3")
    assert arrays.train.images.shape == (12, 32, 32, 3)
    with_gap = Part(images=TRAIN.images, labels=TRAIN.labels * 2)
    write_parquet(train, with_gap, DataFormat.TINY_IMAGENET_PARQUET, with_names=False)
    with pytest.raises(DataError, match="number their classes with gaps"):
        tinyimagenet.read_parquet(files, image_size=None)


def test_parquet_files_must_name_the_same_wnids(tmp_path: Path) -> None:
    files = write_distribution(DataFormat.TINY_IMAGENET_PARQUET, tmp_path, TRAIN, TEST)
    test = list(files.values())[1]
    write_parquet(test, TEST, DataFormat.TINY_IMAGENET_PARQUET, class_names=WNIDS[::-1])
    with pytest.raises(DataError, match="do not name the same classes"):
        tinyimagenet.read_parquet(files, image_size=None)
    for names in (("goldfish", *WNIDS[1:]), (WNIDS[1], *WNIDS[1:])):
        write_parquet(test, TEST, DataFormat.TINY_IMAGENET_PARQUET, class_names=names)
        with pytest.raises(DataError, match="names classes that are not distinct wnids"):
            tinyimagenet.read_parquet(files, image_size=None)
    write_parquet(test, random_part(5, 1, num_classes=5, side=64), DataFormat.TINY_IMAGENET_PARQUET)
    with pytest.raises(DataError, match=r"Row 4 of .* has label 4; classes go from 0 to 3"):
        tinyimagenet.read_parquet(files, image_size=None)


def test_the_official_test_part_and_boxes_are_passed_over() -> None:
    names = {name.removeprefix(f"{TOP}/") for name in members_of(DataFormat.TINY_IMAGENET_ZIP, TRAIN, TEST)}
    passed_over = {name for name in names if not tinyimagenet._is_wanted(name)}
    assert passed_over == {"words.txt", "test/images/test_0.JPEG", *(f"train/{wnid}/{wnid}_boxes.txt" for wnid in WNIDS)}
