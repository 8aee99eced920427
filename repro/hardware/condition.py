"""In which condition a usable GPU is: precision, other users, memory, MIG, memory errors, speed, energy.

Pure functions of an inspection. Everything is about the GPU that torch uses. Must not know what a cell is. Read `condition`
first.
"""

from collections.abc import Sequence

from repro.hardware.cuda import CudaProbe
from repro.hardware.cuda_obstacles import processes_words
from repro.hardware.device import choose_precision
from repro.hardware.gpus import ComputeMode, Gpu
from repro.hardware.inspection import Inspection
from repro.hardware.lines import CheckLine, Level
from repro.spec import Profile

BUSY_BYTES = 2**30
"""Memory in use beyond which somebody else computes, where the driver does not say who: a desktop takes less."""
NOMINAL_SHARE = 0.9
"""How much of the memory that a GPU is sold with it shows at least: 15.0 of 16 GiB on a T4, 22.5 of 24 on an L4."""


def condition(seen: Inspection, *, profile: Profile, smaller: Sequence[Profile]) -> list[CheckLine]:
    """The lines about the GPU that torch uses, which it can."""
    gpu, probe = seen.gpu, seen.probe
    assert gpu is not None and probe is not None, "only of GPUs that can be used"
    lines = [_torch(probe), _product(probe), *_mig(seen, gpu), *_mode(gpu), *_users(seen, gpu)]
    return [*lines, *_memory(seen, gpu, probe, profile, smaller), *health(gpu), *_speed(gpu), _energy(gpu)]


def health(gpu: Gpu) -> list[CheckLine]:
    """Errors of the GPU's memory."""
    lines = []
    if gpu.repair_failed:
        message = f"{gpu.name} has bad memory that it could not replace"
        lines.append(_warning("ecc", "memory-repair-failed", message, "Results may be lost or wrong: have the GPU exchanged."))
    if gpu.repair_pending:
        message = f"{gpu.name} has bad memory that waits for a restart to be replaced"
        remedy = f"On the host: `sudo nvidia-smi -i {gpu.index} --gpu-reset` with nothing running on it, or reboot."
        lines.append(_warning("ecc", "memory-repair-pending", message, remedy))
    if gpu.num_uncorrected:
        errors = f"{gpu.num_uncorrected} memory error{'s' * (gpu.num_uncorrected > 1)}"
        message = f"{gpu.name} has met {errors} that could not be corrected since the driver was loaded"
        remedy = "Reboot, and watch `nvidia-smi -q -d ECC`; if more come, have the GPU exchanged."
        lines.append(_warning("ecc", "memory-errors", message, remedy))
    return lines


def _warning(name: str, code: str, message: str, remedy: str) -> CheckLine:
    return CheckLine(name=name, level=Level.WARNING, code=code, message=message, remedy=remedy)


def _torch(probe: CudaProbe) -> CheckLine:
    capability = probe.capability or (0, 0)
    number = f"compute capability {capability[0]}.{capability[1]}"
    message = f"torch {probe.torch} with CUDA {probe.cuda} computes on {probe.name}, {number}"
    return CheckLine(name="torch", level=Level.OK, message=message, code="cuda-works")


def _product(probe: CudaProbe) -> CheckLine:
    bfloat16, reason = choose_precision(probe)
    product = probe.product
    if product is None or product.bfloat16_error is None or product.bfloat16_tflops is None:
        speed = f" ({product.float32_tflops:.3g} TFLOP/s)" if product else ""
        return CheckLine(name="product", level=Level.OK, message=f"{reason}{speed}", code="float32")
    rates = f"{product.bfloat16_tflops:.3g} TFLOP/s against {product.float32_tflops:.3g}"
    if bfloat16:
        return CheckLine(name="product", level=Level.OK, message=f"{reason}, at {rates}", code="bfloat16")
    remedy = "Cells run in float32, more slowly. Update the driver or torch; if it stays so, the GPU may be faulty."
    return _warning("product", "bfloat16-wrong", reason, remedy)


def _mig(seen: Inspection, gpu: Gpu) -> list[CheckLine]:
    part = seen.slice
    if not gpu.mig_enabled or part is None:
        return []
    size = f", {part.memory_bytes / 2**30:.1f} GiB" if part.memory_bytes is not None else ""
    others = len(gpu.slices) - 1
    more = f"; {others} more {'are' if others > 1 else 'is'} not used" if others else ""
    return [
        CheckLine(name="mig", level=Level.OK, code="mig-slice", message=f"slice {part.uuid} ({part.name}{size}) is used{more}")
    ]


