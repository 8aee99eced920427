"""Worker processes: they answer, are replaced, end with their parent, and turn an exception into words."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import spine
import torch

from repro.errors import DiskFull, OutOfMemory, TrainingDiverged
from repro.messages import Enough, Failed, Measured, Probe, Ready, Steady
from repro.spec import ModelSpec, Recipe
from repro.worker import _as_failure
from repro.workers import KEEPS_MEMORY, Died, Workers

WAIT_S = 120.0
"""How long a test waits for a worker before it fails; on a quiet machine the answer comes within seconds."""


def probe(**model: object) -> Probe:
    fields = {"name": "m", "family": "cnn", "stage_widths": (4,), "stage_depths": (1,), **model}
    return Probe(
        model=ModelSpec.model_validate(fields),
        recipe=Recipe(name="r", lr=0.1, batch_size=4, steps=10),
        image_size=8,
        num_channels=1,
        num_classes=3,
        device="cpu",
        bfloat16=False,
        channels_last=False,
        num_steps=2,
    )


def next_of(workers: Workers, kind: type) -> object:
    """The next event of this kind; others are passed over."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = workers.next_event(1.0)
        if found is not None and isinstance(found[1], kind):
            return found[1]
    raise AssertionError(f"no {kind.__name__} within {WAIT_S:.0f} s")


def children() -> list[psutil.Process]:
    """Worker processes that run; one that has just died and was not waited for is none."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie counts as such
            # A process that has just been started may not have its command line yet.
            if not (command := process.cmdline()) or "repro.worker" in command:
                found.append(process)
    return found


def test_a_worker_answers_fails_dies_and_is_replaced() -> None:
    with Workers(1) as workers:
        assert isinstance(next_of(workers, Ready), Ready)
        workers.order(0, probe(family="vit", stage_widths=(), stage_depths=(), patch_size=3, width=8, depth=1, num_heads=1))
        failed = next_of(workers, Failed)
        assert isinstance(failed, Failed)
        assert failed.message
        workers.order(0, probe())
        measured = next_of(workers, Measured)
        assert isinstance(measured, Measured)
        assert measured.step_s > 0

        (child,) = children()
        os.kill(child.pid, signal.SIGKILL)
        died = next_of(workers, Died)
        assert isinstance(died, Died)
        assert died.description == "killed by SIGKILL"
        workers.order(0, probe())  # to a dead worker: lost, and no error
        workers.replace(0)
        workers.order(0, probe())
        assert isinstance(next_of(workers, Measured), Measured)
    assert children() == []


def test_answers_of_a_replaced_worker_are_dropped() -> None:
    with Workers(1) as workers:
        next_of(workers, Ready)
        workers.replace(0)
        assert isinstance(next_of(workers, Ready), Ready), "that of the new one"
        assert workers.next_event(0.1) is None, "the old one's death was willed"


def test_an_open_ended_probe_goes_on_until_it_is_told_that_it_is_enough() -> None:
    with Workers(1) as workers:
        workers.order(0, probe().model_copy(update={"until_enough": True}))
        next_of(workers, Steady)
        assert workers.next_event(1.0) is None, "nothing comes by itself"
        workers.order(0, Enough())
        measured = next_of(workers, Measured)
        assert isinstance(measured, Measured)
        assert measured.blocks[-1].ended_s - measured.blocks[0].began_s > 0.9
        assert isinstance(next_of(workers, Ready), Ready)


def test_a_worker_has_one_thread_and_keeps_its_memory_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TOP_PAD_", "4096")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with Workers(1) as workers:
        next_of(workers, Ready)
        [process] = children()
        environment = process.environ()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["MALLOC_TOP_PAD_"] == "4096"
    assert environment["MALLOC_TRIM_THRESHOLD_"] == KEEPS_MEMORY["MALLOC_TRIM_THRESHOLD_"]


def test_workers_become_more_and_fewer() -> None:
    with Workers(0) as workers:
        assert children() == []
        workers.resize(2)
        assert (len(children()), workers.num_workers) == (2, 2)
        workers.resize(1)
        (left,) = children()
        workers.resize(2)
        assert left in children(), "those that stay are not started again"
    assert children() == []


def test_a_worker_that_died_idle_is_replaced_before_it_is_given_anything() -> None:
    with Workers(2) as workers:
        for _ in range(2):
            next_of(workers, Ready)
        dead, other = children()
        dead.kill()
        deadline = time.monotonic() + WAIT_S
        while dead in children() or len(children()) < 2:
            assert time.monotonic() < deadline
            workers.resize(2)
            time.sleep(0.05)
        assert other in children()
        assert isinstance(next_of(workers, Ready), Ready), "and of its death nothing more is heard"


def test_workers_that_are_still_starting_are_ended_too() -> None:
    with Workers(2):
        assert len(children()) == 2
    assert children() == []


PARENT = """
import sys
from repro.workers import Workers
with Workers(1) as workers:
    while workers.next_event(60) is None: pass
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_worker_dies_with_its_killed_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=spine.environment_of(),
        start_new_session=True,
    )
    assert parent.stdout
    assert parent.stdin
    assert parent.stdout.readline() == "ready\n"
    (worker,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs([worker], timeout=WAIT_S)
    parent.stdin.close()
    parent.stdout.close()
    assert (len(gone), alive) == (1, [])


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "killed by SIGKILL"), (-999, "ended with exit code -999"), (1, "ended with exit code 1")]
)
def test_a_death_is_in_words(code: int, words: str) -> None:
    assert Died(exit_code=code).description == words


