"""The files of a pack: written in pieces and in a given order, mapped, and held to what the manifest says of them.

Must not know what the arrays mean. Read `write_array` first.
"""

import contextlib
import errno
import hashlib
import io
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from repro.datasets.chunks import PIECE_BYTES, Tell, pieces
from repro.datasets.manifest import FileEntry
from repro.errors import CorruptFile

Number = TypeVar("Number", np.uint8, np.int64)
BYTES_PER_MB = 10**6


def write_array(
    path: Path, values: npt.NDArray[np.generic], *, order: npt.NDArray[np.intp], tell: Tell | None = None
) -> FileEntry:
    """Write the rows of an array, in this order, as a `.npy` file, and flush it to the disk; one piece at a time is in memory.

    `tell`, if given, is called with the number of rows written. Unlike `np.save`, a full disk is an OSError that says so.
    """
    digest = hashlib.sha256()
    header = {
        "descr": np.lib.format.dtype_to_descr(values.dtype),
        "fortran_order": False,
        "shape": (len(order), *values.shape[1:]),
    }
    beginning = io.BytesIO()
    np.lib.format.write_array_header_1_0(beginning, header)
    digest.update(beginning.getvalue())
    with path.open("wb") as file, _row_reader(values) as rows_at:
        file.write(beginning.getvalue())
        for piece in pieces(len(order), values[:1].nbytes):
            content = np.ascontiguousarray(rows_at(order[piece])).reshape(-1).view(np.uint8).data
            file.write(content)
            digest.update(content)
            if tell is not None:
                tell(piece.stop)
        file.flush()
        os.fsync(file.fileno())
        return FileEntry(name=path.name, sha256=digest.hexdigest(), size_bytes=file.tell())


@contextlib.contextmanager
def _row_reader(values: npt.NDArray[np.generic]) -> Iterator[Callable[[npt.NDArray[np.intp]], npt.NDArray[np.generic]]]:
    """A function from places to rows of an array.

    Of a mapped file they are read as from any file: each row touched through the map may add some hundred pages around it to
    this process.
    """
    base: object = values.base
    if not (isinstance(values, np.memmap) and isinstance(base, mmap.mmap) and values.filename and values.flags.c_contiguous):
        yield lambda places: values[places]
        return
    row_bytes, first = values[:1].nbytes, values.offset
    with Path(values.filename).open("rb", buffering=0) as file:

        def rows_at(places: npt.NDArray[np.intp]) -> npt.NDArray[np.generic]:
            rows = np.empty((len(places), row_bytes), dtype=np.uint8)
            for row, place in zip(rows, places.tolist(), strict=True):
                if os.preadv(file.fileno(), [row.data], first + place * row_bytes) != row_bytes:
                    raise OSError(errno.EIO, "it ended too early", file.name)
            return rows

        yield rows_at


def map_array(path: Path, dtype: type[Number], shape: tuple[int, ...]) -> npt.NDArray[Number]:
    """A `.npy` file as an array that is read when it is used. Raises CorruptFile when it does not hold what it should."""
    try:
        values: npt.NDArray[Number] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _corrupt(path, str(error)) from error
    if values.dtype != dtype or values.shape != shape:
        raise _corrupt(path, f"it holds {values.dtype} {values.shape} instead of {np.dtype(dtype)} {shape}")
    return values


def check_files(
    folder: Path, entries: tuple[FileEntry, ...], *, digests: bool, progress: Callable[[int, int], None] | None = None
) -> None:
    """Raise CorruptFile for the first file that has not its size or, with `digests`, not its sha256.

    `progress` is called with the megabytes read and their total.
    """
    total = sum(entry.size_bytes for entry in entries)
    num_bytes_read = 0
    for entry in entries:
        path = folder / entry.name
        try:
            size_bytes = path.stat().st_size
            if size_bytes != entry.size_bytes:
                raise _corrupt(path, f"it has {size_bytes} bytes instead of {entry.size_bytes}")
            if not digests:
                continue
            digest = hashlib.sha256()
            with path.open("rb", buffering=0) as file:
                while content := file.read(PIECE_BYTES):
                    digest.update(content)
                    num_bytes_read += len(content)
                    if progress is not None:
                        progress(-(-num_bytes_read // BYTES_PER_MB), -(-total // BYTES_PER_MB))
            if digest.hexdigest() != entry.sha256:
                raise _corrupt(path, "its sha256 is not that of the manifest")
        except OSError as error:
            raise _corrupt(path, error.strerror or str(error)) from error


def _corrupt(path: Path, detail: str) -> CorruptFile:
    return CorruptFile(f"{path} is not what its manifest says: {detail}.", remedy="`vitrepro fetch` makes the data set anew.")
