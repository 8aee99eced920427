"""A worker process: reads orders from stdin, runs them one after another, answers on stdout. Started by `repro.workers`.

It ends when its parent closes stdin, by will or by dying, whatever it is doing then. One exception in a cell is caught here
and told to the parent, which records it. Must not know the matrix. Read `main` first.
"""

import contextlib
import gc
import os
import queue
import sys
import threading
import traceback
from typing import TextIO

import torch

from repro.bench import measure_speed, measure_way
from repro.cell import run_cell
from repro.choices import STEPS, StepWay, chosen
from repro.errors import NO_SPACE_ERRNOS, DiskFull, OutOfMemory, ReproError
from repro.messages import ORDERS, Done, Enough, Failed, Job, Probe, Progress, Ready, Steady, Trial
from repro.probe import measure_step
from repro.spec import Spec

CPU_ALLOCATOR_REFUSES = "DefaultCPUAllocator: can't allocate memory"
"""In the message of the plain RuntimeError by which torch tells that a CPU's memory is out."""


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    # Whatever a library prints must not mix with the answers.
    os.dup2(2, 1)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.backends.cudnn.benchmark = True
    orders: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    _say(answers, Ready())
    while True:
        line = orders.get()
        try:
            answer = carry_out(ORDERS.validate_json(line), answers, orders)
        except Exception as error:  # noqa: BLE001 - told to the parent, which records it
            answer = _as_failure(error)
        # Before the answer, since with it the parent starts the next cell, which may be another process'.
        _free_gpu_memory()
        _say(answers, answer)


def _listen(orders: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        orders.put(line)
    # The parent is gone: stop at once, in the middle of a step if need be. Every file is written atomically.
    os._exit(0)


def _free_gpu_memory() -> None:
    """Give back what torch keeps for the next cell: that may need the whole GPU, in another process."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call] # untyped in torch
        gc.collect()
        # After a fault nothing works; the parent replaces this process then.
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()


def carry_out(order: Job | Probe | Trial | Enough, answers: TextIO, orders: "queue.Queue[str]") -> Spec:
    """The last answer to an order; what is said on the way goes to `answers`, and what comes meanwhile lies in `orders`."""
    if isinstance(order, Enough):
        return Ready()
    if isinstance(order, Probe):
        return measure_step(order, steady=lambda: _say(answers, Steady()), is_enough=lambda: not orders.empty())

    def stepped(step: int) -> None:
        _say(answers, Progress(step=step))

    if isinstance(order, Trial):
        return measure_speed(order, progress=stepped) if order.way is StepWay.PLAIN else measure_way(order)
    record = run_cell(order, progress=stepped)
    steps = chosen(record.choices, STEPS)
    return Done(
        test_accuracy=record.test_accuracy,
        dev_accuracy=record.dev_accuracy,
        total_s=record.total_s,
        # torch 2.11 keeps a failed recording's memory, and no later one succeeds: github.com/pytorch/pytorch/pull/180395.
        worker_is_spoilt=order.way is StepWay.GRAPHED and steps is not None and steps.value == StepWay.PLAIN,
    )


def _say(answers: TextIO, answer: Spec) -> None:
    with contextlib.suppress(BrokenPipeError):
        answers.write(answer.model_dump_json() + "\n")
        answers.flush()


def _as_failure(error: Exception) -> Failed:
    told = _translate(error)
    if isinstance(told, ReproError):
        return Failed(
            error=type(told).__name__,
            message=told.message,
            remedy=told.remedy,
            traceback="",
            stops_the_run=isinstance(told, DiskFull),
            worker_is_spoilt=isinstance(told, OutOfMemory),
        )
    return Failed(
        error=type(error).__name__,
        message=" ".join(str(error).split())[:500] or type(error).__name__,
        remedy="Run again; if it fails the same way, report it with the traceback in the cell's failure.json.",
        traceback="".join(traceback.format_exception(error)),
        stops_the_run=False,
        worker_is_spoilt=isinstance(error, RuntimeError),
    )


def _translate(error: Exception) -> Exception:
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or CPU_ALLOCATOR_REFUSES in str(error):
        return OutOfMemory(
            f"Out of memory: {' '.join(str(error).split())[:300]}.",
            remedy="Free the device's memory, choose a smaller batch_size in the recipe, or a larger device.",
        )
    if isinstance(error, OSError) and error.errno in NO_SPACE_ERRNOS:
        return DiskFull(
            f"No space left on the disk ({error.filename or 'writing'}).",
            remedy="Free some space (or give another --home) and run the same command again; finished cells are kept.",
        )
    return error


if __name__ == "__main__":
    main()
