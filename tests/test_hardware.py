"""What the machine has, and what is chosen for it, on machines with and without a GPU."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest
import torch

from repro import hardware
from repro.errors import EnvironmentProblem
from repro.hardware import (
    EnergyMeter,
    Gpu,
    GpuSurvey,
    activation_budget_bytes,
    available_memory_bytes,
    choose_device,
    cuda_problem,
    image_budget_bytes,
    peak_memory_bytes,
    processor_name,
    survey_gpus,
    usable_cores,
)

H200 = Gpu(index=0, name="NVIDIA H200", memory_bytes=2**37, free_bytes=2**36, driver="580.1")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "survey_gpus", lambda: GpuSurvey(gpus=(), problem="NVML Shared Library Not Found"))


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "survey_gpus", lambda: GpuSurvey(gpus=(H200,), problem=""))


def test_auto_without_a_gpu_is_the_cpu_and_says_why(no_gpu: None) -> None:
    chosen = choose_device("auto")
    assert (chosen.device, chosen.name, chosen.bfloat16, chosen.driver) == ("cpu", "cpu", False, None)
    assert chosen.reason == "no usable GPU: NVML Shared Library Not Found"
    assert chosen.num_workers == max(1, usable_cores())


def test_cuda_without_a_gpu_is_an_error_with_a_remedy(no_gpu: None) -> None:
    with pytest.raises(EnvironmentProblem, match="NVML Shared Library Not Found") as caught:
        choose_device("cuda")
    assert "--device cpu" in caught.value.remedy


def test_a_gpu_that_torch_cannot_use_is_named_with_the_reason(one_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_problem", lambda: "torch 2.13.0+cpu is a build without CUDA")
    chosen = choose_device("auto")
    assert chosen.device == "cpu"
    assert chosen.reason == "no usable GPU: NVIDIA H200 is there, but torch 2.13.0+cpu is a build without CUDA"
    with pytest.raises(EnvironmentProblem, match="NVIDIA H200 is there, but torch"):
        choose_device("cuda")


def test_the_cpu_is_taken_without_a_look_at_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "survey_gpus", lambda: pytest.fail("asked for GPUs"))
    assert choose_device("cpu").reason == "asked for with --device cpu"


@pytest.mark.parametrize(("capability", "bfloat16"), [((9, 0), True), ((8, 0), True), ((7, 5), False)])
def test_precision_follows_the_gpu(
    capability: tuple[int, int], bfloat16: bool, one_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cuda_problem", lambda: "")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    chosen = choose_device("auto")
    assert (chosen.device, chosen.name, chosen.driver, chosen.num_workers) == ("cuda", "NVIDIA H200", "580.1", 1)
    assert chosen.bfloat16 is bfloat16
    assert f"{capability[0]}.{capability[1]}" in chosen.precision_reason


def test_a_torch_without_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert cuda_problem() == f"torch {torch.__version__} is a build without CUDA"


def test_a_torch_that_cannot_start_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda_problem() == "torch cannot start CUDA"


def test_the_driver_s_own_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*shape: int, device: str) -> None:
        raise RuntimeError("CUDA error:\n  no kernel image is available")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", broken)
    assert cuda_problem() == "CUDA error: no kernel image is available"


def test_a_machine_without_nvml_has_no_gpu_and_nvml_s_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert survey_gpus() == GpuSurvey(gpus=(), problem="NVML Shared Library Not Found")


def test_a_driver_without_gpus_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: b"580.1")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 0)
    assert survey_gpus() == GpuSurvey(gpus=(), problem="the driver reports no GPU")


def test_gpus_are_listed_with_memory_and_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: b"580.1")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(total=2**37, free=2**36))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: "NVIDIA H200")
    assert survey_gpus() == GpuSurvey(gpus=(H200,), problem="")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
@pytest.mark.parametrize(("quota", "expected"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("nonsense", 8)])
def test_cores_are_those_of_affinity_and_quota(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    read_text = Path.read_text

    def read(path: Path) -> str:
        return quota if str(path) == "/sys/fs/cgroup/cpu.max" else read_text(path)

    monkeypatch.setattr(Path, "read_text", read)
    assert usable_cores() == expected


def test_memory_keeps_within_the_containers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/sys/fs/cgroup/memory.max": str(3 * 2**20), "/sys/fs/cgroup/memory.current": str(2**20)}
    monkeypatch.setattr(Path, "read_text", lambda path: files[str(path)])
    assert available_memory_bytes() == 2 * 2**20


def test_the_cpu_has_no_energy_counter_and_a_resident_peak() -> None:
    assert EnergyMeter(device="cpu").joules() is None
    assert peak_memory_bytes(device="cpu") > 10**6


def test_the_processor_has_a_name() -> None:
    assert processor_name()
    assert "\n" not in processor_name()


def test_importing_hardware_does_not_import_torch() -> None:
    import subprocess

    code = "import sys, repro.hardware; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.gpu
def test_a_real_gpu_is_chosen_and_its_energy_counted() -> None:
    chosen = choose_device("auto")
    assert chosen.device == "cuda"
    assert survey_gpus().gpus[0].driver == chosen.driver
    meter = EnergyMeter(device="cuda")
    before = meter.joules()
    left = torch.ones(4096, 4096, device="cuda")
    for _ in range(100):
        left = left @ left * 1e-4
    torch.cuda.synchronize()
    after = meter.joules()
    assert before is None or (after is not None and after >= before)


def test_images_may_fill_a_quarter_of_the_memory_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITREPRO_IMAGES_ON_DEVICE_GIB", raising=False)
    monkeypatch.setattr(hardware, "available_memory_bytes", lambda: 2**33)
    assert image_budget_bytes(device="cpu") == (2**31, "a quarter of the 8.0 GiB of memory that are available")


def test_images_may_fill_half_of_a_gpus_free_memory_and_of_torchs_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITREPRO_IMAGES_ON_DEVICE_GIB", raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 7 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 2**30)
    assert image_budget_bytes(device="cuda") == (2**33, "half of the 16.0 GiB that are free on the GPU")


@pytest.mark.parametrize(("stated", "size_bytes"), [("0", 0), ("0.5", 2**29), ("24", 24 * 2**30)])
def test_the_memory_for_images_can_be_set(stated: str, size_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITREPRO_IMAGES_ON_DEVICE_GIB", stated)
    for device in ("cpu", "cuda"):
        assert image_budget_bytes(device=device) == (size_bytes, f"VITREPRO_IMAGES_ON_DEVICE_GIB is {stated}")


@pytest.mark.parametrize("stated", ["", "much", "-1", "nan", "inf", "1e999"])
def test_memory_for_images_that_is_no_number_is_an_error(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITREPRO_IMAGES_ON_DEVICE_GIB", stated)
    with pytest.raises(EnvironmentProblem, match=r"VITREPRO_IMAGES_ON_DEVICE_GIB is '.*', which is not a number of GiB"):
        image_budget_bytes(device="cpu")


def test_activations_may_fill_a_share_of_memory_that_does_not_change_with_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, words = activation_budget_bytes(device="cpu")
    monkeypatch.setattr("repro.hardware.available_memory_bytes", lambda: 1)
    assert activation_budget_bytes(device="cpu") == (budget, words)
    assert 2**26 < budget < psutil.virtual_memory().total // 7
    assert words.startswith("an eighth of")
