"""Decoding goes on where it was interrupted, decodes nothing twice, and never takes a picture for another one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from repro.datasets import listing, pictures, prepare, scratch
from repro.datasets.arrays import ImageArrays
from repro.datasets.folder import read_folder
from repro.errors import DataError, DiskFull, EnvironmentProblem
from repro.spec import DatasetSpec
from repro.workspace import Workspace

CHUNK = 5
NUM_TRAIN, NUM_TEST = 60, 16


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PICTURES_PER_CHUNK", CHUNK)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    root = tmp_path / "pictures"
    for part, num_images in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        for number in range(num_images):
            path = root / part / "ab"[number % 2] / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(path)
    return root


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is decoded, picture by picture."""
    paths: list[Path] = []
    decode = pictures.decode_picture

    def counted(path: Path, *, side: int, grey: bool) -> np.ndarray:
        paths.append(path)
        return decode(path, side=side, grey=grey)

    monkeypatch.setattr(pictures, "decode_picture", counted)
    return paths


def read(source: Path, *, image_size: int = 4) -> ImageArrays:
    return read_folder(source, image_size=image_size, scratch=source.with_name("decoding"))


def in_order(source: Path, part: str) -> list[Path]:
    return [path for name in "ab" for path in sorted((source / part / name).iterdir())]


def replace(path: Path, grey: int) -> None:
    before = path.stat().st_mtime_ns
    Image.new("RGB", (6, 6), (grey, grey, grey)).save(path)
    os.utime(path, ns=(before, before + 1))


def test_a_second_reading_decodes_nothing_and_reads_no_header(
    source: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(source)
    assert len(decoded) == NUM_TRAIN + NUM_TEST
    assert isinstance(first.train.images, np.memmap)
    monkeypatch.setattr(pictures, "read_headers", None)
    second = read(source)
    assert len(decoded) == NUM_TRAIN + NUM_TEST
    assert np.array_equal(first.train.images, second.train.images)
    assert np.array_equal(first.test.images, second.test.images)


def test_a_replaced_picture_costs_its_own_chunk_only(source: Path, decoded: list[Path]) -> None:
    read(source)
    decoded.clear()
    train = in_order(source, "train")
    replace(train[13], 99)
    data = read(source)
    assert sorted(decoded) == train[10:15]
    assert (data.train.images[13] == 99).all()
    assert (data.train.images[12] != 99).any()


def test_a_picture_more_or_less_is_seen(source: Path, decoded: list[Path]) -> None:
    read(source)
    replace(shutil.copy(in_order(source, "train")[-1], source / "train" / "b" / "zzz.png"), 7)
    decoded.clear()
    data = read(source)
    assert len(data.train.images) == NUM_TRAIN + 1
    assert (data.train.images[-1] == 7).all()
    assert [path.name for path in decoded] == ["zzz.png"]
    (source / "train" / "b" / "zzz.png").unlink()
    decoded.clear()
    assert len(read(source).train.images) == NUM_TRAIN
    assert decoded == []


@pytest.mark.parametrize("change", ["size", "grey", "Pillow"])
def test_pictures_decoded_otherwise_are_thrown_away(
    source: Path, decoded: list[Path], change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(source)
    decoded.clear()
    if change == "grey":
        for path in [*in_order(source, "train"), *in_order(source, "test")]:
            Image.open(path).convert("L").save(path)
    if change == "Pillow":
        monkeypatch.setattr(scratch.PIL, "__version__", "0.0")
    data = read(source, image_size=3 if change == "size" else 4)
    assert len(decoded) == NUM_TRAIN + NUM_TEST
    raw = source.with_name("decoding") / "train.raw"
    assert raw.stat().st_size == data.train.images.nbytes


def test_a_broken_picture_costs_what_is_not_decoded_yet(source: Path, decoded: list[Path]) -> None:
    train = in_order(source, "train")
    intact = train[27].read_bytes()
    train[27].write_bytes(intact[:-30])
    with pytest.raises(DataError, match=train[27].name):
        read(source)
    noted = (source.with_name("decoding") / scratch.DECODED).read_text().splitlines()
    assert len(noted) >= 5
    train[27].write_bytes(intact)
    decoded.clear()
    read(source)
    assert len(decoded) == NUM_TRAIN + NUM_TEST - sum(int(line.split()[2]) - int(line.split()[1]) for line in noted)


def test_a_note_counts_only_whole_and_with_its_bytes(source: Path, decoded: list[Path]) -> None:
    read(source)
    notes = source.with_name("decoding") / scratch.DECODED
    content = notes.read_text()
    notes.write_text(content[:-20])
    decoded.clear()
    read(source)
    assert len(decoded) in (1, CHUNK)
    (source.with_name("decoding") / "test.raw").unlink()
    decoded.clear()
    read(source)
    assert sorted(decoded) == sorted(in_order(source, "test"))


def test_damaged_notes_of_headers_are_read_anew(source: Path) -> None:
    first = read(source)
    notes = source.with_name("decoding") / scratch.HEADERS
    for content in (b"\xff\x00", notes.read_bytes()[:-30], notes.read_bytes().replace(b"sizes", b"seizs")):
        notes.write_bytes(content)
        assert np.array_equal(read(source).train.images, first.train.images)


def test_an_interruption_stops_the_threads_and_keeps_what_is_noted(source: Path, decoded: list[Path]) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what.startswith("decoding") and done >= 4 * CHUNK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_folder(source, image_size=4, scratch=source.with_name("decoding"), progress=interrupt)
    assert len(decoded) < NUM_TRAIN
    decoded.clear()
    read(source)
    assert len(decoded) == NUM_TRAIN + NUM_TEST - 4 * CHUNK


def test_progress_counts_every_picture_and_resumes_its_count(source: Path) -> None:
    told: list[tuple[str, int, int]] = []
    keep: Callable[[str, int, int], None] = lambda *what: told.append(what)  # noqa: E731
    read_folder(source, image_size=4, scratch=source.with_name("decoding"), progress=keep)
    assert ("reading the headers of the train pictures", NUM_TRAIN, NUM_TRAIN) in told
    counts = [done for what, done, total in told if what == "decoding pictures" and total == NUM_TRAIN + NUM_TEST]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, NUM_TRAIN + NUM_TEST)
    told.clear()
    read_folder(source, image_size=4, scratch=source.with_name("decoding"), progress=keep)
    assert told[-1] == ("decoding pictures", NUM_TRAIN + NUM_TEST, NUM_TRAIN + NUM_TEST)


def test_a_small_disk_is_told_before_anything_is_decoded(
    source: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw_bytes = (NUM_TRAIN + NUM_TEST) * 4 * 4 * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * raw_bytes - 1))
    with pytest.raises(DiskFull, match=rf"76 pictures needs {2 * raw_bytes:,} bytes .* where {2 * raw_bytes - 1:,} "):
        read(source)
    assert decoded == []
    assert list(source.with_name("decoding").glob("*.raw")) == []
    monkeypatch.undo()
    monkeypatch.setattr(listing, "PICTURES_PER_CHUNK", CHUNK)
    read(source)
    # What is decoded needs no room any more, only its pack does.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=raw_bytes))
    read(source)


