"""What keeps torch from a GPU that NVML has: wrong build, old driver, other architecture, MIG, compute mode, CUDA's own words.

Pure functions of an inspection and of the catalogue's images. Must not know NVML's errors. Read `cuda_obstacle` first.
"""

from collections.abc import Sequence

from repro.hardware.cuda import CudaProbe
from repro.hardware.gpus import ComputeMode, Gpu
from repro.hardware.inspection import Inspection
from repro.spec import ContainerImage, is_covered, version_numbers

NO_DRIVER_WORDS = ("found no nvidia driver", "libcuda")
"""What torch says where the driver's CUDA library is not there."""
BUSY_WORDS = "busy or unavailable"
"""What CUDA says of a GPU that another process has to itself."""


def cuda_obstacle(seen: Inspection, images: Sequence[ContainerImage]) -> tuple[str, str, str]:
    """Code, message (which begins with `torch`) and remedy, the most particular cause first."""
    gpu, probe = seen.gpu, seen.probe
    assert gpu is not None and probe is not None, "only of GPUs that are there and were tried"
    may_be_the_driver = probe.problem in ("not-started", "died", "hung")
    found = (
        _by_build(seen, gpu, probe, images)
        or _by_setting(seen, gpu, probe)
        or (_by_driver(seen, gpu, probe, images) if may_be_the_driver else None)
        or (_by_architecture(seen, gpu, probe, images) if may_be_the_driver else None)
        or _by_memory(gpu, probe)
    )
    if found is not None:
        return found
    if probe.problem == "wrong-result":
        remedy = "Update the driver or torch; if it stays so, the GPU is faulty (`nvidia-smi -q`, `sudo dmesg`)."
        return "wrong-result", f"torch computes wrongly on it: {probe.words}", remedy
    if probe.problem == "hung":
        remedy = "Look for `Xid` in `sudo dmesg` on the host; end what hangs on the GPU (`nvidia-smi`), or reboot."
        return "cuda-hung", f"torch hangs when it starts CUDA: {probe.words}", remedy
    if probe.problem == "died":
        remedy = "Install torch again; look for `Xid` in `sudo dmesg` on the host, and reboot."
        return "cuda-died", f"torch crashes when it starts CUDA: {probe.words}", remedy
    remedy = "See whether `nvidia-smi` works, and look for `Xid` in `sudo dmesg` on the host; a reboot often helps."
    return "cuda-not-started", f"torch cannot start CUDA: {probe.words}", remedy


def _by_build(seen: Inspection, gpu: Gpu, probe: CudaProbe, images: Sequence[ContainerImage]) -> tuple[str, str, str] | None:
    if probe.problem == "no-torch":
        return (
            "no-torch",
            f"torch cannot be imported: {probe.words}",
            "Install vitrepro again (scripts/vitrepro, or the image).",
        )
    if probe.problem == "no-cuda":
        remedy = _get(seen, _serving(seen, gpu, images)) or _update(images, gpu)
        return "torch-without-cuda", f"torch {probe.torch} is a build without CUDA", remedy
    return None


def _by_setting(seen: Inspection, gpu: Gpu, probe: CudaProbe) -> tuple[str, str, str] | None:
    """MIG without slices, compute mode, CUDA_VISIBLE_DEVICES, a container without CUDA's library."""
    if gpu.mig_enabled and not gpu.slices:
        if seen.container:
            remedy = "Give the container a slice: `--gpus '\"device=MIG-…\"'` (`nvidia-smi -L` on the host lists them)."
        else:
            remedy = "Make a slice: `sudo nvidia-smi mig -cgi 0 -C` (`nvidia-smi mig -lgip` lists the sizes)."
        return "mig-without-slice", "torch finds no slice of it: MIG is on, and no slice is made or visible here", remedy
    if gpu.compute_mode is ComputeMode.PROHIBITED:
        remedy = f"On the host: `sudo nvidia-smi -i {gpu.index} -c DEFAULT`."
        return "compute-prohibited", "torch may not use it: its compute mode is `prohibited`", remedy
    if gpu.compute_mode is ComputeMode.EXCLUSIVE and (gpu.processes or BUSY_WORDS in probe.words):
        remedy = f"Wait for the other process to end, or on the host: `sudo nvidia-smi -i {gpu.index} -c DEFAULT`."
        return "gpu-exclusive", "torch may not use it: another process has it to itself (compute mode `exclusive`)", remedy
    hidden = seen.host.visible_devices
    if probe.problem == "not-started" and hidden is not None and hidden.strip() in ("", "-1"):
        return "gpu-hidden", f"torch sees no GPU: CUDA_VISIBLE_DEVICES is {hidden!r}", "Unset CUDA_VISIBLE_DEVICES."
    if seen.container and any(words in probe.words.lower() for words in NO_DRIVER_WORDS):
        remedy = (
            "Start the container with `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility` beside `--gpus all` (docs/container.md)."
        )
        return "container-without-cuda", "torch does not find the driver's CUDA library in the container", remedy
    return None


