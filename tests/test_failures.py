"""Failures that cost nothing already done: killed runs, killed workers, signals, a second run, a full disk.

Real processes are killed at moments that no seed can fix; what is asserted holds at every moment.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import spine

from repro.records import LAST, RECORD, read_failure, read_record

pytestmark = pytest.mark.slow

NUM_KILLS = 8
WAIT_S = 300.0
"""How long something that must happen may take before the test fails; it takes seconds."""
LONGER = spine.STUDY.replace("steps = 12\n", "steps = 400\n")
"""Cells of a second or so, so that kills find them half done."""
LONG_CELL = f"""
name = "long"
seeds = 1
{spine.PARTS.replace("steps = 12", "steps = 4000")}
[[cells]]
dataset = ["dots"]
size = [40]
model = ["tiny_cnn", "tiny_vit"]
recipe = "plain"
"""
VICTIM = "dots.n40.tiny_cnn.scratch.plain.s1"
BYSTANDER = "dots.n40.tiny_vit.scratch.plain.s1"


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """The command in a process of its own, its stderr in a pipe."""
    return subprocess.Popen(
        spine.command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=spine.environment_of(),
        start_new_session=True,
    )


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and stderr."""
    assert process.stderr
    errors = process.stderr.read()
    process.wait(WAIT_S)
    process.stderr.close()
    return process.returncode, errors


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def assert_all_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=WAIT_S)
    assert alive == []


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Until the file is there and the process still runs."""
    deadline = time.monotonic() + WAIT_S
    while not path.exists():
        assert process.poll() is None, end_of(process)
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.02)


def wait_for_a_new_state(home: Path, process: subprocess.Popen[str]) -> None:
    """Until the run writes a resumable state, or ends."""
    started_ns, deadline = time.time_ns(), time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        for path in home.glob(f"runs/*/{LAST}"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime_ns > started_ns:
                    return
        time.sleep(0.02)


def state_of(home: Path, profile: Path, cell_id: str) -> Path:
    """Where the resumable state of a cell will lie."""
    context, _ = spine.make_context(profile, home)
    (entry,) = [entry for entry in context.plan().cells if entry.cell.id == cell_id]
    assert entry.fingerprint
    return context.workspace.run_dir(cell_id, entry.fingerprint) / LAST


@pytest.fixture
def long_study(tmp_path: Path) -> tuple[Path, Path]:
    """Profile and fetched home of two cells of several seconds."""
    profile = spine.write_study(tmp_path, LONG_CELL)
    spine.fetch(spine.make_context(profile, tmp_path / "home")[0])
    return profile, tmp_path / "home"


def options(profile: Path, home: Path) -> list[str | Path]:
    return ["--profile", profile, "--home", home, "--device", "cpu"]


def test_a_run_killed_eight_times_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    profile = spine.write_study(tmp_path, LONGER)
    summary, _ = spine.run_here(profile, tmp_path / "undisturbed")
    assert summary.num_done == spine.NUM_CELLS

    home, moment = tmp_path / "home", random.Random(20201022)
    done: dict[str, tuple[int, bytes]] = {}
    spine.fetch(spine.make_context(profile, home)[0])
    for number in range(NUM_KILLS):
        process = start("run", *options(profile, home))
        if number % 4:
            wait_for_a_new_state(home, process)
        time.sleep(moment.uniform(0.0, 2.0))
        workers = descendants(process)
        process.kill()
        end_of(process)
        assert_all_end(workers)
        after = spine.stamps(home) if (home / "runs").exists() else {}
        assert {cell_id: after.get(cell_id) for cell_id in done} == done, "a finished cell was touched"
        done = after
    finishing = spine.vitrepro("run", *options(profile, home))
    assert finishing.returncode == 0, finishing.stderr
    after = spine.stamps(home)
    assert {cell_id: after[cell_id] for cell_id in done} == done
    assert len(after) == spine.NUM_CELLS
    assert spine.outcomes(home) == spine.outcomes(tmp_path / "undisturbed")
    assert not list((home / "runs").rglob("*.tmp")), "what was being written at a kill is cleared away"
    assert not list((home / "runs").rglob("*.corrupt-*")), "a kill leaves nothing corrupt"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_its_workers_and_nothing_else(
    number: signal.Signals, code: int, long_study: tuple[Path, Path]
) -> None:
    profile, home = long_study
    arguments = ["run", *options(profile, home), "--only", VICTIM]
    process = start(*arguments)
    wait_for(state_of(home, profile, VICTIM), process)

    second = spine.vitrepro("run", *options(profile, home))
    assert second.returncode == 1
    assert f"is in use by process {process.pid} on " in second.stderr
    assert "Traceback" not in second.stderr

    workers = descendants(process)
    assert workers
    process.send_signal(number)
    found, errors = end_of(process)
    assert found == code
    assert f"error: Stopped by {number.name}." in errors
    assert "Give the same command again" in errors
    assert "Traceback" not in errors
    assert_all_end(workers)
    assert not list((home / "runs").rglob(RECORD))

    resumed = spine.vitrepro(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    record = read_record(spine.cell_dir(home, VICTIM))
    assert record is not None
    assert record.resumed_from_step


def test_the_lock_of_a_killed_run_is_free_at_once(long_study: tuple[Path, Path]) -> None:
    profile, home = long_study
    process = start("run", *options(profile, home), "--only", VICTIM)
    wait_for(state_of(home, profile, VICTIM), process)
    workers = descendants(process)
    process.kill()
    end_of(process)
    assert spine.vitrepro("fetch", *options(profile, home)).returncode == 0
    assert_all_end(workers)


def test_a_killed_worker_costs_its_cell_only(long_study: tuple[Path, Path]) -> None:
    profile, home = long_study
    process = start("run", *options(profile, home))
    wait_for(state_of(home, profile, VICTIM), process)
    # Workers take cells in the plan's order, so the one that was started first has the first cell.
    oldest = min(descendants(process), key=lambda worker: worker.create_time())
    oldest.kill()
    code, errors = end_of(process)
    assert code == 3
    assert f"{VICTIM}  FAILED: The worker process killed by SIGKILL." in errors
    assert f"{BYSTANDER}  done in " in errors
    failure = read_failure(spine.cell_dir(home, VICTIM))
    assert failure is not None
    assert failure.kind == "WorkerDied"
    before = spine.stamps(home)
    assert before.keys() == {BYSTANDER}

    again = spine.vitrepro("run", *options(profile, home))
    assert again.returncode == 0, again.stderr
    assert spine.stamps(home, without=[VICTIM]) == before
    record = read_record(spine.cell_dir(home, VICTIM))
    assert record is not None
    assert record.resumed_from_step, "it went on from its last state"
    assert read_failure(spine.cell_dir(home, VICTIM)) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_stops_the_run_and_costs_nothing_done(small_disk: Path, tmp_path: Path) -> None:
    profile, home = spine.write_study(tmp_path), small_disk / "home"
    first = spine.vitrepro("fetch", *options(profile, home))
    assert first.returncode == 0, first.stderr
    first = spine.vitrepro("run", *options(profile, home), "--only", "*.n12.tiny_cnn.*s1")
    assert first.returncode == 0, first.stderr
    before = spine.stamps(home)
    assert len(before) == 2

    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    os.truncate(filler, filler.stat().st_size - 12 * 4096)
    full = spine.vitrepro("run", *options(profile, home))
    assert full.returncode == 1, full.stderr
    assert "error: No space left on the disk" in full.stderr
    assert "Free some space" in full.stderr
    assert "Traceback" not in full.stderr
    after = spine.stamps(home)
    assert {cell_id: after[cell_id] for cell_id in before} == before
    assert len(after) < spine.NUM_CELLS

    filler.unlink()
    freed = spine.vitrepro("run", *options(profile, home))
    assert freed.returncode == 0, freed.stderr
    found = spine.stamps(home)
    assert {cell_id: found[cell_id] for cell_id in after} == after
    assert spine.outcomes(home) == spine.outcomes(spine.finished() / "home")
