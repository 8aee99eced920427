"""What this machine has: the only user of NVML, and the place where device, precision and threads are chosen, with reasons.

NVML is asked first because it answers in milliseconds; torch is imported only where a GPU is there or asked for. Must not
know cells or profiles. Read `choose_device` first.
"""

import contextlib
import math
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from repro.errors import EnvironmentProblem

CPU_THREADS_PER_WORKER = 1
"""Two OpenMP threads that share two cores with anything else can be 50 times slower than one: see ARCHITECTURE.md."""

IMAGE_BUDGET_VARIABLE = "VITREPRO_IMAGES_ON_DEVICE_GIB"
"""Names how much device memory the images of one cell may fill."""
GPU_SHARE_FOR_IMAGES = 2
"""One part in so many of a GPU's free memory; the model, its gradients and activations need the rest."""
CPU_SHARE_FOR_IMAGES = 4
"""The same of main memory, where every worker holds images of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as NVML sees it."""

    index: int
    """NVML's index."""
    name: str
    """Product name."""
    memory_bytes: int
    """Total memory."""
    free_bytes: int
    """Free memory at the time of asking."""
    driver: str
    """Driver version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSurvey:
    """What NVML found, or why it found nothing."""

    gpus: tuple[Gpu, ...]
    """All GPUs."""
    problem: str
    """Empty, or NVML's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChoice:
    """Where cells run."""

    device: str
    """`cpu` or `cuda`, as torch names it."""
    name: str
    """`cpu` or the GPU's product name."""
    bfloat16: bool
    """Whether forward passes run under bfloat16 autocast."""
    channels_last: bool
    """Whether images and convolution weights lie channels-last: a fifth faster for the ResNet on a CPU, more on a GPU."""
    reason: str
    """Why this device."""
    precision_reason: str
    """Why this precision."""
    driver: str | None
    """NVIDIA driver, if a GPU is used."""
    num_workers: int
    """Worker processes."""


def survey_gpus() -> GpuSurvey:
    """Ask NVML for all GPUs. Never raises: a machine without a driver has none, and the reason is in `problem`."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return GpuSurvey(gpus=(), problem=str(error))
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        gpus = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = _text(pynvml.nvmlDeviceGetName(handle))
            gpus.append(Gpu(index=index, name=name, memory_bytes=memory.total, free_bytes=memory.free, driver=driver))
        return GpuSurvey(gpus=tuple(gpus), problem="" if gpus else "the driver reports no GPU")
    except pynvml.NVMLError as error:
        return GpuSurvey(gpus=(), problem=str(error))
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def cuda_problem() -> str:
    """Empty if torch can compute on a GPU, else why not, found by a small product on the device."""
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is a build without CUDA"
    try:
        if not torch.cuda.is_available():
            return "torch cannot start CUDA"
        left = torch.ones(16, 16, device="cuda")
        if float((left @ left).sum()) != 16.0**3:
            return "a small matrix product on the GPU gave a wrong result"
    except RuntimeError as error:
        return " ".join(str(error).split())[:200]
    return ""


def usable_cores() -> int:
    """Cores that this process may use: affinity and the container's CPU quota, whichever is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def choose_device(requested: str) -> DeviceChoice:
    """The device for `auto`, `cpu` or `cuda`, with precision and number of workers.

    Raises EnvironmentProblem when `cuda` is asked for and cannot be had.
    """
    if requested == "cpu":
        return _cpu("asked for with --device cpu")
    survey = survey_gpus()
    problem = survey.problem
    if not problem:
        problem = cuda_problem()
        if not problem:
            return _cuda(survey)
        problem = f"{survey.gpus[0].name} is there, but {problem}"
    if requested == "cuda":
        raise EnvironmentProblem(
            f"--device cuda: no usable GPU ({problem}).",
            remedy="Run with --device cpu, or make the GPU visible (driver, `docker run --gpus all`) and try `vitrepro check`.",
        )
    return _cpu(f"no usable GPU: {problem}")


