"""Parquet files are read row group by row group; what they name, declare and hold must fit."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from data_files import png, random_part, write_distribution, write_parquet

from repro.datasets import cifar, parquet
from repro.datasets.class_names import CIFAR10
from repro.datasets.encoded import PictureForm
from repro.errors import DataError
from repro.spec.distributions import DataFormat

FORM = PictureForm(side=32, modes=frozenset({"RGB"}), image_size=None)
PICTURE = png(random_part(1, 1, num_classes=2).images[0])


def read(path: Path, num_classes: int | None = 10) -> object:
    return parquet.read_part(path, image_column="img", label_column="label", form=FORM, num_classes=num_classes)


def write_table(path: Path, pictures: list[bytes | None], labels: list[int | None], note: bytes | None = None) -> Path:
    images = [None if raw is None else {"bytes": raw, "path": "x.png"} for raw in pictures]
    picture_type = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table({"img": pyarrow.array(images, picture_type), "label": pyarrow.array(labels, pyarrow.int64())})
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": note} if note else None), path, row_group_size=2)
    return path


def test_rows_keep_their_order_over_row_groups_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 7)
    part = random_part(50, 1, num_classes=10)
    write_parquet(tmp_path / "x", part, DataFormat.CIFAR10_PARQUET, row_group_size=9)
    read_back, names = read(tmp_path / "x")
    assert np.array_equal(read_back.images, part.images)
    assert np.array_equal(read_back.labels, part.labels)
    assert names == CIFAR10


def test_without_a_note_labels_are_trusted(tmp_path: Path) -> None:
    part = random_part(20, 1, num_classes=10)
    files = {name: tmp_path / name for name in ("train-0.parquet", "test-0.parquet")}
    for path in files.values():
        write_parquet(path, part, DataFormat.CIFAR10_PARQUET, with_names=False)
    assert np.array_equal(cifar.read_parquet(files, cifar.CIFAR10_PARQUET, image_size=None).test.labels, part.labels)


@pytest.mark.parametrize("note", [{}, {"info": {}}, {"info": {"features": {"label": {"dtype": "int64"}}}}, []])
def test_a_note_without_names_says_nothing(tmp_path: Path, note: object) -> None:
    path = write_table(tmp_path / "x", [PICTURE], [3], json.dumps(note).encode())
    assert read(path)[1] is None


def test_a_note_that_is_not_json_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not JSON"):
        read(write_table(tmp_path / "x", [PICTURE], [3], b"{"))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (CIFAR10[::-1], "names class 0 'truck', not 'airplane'"),
        (CIFAR10[:9], "names 9 classes, not 10"),
        ((*CIFAR10, "extra"), "names 11 classes, not 10"),
    ],
)
def test_other_class_names_are_refused(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    files = write_distribution(DataFormat.CIFAR10_PARQUET, tmp_path, *[random_part(20, 1, num_classes=9)] * 2)
    path = list(files.values())[1]
    write_parquet(path, random_part(20, 1, num_classes=9), DataFormat.CIFAR10_PARQUET, class_names=names)
    with pytest.raises(DataError, match=told) as caught:
        cifar.read_parquet(files, cifar.CIFAR10_PARQUET, image_size=None)
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("pictures", "labels", "told"),
    [
        ([PICTURE] * 4, [1, 2, 3, 10], "Row 3 of .* has label 10; classes go from 0 to 9"),
        ([PICTURE] * 4, [1, -1, 3, 10], "Row 1 of .* has label -1"),
        ([PICTURE] * 4, [1, 2, None, 3], "Row 2 of .* has no label"),
        ([PICTURE] * 3 + [None], [1, 2, 3, 4], "Row 3 of .* has no picture"),
        ([PICTURE] * 2 + [b"nothing"], [1, 2, 3], "Row 2 of .* cannot be decoded"),
        ([PICTURE] * 2 + [png(np.zeros((8, 8, 3), np.uint8))], [1, 2, 3], "Row 2 of .* is a picture of 8x8 pixels"),
        ([PICTURE] * 2 + [png(np.zeros((32, 32), np.uint8))], [1, 2, 3], "Row 2 of .* in mode L, not 32x32 in RGB"),
        ([], [], "declares 0 rows"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, pictures: list[bytes | None], labels: list[int | None], told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(write_table(tmp_path / "x", pictures, labels))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"label": pyarrow.array([1])}, "has no column 'img'"),
        ({"img": pyarrow.array([{"bytes": b""}])}, "has no column 'label'"),
        ({"img": pyarrow.array([b""]), "label": pyarrow.array([1])}, "'img' of .* is binary, not a struct"),
        ({"img": pyarrow.array([{"bytes": "text"}]), "label": pyarrow.array([1])}, "not a struct with binary `bytes`"),
        ({"img": pyarrow.array([{"bytes": b""}]), "label": pyarrow.array([1.0])}, "'label' of .* is double"),
    ],
)
def test_other_columns_are_told(tmp_path: Path, columns: dict[str, object], told: str) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "x")
    with pytest.raises(DataError, match=told):
        read(tmp_path / "x")


@pytest.mark.parametrize("limit", ["MAX_ROWS", "MAX_UNPACKED_BYTES"])
def test_a_file_that_declares_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(parquet, limit, 1)
    with pytest.raises(DataError, match="declares 2 rows"):
        read(write_table(tmp_path / "x", [PICTURE] * 2, [1, 2]))


@pytest.mark.parametrize("names", [("train-0.parquet",), ("test-0.parquet", "train-0.parquet"), ("train-0", "train-1"), ()])
def test_a_train_file_comes_first_and_a_test_file_second(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="has a train file, then a test or valid file"):
        parquet.train_and_test({name: tmp_path / name for name in names})
