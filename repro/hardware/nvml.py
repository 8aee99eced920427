"""The only user of NVML: what it says of all GPUs, and the energy that torch's GPU has used.

Every question is asked by itself: what one GPU or driver does not support leaves the answers to the others. Must not know
torch, but for the GPU that it uses. Read `survey_gpus` first.
"""

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import psutil
import pynvml

from repro.hardware.gpus import ComputeMode, Gpu, GpuProcess, GpuSurvey, MigSlice

CODES = {getattr(pynvml, name): name.removeprefix("NVML_ERROR_") for name in dir(pynvml) if name.startswith("NVML_ERROR_")}
"""Names of NVML's errors."""
DEAD = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
"""Errors after which a GPU answers nothing: no question is left to others."""
SLOWDOWNS = {
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "the machine's power supply",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "heat (by the hardware)",
    pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "heat (by the driver)",
}
"""Reasons for low clocks that are not normal; the general hardware slowdown is told where none of these is given."""
COMPUTE_MODES = {
    pynvml.NVML_COMPUTEMODE_PROHIBITED: ComputeMode.PROHIBITED,
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: ComputeMode.EXCLUSIVE,
}

Answer = TypeVar("Answer")


def survey_gpus() -> GpuSurvey:
    """Ask NVML for all GPUs. Never raises: a machine without a driver has none, and the reason is in `code` and `problem`."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return _silence(error)
    try:
        driver = _ask(pynvml.nvmlSystemGetDriverVersion, otherwise="")
        version = _ask(pynvml.nvmlSystemGetCudaDriverVersion_v2, otherwise=0)
        cuda = (version // 1000, version % 1000 // 10) if version else None
        gpus, errors = [], []
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                gpus.append(_gpu(index))
            except pynvml.NVMLError as error:
                errors.append(error)
        if errors and not gpus:
            return _silence(errors[0], driver=driver, cuda=cuda, num_silent=len(errors))
        code, problem = ("", "") if gpus else ("NO_GPU", "the driver reports no GPU")
        return GpuSurvey(gpus=tuple(gpus), num_silent=len(errors), code=code, problem=problem, driver=driver, cuda=cuda)
    except pynvml.NVMLError as error:
        return _silence(error)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _silence(
    error: pynvml.NVMLError, *, driver: str = "", cuda: tuple[int, int] | None = None, num_silent: int = 0
) -> GpuSurvey:
    code = CODES.get(error.value, str(error.value))
    return GpuSurvey(code=code, problem=_words(error), driver=driver, cuda=cuda, num_silent=num_silent)


def _words(error: pynvml.NVMLError) -> str:
    return str(error).rstrip(".")


def _ask(question: Callable[[], Answer], *, otherwise: Answer) -> Answer:
    """The answer, or `otherwise` where the GPU or its driver has none. Raises NVMLError where the GPU is gone."""
    try:
        return question()
    except pynvml.NVMLError as error:
        if error.value in DEAD:
            raise
        return otherwise


def _gpu(index: int) -> Gpu:
    """All about one GPU. Raises NVMLError when it does not answer at all."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    total, free, used = _memory(handle)
    mig_enabled = _ask(lambda: pynvml.nvmlDeviceGetMigMode(handle)[0], otherwise=0) == pynvml.NVML_DEVICE_MIG_ENABLE
    _, _, remap_pending, remap_failed = _ask(lambda: pynvml.nvmlDeviceGetRemappedRows(handle), otherwise=(0, 0, 0, 0))
    return Gpu(
        index=index,
        name=_ask(lambda: pynvml.nvmlDeviceGetName(handle), otherwise="an NVIDIA GPU"),
        uuid=_ask(lambda: pynvml.nvmlDeviceGetUUID(handle), otherwise=""),
        memory_bytes=total,
        free_bytes=free,
        used_bytes=used,
        capability=_ask(lambda: pynvml.nvmlDeviceGetCudaComputeCapability(handle), otherwise=None),
        compute_mode=COMPUTE_MODES.get(_ask(lambda: pynvml.nvmlDeviceGetComputeMode(handle), otherwise=0), ComputeMode.DEFAULT),
        processes=_processes(handle),
        mig_enabled=mig_enabled,
        slices=_slices(handle) if mig_enabled else (),
        num_uncorrected=_ask(
            lambda: pynvml.nvmlDeviceGetTotalEccErrors(
                handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
            ),
            otherwise=0,
        ),
        repair_pending=bool(remap_pending or _ask(lambda: pynvml.nvmlDeviceGetRetiredPagesPendingStatus(handle), otherwise=0)),
        repair_failed=bool(remap_failed),
        slowdowns=_slowdowns(handle),
        power_limit_w=_watts(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle)),
        default_power_limit_w=_watts(lambda: pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle)),
        energy_problem=_energy_problem(handle),
    )


