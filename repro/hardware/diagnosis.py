"""The lines of `vitrepro check` about GPUs: what is there, what keeps it from being used, and in which condition it is.

Pure functions of an inspection, but for `lost_gpu`, which looks again. Must not know torch or NVML. Read `diagnose` first.
"""

from collections.abc import Sequence
from dataclasses import replace

from repro.hardware.condition import condition, health
from repro.hardware.gpus import Gpu
from repro.hardware.inspection import Inspection, inspect_anew
from repro.hardware.lines import CheckLine, Level
from repro.hardware.obstacles import obstacle
from repro.spec import Profile


def diagnose(seen: Inspection, *, requested: str, profile: Profile, smaller: Sequence[Profile] = ()) -> list[CheckLine]:
    """All lines about GPUs, for `--device` as `requested`.

    What makes the GPU unusable is a failure where `cuda` is asked for, else a warning, since the CPU is taken. `smaller` are
    profiles that need less, the largest first.
    """
    found = obstacle(seen)
    gpu = seen.gpu
    if requested == "cpu":
        what = f"{_what_is_there(seen, gpu)}; not used: --device cpu" if gpu else "no GPU is looked for: --device cpu"
        return [CheckLine(name="nvml", level=Level.OK, message=what, code="gpu-not-asked-for")]
    if found is not None and requested == "cuda":
        found = replace(found, level=Level.FAILURE)
    elif found is not None and found.level is Level.OK:
        found = replace(found, remedy="")
    if gpu is None:
        assert found is not None, "NVML has a GPU, or says why not"
        return [found]
    lines = [CheckLine(name="nvml", level=Level.OK, message=_what_is_there(seen, gpu), code="gpu-found")]
    if found is not None:
        return [*lines, found, *health(gpu)]
    return [*lines, *condition(seen, profile=profile, smaller=smaller)]


def lost_gpu(uuid: str) -> CheckLine | None:
    """What has become of the GPU with this uuid (any, where it is empty), if it no longer answers; asks NVML again."""
    seen = inspect_anew()
    found = obstacle(seen)
    if found is None and uuid and not any(gpu.is_named(uuid) for gpu in seen.survey.gpus):
        lost = replace(seen.survey, code="GPU_IS_LOST", problem="GPU is lost", gpus=())
        found = obstacle(replace(seen, survey=lost))
    return found


def _what_is_there(seen: Inspection, gpu: Gpu) -> str:
    size = ""
    if gpu.memory_bytes is not None and gpu.free_bytes is not None:
        size = f" ({gpu.memory_bytes / 2**30:.0f} GiB, {gpu.free_bytes / 2**30:.0f} free)"
    num_others = len(seen.survey.gpus) - 1
    others = f", and {num_others} more" if num_others else ""
    num_silent = seen.survey.num_silent
    silent = f", {num_silent} that do{'es' * (num_silent == 1)} not answer" if num_silent else ""
    return f"driver {seen.survey.driver or 'unknown'}: {gpu.name}{size}{others}{silent}"
