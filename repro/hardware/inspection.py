"""All that can be found out about the GPUs, once a command: NVML's survey, the system's facts, the container, torch's probe.

`check`, the choice of the profile and the choice of the device all ask; the probe takes seconds. Must not know what it means.
Read `inspect_gpus` first.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from repro.container import Container, find_container
from repro.hardware.cuda import CudaProbe, probe_cuda
from repro.hardware.gpus import Gpu, GpuSurvey, MigSlice
from repro.hardware.host import HostFacts, look_at_host
from repro.hardware.nvml import survey_gpus

ROOT = Path("/")
"""Where /proc, /sys, /dev and the marks of a container are looked for; a test may make up another machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found."""

    survey: GpuSurvey
    """By NVML."""
    host: HostFacts
    """In the system's files."""
    container: Container | None
    """Around this process."""
    probe: CudaProbe | None
    """By torch; None where NVML has no GPU, or none is wanted."""

    @property
    def gpu(self) -> Gpu | None:
        """The GPU that torch uses, or would use: known by its UUID, else the first."""
        uuid = self.probe.uuid if self.probe else ""
        named = [gpu for gpu in self.survey.gpus if gpu.is_named(uuid)]
        return next(iter([*named, *self.survey.gpus]), None)

    @property
    def slice(self) -> MigSlice | None:
        """The MIG slice of it that torch uses, where it is cut into slices."""
        return self.gpu.slice_named(self.probe.uuid if self.probe else "") if self.gpu else None


def inspect_gpus(*, probes: bool = True) -> Inspection:
    """Look at everything, or remember it; torch is tried only where NVML has a GPU, and not without `probes`."""
    survey = _survey()
    probe = _probe() if probes and survey.gpus else None
    return Inspection(survey=survey, host=look_at_host(root=ROOT), container=find_container(root=ROOT), probe=probe)


def inspect_anew() -> Inspection:
    """Look again, without torch: whether the GPU is still there."""
    return Inspection(survey=survey_gpus(), host=look_at_host(root=ROOT), container=find_container(root=ROOT), probe=None)


def forget_inspection() -> None:
    """Have everything looked at anew, as another command would."""
    _survey.cache_clear()
    _probe.cache_clear()


@cache
def _survey() -> GpuSurvey:
    return survey_gpus()


@cache
def _probe() -> CudaProbe:
    return probe_cuda()
