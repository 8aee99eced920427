"""Reads the pickled batches of the CIFAR python version without running anything that they name.

A pickle is a program: it may call whatever it can name. Here it can name a few things, each of which stands for a value and
does nothing, not even call numpy; every other name, and every opcode that plain data does not need, is refused. The unpickler
is the one written in Python, since the one in C lets five bytes of a pickle claim gigabytes for its memo. Must not know what
the entries mean. Read `read_pickle` first.
"""

import io
import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.errors import DataError

MAX_PICKLE_BYTES = 200 * 2**20
"""The largest official file, the training part of CIFAR-100, has 155 MB."""
UNPICKLING_ERRORS = (
    *(pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError),
    *(MemoryError, RecursionError, AssertionError, struct.error),
)
"""What a broken pickle can raise."""
OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1 STRING BINSTRING "
    "SHORT_BINSTRING BINBYTES SHORT_BINBYTES UNICODE BINUNICODE SHORT_BINUNICODE EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE "
    "TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET "
    "GLOBAL STACK_GLOBAL REDUCE BUILD"
)
"""What plain data and arrays are written with, up to protocol 4."""
AGAIN = "Get the archive again from its official source, and check its digest."


class _RefusedError(Exception):
    """The pickle names something that is not plain data."""


@dataclass(slots=True)
class _Bytes:
    """Stands for a uint8 array until all is read."""

    shape: tuple[int, ...] = ()
    is_fortran: bool = False
    raw: bytes = b""

    def __setstate__(self, state: object) -> None:
        match state:
            case (1, tuple() as shape, _ByteType(), bool() as is_fortran, bytes() as raw):
                if all(type(length) is int and length >= 0 for length in shape):
                    self.shape, self.is_fortran, self.raw = shape, is_fortran, raw
                    return
        raise _RefusedError("an array that is not of bytes")

    def to_array(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self.raw, np.uint8).reshape(self.shape, order="F" if self.is_fortran else "C")


class _ByteType:
    """Stands for the type of a uint8 array."""

    def __setstate__(self, state: object) -> None:
        """Take note of nothing: byte order and alignment mean nothing for bytes."""


def _array_type() -> None:
    """Stand for `numpy.ndarray`, which is only ever named."""


def _reconstruct(*_arguments: object) -> _Bytes:
    return _Bytes()


def _byte_type(code: object, *_arguments: object) -> _ByteType:
    if code not in ("u1", b"u1"):
        raise _RefusedError(f"an array of type {code!r}, not uint8")
    return _ByteType()


def _no_bytes() -> bytes:
    """Stand for b"" as Python 3 writes it in protocol 2."""
    return b""


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in protocol 2."""
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"the encoding {encoding!r}")
    return text.encode("latin-1")


STANDS_FOR: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _array_type,
    ("numpy", "dtype"): _byte_type,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _no_bytes,
}
"""All that a pickle may name, by module and name."""


class _DataUnpickler(pickle._Unpickler):
    """An unpickler of plain data and uint8 arrays."""

    dispatch = {
        code: read
        for code, read in pickle._Unpickler.dispatch.items()
        if pickletools.code2op[chr(code)].name in OPCODES.split()  # type: ignore[attr-defined]
    }

    def find_class(self, module: str, name: str, /) -> Any:
        try:
            stand_in = STANDS_FOR[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None
        # A fresh function each time: whatever a pickle sets on it ends with it.
        return lambda *arguments: stand_in(*arguments)


def read_pickle(raw: bytes, *, name: str) -> dict[bytes, object]:
    """The entries of a pickled dict: arrays uint8, texts of Python 2 as bytes. `name` is the file's, for messages.

    Raises DataError for a pickle that names anything but a uint8 array, is broken or too long, or holds no dict.
    """
    if len(raw) > MAX_PICKLE_BYTES:
        raise DataError(f"{name} has {len(raw):,} bytes; a batch has at most {MAX_PICKLE_BYTES:,}.", remedy=AGAIN)
    try:
        content = _DataUnpickler(io.BytesIO(raw), encoding="bytes").load()
        if not isinstance(content, dict):
            raise TypeError(f"it holds no dict but {type(content).__name__}")
        return {_key(key): value.to_array() if isinstance(value, _Bytes) else value for key, value in content.items()}
    except _RefusedError as refused:
        raise DataError(
            f"{name} is refused: its pickle names {refused}, which is no part of a batch of images. Nothing of it was run.",
            remedy=f"Do not load it with anything else. {AGAIN}",
        ) from refused
    except UNPICKLING_ERRORS as error:
        raise DataError(f"{name} cannot be read as a pickled batch: {type(error).__name__}: {error}.", remedy=AGAIN) from error


def _key(key: object) -> bytes:
    if isinstance(key, str):
        return key.encode()
    if not isinstance(key, bytes):
        raise TypeError(f"a key is {key!r}")
    return key
