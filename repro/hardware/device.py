"""Where cells run: on which device, in which precision, in how many workers, each with its reason.

Must not know cells or profiles. Read `choose_device` first.
"""

import os
from dataclasses import dataclass, replace

from repro.choices import PRECISION, Choice, StepWay
from repro.errors import EnvironmentProblem
from repro.hardware.compilers import ways_allowed
from repro.hardware.cuda import BFLOAT16_CAPABILITY, CudaProbe
from repro.hardware.gpus import ComputeMode
from repro.hardware.inspection import Inspection, inspect_gpus
from repro.hardware.machine import (
    CELLS_AT_ONCE_VARIABLE,
    CPU_THREADS_PER_WORKER,
    available_memory_bytes,
    multiplies_in_bfloat16,
    stated_cells_at_once,
    usable_cores,
)
from repro.hardware.obstacles import obstacle

PRECISION_VARIABLE = "VITREPRO_PRECISION"
"""Environment variable that says whether cells may run in bfloat16."""
AUTO, FLOAT32, BFLOAT16 = "auto", "float32", "bfloat16"
BFLOAT16_LIMIT = 0.02
"""Relative difference beyond which bfloat16 products are wrong; rounding to 8 binary digits makes 0.003."""
MOST_ON_A_GPU = 8
"""Cells that are let run at once on a GPU, at most: each costs a core, and seconds to find out whether it is worth it."""
CUDA_WORKER_BYTES = 3 * 2**30
"""Main memory that a worker process needs with CUDA's libraries, without images. Reckoned, not measured: docs/gpu-todo.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChoice:
    """Where cells run."""

    device: str
    """`cpu` or `cuda`, as torch names it."""
    name: str
    """`cpu` or the GPU's product name."""
    bfloat16: bool
    """Whether forward passes run under bfloat16 autocast."""
    may_bfloat16: bool = False
    """Whether bfloat16 is to be tried: a CPU multiplies in it, and whether cells gain by that is measured (`timing`)."""
    channels_last: bool
    """Whether images and convolution weights lie channels-last: a fifth faster for the ResNet on a CPU, more on a GPU."""
    reason: str
    """Why this device."""
    precision_reason: str
    """Why this precision."""
    driver: str | None
    """NVIDIA driver, if a GPU is used."""
    num_workers: int
    """Worker processes: all of them on a CPU; on a GPU at most, since what cells gain by sharing it is measured (`timing`)."""
    workers_reason: str = ""
    """Why so many."""
    at_once: int | None = None
    """Cells at once on a GPU, where that is settled without measuring."""
    ways: tuple[StepWay, ...] = ()
    """In which ways training steps are taken where a measurement says that it pays. None on a CPU: graphs are CUDA's, compiling
    does not pay there (docs/measurements.md), and results stay bitwise repeatable."""
    uuid: str = ""
    """The GPU's or MIG slice's UUID; empty on a CPU."""

    @property
    def precision(self) -> str:
        """`bfloat16` or `float32`, as records name it."""
        return BFLOAT16 if self.bfloat16 else FLOAT32

    def choices(self) -> tuple[Choice, Choice]:
        """Device and precision, for the record."""
        return (
            Choice(what="device", value=self.name, reason=self.reason),
            Choice(what=PRECISION, value=self.precision, reason=self.precision_reason),
        )


def choose_device(requested: str) -> DeviceChoice:
    """The device for `auto`, `cpu` or `cuda`, with precision and number of workers.

    Raises EnvironmentProblem when `cuda` is asked for and cannot be had, or an environment variable says what it cannot.
    """
    ways = ways_allowed()
    if requested == "cpu":
        return _cpu("asked for with --device cpu")
    seen = inspect_gpus()
    found = obstacle(seen)
    if found is None:
        assert seen.probe is not None
        return replace(_cuda(seen, seen.probe), ways=ways)
    problem = seen.survey.problem if found.code == "no-gpu" else found.message
    if seen.gpu is not None:
        problem = f"{seen.gpu.name} is there, but {problem}"
    if requested == "cuda":
        raise EnvironmentProblem(f"--device cuda: no usable GPU ({problem}).", remedy=found.remedy)
    return _cpu(f"no usable GPU: {problem}")


