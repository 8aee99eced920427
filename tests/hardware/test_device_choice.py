"""Which device and precision are chosen, with their reasons, from what NVML and torch have said."""

from dataclasses import replace

import pytest

from repro.errors import EnvironmentProblem
from repro.hardware import (
    CudaProbe,
    EnergyMeter,
    Gpu,
    GpuSurvey,
    HostFacts,
    Inspection,
    ProductCheck,
    choose_device,
    device,
    forget_inspection,
    inspect_gpus,
    survey_gpus,
    usable_cores,
)
from repro.hardware.device import choose_precision
from repro.hardware.gpus import ComputeMode

PRODUCT = ProductCheck(size=64, float32_error=1e-6, float32_tflops=50.0, bfloat16_error=0.003, bfloat16_tflops=600.0)
PROBE = CudaProbe(
    torch="2.11.0", cuda="13.0", archs=("sm_90",), name="NVIDIA H200", uuid="u", capability=(9, 0), product=PRODUCT
)
H200 = Gpu(index=0, name="NVIDIA H200", uuid="GPU-u")


def use(monkeypatch: pytest.MonkeyPatch, survey: GpuSurvey, probe: CudaProbe | None = None) -> None:
    seen = Inspection(survey=survey, host=HostFacts(), container=None, probe=probe)
    monkeypatch.setattr(device, "inspect_gpus", lambda: seen)


NO_GPU = GpuSurvey(code="LIBRARY_NOT_FOUND", problem="NVML Shared Library Not Found")
ONE_GPU = GpuSurvey(gpus=(H200,), driver="580.65.06")


def test_auto_without_a_gpu_is_the_cpu_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, NO_GPU)
    chosen = choose_device("auto")
    assert (chosen.device, chosen.name, chosen.bfloat16, chosen.driver, chosen.uuid) == ("cpu", "cpu", False, None, "")
    assert chosen.reason == "no usable GPU: NVML Shared Library Not Found"
    assert chosen.num_workers == max(1, usable_cores())


@pytest.mark.parametrize(
    ("knows", "stated", "may"), [(True, None, True), (True, "auto", True), (True, "float32", False), (False, None, False)]
)
def test_a_cpu_that_multiplies_in_bfloat16_may_use_it_unless_the_user_says_otherwise(
    knows: bool, stated: str | None, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "multiplies_in_bfloat16", lambda: knows)
    monkeypatch.delenv(device.PRECISION_VARIABLE, raising=False)
    if stated is not None:
        monkeypatch.setenv(device.PRECISION_VARIABLE, stated)
    chosen = choose_device("cpu")
    assert (chosen.bfloat16, chosen.may_bfloat16) == (False, may)
    assert chosen.precision_reason.startswith("float32")
    assert ("or bfloat16 where that proves faster" in chosen.precision_reason) == may


def test_float32_can_be_asked_for_on_a_gpu_and_another_word_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ONE_GPU, PROBE)
    assert choose_device("cuda").bfloat16
    monkeypatch.setenv(device.PRECISION_VARIABLE, "float32")
    chosen = choose_device("cuda")
    assert (chosen.bfloat16, chosen.precision_reason) == (False, "float32, since VITREPRO_PRECISION is float32")
    monkeypatch.setenv(device.PRECISION_VARIABLE, "float16")
    for name in ("cpu", "cuda"):
        with pytest.raises(EnvironmentProblem, match="'float16'") as caught:
            choose_device(name)
        assert "float32" in caught.value.remedy


def test_cuda_without_a_gpu_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, NO_GPU)
    with pytest.raises(EnvironmentProblem, match="NVML Shared Library Not Found") as caught:
        choose_device("cuda")
    assert "--device cpu" in caught.value.remedy


def test_a_gpu_that_torch_cannot_use_is_named_with_the_reason_and_its_own_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ONE_GPU, CudaProbe(problem="no-cuda", torch="2.13.0+cpu"))
    chosen = choose_device("auto")
    assert chosen.device == "cpu"
    assert chosen.reason == "no usable GPU: NVIDIA H200 is there, but torch 2.13.0+cpu is a build without CUDA"
    with pytest.raises(EnvironmentProblem, match="NVIDIA H200 is there, but torch") as caught:
        choose_device("cuda")
    assert "pip install torch==" in caught.value.remedy
    assert "Run with --device cpu" in caught.value.remedy


