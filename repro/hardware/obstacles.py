"""What keeps this machine's GPU from being used, in words, and what to do about it: the part that NVML and the system tell.

Pure functions of an inspection. What torch says is read in `cuda_obstacles`. Must not know profiles. Read `obstacle` first.
"""

from repro.catalog import load_catalog
from repro.container import Container
from repro.hardware.cuda_obstacles import cuda_obstacle
from repro.hardware.inspection import Inspection
from repro.hardware.lines import CheckLine, Level

WITHOUT = "Run with --device cpu to go without."
"""How every remedy ends."""
GUIDE = "docs/container.md"
"""Where containers are explained."""
START_OPTIONS = {"podman": "podman run --device nvidia.com/gpu=all", "apptainer": "apptainer run --nv"}
"""How a container is started with a GPU; all others as docker does."""


def obstacle(seen: Inspection) -> CheckLine | None:
    """What keeps torch from a GPU, as a warning with a remedy; None where nothing does, ok where there is no GPU at all."""
    if seen.survey.problem:
        found = _without_nvml(seen)
    elif seen.probe is not None and seen.probe.problem:
        found = cuda_obstacle(seen, load_catalog().images)
    else:
        return None
    code, message, remedy = found
    level = Level.OK if code == "no-gpu" else Level.WARNING
    name = "nvml" if seen.survey.problem else "torch"
    return CheckLine(name=name, level=level, message=message, remedy=f"{remedy} {WITHOUT}".strip(), code=code)


def start_command(container: Container | None) -> str:
    """How a container with a GPU is started."""
    return START_OPTIONS.get(container.runtime if container else "", "docker run --gpus all")


def restart_command(container: Container) -> str:
    """How this container is started again."""
    if container.runtime == "apptainer":
        return "leave the container and start it again"
    return f"`{container.command} restart {container.name}`, or start it again"


def _without_nvml(seen: Inspection) -> tuple[str, str, str]:
    """Code, message and remedy where NVML does not answer, or has no GPU."""
    code = seen.survey.code
    if code == "LIBRARY_NOT_FOUND":
        return _without_library(seen)
    is_there = seen.host.has_nvidia_gpu or seen.host.has_wsl_gpu
    if code in ("DRIVER_NOT_LOADED", "NO_GPU") and not is_there:
        # The driver's libraries are installed on many machines without a GPU, such as a cluster's login nodes.
        return _no_gpu(seen)
    words = f"NVML says {seen.survey.problem!r}"
    if code == "DRIVER_NOT_LOADED":
        remedy = (
            "Load it on the host: `sudo modprobe nvidia`. If that is refused, install the driver again for the running kernel."
        )
        return "driver-not-loaded", f"the NVIDIA driver is installed but its kernel module is not loaded ({words})", remedy
    if code == "NO_GPU":
        return _no_gpu_reported(seen)
    if code == "LIB_RM_VERSION_MISMATCH":
        module = f" (the one loaded is {seen.host.driver})" if seen.host.driver else ""
        again = f", then {restart_command(seen.container)}" if seen.container else ""
        message = f"the NVIDIA driver was updated while the machine ran, and its parts no longer fit{module} ({words})"
        return "driver-updated", message, f"Reboot the machine{again}."
    if code == "NO_PERMISSION":
        return _no_permission(seen, words)
    if code == "GPU_IS_LOST":
        remedy = "Look for `Xid` in `sudo dmesg` on the host, and reboot it; if it happens again, look at power, heat and seat."
        return "gpu-lost", f"the GPU has fallen off the bus ({words})", remedy
    if code == "RESET_REQUIRED":
        remedy = "On the host: `sudo nvidia-smi --gpu-reset` with nothing running on the GPU, else reboot."
        return "gpu-needs-reset", f"the GPU has met an error and must be reset ({words})", remedy
    if code == "UNKNOWN" and seen.container:
        message = f"the container has lost its access to the GPU ({words}), as after `systemctl daemon-reload` on the host"
        return "gpu-access-lost", message, f"On the host: {restart_command(seen.container)} ({GUIDE})."
    remedy = "See whether `nvidia-smi` works; look for `Xid` in `sudo dmesg`, and reboot."
    return "nvml-error", f"the NVIDIA driver does not answer ({words})", remedy


def _without_library(seen: Inspection) -> tuple[str, str, str]:
    host, container = seen.host, seen.container
    if container and host.device_files:
        message = "the container has the GPU's device files but not the driver's library"
        remedy = f"Start it with `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility` beside `--gpus all` ({GUIDE})."
        return "container-without-library", message, remedy
    if container and (host.driver or host.has_wsl_gpu):
        where = f"NVIDIA driver {host.driver}" if host.driver else "a GPU (WSL2)"
        message = f"the host has {where}, but the container was started without the GPU"
        return "container-without-gpu", message, _start_remedy(container)
    if host.has_wsl_gpu:
        message = "WSL2 shows a GPU (/dev/dxg), but NVIDIA's library is not found"
        remedy = (
            "If the GPU is NVIDIA's: install NVIDIA's driver in Windows (none in Linux), `wsl --shutdown`, and see that "
            "/usr/lib/wsl/lib is among the library folders (LD_LIBRARY_PATH)."
        )
        return "wsl-without-library", message, remedy
    if host.driver:
        message = f"the NVIDIA kernel module {host.driver} is loaded, but its library (libnvidia-ml.so.1) is not found"
        remedy = "Install the driver's libraries of that very version, or name their folder in LD_LIBRARY_PATH."
        return "driver-without-library", message, remedy
    if host.num_pci_gpus:
        return _driver_missing(seen)
    return _no_gpu(seen)


def _start_remedy(container: Container) -> str:
    command = start_command(container)
    return f"Start it with `{command} …`; if that is refused, install nvidia-container-toolkit on the host ({GUIDE})."


def _driver_missing(seen: Inspection) -> tuple[str, str, str]:
    number = seen.host.num_pci_gpus
    message = f"the machine has {number} NVIDIA GPU{'s' * (number > 1)}, but no NVIDIA driver is loaded"
    newest = load_catalog().images[0].min_driver
    where = "on the host, then start the container with the GPU" if seen.container else "and reboot"
    remedy = f"Install NVIDIA's driver {newest} or newer {where}."
    return "driver-missing", message, remedy


def _no_gpu(seen: Inspection) -> tuple[str, str, str]:
    hint = ""
    if seen.container and seen.host.is_wsl:
        hint = f"; under WSL2 a container sees one only with `{start_command(seen.container)}`"
    remedy = f"If the host has one, start the container with `{start_command(seen.container)} …`." if seen.container else ""
    return "no-gpu", f"no GPU ({seen.survey.problem}){hint}", remedy


def _no_gpu_reported(seen: Inspection) -> tuple[str, str, str]:
    message = "the NVIDIA driver reports no GPU, though the machine has one"
    if seen.container:
        return "container-without-gpu", message, _start_remedy(seen.container)
    return (
        "driver-without-gpu",
        message,
        "Look for NVRM in `sudo dmesg`: the driver may not know this GPU; update it and reboot.",
    )


def _no_permission(seen: Inspection, words: str) -> tuple[str, str, str]:
    message = f"this user may not use the GPU ({words})"
    if seen.container:
        remedy = f"On the host: {restart_command(seen.container)}, with the GPU (`{start_command(seen.container)} …`, {GUIDE})."
    else:
        remedy = "Look at `ls -l /dev/nvidia*`: join the group that may read and write them, or ask the administrator."
    return "gpu-no-permission", message, remedy