def _by_driver(seen: Inspection, gpu: Gpu, probe: CudaProbe, images: Sequence[ContainerImage]) -> tuple[str, str, str] | None:
    """By the least driver of the CUDA release, and by what the driver itself says that it knows."""
    cuda, driver = version_numbers(probe.cuda or ""), seen.survey.driver
    alike = [image for image in images if version_numbers(image.cuda)[:1] == cuda[:1]]
    least = min((image.min_driver for image in alike), key=version_numbers, default="")
    is_old = bool(driver and least) and version_numbers(driver) < version_numbers(least)
    knows_less = bool(cuda and seen.survey.cuda) and (seen.survey.cuda or (0, 0))[0] < cuda[0]
    if not (is_old or knows_less):
        return None
    needs = f"driver {least} or newer" if least else "a newer driver"
    message = f"torch {probe.torch} is built for CUDA {probe.cuda} and needs {needs}; here is {driver or 'an older one'}"
    serving = _get(seen, _serving(seen, gpu, images))
    update = f"update the driver to {least} or newer" if least else "update the driver"
    remedy = f"{serving[:-1]}; or {update}." if serving else f"{update[0].upper()}{update[1:]}."
    return "driver-too-old", message, remedy


def _by_architecture(
    seen: Inspection, gpu: Gpu, probe: CudaProbe, images: Sequence[ContainerImage]
) -> tuple[str, str, str] | None:
    capability = probe.capability or gpu.capability
    if capability is None or not probe.archs or is_covered(capability, probe.archs):
        return None
    oldest = min(version_numbers(arch.replace("compute_", "sm_"))[0] for arch in probe.archs)
    code = "gpu-too-old" if capability[0] * 10 + capability[1] < oldest else "gpu-too-new"
    number = f"{capability[0]}.{capability[1]}"
    message = f"torch {probe.torch} has no code for its compute capability {number} (it has {' '.join(probe.archs)})"
    able = [image for image in images if is_covered(capability, image.archs)]
    serving = _get(seen, _serving(seen, gpu, images, capability))
    if serving:
        return code, message, serving
    if able:
        return code, message, f"{_get(seen, able[0])[:-1]}, with driver {able[0].min_driver} or newer."
    later = "Install a later torch." if code == "gpu-too-new" else "No image of vitrepro serves it."
    return code, message, later


def _by_memory(gpu: Gpu, probe: CudaProbe) -> tuple[str, str, str] | None:
    if probe.problem != "no-memory" and "out of memory" not in probe.words.lower():
        return None
    who = f" ({processes_words(gpu)})" if gpu.processes else ""
    return "gpu-full", f"torch finds its memory full{who}", "End what fills it (`nvidia-smi` lists it), or wait."


def processes_words(gpu: Gpu) -> str:
    """How many processes compute on it, with how much memory, and their numbers where they are known."""
    processes = gpu.processes
    known = [one.memory_bytes for one in processes if one.memory_bytes is not None]
    memory = f", {sum(known) / 2**20:,.0f} MiB" if known else ""
    pids = [str(one.pid) for one in processes if one.pid]
    numbers = f", pid {' '.join(pids)}" if pids else ""
    return f"{len(processes)} other process{'es' * (len(processes) > 1)}{memory}{numbers}"


def _serving(
    seen: Inspection, gpu: Gpu, images: Sequence[ContainerImage], capability: tuple[int, int] | None = None
) -> ContainerImage | None:
    """The preferred image that runs with this driver on this GPU."""
    wanted = capability or gpu.capability
    return next((image for image in images if image.serves(driver=seen.survey.driver, capability=wanted)), None)


def _get(seen: Inspection, image: ContainerImage | None) -> str:
    """How to come by its torch, inside the project's container and elsewhere; empty without an image."""
    if image is None:
        return ""
    if seen.container and seen.container.lock:
        build = f"{seen.container.command} build --build-arg LOCK={image.lock} -t vitrepro:{image.lock} ."
        return f"Build and use the image for it: `{build}` (docs/container.md)."
    return (
        f"Install the torch that fits: `pip install torch=={image.torch} torchvision=={image.torchvision}` (CUDA {image.cuda})."
    )


def _update(images: Sequence[ContainerImage], gpu: Gpu) -> str:
    able = [image.min_driver for image in images if gpu.capability is None or is_covered(gpu.capability, image.archs)]
    if not able:
        return "No torch of vitrepro's images serves this GPU."
    return f"Update the NVIDIA driver to {min(able, key=version_numbers)} or newer, then install a torch with CUDA."
