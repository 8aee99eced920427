"""Work in threads ends the same whatever the threads do, and a small disk is told of beforehand."""

import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from repro.datasets import chunks
from repro.datasets.chunks import ensure_space, forget_pages, in_threads, pieces
from repro.errors import DiskFull


def test_pieces_cover_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PIECE_BYTES", 100)
    assert pieces(7, 30) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert pieces(2, 1000) == [slice(0, 1), slice(1, 2)]
    assert pieces(0, 30) == []


def test_every_item_comes_back_with_its_place() -> None:
    assert sorted(in_threads(lambda item: item * item, range(50), num_threads=3)) == [(n, n * n) for n in range(50)]


def test_the_earliest_failure_is_raised_and_what_was_begun_is_handed_out() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            time.sleep(0.05)
        if item in (3, 4):
            raise ValueError(f"item {item}")
        return item

    got: list[int] = []
    with pytest.raises(ValueError, match="item 3"):
        got.extend(result for _, result in in_threads(work, range(1000), num_threads=2))
    assert sorted([*got, 3, 4]) == sorted(begun)
    assert len(begun) < 20


def test_giving_up_stops_the_threads() -> None:
    stop = threading.Event()

    def work(item: int) -> int:
        if item:
            assert stop.wait(60)
        return item

    results = in_threads(work, range(1000), num_threads=2, stop=stop)
    assert next(results) == (0, 0)
    results.close()
    assert stop.is_set()


def test_a_disk_that_is_too_small_is_told_with_both_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000))
    ensure_space(tmp_path / "absent" / "too", 5_000, purpose="This")
    with pytest.raises(DiskFull, match=r"^This needs 5,001 bytes .* where 5,000 ") as caught:
        ensure_space(tmp_path / "absent" / "too", 5_001, purpose="This")
    assert "--home" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_mapped_array_reads_the_same_after_its_pages_are_forgotten(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8)
    values.tofile(tmp_path / "x.raw")
    mapped = np.memmap(tmp_path / "x.raw", dtype=np.uint8, mode="r")
    for array in (values, mapped):
        before = array.sum()
        forget_pages(array)
        assert array.sum() == before
