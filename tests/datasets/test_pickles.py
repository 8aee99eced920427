"""A pickle is read for plain data only: whatever else it names is told and never called."""

import builtins
import io
import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
from data_files import python2_pickle

from repro.datasets import pickles
from repro.datasets.pickles import read_pickle
from repro.errors import DataError

ROWS = np.arange(12, dtype=np.uint8).reshape(3, 4)


class Creates:
    """A pickle of it creates a folder when it is loaded as pickles are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_pickle_of_python_2_is_read() -> None:
    raw = python2_pickle({"data": ROWS, "labels": [0, 1, 300], "name": "x" * 300})
    content = read_pickle(raw, name="batch")
    assert np.array_equal(content[b"data"], ROWS)
    assert content[b"labels"] == [0, 1, 300]
    assert content[b"name"] == b"x" * 300


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pickle_of_python_3_is_read(protocol: int, order: str) -> None:
    rows = np.asarray(ROWS, order=order)
    content = read_pickle(pickle.dumps({b"data": rows, "labels": [1, 2], b"none": b""}, protocol), name="batch")
    assert np.array_equal(content[b"data"], ROWS)
    assert content[b"labels"] == [1, 2]
    assert content[b"none"] == b""


def test_both_spellings_of_numpy_are_known() -> None:
    raw = python2_pickle({"data": ROWS})
    old, new = b"numpy.core.multiarray", b"numpy._core.multiarray"
    assert raw.count(old) == 1
    for spelled in (raw, raw.replace(old, new)):
        assert np.array_equal(read_pickle(spelled, name="batch")[b"data"], ROWS)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_malicious_pickle_is_told_and_not_run(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    raw = pickle.dumps({b"data": Creates(made)}, protocol)
    with pytest.raises(DataError, match=r"data_batch_1 is refused: its pickle names (posix|nt)\.mkdir") as caught:
        read_pickle(raw, name="data_batch_1")
    assert "Nothing of it was run" in caught.value.message
    assert not made.exists()
    pickle.loads(raw)
    assert made.exists(), "the pickle would not have done it anyway"


@pytest.mark.parametrize(
    "name", ["builtins eval", "builtins getattr", "os system", "numpy load", "numpy fromfile", "pickle loads"]
)
def test_other_names_are_refused_and_told(name: str) -> None:
    raw = f"c{name.replace(' ', chr(10))}\n.".encode()
    with pytest.raises(DataError, match=name.replace(" ", r"\.")):
        read_pickle(raw, name="batch")


def test_dotted_names_lead_nowhere() -> None:
    raw = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    with pytest.raises(DataError, match=r"names numpy\.ndarray\.tofile"):
        read_pickle(raw, name="batch")


def test_a_known_name_cannot_be_used_to_reach_another() -> None:
    """BUILD sets attributes on whatever it is given: those that it is given end with the pickle."""
    raw = b"\x80\x02cnumpy\nndarray\n(NU\x04leakK\x01s}U\x04leakK\x01s\x86b."
    with pytest.raises(DataError, match="cannot be read as a pickled batch"):
        read_pickle(raw, name="batch")
    for stand_in in pickles.STANDS_FOR.values():
        assert not hasattr(stand_in, "leak")
    assert not hasattr(builtins, "leak")


@pytest.mark.parametrize("dtype", [np.int64, np.float32, object])
def test_arrays_of_anything_but_bytes_are_refused(dtype: type) -> None:
    with pytest.raises(DataError, match=r"an array of type .*, not uint8"):
        read_pickle(pickle.dumps({b"data": ROWS.astype(dtype)}, 2), name="batch")


def test_opcodes_that_data_does_not_need_are_refused() -> None:
    needed = set(pickles.OPCODES.split())
    assert needed <= {opcode.name for opcode in pickletools.opcodes}
    assert not needed & {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "BYTEARRAY8"}
    for raw in (b"\x80\x05\x96" + b"\xff" * 7 + b"\x00.", b"(ios\nsystem\n.", b"Pname\n."):
        with pytest.raises(DataError, match="cannot be read as a pickled batch"):
            read_pickle(raw, name="batch")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<!DOCTYPE html>",
        python2_pickle({"data": ROWS})[:-30],
        # A memo that the unpickler in C would make room for.
        b"\x80\x02}r\xff\xff\xff\x7f",
        b"\x80\x02](h\x05.",
        # Texts that claim more than there is.
        b"\x80\x02T\xff\xff\xff\x7fabc.",
        b"\x80\x04\x8e" + b"\xff" * 8 + b".",
        pickle.dumps([1, 2], 2),
        pickle.dumps({1: 2}, 2),
    ],
)
def test_a_broken_pickle_is_told(raw: bytes) -> None:
    with pytest.raises(DataError, match="train cannot be read as a pickled batch"):
        read_pickle(raw, name="train")


def test_an_array_whose_shape_does_not_fit_its_bytes_is_told() -> None:
    raw = python2_pickle({"data": ROWS})
    with pytest.raises(DataError, match="cannot be read as a pickled batch"):
        read_pickle(raw.replace(b"J\x03\x00\x00\x00J\x04", b"J\x03\x00\x00\x7fJ\x04"), name="batch")


def test_a_pickle_that_is_too_long_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_PICKLE_BYTES", 10)
    monkeypatch.setattr(io, "BytesIO", None)
    with pytest.raises(DataError, match="train has 11 bytes; a batch has at most 10"):
        read_pickle(bytes(11), name="train")
