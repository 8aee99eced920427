"""`vitrepro check` on machines of every kind: each trouble with a GPU is a line with a code, a message and a remedy.

The command is a real process. NVML is a stub library (`nvml_stub`); where a test needs another machine's /proc, /sys and /dev,
or another torch's answer, `hardware/made_up_machine.py` says where these come from, and nothing else.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import nvml_stub
import pytest
import spine
import torch

from repro.catalog import load_catalog
from repro.hardware import CudaProbe, ProductCheck

MADE_UP = Path(__file__).parent / "hardware" / "made_up_machine.py"
CONTAINER_ID = "0123456789ab" + "c" * 52
UNLISTED = spine.STUDY.replace("size = [12, 1.0]", "size = [1.0]").replace("size = [12]", "size = [1.0]")
"""Cells that cannot be counted before their data are there, so that nothing is timed for a forecast."""
STUDY = UNLISTED.replace("convergence_check_at = [12]", "")

PRODUCT = ProductCheck(size=4096, float32_error=1e-6, float32_tflops=50.0, bfloat16_error=0.0031, bfloat16_tflops=600.0)
WORKING = CudaProbe(
    torch="2.11.0+cu130",
    cuda="13.0",
    archs=("sm_75", "sm_80", "sm_90", "sm_120"),
    name="NVIDIA Stub",
    uuid=nvml_stub.UUID,
    capability=(9, 0),
    memory_bytes=80 * 2**30,
    free_bytes=79 * 2**30,
    product=PRODUCT,
)


def broken(words: str, *, problem: str = "not-started", **fields: object) -> CudaProbe:
    update = {"problem": problem, "words": words, "product": None, "capability": None, "uuid": "", "name": "", **fields}
    return WORKING.model_copy(update=update)


def answering(probe: CudaProbe) -> list[str]:
    """A program that answers as torch would."""
    return ["/bin/sh", "-c", f"printf %s {shlex.quote(probe.model_dump_json())}"]


class Checked:
    """What a check has said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert "Traceback" not in done.stderr, done.stderr
        self.exit_code = done.returncode
        self.stderr = done.stderr
        self.lines: list[dict[str, Any]] = json.loads(done.stdout)["lines"]
        for line in self.lines:
            assert "\n" not in line["message"] + line["remedy"]
            assert bool(line["remedy"]) == (line["level"] != "ok"), line
            assert len(line["name"]) <= 7

    def line(self, code: str) -> dict[str, Any]:
        (found,) = [line for line in self.lines if line["code"] == code]
        return found

    def warning(self, code: str) -> tuple[str, str]:
        """Message and remedy of a line that must be a warning."""
        found = self.line(code)
        assert found["level"] == "warning"
        return found["message"], found["remedy"]

    @property
    def codes(self) -> list[str]:
        return [line["code"] for line in self.lines if line["code"]]

    @property
    def device(self) -> str:
        (found,) = [line["message"] for line in self.lines if line["name"] == "device"]
        return str(found)


def run_check(
    folder: Path, environment: dict[str, str], *, device: str = "auto", profile: str = STUDY, **machine: object
) -> Checked:
    """`check` with the stub; on a made-up machine where anything of one is given."""
    path = spine.write_study(folder / "study", profile)
    program = [str(MADE_UP), json.dumps(machine)] if machine else ["-m", "repro"]
    arguments = ["check", "--json", "--device", device, "--profile", str(path), "--home", str(folder / "home")]
    environment = {"VITREPRO_LOCK": "", **environment}
    return Checked(
        subprocess.run(
            [sys.executable, *program, *arguments], capture_output=True, text=True, env=environment, check=False, cwd=folder
        )
    )