def _cpu(reason: str) -> DeviceChoice:
    return DeviceChoice(
        device="cpu",
        name="cpu",
        bfloat16=False,
        channels_last=True,
        reason=reason,
        precision_reason="float32: on a CPU the small models gain nothing from bfloat16, and results are bitwise repeatable",
        driver=None,
        num_workers=max(1, usable_cores() // CPU_THREADS_PER_WORKER),
    )


def _cuda(survey: GpuSurvey) -> DeviceChoice:
    import torch

    major, minor = torch.cuda.get_device_capability()
    bfloat16 = major >= 8
    why = "bfloat16 autocast" if bfloat16 else "float32, since bfloat16 is emulated"
    return DeviceChoice(
        device="cuda",
        name=torch.cuda.get_device_name(),
        bfloat16=bfloat16,
        channels_last=True,
        reason="a usable GPU",
        precision_reason=f"{why} at compute capability {major}.{minor}",
        driver=survey.gpus[0].driver,
        num_workers=1,
    )


class EnergyMeter:
    """Joules that the GPU has used, by NVML's counter; None where there is no counter (CPU, MIG, old GPUs)."""

    def __init__(self, *, device: str) -> None:
        self._handle = _nvml_handle() if device.startswith("cuda") else None

    def joules(self) -> float | None:
        """The counter's reading since the driver was loaded; differences count."""
        import pynvml

        if self._handle is None:
            return None
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        except pynvml.NVMLError:
            return None


def _nvml_handle() -> object | None:
    """NVML's handle of torch's current GPU, found by UUID since CUDA_VISIBLE_DEVICES renumbers."""
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        handle: object = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
    except (pynvml.NVMLError, AttributeError):
        return None
    return handle


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


def processor_name() -> str:
    """The CPU's product name as Linux gives it, else the machine type."""
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def available_memory_bytes() -> int:
    """Memory that new processes can have, the container's limit included."""
    available = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        available = min(available, max(0, limit - used))
    return available


def image_budget_bytes(*, device: str) -> tuple[int, str]:
    """Bytes that one cell's images may fill on the device, and whence the number, in a few words.

    Raises EnvironmentProblem when the environment variable that sets it is not a number of GiB.
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
    free_bytes = _free_bytes(device)
    if device.startswith("cuda"):
        return free_bytes // GPU_SHARE_FOR_IMAGES, f"half of the {free_bytes / 2**30:.1f} GiB that are free on the GPU"
    return free_bytes // CPU_SHARE_FOR_IMAGES, f"a quarter of the {free_bytes / 2**30:.1f} GiB of memory that are available"


def activation_budget_bytes(*, device: str) -> tuple[int, str]:
    """Bytes that one training step's activations may fill on the device, and whence the number, in a few words.

    Half of a GPU's free memory (gradients, optimizer state and work space need the rest). Of a CPU's an eighth of all there is,
    free or not, so that a resumed cell finds the same number and ends bitwise as an undisturbed one.
    """
    if device.startswith("cuda"):
        free_bytes = _free_bytes(device)
        return free_bytes // 2, f"half of {free_bytes / 2**30:.1f} GiB free"
    total_bytes = int(psutil.virtual_memory().total)
    with contextlib.suppress(OSError, ValueError):
        total_bytes = min(total_bytes, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total_bytes // 8, f"an eighth of {total_bytes / 2**30:.1f} GiB"


def _free_bytes(device: str) -> int:
    if not device.startswith("cuda"):
        return available_memory_bytes()
    import torch

    free_bytes, _ = torch.cuda.mem_get_info()
    # What the cell before has left in torch's cache is free as well, though not for the driver.
    return free_bytes + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


def _lines(path: Path) -> Iterator[str]:
    with contextlib.suppress(OSError), path.open() as file:
        yield from file


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
