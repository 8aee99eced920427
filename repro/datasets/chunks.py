"""Long work on big arrays: in pieces, in threads, with progress, and only where the disk is large enough.

Must not know what the pieces are. Read `in_threads` first.
"""

import mmap
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from repro.errors import DiskFull

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total): what is being done, how much of it is finished, out of how much."""
Tell = Callable[[int], None]
"""Called with how much is finished."""

PIECE_BYTES = 8 * 2**20
"""So much of an array is in memory at a time, for each thread."""


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody follows."""


def pieces(num_images: int, image_bytes: int) -> list[slice]:
    """Consecutive slices that cover all images, each of at most `PIECE_BYTES` or of one image."""
    step = max(1, PIECE_BYTES // max(1, image_bytes))
    return [slice(start, min(start + step, num_images)) for start in range(0, num_images, step)]


def num_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], *, num_threads: int, stop: threading.Event | None = None
) -> Iterator[tuple[int, Result]]:
    """Place and result of each item, in the order in which they are finished; items are begun in their own order.

    When `work` raises, nothing more is begun, what has been begun is finished and handed out, and the failure of the earliest
    item is raised: which one does not depend on the threads. When the caller gives up, or a signal comes, `stop` is set.
    """
    failures: dict[int, BaseException] = {}
    running: dict[Future[Result], int] = {}
    waiting = iter(enumerate(items))
    pool = ThreadPoolExecutor(num_threads)
    try:
        while True:
            # One more than there are threads, so that none of them waits for this one.
            while not failures and len(running) <= num_threads and (following := next(waiting, None)) is not None:
                running[pool.submit(work, following[1])] = following[0]
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                place = running.pop(future)
                if (failure := future.exception()) is not None:
                    failures[place] = failure
                else:
                    yield place, future.result()
    finally:
        if stop is not None:
            stop.set()
        pool.shutdown(cancel_futures=True)
    if failures:
        raise failures[min(failures)]


def forget_pages(values: npt.NDArray[np.generic]) -> None:
    """Give back the memory of a mapped file's pages that were read; they stay in the system's cache."""
    base: object = values.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def ensure_space(folder: Path, needed_bytes: int, *, purpose: str) -> None:
    """Raise DiskFull when the disk that holds, or will hold, `folder` has not so many bytes free; writes nothing."""
    while not folder.exists():
        folder = folder.parent
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise DiskFull(
            f"{purpose} needs {needed_bytes:,} bytes ({needed_bytes / 2**30:.1f} GiB) on the disk of {folder}, "
            f"where {free_bytes:,} ({free_bytes / 2**30:.1f} GiB) are free.",
            remedy="Free some space, or give a --home on a larger disk, and run the same command again; what is done is kept.",
        )