def make_root(
    folder: Path,
    *,
    driver: str = "",
    num_gpus: int = 0,
    device_files: tuple[str, ...] = (),
    wsl: bool = False,
    container: bool = False,
) -> str:
    """A folder that looks like `/` of a machine with these things."""
    root = folder / "root"
    files = {"dev/null": "", "proc/self/mountinfo": ""}
    if driver:
        files["proc/driver/nvidia/version"] = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {driver}  Release\n"
    for number in range(num_gpus):
        files[f"sys/bus/pci/devices/0000:0{number}:00.0/vendor"] = "0x10de\n"
        files[f"sys/bus/pci/devices/0000:0{number}:00.0/class"] = "0x030200\n"
        files[f"sys/bus/pci/devices/0000:0{number}:00.1/vendor"] = "0x10de\n"
        files[f"sys/bus/pci/devices/0000:0{number}:00.1/class"] = "0x040300\n"
    files |= {f"dev/{name}": "" for name in device_files}
    if wsl:
        files["dev/dxg"] = ""
    if container:
        files[".dockerenv"] = ""
        place = f"/var/lib/docker/containers/{CONTAINER_ID}/hostname"
        files["proc/self/mountinfo"] = f"1 2 8:1 {place} /etc/hostname rw - ext4 /dev/sda1 rw\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


@pytest.fixture
def no_library() -> dict[str, str]:
    """Without NVML: the stub says what nvidia-ml-py says where the library is missing."""
    return nvml_stub.environment(errors={"nvmlInit_v2": 12})


# No driver, no GPU


def test_a_machine_without_a_gpu_is_ok(tmp_path: Path, no_library: dict[str, str]) -> None:
    checked = run_check(tmp_path, no_library, root=make_root(tmp_path))
    assert checked.exit_code == 0
    assert checked.line("no-gpu")["level"] == "ok"
    assert checked.device.startswith("cpu: no usable GPU: NVML Shared Library Not Found; float32")


def test_a_gpu_asked_for_where_there_is_none_is_a_failure(tmp_path: Path, no_library: dict[str, str]) -> None:
    checked = run_check(tmp_path, no_library, device="cuda", root=make_root(tmp_path))
    assert checked.exit_code == 1
    assert checked.line("no-gpu")["level"] == "failure"
    assert checked.device == "--device cuda: no usable GPU (NVML Shared Library Not Found)."


def test_a_gpu_without_a_driver_is_told(tmp_path: Path, no_library: dict[str, str]) -> None:
    checked = run_check(tmp_path, no_library, root=make_root(tmp_path, num_gpus=2))
    message, remedy = checked.warning("driver-missing")
    assert message == "the machine has 2 NVIDIA GPUs, but no NVIDIA driver is loaded"
    assert "580 or newer" in remedy
    assert checked.exit_code == 0


def test_libraries_without_a_kernel_module(tmp_path: Path) -> None:
    environment = nvml_stub.environment(errors={"nvmlInit_v2": nvml_stub.NOT_LOADED})
    _, remedy = run_check(tmp_path, environment, root=make_root(tmp_path, num_gpus=1)).warning("driver-not-loaded")
    assert "modprobe nvidia" in remedy
    checked = run_check(tmp_path / "login", environment, root=make_root(tmp_path / "login"))
    assert checked.line("no-gpu")["level"] == "ok", "a login node with the driver's libraries and no GPU"


def test_a_kernel_module_without_libraries(tmp_path: Path, no_library: dict[str, str]) -> None:
    checked = run_check(tmp_path, no_library, root=make_root(tmp_path, driver="580.65.06", num_gpus=1))
    message, remedy = checked.warning("driver-without-library")
    assert "580.65.06" in message
    assert "LD_LIBRARY_PATH" in remedy


# A container that cannot see the GPU


def test_a_container_started_without_its_gpu(tmp_path: Path, no_library: dict[str, str]) -> None:
    checked = run_check(tmp_path, no_library, root=make_root(tmp_path, driver="535.161.08", num_gpus=1, container=True))
    message, remedy = checked.warning("container-without-gpu")
    assert message == "the host has NVIDIA driver 535.161.08, but the container was started without the GPU"
    assert "docker run --gpus all" in remedy
    assert "nvidia-container-toolkit" in remedy
    assert "docs/container.md" in remedy