def _memory(handle: object) -> tuple[int | None, int | None, int | None]:
    """Total, free and used bytes; None where the GPU has no memory of its own."""
    # Only the second form tells what the driver reserves from what is used; old drivers have only the first.
    for form in (pynvml.nvmlMemory_v2, None):
        memory = _ask(partial(pynvml.nvmlDeviceGetMemoryInfo, handle, version=form), otherwise=None)
        if memory is not None:
            return int(memory.total), int(memory.free), int(memory.used)
    return None, None, None


def _slices(handle: object) -> tuple[MigSlice, ...]:
    found = []
    for index in range(_ask(lambda: pynvml.nvmlDeviceGetMaxMigDeviceCount(handle), otherwise=0)):
        try:
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            name, uuid = pynvml.nvmlDeviceGetName(part), pynvml.nvmlDeviceGetUUID(part)
        except pynvml.NVMLError:
            # Places for slices that nobody has made, or that this process may not see.
            continue
        total, free, _ = _memory(part)
        found.append(MigSlice(uuid=uuid, name=name, memory_bytes=total, free_bytes=free))
    return tuple(found)


def _processes(handle: object) -> tuple[GpuProcess, ...]:
    """Computing processes but this one and its children."""
    forms = (pynvml.nvmlDeviceGetComputeRunningProcesses_v3, pynvml.nvmlDeviceGetComputeRunningProcesses_v2)
    found: list[Any] = next((them for form in forms if (them := _ask(partial(form, handle), otherwise=None)) is not None), [])
    if not found:
        return ()
    own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    return tuple(GpuProcess(pid=one.pid, memory_bytes=one.usedGpuMemory) for one in found if one.pid not in own)


def _slowdowns(handle: object) -> tuple[str, ...]:
    # The same question under its new and its old name.
    reasons = _ask(lambda: pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle), otherwise=None)
    if reasons is None:
        reasons = _ask(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle), otherwise=0)
    words = tuple(text for bit, text in SLOWDOWNS.items() if reasons & bit)
    general = reasons & pynvml.nvmlClocksThrottleReasonHwSlowdown
    return words or (("heat or power (by the hardware)",) if general else ())


def _watts(question: Callable[[], int]) -> float | None:
    milliwatts = _ask(question, otherwise=None)
    return None if milliwatts is None else milliwatts / 1000


def _energy_problem(handle: object) -> str:
    try:
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        return _words(error)
    return ""


class EnergyMeter:
    """Joules that the GPU has used, by NVML's counter; None where there is no counter (CPU, MIG, old GPUs)."""

    problem: str
    """Why a reading was None, in a few words; empty on a CPU."""

    def __init__(self, *, device: str, uuid: str | None = None) -> None:
        """For a `cuda` device the GPU with `uuid`, which is torch's first unless stated."""
        self.problem = ""
        self._handle: object | None = None
        if device.startswith("cuda"):
            try:
                pynvml.nvmlInit()
                self._handle = self._find(uuid or _torchs_uuid())
            except pynvml.NVMLError as error:
                self.problem = f"NVML: {_words(error)}"

    def _find(self, uuid: str) -> object | None:
        """NVML's handle, found by UUID since CUDA_VISIBLE_DEVICES renumbers; None for a slice. Raises NVMLError."""
        slice_words = "a MIG slice has no energy counter of its own"
        try:
            handle: object = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        except pynvml.NVMLError:
            pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
            self.problem = slice_words
            return None
        if _ask(lambda: pynvml.nvmlDeviceGetMigMode(handle)[0], otherwise=0) == pynvml.NVML_DEVICE_MIG_ENABLE:
            self.problem = slice_words
            return None
        return handle

    def joules(self) -> float | None:
        """The counter's reading since the driver was loaded; differences count."""
        if self._handle is None:
            return None
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
        except pynvml.NVMLError as error:
            self.problem = f"NVML: {_words(error)}"
            return None


def _torchs_uuid() -> str:
    import torch

    return str(torch.cuda.get_device_properties(0).uuid)
