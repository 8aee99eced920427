"""Each CIFAR layout is decoded rightly, and what does not fit it is refused by its name."""

import hashlib
import lzma
from pathlib import Path

import numpy as np
import pytest
from data_files import (
    SUPERCLASS_OF,
    SUPERCLASSES,
    cifar10_records,
    cifar100_records,
    members_of,
    planes,
    png,
    python2_pickle,
    random_part,
    write_tar_gz,
)

from repro.datasets import cifar
from repro.datasets.arrays import ImageArrays, Part, part_sha256
from repro.datasets.class_names import CIFAR10, CIFAR100
from repro.datasets.formats import read_files
from repro.errors import DataError
from repro.spec.distributions import DataFormat

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10"
TRAIN_SHA256 = "d59acf989e068e709ce686cda292672c7b212c08d29d3d3e6d8c3aa99eba6a85"
"""Of the 50,000 official training images of CIFAR-10, as shared/reference/sources.md defines it."""


def read(tmp_path: Path, data_format: DataFormat, changed: dict[str, bytes | None]) -> ImageArrays:
    """Read an archive of which some members are others, or None and not there."""
    num_classes = 100 if data_format.value.startswith("cifar100") else 10
    parts = random_part(20, 1, num_classes=num_classes), random_part(10, 2, num_classes=num_classes)
    members = members_of(data_format, *parts) | changed
    write_tar_gz(tmp_path / "archive", {name: raw for name, raw in members.items() if raw is not None})
    return read_files(data_format, {"archive": tmp_path / "archive"}, image_size=None, official=False)


def test_class_names_are_complete_and_in_order() -> None:
    assert (len(CIFAR10), len(set(CIFAR100))) == (10, 100)
    assert list(CIFAR10) == sorted(CIFAR10)
    assert list(CIFAR100) == sorted(CIFAR100)
    assert len(SUPERCLASSES) == 20
    assert sorted(SUPERCLASS_OF) == list(CIFAR100), "the twenty published superclasses hold the same hundred names"
    # Labels that the data set's card shows.
    shown = {
        19: "cattle",
        29: "dinosaur",
        11: "boy",
        86: "telephone",
        90: "train",
        39: "keyboard",
        96: "willow_tree",
        71: "sea",
    }
    assert {label: CIFAR100[label] for label in shown} == shown


def test_planes_become_rows_of_pixels() -> None:
    red_then_green = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes(range(256)) * 4
    part = cifar.decode_records(red_then_green, cifar.CIFAR10_BINARY, name="x")
    assert part.labels.tolist() == [7]
    assert part.images[0, 0, :3].tolist() == [[1, 2, 0], [1, 2, 1], [1, 2, 2]]
    assert part.images[0, 1, 0].tolist() == [1, 2, 32]


def test_the_fine_label_counts() -> None:
    part = random_part(100, 1, num_classes=100)
    decoded = cifar.decode_records(cifar100_records(part), cifar.CIFAR100_BINARY, name="x")
    assert np.array_equal(decoded.labels, part.labels)
    assert np.array_equal(decoded.images, part.images)


@pytest.mark.parametrize(
    ("data_format", "name", "raw", "told"),
    [
        (DataFormat.CIFAR10_BINARY, "cifar-10-batches-bin/data_batch_3.bin", bytes(5000), "no multiple of a record's 3073"),
        (DataFormat.CIFAR10_BINARY, "cifar-10-batches-bin/data_batch_3.bin", b"", "holds 0 bytes"),
        (
            DataFormat.CIFAR10_BINARY,
            "cifar-10-batches-bin/test_batch.bin",
            b"\x0a" * 3073,
            "record 0 has class 10; the last is 9",
        ),
        (DataFormat.CIFAR100_BINARY, "cifar-100-binary/train.bin", bytes(3073), "no multiple of a record's 3074"),
        (DataFormat.CIFAR100_BINARY, "cifar-100-binary/test.bin", b"\x14" * 3074, "record 0 has superclass 20; the last is 19"),
        (DataFormat.CIFAR100_BINARY, "cifar-100-binary/test.bin", b"\x13\x64" * 1537, "record 0 has class 100; the last is 99"),
    ],
)
def test_a_bad_record_is_refused(tmp_path: Path, data_format: DataFormat, name: str, raw: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        read(tmp_path, data_format, {name: raw})
    assert name.rpartition("/")[2] in caught.value.message


@pytest.mark.parametrize(
    ("data_format", "name"),
    [
        (DataFormat.CIFAR10_BINARY, "cifar-10-batches-bin/data_batch_4.bin"),
        (DataFormat.CIFAR10_PYTHON, "cifar-10-batches-py/test_batch"),
        (DataFormat.CIFAR10_PYTHON, "cifar-10-batches-py/batches.meta"),
        (DataFormat.CIFAR100_BINARY, "cifar-100-binary/test.bin"),
        (DataFormat.CIFAR100_PYTHON, "cifar-100-python/train"),
        (DataFormat.CIFAR100_PYTHON, "cifar-100-python/meta"),
    ],
)
def test_a_missing_member_is_named(tmp_path: Path, data_format: DataFormat, name: str) -> None:
    with pytest.raises(DataError, match=f"lacks {name.rpartition('/')[2]} of {name.partition('/')[0]}"):
        read(tmp_path, data_format, {name: None})


ROWS = planes(random_part(3, 5, num_classes=10))


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"labels": [1, 2, 3]}, "its data is a NoneType, not a uint8 array"),
        ({"data": [1, 2, 3], "labels": [1, 2, 3]}, "its data is a list"),
        ({"data": ROWS[:, :3000], "labels": [1, 2, 3]}, r"its data is of shape \(3, 3000\)"),
        ({"data": ROWS.reshape(3, 3, 1024), "labels": [1, 2, 3]}, r"its data is of shape \(3, 3, 1024\)"),
        ({"data": ROWS[:0], "labels": []}, r"its data is of shape \(0, 3072\)"),
        ({"data": ROWS}, "its labels are not a list of 3 whole numbers"),
        ({"data": ROWS, "labels": [1, 2]}, "its labels are not a list of 3 whole numbers"),
        ({"data": ROWS, "labels": [1, "2", 3]}, "its labels are not a list of 3 whole numbers"),
        ({"data": ROWS, "labels": [1, 2, 10]}, "it holds the label 10; classes go from 0 to 9"),
        ({"data": ROWS, "labels": [1, 2, -1]}, "it holds the label -1"),
    ],
)
def test_a_bad_batch_is_refused(tmp_path: Path, entries: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=rf"data_batch_2 in .*: {told}"):
        read(tmp_path, DataFormat.CIFAR10_PYTHON, {"cifar-10-batches-py/data_batch_2": python2_pickle(entries)})


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ({}, "does not list the class names"),
        ({"label_names": list(CIFAR10[:9])}, "names 9 classes, not 10"),
        ({"label_names": [*CIFAR10[:8], "truck", "ship"]}, "names class 8 'truck', not 'ship'"),
    ],
)
def test_other_class_names_are_refused(tmp_path: Path, meta: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=rf"batches\.meta in .*: it {told}"):
        read(tmp_path, DataFormat.CIFAR10_PYTHON, {"cifar-10-batches-py/batches.meta": python2_pickle(meta)})


