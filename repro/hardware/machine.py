"""Processor and memory: what there is, what may be filled with images and activations, what was used.

torch is imported only where a GPU is asked about. Must not know NVML or cells. Read `image_budget_bytes` first.
"""

import contextlib
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil

from repro.errors import EnvironmentProblem

CPU_THREADS_PER_WORKER = 1
"""Two OpenMP threads that share two cores with anything else can be 50 times slower than one: see ARCHITECTURE.md."""

IMAGE_BUDGET_VARIABLE = "VITREPRO_IMAGES_ON_DEVICE_GIB"
"""Names how much device memory the images of one cell may fill."""
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Intel and AMD, Intel's matrix unit, Arm: names in Linux' /proc/cpuinfo."""
CELLS_AT_ONCE_VARIABLE = "VITREPRO_CELLS_AT_ONCE"
"""Names how many cells run at once on a GPU, whatever their kind."""
GPU_SHARE_FOR_IMAGES = 2
"""One part in so many of a GPU's free memory; the model, its gradients and activations need the rest."""
CPU_SHARE_FOR_IMAGES = 4
"""The same of main memory, where every worker holds images of its own."""
_CGROUP = Path("/sys/fs/cgroup")
"""Where a container sees its limits."""


def usable_cores() -> int:
    """Cores that this process may use: affinity and the container's CPU quota, whichever is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return min(cores, max(1, int(quota) // int(period)))
    with contextlib.suppress(OSError, ValueError):
        quota, period = ((_CGROUP / f"cpu/cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        if int(quota) > 0:
            return min(cores, max(1, int(quota) // int(period)))
    return cores


def _memory_limit() -> tuple[int, int] | None:
    """The container's limit and use in bytes, by version 2 of control groups or, on older hosts, version 1; None without."""
    for limit, used in (
        ("memory.max", "memory.current"),
        # Where nothing is set, version 1 has a number beyond any memory.
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            return int((_CGROUP / limit).read_text()), int((_CGROUP / used).read_text())
    return None


def peak_memory_bytes(*, device: str) -> int:
    """Peak memory so far: allocated on the GPU since `start_peak_memory`, or this process' resident peak on a CPU."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource

    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib * 1024


def start_peak_memory(*, device: str) -> None:
    """Forget the GPU's peak so far; a process' resident peak cannot be forgotten."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()


def peak_reserved_bytes(*, device: str) -> int:
    """What this process has needed at its peak on a GPU since `start_peak_memory`: torch's cache counts; 0 on a CPU."""
    if not device.startswith("cuda"):
        return 0
    import torch

    return int(torch.cuda.max_memory_reserved())


def processor_name() -> str:
    """The CPU's product name as Linux gives it, else the machine type."""
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def multiplies_in_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU has instructions for products of bfloat16, as Linux tells it; where it does not tell, no."""
    for line in _lines(cpuinfo):
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return not BFLOAT16_FLAGS.isdisjoint(values.split())
    return False


def available_memory_bytes() -> int:
    """Memory that new processes can have, the container's limit included."""
    available = int(psutil.virtual_memory().available)
    if (memory := _memory_limit()) is not None:
        limit, used = memory
        available = min(available, max(0, limit - used))
    return available


def stated_cells_at_once() -> int | None:
    """How many cells the user wants at once on a GPU; None where that is left to be measured.

    Raises EnvironmentProblem when the environment variable that sets it is not a whole number of 1 or more.
    """
    stated = os.environ.get(CELLS_AT_ONCE_VARIABLE)
    if stated is None:
        return None
    if not (stated.isascii() and stated.isdigit() and int(stated) >= 1):
        raise EnvironmentProblem(
            f"{CELLS_AT_ONCE_VARIABLE} is {stated!r}, which is not a whole number of 1 or more.",
            remedy="Set it to a number such as 4 (1 gives every cell the GPU alone), or unset it: then it is measured.",
        )
    return int(stated)


def image_budget_bytes(*, device: str, at_once: int = 1) -> tuple[int, str]:
    """Bytes that one cell's images may fill on the device, and whence the number, in a few words.

    Where `at_once` cells share a GPU, each has its part of what is free; what a user states is for each cell. Raises
    EnvironmentProblem when the environment variable that sets it is not a number of GiB.
    """
    stated = os.environ.get(IMAGE_BUDGET_VARIABLE)
    if stated is not None:
        try:
            gib = float(stated)
        except ValueError:
            gib = math.nan
        if not (math.isfinite(gib) and gib >= 0):
            raise EnvironmentProblem(
                f"{IMAGE_BUDGET_VARIABLE} is {stated!r}, which is not a number of GiB of 0 or more.",
                remedy="Set it to a number such as 8 or 0.5 (0 leaves all images on the disk), or unset it.",
            )
        return int(gib * 2**30), f"{IMAGE_BUDGET_VARIABLE} is {stated}"
    free_bytes = free_memory_bytes(device=device)
    if device.startswith("cuda"):
        words = f"half of {_part(at_once)}the {free_bytes / 2**30:.1f} GiB that are free on the GPU"
        return free_bytes // GPU_SHARE_FOR_IMAGES // at_once, words
    return free_bytes // CPU_SHARE_FOR_IMAGES, f"a quarter of the {free_bytes / 2**30:.1f} GiB of memory that are available"


def activation_budget_bytes(*, device: str, at_once: int = 1) -> tuple[int, str]:
    """Bytes that one training step's activations may fill on the device, and whence the number, in a few words.

    Half of a GPU's free memory (gradients, optimizer state and work space need the rest), divided by the cells `at_once`. Of a
    CPU's an eighth of all there is, free or not, so that a resumed cell finds the same number and ends bitwise as undisturbed.
    """
    if device.startswith("cuda"):
        free_bytes = free_memory_bytes(device=device)
        return free_bytes // 2 // at_once, f"half of {_part(at_once)}{free_bytes / 2**30:.1f} GiB free"
    total_bytes = int(psutil.virtual_memory().total)
    if (memory := _memory_limit()) is not None:
        total_bytes = min(total_bytes, memory[0])
    return total_bytes // 8, f"an eighth of {total_bytes / 2**30:.1f} GiB"


def _part(at_once: int) -> str:
    return f"1/{at_once} of " if at_once > 1 else ""


def free_memory_bytes(*, device: str) -> int:
    """Bytes that this process could still fill on the device."""
    if not device.startswith("cuda"):
        return available_memory_bytes()
    import torch

    free_bytes, _ = torch.cuda.mem_get_info()
    # What the cell before has left in torch's cache is free as well, though not for the driver.
    return free_bytes + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


def _lines(path: Path) -> Iterator[str]:
    with contextlib.suppress(OSError), path.open() as file:
        yield from file