def test_a_container_with_device_files_and_no_library(tmp_path: Path, no_library: dict[str, str]) -> None:
    root = make_root(tmp_path, driver="580.65.06", device_files=("nvidiactl", "nvidia0"), container=True)
    _, remedy = run_check(tmp_path, no_library, root=root).warning("container-without-library")
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in remedy


def test_a_container_with_nvml_and_no_cuda_library(tmp_path: Path) -> None:
    probe = broken("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU")
    root = make_root(tmp_path, driver="580.65.06", container=True)
    _, remedy = run_check(tmp_path, nvml_stub.environment(), root=root, probe=answering(probe)).warning(
        "container-without-cuda"
    )
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in remedy


def test_wsl_without_nvidia_s_library(tmp_path: Path, no_library: dict[str, str]) -> None:
    message, remedy = run_check(tmp_path, no_library, root=make_root(tmp_path, wsl=True)).warning("wsl-without-library")
    assert "WSL2" in message
    assert "driver in Windows" in remedy
    root = make_root(tmp_path / "box", wsl=True, container=True)
    assert "--gpus all" in run_check(tmp_path / "box", no_library, root=root).warning("container-without-gpu")[1]


# NVML's own errors


def test_a_container_that_has_lost_its_gpu_is_told_how_to_get_it_back(tmp_path: Path) -> None:
    environment = nvml_stub.environment(errors={"nvmlInit_v2": nvml_stub.UNKNOWN})
    root = make_root(tmp_path, driver="580.65.06", num_gpus=1, container=True)
    message, remedy = run_check(tmp_path, environment, root=root).warning("gpu-access-lost")
    assert "'Unknown Error'" in message
    assert "systemctl daemon-reload" in message
    assert "docker restart 0123456789ab" in remedy
    assert "docs/container.md" in remedy
    root = make_root(tmp_path / "host", driver="580.65.06", num_gpus=1)
    assert "Xid" in run_check(tmp_path / "host", environment, root=root).warning("nvml-error")[1]


@pytest.mark.parametrize(
    ("error", "code", "in_message", "in_remedy"),
    [
        (nvml_stub.MISMATCH, "driver-updated", "RM version mismatch'", "Reboot"),
        (nvml_stub.NO_PERMISSION, "gpu-no-permission", "Insufficient Permissions", "/dev/nvidia"),
        (nvml_stub.GPU_IS_LOST, "gpu-lost", "GPU is lost", "Xid"),
        (nvml_stub.RESET_REQUIRED, "gpu-needs-reset", "GPU requires restart", "--gpu-reset"),
    ],
)
def test_each_error_of_nvml_has_its_remedy(error: int, code: str, in_message: str, in_remedy: str, tmp_path: Path) -> None:
    call = "nvmlInit_v2" if error in (nvml_stub.MISMATCH, nvml_stub.NO_PERMISSION) else "nvmlDeviceGetHandleByIndex_v2"
    environment = nvml_stub.environment(errors={call: error})
    checked = run_check(tmp_path, environment, root=make_root(tmp_path, driver="580.65.06", num_gpus=1))
    message, remedy = checked.warning(code)
    assert in_message in message
    assert in_remedy in remedy
    assert checked.device.startswith(f"cpu: no usable GPU: {message}")


# Torch that does not fit


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
def test_a_torch_without_cuda(tmp_path: Path) -> None:
    checked = run_check(tmp_path, nvml_stub.environment())
    message, remedy = checked.warning("torch-without-cuda")
    assert message == f"torch {torch.__version__} is a build without CUDA"
    image = load_catalog().images[0]
    assert f"torch=={image.torch} torchvision=={image.torchvision}" in remedy
    assert "--device cpu" in remedy
    assert checked.line("gpu-found")["message"] == "driver 580.65.06: NVIDIA Stub (80 GiB, 80 free)"
    assert checked.device.startswith(f"cpu: no usable GPU: NVIDIA Stub is there, but {message}")
    failed = run_check(tmp_path, nvml_stub.environment(), device="cuda")
    assert failed.exit_code == 1
    assert failed.line("torch-without-cuda")["level"] == "failure"
    assert failed.device.startswith("--device cuda: no usable GPU (NVIDIA Stub is there, but torch")