PNG = png(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("data_format", "name", "raw", "told"),
    [
        (
            DataFormat.CIFAR10_PNG,
            "cifar10/train/unicorn/1.png",
            PNG,
            "does not lie in train/<class> with one of the 10 official",
        ),
        (DataFormat.CIFAR10_PNG, "cifar10/train/1.png", PNG, "train/1.png in .* does not lie in train/<class>"),
        (DataFormat.CIFAR10_PNG, "cifar10/test/cat/a/1.png", PNG, "does not lie in train/<class>"),
        (DataFormat.CIFAR100_PNG, "cifar100/test/apple/1.png", PNG, "does not lie in train/<superclass>/<class>"),
        (DataFormat.CIFAR10_PNG, "cifar10/test/cat/1.png", PNG[:50], r"test/cat/1\.png in .* cannot be decoded"),
        (DataFormat.CIFAR10_PNG, "cifar10/test/cat/1.png", png(np.zeros((9, 9, 3), np.uint8)), "is a picture of 9x9 pixels"),
    ],
)
def test_a_bad_picture_is_named(tmp_path: Path, data_format: DataFormat, name: str, raw: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(tmp_path, data_format, {name: raw})


def test_pictures_of_the_system_and_other_files_are_passed_over(tmp_path: Path) -> None:
    changed = {"cifar10/train/cat/._1.png": b"", "cifar10/train/cat/list.txt": b"", "cifar10/models/1.png": b""}
    assert len(read(tmp_path, DataFormat.CIFAR10_PNG, changed).train.labels) == 20


def test_a_part_without_pictures_is_told(tmp_path: Path) -> None:
    write_tar_gz(tmp_path / "archive", {"cifar10/train/cat/1.png": PNG})
    with pytest.raises(DataError, match=r"holds no PNG picture in cifar10/test"):
        cifar.read_folders(tmp_path / "archive", cifar.CIFAR10_PNG, image_size=None)


@pytest.mark.parametrize(("num_classes", "width"), [(10, 1), (256, 1), (257, 2)])
def test_the_digest_of_a_part_follows_its_written_definition(num_classes: int, width: int) -> None:
    part = random_part(300, 1, num_classes=num_classes, side=2)
    each = [
        hashlib.sha256(int(label).to_bytes(width, "little") + image.tobytes()).digest()
        for label, image in zip(part.labels, part.images, strict=True)
    ]
    expected = hashlib.sha256(b"".join(sorted(each))).hexdigest()
    assert part_sha256(part) == expected
    assert part_sha256(Part(images=part.images[::-1], labels=part.labels[::-1])) == expected
    assert part_sha256(Part(images=part.images[:0], labels=part.labels[:0])) == hashlib.sha256(b"").hexdigest()


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the official training batches do not lie beside this checkout")
def test_the_official_training_images_have_the_known_digest(tmp_path: Path) -> None:
    members = {}
    for name, md5 in cifar.CIFAR10_BINARY.train.items():
        raw = lzma.decompress((SHARED / f"{name}.xz").read_bytes())
        assert hashlib.md5(raw).hexdigest() == md5
        members[f"cifar-10-batches-bin/{name}"] = raw
    members["cifar-10-batches-bin/test_batch.bin"] = cifar10_records(random_part(10, 1, num_classes=10))
    write_tar_gz(tmp_path / "archive", members)
    arrays = cifar.read_binary(tmp_path / "archive", cifar.CIFAR10_BINARY, image_size=None, official=True)
    assert arrays.train.images.shape == (50_000, 32, 32, 3)
    assert arrays.train.images.mean(axis=(0, 1, 2)) / 255 == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-6)
    assert part_sha256(arrays.train) == TRAIN_SHA256