def _mode(gpu: Gpu) -> list[CheckLine]:
    if gpu.compute_mode is not ComputeMode.EXCLUSIVE:
        return []
    message = "compute mode `exclusive`: one process at a time, which is enough"
    return [CheckLine(name="mode", level=Level.OK, code="gpu-exclusive", message=message)]


def _users(seen: Inspection, gpu: Gpu) -> list[CheckLine]:
    """Others who compute on it; in a container the driver may not say who, then the memory in use tells."""
    remedy = "Wait for them to end, or choose another GPU (CUDA_VISIBLE_DEVICES): times and energy of records would be wrong."
    if gpu.processes:
        return [_warning("busy", "gpu-busy", f"{gpu.name} is used by {processes_words(gpu)}", remedy)]
    if gpu.used_bytes is not None and gpu.used_bytes > BUSY_BYTES and not gpu.mig_enabled:
        where = ", as in containers" if seen.container else ""
        message = f"{gpu.used_bytes / 2**20:,.0f} MiB of {gpu.name} are in use; by whom is not visible here{where}"
        return [_warning("busy", "gpu-busy", message, remedy)]
    return []


def _memory(seen: Inspection, gpu: Gpu, probe: CudaProbe, profile: Profile, smaller: Sequence[Profile]) -> list[CheckLine]:
    """Whether the GPU (or its slice) has the memory that the profile was made for."""
    if profile.gpu_memory_gib is None:
        return []
    part = seen.slice if gpu.mig_enabled else None
    # NVML's figures are from before the probe; where it has none, memory is the machine's own and torch knows.
    total_bytes = (part.memory_bytes if part else gpu.memory_bytes) or probe.memory_bytes
    free_bytes = (part.free_bytes if part else gpu.free_bytes) or probe.free_bytes
    total, free = total_bytes / 2**30, free_bytes / 2**30
    made_for = f"profile {profile.name} was made for {profile.gpu_memory_gib:g} GiB"
    if total < profile.gpu_memory_gib * NOMINAL_SHARE:
        fitting = [one.name for one in smaller if (one.gpu_memory_gib or 0) * NOMINAL_SHARE <= total]
        other = f"Take --profile {fitting[0]}, or part" if fitting else "Take part"
        remedy = f"{other} of the cells with --only: batches are cut to what fits, slowly, and large models may not fit at all."
        return [
            _warning("gpu-mem", "gpu-memory-small", f"{made_for}; {part.name if part else gpu.name} has {total:.1f}", remedy)
        ]
    if free < profile.gpu_memory_gib * NOMINAL_SHARE:
        who = f": {processes_words(gpu)}" if gpu.processes else ""
        remedy = "End what fills it (`nvidia-smi` lists it), or wait."
        return [_warning("gpu-mem", "gpu-memory-taken", f"{made_for}; {free:.1f} of {total:.1f} are free{who}", remedy)]
    return [CheckLine(name="gpu-mem", level=Level.OK, code="gpu-memory", message=f"{free:.1f} GiB free; {made_for}")]


def _speed(gpu: Gpu) -> list[CheckLine]:
    lines = []
    if gpu.slowdowns:
        message = f"{gpu.name} is slowed down by {', '.join(gpu.slowdowns)}"
        remedy = (
            "Look at cooling and power (`nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER`): cells take longer than forecast."
        )
        lines.append(_warning("speed", "gpu-throttled", message, remedy))
    limit, default = gpu.power_limit_w, gpu.default_power_limit_w
    if limit is not None and default is not None and limit < default:
        message = f"{gpu.name} may draw {limit:.0f} W of its usual {default:.0f}"
        remedy = f"On the host: `sudo nvidia-smi -i {gpu.index} -pl {default:.0f}`, unless somebody wants it so."
        lines.append(_warning("speed", "power-capped", message, remedy))
    return lines


def _energy(gpu: Gpu) -> CheckLine:
    if not gpu.energy_problem and not gpu.mig_enabled:
        return CheckLine(name="energy", level=Level.OK, code="energy-counted", message="the GPU counts its energy")
    why = "a MIG slice has no counter of its own" if gpu.mig_enabled else f"NVML says {gpu.energy_problem!r}"
    remedy = "All else is as usual; GPUs from the Volta generation on count it, undivided."
    return _warning("energy", "energy-not-counted", f"records will have no energy: {why}", remedy)
