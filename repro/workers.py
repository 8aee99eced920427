"""The parent's side of the worker processes: start them, order, listen, replace, stop.

Each process takes cells one after another, so that importing torch and starting CUDA are paid once. Must not know the matrix,
nor torch. Read `Workers` first.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field

from pydantic import ValidationError

from repro.hardware import CPU_THREADS_PER_WORKER
from repro.messages import ANSWERS, Answer
from repro.spec import Spec

KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""For glibc, in bytes (mallopt(3)): what a step frees the next one needs again, and giving it back in between costs thousands
of page faults a step. The first is the largest that every 64-bit version takes; larger tensors still go back."""
STOP_TIMEOUT_S = 5.0
"""How long a worker may take to end after its stdin closed, before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """A worker process ended without being told to."""

    exit_code: int
    """As subprocess gives it: negative for a signal."""

    @property
    def description(self) -> str:
        """In words."""
        if self.exit_code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-self.exit_code).name}"
        return f"ended with exit code {self.exit_code}"


@dataclass(slots=True, kw_only=True)
class _Process:
    popen: subprocess.Popen[str]
    generation: int
    thread: threading.Thread = field(init=False)


class Workers:
    """Worker processes, addressed by slot 0 … n - 1. A context manager: leaving it ends them all."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self._slots: dict[int, _Process] = {}
        self._events: queue.Queue[tuple[int, int, Answer | Died]] = queue.Queue()
        self._generation = 0

    def __enter__(self) -> "Workers":
        for slot in range(self.num_workers):
            self._start(slot)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end(list(self._slots))

    def resize(self, num_workers: int) -> None:
        """Start as many more as it takes to have so many, or end the last ones. All must be idle; any that died is replaced."""
        for slot in range(min(self.num_workers, num_workers)):
            if not self._slots[slot].thread.is_alive():  # it ends with the process
                self.replace(slot)
        for slot in range(self.num_workers, num_workers):
            self._start(slot)
        self._end(list(range(num_workers, self.num_workers)))
        self.num_workers = num_workers

    def _end(self, slots: list[int]) -> None:
        processes = [self._slots.pop(slot) for slot in slots]
        for process in processes:
            with contextlib.suppress(OSError):
                assert process.popen.stdin
                process.popen.stdin.close()
        for process in processes:
            try:
                process.popen.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()
            process.thread.join()
            assert process.popen.stdout
            process.popen.stdout.close()

    def order(self, slot: int, what: Spec) -> None:
        """Give the worker in `slot` a job or a probe; its answers arrive through `next_event`."""
        popen = self._slots[slot].popen
        assert popen.stdin
        # A worker that has just died is reported by next_event.
        with contextlib.suppress(OSError):
            popen.stdin.write(what.model_dump_json() + "\n")
            popen.stdin.flush()

    def next_event(self, timeout_s: float) -> tuple[int, Answer | Died] | None:
        """The next answer, or death, with its slot; None after `timeout_s` without any. A dead worker is not replaced here."""
        try:
            slot, generation, event = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if slot not in self._slots or self._slots[slot].generation != generation:
            return None
        return slot, event

    def replace(self, slot: int) -> None:
        """End the process in `slot`, if it still runs, and start a new one."""
        old = self._slots.pop(slot)
        old.popen.kill()
        old.popen.wait()
        old.thread.join()
        for pipe in (old.popen.stdin, old.popen.stdout):
            with contextlib.suppress(OSError):
                assert pipe
                pipe.close()
        self._start(slot)

    def _start(self, slot: int) -> None:
        threads = str(CPU_THREADS_PER_WORKER)
        # What the user says of the memory stands.
        environment = KEEPS_MEMORY | os.environ
        environment |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"}
        popen = subprocess.Popen(
            [sys.executable, "-m", "repro.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            # Ctrl-C goes to the parent alone, which then ends its workers.
            start_new_session=True,
        )
        self._generation += 1
        process = _Process(popen=popen, generation=self._generation)
        process.thread = threading.Thread(target=self._listen, args=(slot, process), daemon=True)
        self._slots[slot] = process
        process.thread.start()

    def _listen(self, slot: int, process: _Process) -> None:
        assert process.popen.stdout
        for line in process.popen.stdout:
            with contextlib.suppress(ValidationError):
                self._events.put((slot, process.generation, ANSWERS.validate_json(line)))
        self._events.put((slot, process.generation, Died(exit_code=process.popen.wait())))
