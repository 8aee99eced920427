"""Stage `check`: can this machine run the profile, and how long will it take? Changes nothing but an empty home folder.

What is said of GPUs stands in `repro.hardware`. Read `check` first.
"""

import sys
from dataclasses import dataclass

from repro.catalog import load_profile
from repro.context import Context
from repro.datasets import pack_bytes
from repro.errors import EnvironmentProblem, ReproError
from repro.forecast import Forecast
from repro.hardware import (
    CheckLine,
    Level,
    available_memory_bytes,
    diagnose,
    inspect_gpus,
    processor_name,
    usable_cores,
)
from repro.plan import Plan
from repro.records import CellStatus
from repro.spec import Profile
from repro.workspace import free_disk_bytes, prepare_home

__all__ = ["CheckLine", "CheckResult", "Level", "check"]

WORKER_MEMORY_BYTES = 600 * 2**20
"""What one worker process needs with torch, without images: docs/measurements.md."""
DISK_RESERVE_BYTES = 200 * 2**20
"""Room that must stay free beside the forecast: data sets, report, logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """All lines, and the forecast where one could be made."""

    lines: tuple[CheckLine, ...]
    """In the order in which they were looked at."""
    forecast: Forecast | None
    """None where a failure stands in the way, or data of unknown shape must be fetched first."""

    @property
    def failed(self) -> bool:
        """Whether any line is a failure."""
        return any(line.level is Level.FAILURE for line in self.lines)


def check(context: Context) -> CheckResult:
    """Look at Python, GPU, cores, memory, home, disk and data, then time the profile's steps for a forecast."""
    lines = [_python(), *_device(context), _cores(), _memory(context), _home(context)]
    plan = context.plan()
    (images, packs), weights = context.bytes_to_fetch(), context.weights_bytes_to_fetch()
    lines.append(_data(plan, images + weights))
    forecast = None
    entries = context.selected(plan) if plan.cells else []
    if entries and not any(line.level is Level.FAILURE for line in lines):
        try:
            before = _device_line(context)
            forecast = context.forecast(entries, plan)
            # Timing may have settled in which precision cells run.
            lines = [_device_line(context) if line == before else line for line in lines]
        except EnvironmentProblem as error:
            lines.append(CheckLine(name="workers", level=Level.FAILURE, message=error.message, remedy=error.remedy))
    lines.append(_disk(context, forecast, images + packs + weights))
    return CheckResult(lines=tuple(lines), forecast=forecast)


def _python() -> CheckLine:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return CheckLine(name="python", level=Level.OK, message=f"{version} at {sys.executable}")


def _device(context: Context) -> list[CheckLine]:
    """What is to be said of GPUs, and the device that comes of it."""
    seen = inspect_gpus(probes=context.requested_device != "cpu")
    smaller = _smaller_profiles(context.profile)
    lines = diagnose(seen, requested=context.requested_device, profile=context.profile, smaller=smaller)
    try:
        lines.append(_device_line(context))
    except ReproError as error:
        lines.append(CheckLine(name="device", level=Level.FAILURE, message=error.message, remedy=error.remedy))
    return lines


def _device_line(context: Context) -> CheckLine:
    device = context.device
    return CheckLine(name="device", level=Level.OK, message=f"{device.name}: {device.reason}; {device.precision_reason}")


def _smaller_profiles(profile: Profile) -> list[Profile]:
    """The shipped profiles that a profile names as smaller, and those that these name."""
    found: list[Profile] = []
    while profile.smaller is not None and profile.smaller not in {one.name for one in found}:
        profile = load_profile(profile.smaller)
        found.append(profile)
    return found


def _cores() -> CheckLine:
    cores = usable_cores()
    return CheckLine(name="cores", level=Level.OK, message=f"{cores} usable, {processor_name()}")


def _memory(context: Context) -> CheckLine:
    available = available_memory_bytes()
    try:
        # How many share a GPU is measured later, and never more than main memory bears.
        num_workers = context.device.num_workers if context.device.device == "cpu" else context.device.at_once or 1
    except ReproError:
        num_workers = 1
    needed = num_workers * (WORKER_MEMORY_BYTES + min(_image_bytes(context), available // 4))
    message = f"{available / 2**30:.1f} GiB free, about {needed / 2**30:.1f} GiB needed by {num_workers} workers"
    if available < needed:
        return CheckLine(
            name="memory", level=Level.WARNING, message=message, remedy="Close other programs; a killed worker costs its cell."
        )
    return CheckLine(name="memory", level=Level.OK, message=message)


def _image_bytes(context: Context) -> int:
    """Bytes of the largest training part, as far as known: a worker holds it, or streams what is more than memory bears."""
    facts = context.facts()
    known = [one.num_train_images * one.image_size**2 * one.num_channels for one in facts.values()]
    return max([*known, *(pack_bytes(spec) for name, spec in context.datasets().items() if name not in facts)], default=0)


def _home(context: Context) -> CheckLine:
    try:
        prepare_home(context.workspace)
    except ReproError as error:
        return CheckLine(name="home", level=Level.FAILURE, message=error.message, remedy=error.remedy)
    return CheckLine(name="home", level=Level.OK, message=f"{context.workspace.home} is writable")


def _data(plan: Plan, downloads: int) -> CheckLine:
    num_unfetched = sum(entry.status is CellStatus.UNFETCHED for entry in plan.cells)
    if num_unfetched or plan.unsized:
        how = f"{downloads / 1e6:,.0f} MB to download" if downloads else "nothing to download"
        return CheckLine(name="data", level=Level.OK, message=f"not all there yet; `vitrepro fetch` brings it ({how})")
    return CheckLine(name="data", level=Level.OK, message="all data sets and weights of the profile are there")


def _disk(context: Context, forecast: Forecast | None, to_fetch: int) -> CheckLine:
    free = free_disk_bytes(context.workspace)
    needed = DISK_RESERVE_BYTES + (forecast.disk_bytes if forecast else 0) + to_fetch
    message = f"{free / 2**30:.1f} GiB free, about {needed / 2**30:.2f} GiB needed"
    if free < needed:
        return CheckLine(
            name="disk", level=Level.FAILURE, message=message, remedy="Free some space or give another --home on a larger disk."
        )
    return CheckLine(name="disk", level=Level.OK, message=message)
