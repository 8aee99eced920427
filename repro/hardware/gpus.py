"""What NVML says of the machine's GPUs, as data. Must not know NVML. Read `GpuSurvey`, then `Gpu`."""

from dataclasses import dataclass
from enum import StrEnum


class ComputeMode(StrEnum):
    """Who may compute on a GPU."""

    DEFAULT = "default"
    EXCLUSIVE = "exclusive"
    """One process at a time."""
    PROHIBITED = "prohibited"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that computes on a GPU, other than this command."""

    pid: int
    """Its number; 0 where the driver does not tell."""
    memory_bytes: int | None
    """GPU memory that it holds; None where the driver does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigSlice:
    """A part of a GPU that MIG has made a device of its own."""

    uuid: str
    """As NVML gives it, with `MIG-`."""
    name: str
    """Product name with the slice's size."""
    memory_bytes: int | None
    """Total memory."""
    free_bytes: int | None
    """Free memory at the time of asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as NVML sees it. What a GPU does not know of itself is None, 0 or empty."""

    index: int
    """NVML's index."""
    name: str
    """Product name."""
    uuid: str = ""
    """As NVML gives it, with `GPU-`."""
    memory_bytes: int | None = None
    """Total memory; None where it is the machine's own."""
    free_bytes: int | None = None
    """Free memory at the time of asking."""
    used_bytes: int | None = None
    """Memory in use, without what the driver reserves."""
    capability: tuple[int, int] | None = None
    """Compute capability."""
    compute_mode: ComputeMode = ComputeMode.DEFAULT
    """Who may compute on it."""
    processes: tuple[GpuProcess, ...] = ()
    """What computes on it, this command left out. A container may not be told."""
    mig_enabled: bool = False
    """Whether it is cut into slices, and cannot be used as a whole."""
    slices: tuple[MigSlice, ...] = ()
    """The slices that this process may see."""
    num_uncorrected: int = 0
    """Memory errors since the driver was loaded that ECC could not correct."""
    repair_pending: bool = False
    """Whether bad memory waits for a restart to be replaced (row remapping, retired pages)."""
    repair_failed: bool = False
    """Whether bad memory could not be replaced."""
    slowdowns: tuple[str, ...] = ()
    """Why it runs slower than it could, in words: heat, power. Without what is normal under load."""
    power_limit_w: float | None = None
    """Power that it may draw now."""
    default_power_limit_w: float | None = None
    """Power that it may draw by its maker's setting."""
    energy_problem: str = ""
    """Why its energy is not counted, in NVML's words; empty where it is."""

    def is_named(self, uuid: str) -> bool:
        """Whether `uuid`, with or without its prefix, is this GPU's or one of its slices'."""
        return bare(uuid) in {bare(self.uuid), *(bare(one.uuid) for one in self.slices)} - {""}

    def slice_named(self, uuid: str) -> MigSlice | None:
        """The slice with this uuid; else the first, which is the one that CUDA takes."""
        named = [one for one in self.slices if bare(one.uuid) == bare(uuid)]
        return next(iter([*named, *self.slices]), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSurvey:
    """What NVML found, or why it found nothing."""

    gpus: tuple[Gpu, ...] = ()
    """All GPUs that answer."""
    num_silent: int = 0
    """GPUs that do not."""
    code: str = ""
    """Name of NVML's error (`LIBRARY_NOT_FOUND`), `NO_GPU`, or empty where a GPU answers."""
    problem: str = ""
    """The same in NVML's own words."""
    driver: str = ""
    """Version of the driver; empty where it is not known."""
    cuda: tuple[int, int] | None = None
    """Newest CUDA version that the driver knows."""


def bare(uuid: str) -> str:
    """A uuid without `GPU-` or `MIG-`, in small letters: torch and NVML write them differently."""
    return uuid.lower().removeprefix("gpu-").removeprefix("mig-")