def test_an_expected_problem_is_told_without_traceback() -> None:
    failed = _as_failure(TrainingDiverged("it diverged", remedy="lower lr"))
    assert (failed.error, failed.message, failed.remedy) == ("TrainingDiverged", "it diverged", "lower lr")
    assert (failed.traceback, failed.stops_the_run, failed.worker_is_spoilt) == ("", False, False)


CPU_REFUSAL = RuntimeError("[enforce fail at alloc_cpu.cpp:116] err == 0. DefaultCPUAllocator: can't allocate memory: 9")


@pytest.mark.parametrize("error", [MemoryError("x"), torch.OutOfMemoryError("CUDA out of memory"), CPU_REFUSAL])
def test_running_out_of_memory_spoils_the_worker(error: Exception) -> None:
    failed = _as_failure(error)
    assert failed.error == OutOfMemory.__name__
    assert failed.worker_is_spoilt
    assert not failed.stops_the_run
    assert "batch_size" in failed.remedy


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device", "some/file"), DiskFull("No space left", remedy="Free")]
)
def test_a_full_disk_stops_the_run(error: Exception) -> None:
    failed = _as_failure(error)
    assert failed.error == DiskFull.__name__
    assert failed.stops_the_run
    assert "No space left" in failed.message


def test_a_defect_is_told_with_its_traceback() -> None:
    try:
        raise RuntimeError("CUDA error:\n  illegal address")
    except RuntimeError as error:
        failed = _as_failure(error)
    assert failed.message == "CUDA error: illegal address"
    assert "test_workers.py" in failed.traceback
    assert failed.worker_is_spoilt
    assert _as_failure(KeyError()).message == "KeyError"


def test_a_worker_keeps_what_libraries_print_out_of_its_answers(tmp_path: Path) -> None:
    code = "import sys, repro.worker as w; w.measure_step = lambda p, **told: print('noise') or w.Ready(); w.main()"
    order = probe().model_dump_json() + "\n"
    done = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=spine.environment_of({"PYTHONUNBUFFERED": "1"}),
    )
    assert done.stdin and done.stdout and done.stderr
    done.stdin.write(order)
    done.stdin.flush()
    answers = [done.stdout.readline() for _ in range(2)]
    done.stdin.close()
    noise = done.stderr.read()
    done.wait()
    done.stdout.close()
    done.stderr.close()
    assert answers == ['{"kind":"ready"}\n'] * 2
    assert noise == "noise\n"