def test_the_cpu_is_taken_without_a_look_at_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "inspect_gpus", lambda: pytest.fail("asked for GPUs"))
    assert choose_device("cpu").reason == "asked for with --device cpu"


def test_a_gpu_that_works_is_taken_with_what_torch_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ONE_GPU, PROBE)
    chosen = choose_device("auto")
    assert (chosen.device, chosen.name, chosen.driver, chosen.uuid) == ("cuda", "NVIDIA H200", "580.65.06", "u")
    assert (chosen.bfloat16, chosen.reason) == (True, "a usable GPU")


@pytest.mark.parametrize(
    ("stated", "mode", "cores", "free_gib", "expected"),
    [
        (None, "default", 16, 100, (8, "no more are tried", None)),
        (None, "default", 3, 100, (3, "usable cores: 3", None)),
        (None, "default", 16, 7, (2, "main memory: 7.0 GiB are free", None)),
        (None, "default", 1, 100, (1, "usable cores: 1", 1)),
        (None, "default", 16, 1, (1, "main memory: 1.0 GiB are free", 1)),
        (None, "exclusive", 16, 100, (1, "the GPU takes one process at a time (compute mode exclusive)", 1)),
        ("12", "exclusive", 16, 100, (1, "the GPU takes one process at a time (compute mode exclusive)", 1)),
        ("12", "default", 2, 1, (12, "VITREPRO_CELLS_AT_ONCE is 12", 12)),
        ("1", "default", 16, 100, (1, "VITREPRO_CELLS_AT_ONCE is 1", 1)),
    ],
)
def test_a_gpu_takes_as_many_workers_as_cores_memory_and_its_mode_bear(
    stated: str | None,
    mode: str,
    cores: int,
    free_gib: int,
    expected: tuple[int, str, int | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, GpuSurvey(gpus=(replace(H200, compute_mode=ComputeMode(mode)),), driver="580.65.06"), PROBE)
    monkeypatch.setattr(device, "usable_cores", lambda: cores)
    monkeypatch.setattr(device, "available_memory_bytes", lambda: free_gib * 2**30)
    monkeypatch.delenv("VITREPRO_CELLS_AT_ONCE", raising=False)
    if stated is not None:
        monkeypatch.setenv("VITREPRO_CELLS_AT_ONCE", stated)
    chosen = choose_device("auto")
    assert (chosen.num_workers, chosen.workers_reason, chosen.at_once) == expected


def test_a_wrong_number_of_cells_at_once_ends_the_choice_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ONE_GPU, PROBE)
    monkeypatch.setenv("VITREPRO_CELLS_AT_ONCE", "some")
    with pytest.raises(EnvironmentProblem, match="VITREPRO_CELLS_AT_ONCE is 'some'"):
        choose_device("auto")


@pytest.mark.parametrize(
    ("capability", "error", "bfloat16", "why"),
    [
        ((9, 0), 0.003, True, "bfloat16 autocast at compute capability 9.0; a product in it differs from float32's by 0.30%"),
        ((8, 0), 0.02, True, "bfloat16 autocast at compute capability 8.0"),
        ((8, 6), 0.021, False, "float32, since a bfloat16 product is wrong by 2% here"),
        ((7, 5), None, False, "float32, since bfloat16 is emulated at compute capability 7.5"),
    ],
)
def test_precision_follows_the_capability_and_the_product(
    capability: tuple[int, int], error: float | None, bfloat16: bool, why: str
) -> None:
    product = PRODUCT.model_copy(update={"bfloat16_error": error})
    found, reason = choose_precision(PROBE.model_copy(update={"capability": capability, "product": product}))
    assert found is bfloat16
    assert reason.startswith(why)


@pytest.mark.gpu
def test_a_real_gpu_is_chosen_and_its_energy_counted() -> None:
    import torch

    forget_inspection()
    chosen = choose_device("auto")
    assert chosen.device == "cuda"
    assert survey_gpus().driver == chosen.driver
    seen = inspect_gpus()
    assert seen.gpu is not None
    assert seen.gpu.is_named(chosen.uuid)
    meter = EnergyMeter(device="cuda")
    before = meter.joules()
    left = torch.ones(4096, 4096, device="cuda")
    for _ in range(100):
        left = left @ left * 1e-4
    torch.cuda.synchronize()
    after = meter.joules()
    assert (before is None and meter.problem) or (before is not None and after is not None and after >= before)
