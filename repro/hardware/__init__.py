"""What this machine has, and what keeps it from being used: GPUs, processor, memory, and the choices that follow, with reasons.

NVML (`nvml`) is asked first, because it answers in milliseconds; what torch can do on a GPU is tried in a process of its own
(`cuda`, `cuda_probe`), once a command (`inspection`). What that means for a user, and what to do, is said in `diagnosis`. Must
not know cells. Read `choose_device` in `device` first.
"""

from repro.hardware.compilers import COMPILE_VARIABLE, lacks_for_compiling
from repro.hardware.cuda import CudaProbe, ProductCheck, probe_cuda
from repro.hardware.device import BFLOAT16, DeviceChoice, choose_device
from repro.hardware.diagnosis import diagnose, lost_gpu
from repro.hardware.gpus import Gpu, GpuProcess, GpuSurvey, MigSlice
from repro.hardware.host import HostFacts, look_at_host
from repro.hardware.inspection import Inspection, forget_inspection, inspect_gpus
from repro.hardware.lines import CheckLine, Level
from repro.hardware.machine import (
    CELLS_AT_ONCE_VARIABLE,
    CPU_THREADS_PER_WORKER,
    IMAGE_BUDGET_VARIABLE,
    activation_budget_bytes,
    available_memory_bytes,
    free_memory_bytes,
    image_budget_bytes,
    peak_memory_bytes,
    peak_reserved_bytes,
    processor_name,
    start_peak_memory,
    stated_cells_at_once,
    usable_cores,
)
from repro.hardware.nvml import EnergyMeter, survey_gpus

__all__ = [
    "BFLOAT16",
    "CELLS_AT_ONCE_VARIABLE",
    "COMPILE_VARIABLE",
    "CPU_THREADS_PER_WORKER",
    "IMAGE_BUDGET_VARIABLE",
    "CheckLine",
    "CudaProbe",
    "DeviceChoice",
    "EnergyMeter",
    "Gpu",
    "GpuProcess",
    "GpuSurvey",
    "HostFacts",
    "Inspection",
    "Level",
    "MigSlice",
    "ProductCheck",
    "activation_budget_bytes",
    "available_memory_bytes",
    "choose_device",
    "diagnose",
    "forget_inspection",
    "free_memory_bytes",
    "image_budget_bytes",
    "inspect_gpus",
    "lacks_for_compiling",
    "look_at_host",
    "lost_gpu",
    "peak_memory_bytes",
    "peak_reserved_bytes",
    "probe_cuda",
    "processor_name",
    "start_peak_memory",
    "stated_cells_at_once",
    "survey_gpus",
    "usable_cores",
]