OLD_DRIVER_WORDS = "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver"


def test_a_driver_too_old_for_torch_s_cuda(tmp_path: Path) -> None:
    environment = nvml_stub.environment(driver="535.161.08", cuda=12020)
    probe = answering(broken(OLD_DRIVER_WORDS))
    message, remedy = run_check(tmp_path, environment, root=make_root(tmp_path), probe=probe).warning("driver-too-old")
    assert message == "torch 2.11.0+cu130 is built for CUDA 13.0 and needs driver 580 or newer; here is 535.161.08"
    assert "pip install torch==2.10.0 torchvision==0.25.0" in remedy
    assert "update the driver to 580 or newer" in remedy

    root = make_root(tmp_path / "box", container=True)
    environment = {**environment, "VITREPRO_LOCK": "cuda"}
    checked = run_check(tmp_path / "box", environment, device="cuda", root=root, probe=probe)
    assert checked.exit_code == 1
    line = checked.line("driver-too-old")
    assert line["level"] == "failure"
    assert "docker build --build-arg LOCK=cuda128 -t vitrepro:cuda128 ." in line["remedy"]
    assert "docs/container.md" in line["remedy"]
    assert line["remedy"] in checked.stderr


def test_a_driver_that_no_image_serves(tmp_path: Path) -> None:
    environment = nvml_stub.environment(driver="470.57.02", cuda=11040)
    probe = answering(broken(OLD_DRIVER_WORDS, torch="2.10.0+cu128", cuda="12.8"))
    message, remedy = run_check(tmp_path, environment, root=make_root(tmp_path), probe=probe).warning("driver-too-old")
    assert "needs driver 525.60.13 or newer; here is 470.57.02" in message
    assert "pip install" not in remedy
    assert "Update the driver to 525.60.13 or newer" in remedy


NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"


@pytest.mark.parametrize(
    ("capability", "code", "in_remedy"),
    [
        ((7, 0), "gpu-too-old", "torch==2.10.0"),
        ((6, 1), "gpu-too-old", "No image"),
        ((13, 0), "gpu-too-new", "later torch"),
    ],
)
def test_a_gpu_that_torch_has_no_code_for(capability: tuple[int, int], code: str, in_remedy: str, tmp_path: Path) -> None:
    environment = nvml_stub.environment(capability=f"{capability[0]}.{capability[1]}")
    probe = answering(broken(NO_KERNEL, capability=capability))
    message, remedy = run_check(tmp_path, environment, root=make_root(tmp_path), probe=probe).warning(code)
    assert f"compute capability {capability[0]}.{capability[1]} (it has sm_75 sm_80 sm_90 sm_120)" in message
    assert in_remedy in remedy
    assert "--device cpu" in remedy


def test_cuda_that_does_not_start_is_told_in_torch_s_words(tmp_path: Path) -> None:
    probe = answering(broken("CUDA unknown error - this may be due to an incorrectly set up environment"))
    message, remedy = run_check(tmp_path, nvml_stub.environment(), root=make_root(tmp_path), probe=probe).warning(
        "cuda-not-started"
    )
    assert message.startswith("torch cannot start CUDA: CUDA unknown error - this may be due")
    assert "nvidia-smi" in remedy