def _cpu(reason: str) -> DeviceChoice:
    knows_bfloat16 = multiplies_in_bfloat16()
    why = "float32, since this processor does not multiply in bfloat16"
    if is_float32_stated():
        why = f"float32, since {PRECISION_VARIABLE} is {FLOAT32}"
    elif knows_bfloat16:
        why = "float32, or bfloat16 where that proves faster for all models of a profile"
    return DeviceChoice(
        device="cpu",
        name="cpu",
        bfloat16=False,
        may_bfloat16=knows_bfloat16 and not is_float32_stated(),
        channels_last=True,
        reason=reason,
        precision_reason=why,
        driver=None,
        num_workers=max(1, usable_cores() // CPU_THREADS_PER_WORKER),
        workers_reason="one per usable core",
    )


def _cuda(seen: Inspection, probe: CudaProbe) -> DeviceChoice:
    bfloat16, reason = choose_precision(probe)
    if is_float32_stated():
        bfloat16, reason = False, f"float32, since {PRECISION_VARIABLE} is {FLOAT32}"
    num_workers, why, is_settled = workers_on_a_gpu(seen)
    return DeviceChoice(
        device="cuda",
        name=probe.name,
        bfloat16=bfloat16,
        channels_last=True,
        reason="a usable GPU",
        precision_reason=reason,
        driver=seen.survey.driver,
        num_workers=num_workers,
        workers_reason=why,
        at_once=num_workers if is_settled else None,
        uuid=probe.uuid,
    )


def is_float32_stated() -> bool:
    """Whether the user wants float32 everywhere. Raises EnvironmentProblem for a word that is neither `auto` nor that."""
    stated = os.environ.get(PRECISION_VARIABLE, AUTO)
    if stated not in (AUTO, FLOAT32):
        raise EnvironmentProblem(
            f"{PRECISION_VARIABLE} is {stated!r}, which is neither {AUTO} nor {FLOAT32}.",
            remedy=f"Set it to {FLOAT32}, or to {AUTO} or unset it: bfloat16 where the device multiplies in it and gains.",
        )
    return stated == FLOAT32


def workers_on_a_gpu(seen: Inspection) -> tuple[int, str, bool]:
    """How many worker processes may share the GPU, why, and whether that settles how many will.

    Raises EnvironmentProblem when the environment variable that sets it is not a whole number of 1 or more.
    """
    stated = stated_cells_at_once()
    if seen.gpu is not None and seen.gpu.compute_mode is ComputeMode.EXCLUSIVE:
        return 1, "the GPU takes one process at a time (compute mode exclusive)", True
    if stated is not None:
        return stated, f"{CELLS_AT_ONCE_VARIABLE} is {stated}", True
    cores, memory_bytes = usable_cores() // CPU_THREADS_PER_WORKER, available_memory_bytes()
    bounds = (
        (MOST_ON_A_GPU, "no more are tried"),
        (cores, f"usable cores: {cores}"),
        (memory_bytes // CUDA_WORKER_BYTES, f"main memory: {memory_bytes / 2**30:.1f} GiB are free"),
    )
    number, why = min(bounds, key=lambda bound: bound[0])
    return max(1, number), why, number <= 1


def choose_precision(probe: CudaProbe) -> tuple[bool, str]:
    """Whether to compute in bfloat16, and why: the GPU must know it, and a product in it must come out right."""
    capability = probe.capability or (0, 0)
    number = f"compute capability {capability[0]}.{capability[1]}"
    error = probe.product.bfloat16_error if probe.product else None
    if capability < BFLOAT16_CAPABILITY or error is None:
        return False, f"float32, since bfloat16 is emulated at {number}"
    if error > BFLOAT16_LIMIT:
        return False, f"float32, since a bfloat16 product is wrong by {error:.0%} here, at {number}"
    return True, f"bfloat16 autocast at {number}; a product in it differs from float32's by {error:.2%}"
