"""Every published format of the same images gives the same images, whatever their order, and nothing else is taken."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_files import FILE_NAMES, WNIDS, members_of, random_part, shuffled, write_distribution, write_tree

from repro.datasets import cifar
from repro.datasets.arrays import Part, content_sha256
from repro.datasets.class_names import CIFAR10, CIFAR100
from repro.datasets.formats import read_files
from repro.errors import DataError
from repro.spec.distributions import DataFormat

CIFAR_FORMATS = [one for one in DataFormat if one.value.startswith("cifar")]
ARCHIVES = [one for one in DataFormat if not one.value.endswith("parquet")]


def parts_for(data_format: DataFormat) -> tuple[Part, Part]:
    if data_format.value.startswith("tiny"):
        return random_part(12, 1, num_classes=4, side=64), random_part(8, 2, num_classes=4, side=64)
    num_classes = 100 if data_format.value.startswith("cifar100") else 10
    return random_part(210, 1, num_classes=num_classes), random_part(110, 2, num_classes=num_classes)


def test_every_format_has_a_writer_and_a_reader() -> None:
    assert set(FILE_NAMES) == set(DataFormat)


@pytest.mark.parametrize("data_format", CIFAR_FORMATS)
def test_a_cifar_format_gives_the_same_images_in_any_order(tmp_path: Path, data_format: DataFormat) -> None:
    train, test = parts_for(data_format)
    expected = content_sha256(train, test)
    for seed in (1, 2):
        files = write_distribution(data_format, tmp_path / str(seed), shuffled(train, seed), shuffled(test, seed))
        arrays = read_files(data_format, files, image_size=None, official=False)
        assert content_sha256(arrays.train, arrays.test) == expected
        assert arrays.class_names == (CIFAR100 if "100" in data_format.value else CIFAR10)
        assert arrays.train.images.dtype == np.uint8
        assert arrays.train.labels.dtype == np.int64


def test_both_tiny_imagenet_formats_give_the_same_images(tmp_path: Path) -> None:
    digests = set()
    for data_format in (DataFormat.TINY_IMAGENET_ZIP, DataFormat.TINY_IMAGENET_PARQUET):
        files = write_distribution(data_format, tmp_path, *parts_for(data_format))
        arrays = read_files(data_format, files, image_size=None, official=True)
        assert arrays.class_names == WNIDS
        digests.add(content_sha256(arrays.train, arrays.test))
    assert len(digests) == 1


@pytest.mark.parametrize("data_format", ARCHIVES)
@pytest.mark.parametrize("bare", [True, False])
def test_an_unpacked_folder_is_as_good_as_its_archive(tmp_path: Path, data_format: DataFormat, bare: bool) -> None:
    train, test = parts_for(data_format)
    files = write_distribution(data_format, tmp_path / "archive", train, test)
    expected = read_files(data_format, files, image_size=None, official=False)
    members = members_of(data_format, train, test)
    folder = write_tree(tmp_path / "folder", members)
    if bare:
        folder /= next(iter(members)).partition("/")[0]
    arrays = read_files(data_format, dict.fromkeys(files, folder), image_size=None, official=False)
    for read, wanted in ((arrays.train, expected.train), (arrays.test, expected.test)):
        assert np.array_equal(read.images, wanted.images)
        assert np.array_equal(read.labels, wanted.labels)


@pytest.mark.parametrize("data_format", list(DataFormat))
def test_images_are_resized_to_the_mean_of_each_block(tmp_path: Path, data_format: DataFormat) -> None:
    files = write_distribution(data_format, tmp_path, *parts_for(data_format))
    whole = read_files(data_format, files, image_size=None, official=False).train.images
    half = read_files(data_format, files, image_size=whole.shape[1] // 2, official=False).train.images
    num_images, side = whole.shape[:2]
    sums = whole.astype(np.int64).reshape(num_images, side // 2, 2, side // 2, 2, 3).sum(axis=(2, 4))
    assert np.array_equal(half, (sums + 2) // 4)


@pytest.mark.parametrize("data_format", [DataFormat.CIFAR10_BINARY, DataFormat.CIFAR100_PYTHON])
def test_only_an_official_folder_is_held_to_published_digests(tmp_path: Path, data_format: DataFormat) -> None:
    train, test = parts_for(data_format)
    files = write_distribution(data_format, tmp_path / "archive", train, test)
    read_files(data_format, files, image_size=None, official=True)
    folder = write_tree(tmp_path / "folder", members_of(data_format, train, test))
    with pytest.raises(DataError, match=r"is not the official file: its md5 is [0-9a-f]{32}, it should be [0-9a-f]{32}"):
        read_files(data_format, dict.fromkeys(files, folder), image_size=None, official=True)


def test_an_official_folder_with_the_official_bytes_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    members = members_of(DataFormat.CIFAR100_BINARY, *parts_for(DataFormat.CIFAR100_BINARY))
    md5 = {name.rpartition("/")[2]: hashlib.md5(raw).hexdigest() for name, raw in members.items()}
    layout = cifar.CIFAR100_BINARY
    train, test = ({name: md5[name] for name in names} for names in (layout.train, layout.test))
    monkeypatch.setattr(cifar, "CIFAR100_BINARY", replace(layout, train=train, test=test))
    files = {"cifar-100-binary.tar.gz": write_tree(tmp_path, members)}
    arrays = read_files(DataFormat.CIFAR100_BINARY, files, image_size=None, official=True)
    assert len(arrays.train.labels) == 210


@pytest.mark.parametrize("data_format", ARCHIVES)
def test_two_files_are_not_one_archive(tmp_path: Path, data_format: DataFormat) -> None:
    with pytest.raises(DataError, match="is one archive; the distribution has 2 files"):
        read_files(data_format, {"a": tmp_path, "b": tmp_path}, image_size=None, official=False)


@pytest.mark.parametrize("data_format", list(DataFormat))
def test_a_missing_file_and_a_web_page_are_told(tmp_path: Path, data_format: DataFormat) -> None:
    files = {name: tmp_path / name for name in FILE_NAMES[data_format]}
    with pytest.raises(DataError, match=r"no file|cannot be read"):
        read_files(data_format, files, image_size=None, official=False)
    for path in files.values():
        path.write_text("<!DOCTYPE html><title>Moved</title>")
    with pytest.raises(DataError, match="cannot be read"):
        read_files(data_format, files, image_size=None, official=False)


@pytest.mark.parametrize("data_format", list(DataFormat))
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.98])
def test_a_file_that_was_cut_off_is_told(tmp_path: Path, data_format: DataFormat, kept: float) -> None:
    files = write_distribution(data_format, tmp_path, *parts_for(data_format))
    path = next(iter(files.values()))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(kept * len(raw))])
    with pytest.raises(DataError, match="cannot be read"):
        read_files(data_format, files, image_size=None, official=False)