def test_a_crash_and_a_hang_of_cuda_cost_no_more_than_a_line(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    crash = ["/bin/sh", "-c", "echo Fatal >&2; kill -SEGV $$"]
    message, _ = run_check(tmp_path, nvml_stub.environment(), root=root, probe=crash).warning("cuda-died")
    assert message == "torch crashes when it starts CUDA: ended by SIGSEGV: Fatal"
    hang = ["/bin/sh", "-c", "exec sleep 60"]
    message, _ = run_check(tmp_path, nvml_stub.environment(), root=root, probe=hang, timeout_s=0.5).warning("cuda-hung")
    assert "no answer within" in message


def test_a_wrong_result_keeps_the_gpu_from_being_used(tmp_path: Path) -> None:
    probe = answering(broken("a float32 product is wrong by 40%", problem="wrong-result", name="NVIDIA Stub"))
    checked = run_check(tmp_path, nvml_stub.environment(), root=make_root(tmp_path), probe=probe)
    assert "wrong by 40%" in checked.warning("wrong-result")[0]
    assert checked.device.startswith("cpu:")


# What keeps others, or a setting, or MIG, from a GPU


@pytest.mark.parametrize(
    ("values", "words", "code", "in_remedy"),
    [
        ({"compute_mode": 2}, "all CUDA-capable devices are busy or unavailable", "compute-prohibited", "-c DEFAULT"),
        ({"compute_mode": 3}, "all CUDA-capable devices are busy or unavailable", "gpu-exclusive", "-c DEFAULT"),
        ({"mig": 1}, "No CUDA GPUs are available", "mig-without-slice", "nvidia-smi mig -cgi"),
        ({"processes": "77:70000"}, "CUDA out of memory. Tried to allocate 64.00 MiB", "gpu-full", "nvidia-smi"),
    ],
)
def test_settings_and_others_that_keep_torch_away(
    values: dict[str, object], words: str, code: str, in_remedy: str, tmp_path: Path
) -> None:
    environment = nvml_stub.environment(**values)
    checked = run_check(tmp_path, environment, device="cuda", root=make_root(tmp_path), probe=answering(broken(words)))
    assert checked.exit_code == 1
    assert checked.line(code)["level"] == "failure"
    assert in_remedy in checked.line(code)["remedy"]


def test_mig_without_a_slice_in_a_container(tmp_path: Path) -> None:
    probe = answering(broken("No CUDA GPUs are available"))
    root = make_root(tmp_path, container=True)
    _, remedy = run_check(tmp_path, nvml_stub.environment(mig=1), root=root, probe=probe).warning("mig-without-slice")
    assert "--gpus '\"device=MIG-…\"'" in remedy


def test_cuda_visible_devices_that_hides_the_gpu(tmp_path: Path) -> None:
    environment = nvml_stub.environment() | {"CUDA_VISIBLE_DEVICES": "-1"}
    probe = answering(broken("No CUDA GPUs are available"))
    message, remedy = run_check(tmp_path, environment, root=make_root(tmp_path), probe=probe).warning("gpu-hidden")
    assert "CUDA_VISIBLE_DEVICES is '-1'" in message
    assert "Unset" in remedy


# A GPU that can be used


def working(folder: Path, probe: CudaProbe = WORKING, *, profile: str = STUDY, container: bool = False, **stub: Any) -> Checked:
    root = make_root(folder, container=container)
    return run_check(folder, nvml_stub.environment(**stub), profile=profile, root=root, probe=answering(probe))


def test_a_good_gpu_is_ok_throughout(tmp_path: Path) -> None:
    checked = working(tmp_path)
    assert checked.exit_code == 0
    assert checked.codes == ["gpu-found", "cuda-works", "bfloat16", "energy-counted"]
    assert {line["level"] for line in checked.lines} == {"ok"}
    assert checked.line("cuda-works")["message"] == (
        "torch 2.11.0+cu130 with CUDA 13.0 computes on NVIDIA Stub, compute capability 9.0"
    )
    assert "600 TFLOP/s against 50" in checked.line("bfloat16")["message"]
    precision = "bfloat16 autocast at compute capability 9.0; a product in it differs from float32's by 0.31%"
    assert checked.device == f"NVIDIA Stub: a usable GPU; {precision}"


def test_bfloat16_that_computes_wrongly_is_not_used(tmp_path: Path) -> None:
    product = PRODUCT.model_copy(update={"bfloat16_error": 0.4})
    checked = working(tmp_path, WORKING.model_copy(update={"product": product}))
    message, remedy = checked.warning("bfloat16-wrong")
    assert "wrong by 40%" in message
    assert "float32" in remedy
    assert "; float32, since a bfloat16 product is wrong by 40% here" in checked.device


def test_a_gpu_that_emulates_bfloat16_computes_in_float32(tmp_path: Path) -> None:
    product = PRODUCT.model_copy(update={"bfloat16_error": None, "bfloat16_tflops": None})
    checked = working(tmp_path, WORKING.model_copy(update={"product": product, "capability": (7, 5)}), capability="7.5")
    message = "float32, since bfloat16 is emulated at compute capability 7.5"
    assert checked.line("float32")["message"] == f"{message} (50 TFLOP/s)"
    assert checked.device.endswith(message)


def test_others_trouble_memory_power_and_energy_each_have_their_line(tmp_path: Path) -> None:
    """A GPU with everything wrong that leaves it usable."""
    checked = working(
        tmp_path,
        processes="4711:30000,4712:1000",
        used_mib=31000,
        compute_mode=3,
        uncorrected=3,
        remap_pending=1,
        remap_failed=1,
        throttle=0x80 | 0x40 | 0x20 | 0x8,
        power_w=350,
        errors={"nvmlDeviceGetTotalEnergyConsumption": nvml_stub.NOT_SUPPORTED},
    )
    assert checked.exit_code == 0
    message, _ = checked.warning("gpu-busy")
    assert message == "NVIDIA Stub is used by 2 other processes, 31,000 MiB, pid 4711 4712"
    assert checked.line("gpu-exclusive")["level"] == "ok"
    assert "3 memory errors" in checked.warning("memory-errors")[0]
    assert "--gpu-reset" in checked.warning("memory-repair-pending")[1]
    assert "exchanged" in checked.warning("memory-repair-failed")[1]
    assert "power supply, heat (by the hardware), heat (by the driver)" in checked.warning("gpu-throttled")[0]
    message, remedy = checked.warning("power-capped")
    assert message == "NVIDIA Stub may draw 350 W of its usual 700"
    assert "nvidia-smi -i 0 -pl 700" in remedy
    message, _ = checked.warning("energy-not-counted")
    assert message == "records will have no energy: NVML says 'Not Supported'"


def test_a_general_slowdown_and_retired_pages_are_told_too(tmp_path: Path) -> None:
    checked = working(tmp_path, throttle=0x8 | 0x4 | 0x1, pages_pending=1)
    assert "slowed down by heat or power" in checked.warning("gpu-throttled")[0]
    assert checked.warning("memory-repair-pending")
    assert "gpu-throttled" not in working(tmp_path, throttle=0x4 | 0x1).codes, "a power cap under load and idling are normal"


def test_in_a_container_memory_in_use_tells_of_others(tmp_path: Path) -> None:
    checked = working(tmp_path, container=True, used_mib=9000)
    assert (
        checked.warning("gpu-busy")[0] == "9,000 MiB of NVIDIA Stub are in use; by whom is not visible here, as in containers"
    )
    assert "gpu-busy" not in working(tmp_path, used_mib=500, reserved_mib=2000).codes


def test_a_mig_slice_is_used_and_its_energy_not_counted(tmp_path: Path) -> None:
    probe = WORKING.model_copy(update={"uuid": nvml_stub.SLICE_UUID[:-1] + "1"})
    checked = working(tmp_path, probe, mig=1, slices=2, profile="gpu_memory_gib = 16\n" + STUDY)
    assert checked.line("mig-slice")["message"] == (
        f"slice MIG-{nvml_stub.SLICE_UUID[:-1]}1 (NVIDIA Stub MIG 1g.10gb, 10.0 GiB) is used; 1 more is not used"
    )
    assert "MIG slice" in checked.warning("energy-not-counted")[0]
    assert "NVIDIA Stub MIG 1g.10gb has 10.0" in checked.warning("gpu-memory-small")[0]


def test_lines_are_about_the_gpu_that_torch_uses(tmp_path: Path) -> None:
    probe = WORKING.model_copy(update={"uuid": nvml_stub.UUID[:-1] + "1", "name": "NVIDIA Second"})
    checked = working(tmp_path, probe, gpus=3, name_1="NVIDIA Second", processes_0="1:5", uncorrected_1=1, power_w_2=1)
    assert checked.line("gpu-found")["message"] == "driver 580.65.06: NVIDIA Second (80 GiB, 80 free), and 2 more"
    assert checked.warning("memory-errors")[0].startswith("NVIDIA Second")
    assert "gpu-busy" not in checked.codes
    assert "power-capped" not in checked.codes


def test_a_gpu_that_does_not_answer_beside_one_that_does(tmp_path: Path) -> None:
    errors = {"nvmlDeviceGetHandleByIndex_v2_1": nvml_stub.GPU_IS_LOST}
    checked = working(tmp_path, gpus=2, errors=errors)
    assert checked.line("gpu-found")["message"].endswith("80 free), 1 that does not answer")
    assert checked.line("cuda-works")


# Memory for the profile


@pytest.mark.parametrize(
    ("memory_mib", "smaller", "in_remedy"),
    [(8192, "paper", "--profile quick"), (11264, "full", "--profile quick"), (4096, "full", "--profile demo")],
)
def test_too_little_memory_names_the_largest_profile_that_fits(
    memory_mib: int, smaller: str, in_remedy: str, tmp_path: Path
) -> None:
    profile = f'gpu_memory_gib = 40\nsmaller = "{smaller}"\n{STUDY}'
    message, remedy = working(tmp_path, memory_mib=memory_mib, profile=profile).warning("gpu-memory-small")
    assert message == f"profile tiny was made for 40 GiB; NVIDIA Stub has {memory_mib / 1024:.1f}"
    assert in_remedy in remedy
    assert "--only" in remedy


def test_memory_that_others_hold(tmp_path: Path) -> None:
    profile = f"gpu_memory_gib = 16\n{STUDY}"
    stub = {"memory_mib": 24564, "used_mib": 20000, "processes": "99:19000"}
    message, remedy = working(tmp_path, profile=profile, **stub).warning("gpu-memory-taken")
    assert message == "profile tiny was made for 16 GiB; 4.5 of 24.0 are free: 1 other process, 19,000 MiB, pid 99"
    assert "nvidia-smi" in remedy


def test_a_gpu_sold_with_the_memory_that_is_needed_has_enough(tmp_path: Path) -> None:
    checked = working(tmp_path, memory_mib=15360, used_mib=300, profile=f"gpu_memory_gib = 16\n{STUDY}")
    assert checked.line("gpu-memory")["level"] == "ok"


def test_a_gpu_that_is_not_asked_for_is_not_tried(tmp_path: Path) -> None:
    never = ["/bin/sh", "-c", f"touch {shlex.quote(str(tmp_path / 'tried'))}"]
    checked = run_check(tmp_path, nvml_stub.environment(), device="cpu", root=make_root(tmp_path), probe=never)
    assert checked.line("gpu-not-asked-for")["message"].endswith("not used: --device cpu")
    assert not (tmp_path / "tried").exists()


def test_the_gpu_is_tried_once_a_command(tmp_path: Path) -> None:
    """The choice of the profile, the check and the choice of the device all ask."""
    count = tmp_path / "count"
    probe = ["/bin/sh", "-c", f"echo tried >> {shlex.quote(str(count))}; {answering(broken('no'))[2]}"]
    description = json.dumps({"root": make_root(tmp_path), "probe": probe})
    arguments = [
        "check",
        "--profile",
        "auto",
        "--home",
        str(tmp_path / "home"),
        "--only",
        "digits.n50.vit*scratch.micro-scratch.s1",
    ]
    subprocess.run(
        [sys.executable, str(MADE_UP), description, *arguments],
        capture_output=True,
        env=nvml_stub.environment(),
        check=True,
    )
    assert count.read_text() == "tried\n"