def test_a_scratch_folder_that_cannot_be_written_is_no_fault_of_the_pictures(source: Path) -> None:
    source.with_name("decoding").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match=r"decoding.* cannot be written"):
        read(source)


KILLED = """
import sys, time
from pathlib import Path
from repro.datasets import listing, pictures, prepare
from repro.spec import DatasetSpec
from repro.workspace import Workspace

home, source, log, chunk, pause_s = sys.argv[1:]
listing.PICTURES_PER_CHUNK = int(chunk)
decode = pictures.decode_picture

def slowly(path, **how):
    time.sleep(float(pause_s))
    with open(log, "a") as file:
        file.write(f"{path}\\n")
    return decode(path, **how)

pictures.decode_picture = slowly
prepare(Workspace(home=Path(home)), DatasetSpec(name="pictures", path=Path(source), image_size=4), log=print)
"""


@pytest.mark.slow
def test_a_killed_decoding_goes_on_and_ends_in_the_same_pack(workspace: Workspace, source: Path, tmp_path: Path) -> None:
    def start(log: Path, pause_s: float) -> subprocess.Popen[bytes]:
        arguments = [workspace.home, source, log, CHUNK, pause_s]
        return subprocess.Popen([sys.executable, "-c", KILLED, *map(str, arguments)])

    notes = workspace.home / "data" / ".pictures.decoding" / scratch.DECODED
    killed = start(tmp_path / "killed.log", 0.05)
    deadline = time.monotonic() + 60
    while not (notes.exists() and len(notes.read_text().splitlines()) >= 4):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    finished: set[Path] = set()
    for line in notes.read_text().splitlines():
        part, first, last, _ = line.split()
        finished.update(in_order(source, part)[int(first) : int(last)])
    assert 4 * CHUNK <= len(finished) < NUM_TRAIN
    assert start(tmp_path / "resumed.log", 0.0).wait() == 0
    resumed = [Path(line) for line in (tmp_path / "resumed.log").read_text().splitlines()]
    assert sorted(resumed) == sorted({*in_order(source, "train"), *in_order(source, "test")} - finished)
    assert not notes.parent.exists()
    undisturbed = Workspace(home=tmp_path / "other home")
    prepare(undisturbed, DatasetSpec(name="pictures", path=source, image_size=4), log=print)
    for path in sorted(workspace.dataset_dir("pictures").iterdir()):
        assert path.read_bytes() == (undisturbed.dataset_dir("pictures") / path.name).read_bytes(), path.name
