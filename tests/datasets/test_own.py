"""Every bad `.npz` is refused with the bad value and a remedy; good ones come out as arrays."""

import os
from pathlib import Path

import numpy as np
import pytest

from repro.datasets.own import check_leak, read_npz
from repro.errors import DataError

Arrays = dict[str, np.ndarray]


def good_arrays() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 256, (6, 6, 6, 3), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }


def saved(folder: Path, arrays: Arrays) -> Path:
    path = folder / "own.npz"
    np.savez(path, **arrays)
    return path


def test_a_good_file_is_read(tmp_path: Path) -> None:
    arrays = good_arrays()
    data = read_npz(saved(tmp_path, arrays))
    assert np.array_equal(data.train.images, arrays["x_train"])
    assert np.array_equal(data.test.labels, arrays["y_test"])
    assert data.class_names == ("0", "1", "2")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, ">i4"])
def test_grey_images_and_any_whole_number_type_are_taken(tmp_path: Path, dtype: str) -> None:
    arrays = good_arrays()
    for part in ("train", "test"):
        arrays[f"x_{part}"] = arrays[f"x_{part}"][..., 0]
        arrays[f"y_{part}"] = arrays[f"y_{part}"].astype(dtype)
    data = read_npz(saved(tmp_path, arrays))
    assert data.train.images.shape == (12, 6, 6, 1)
    assert data.train.labels.dtype == np.int64
    assert data.train.labels.tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize(
    ("change", "message", "remedy"),
    [
        ({"x_test": None}, r"lacks x_test; it holds x_train, y_train, y_test", "Add"),
        (
            {"x_train": np.random.default_rng(0).random((12, 6, 6, 3))},
            r"x_train .* float64 with values 0\.\d+ … 0\.\d+",
            "x * 255",
        ),
        ({"x_train": np.full((12, 6, 6, 3), 300)}, r"int64 with values 300 … 300", "uint8"),
        ({"x_train": np.zeros((12, 108), np.uint8)}, r"shape \(12, 108\)", "Stack"),
        ({"x_train": np.zeros((0, 6, 6, 3), np.uint8), "y_train": np.zeros(0, int)}, r"empty.*\(0, 6, 6, 3\)", "at least one"),
        ({"x_train": np.zeros((12, 6, 7, 3), np.uint8)}, r"6x7", "squares"),
        ({"x_train": np.zeros((12, 3, 6, 6), np.uint8)}, r"channels first", "transpose"),
        ({"x_train": np.zeros((12, 6, 6, 4), np.uint8)}, r"4 channels", "1 (grey) or 3"),
        ({"x_test": np.zeros((6, 8, 8, 3), np.uint8)}, r"\(6, 6, 3\).*\(8, 8, 3\)", "one size"),
        ({"x_test": np.zeros((6, 6, 6), np.uint8)}, r"\(6, 6, 3\).*\(6, 6, 1\)", "number of channels"),
        ({"y_train": np.arange(11) % 3}, r"12 images and y_train 11 labels", "one label"),
        ({"y_train": np.eye(3)[np.arange(12) % 3]}, r"y_train .*\(12, 3\)", "argmax"),
        ({"y_train": (np.arange(12) % 3) / 1.0}, r"y_train .*float64", "int64"),
        ({"y_train": np.arange(12) % 3 - 1}, r"-1 … 1", "from 0"),
        ({"y_train": np.array([2**64 - 1] * 12, np.uint64)}, r"18446744073709551615", "from 0"),
        ({"y_train": np.arange(12) % 3 + 1}, r"no image of class 0\b", "without gaps"),
        ({"y_train": np.arange(12) % 3 * 10**9}, r"up to 2000000000, .* class 1, 2, 3, 4, 5 and others", "without gaps"),
        ({"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)}, r"single class", "two classes"),
        ({"y_test": np.full(6, 3)}, r"y_test .* holds 3; .* 0 … 2", "training images"),
    ],
)
def test_a_bad_array_is_named_with_value_and_remedy(tmp_path: Path, change: Arrays, message: str, remedy: str) -> None:
    arrays = {key: values for key, values in (good_arrays() | change).items() if values is not None}
    with pytest.raises(DataError, match=message) as caught:
        read_npz(saved(tmp_path, arrays))
    assert remedy in caught.value.remedy
    assert "Legal: x_train" in caught.value.remedy


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(tmp_path / "executed"),))

    arrays = good_arrays() | {"x_train": np.array([Trap()], dtype=object)}
    with pytest.raises(DataError, match="pickled"):
        read_npz(saved(tmp_path, arrays))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("keep", [0, 1, 2, 100, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = saved(tmp_path, good_arrays())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"own\.npz"):
        read_npz(path)


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, good_arrays())
    content = bytearray(path.read_bytes())
    content[400] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC"):
        read_npz(path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for name, content in {"a.npz": b"label,pixel\n", "b.npz": b"\x93NUMPY"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"not an \.npz archive"):
            read_npz(tmp_path / name)
    with pytest.raises(DataError, match="There is no file"):
        read_npz(tmp_path / "absent.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_npz(tmp_path / "folder.npz")


def test_an_archive_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    import zipfile

    path = saved(tmp_path, {key: values for key, values in good_arrays().items() if key != "y_test"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y_test", "0,1,2")
    with pytest.raises(DataError, match="y_test"):
        read_npz(path)


def test_more_than_one_percent_of_leaked_test_images_is_refused() -> None:
    check_leak(0, 10, name="mine")
    check_leak(10, 1000, name="mine")
    with pytest.raises(DataError, match=r"11 of the 1000 test images of mine \(1\.1%\)"):
        check_leak(11, 1000, name="mine")
