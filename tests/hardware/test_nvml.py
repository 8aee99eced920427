"""What NVML says of all GPUs, and of energy, asked of the stub library by processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import nvml_stub
import pytest
import spine

from repro.cell.run import energy_used
from repro.hardware import EnergyMeter
from repro.training.loop import Training

SURVEY = "import json, dataclasses, repro.hardware as h; print(json.dumps(dataclasses.asdict(h.survey_gpus())))"
GIB = 2**30


def answer(code: str, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def survey(**stub: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(answer(SURVEY, nvml_stub.environment(**stub)))  # type: ignore[arg-type]
    return found


def test_everything_that_a_gpu_says_is_read() -> None:
    found = survey(
        name="NVIDIA H200",
        memory_mib=143771,
        used_mib=1000,
        reserved_mib=500,
        capability="9.0",
        compute_mode=3,
        processes="4711:900,12:-",
        uncorrected=2,
        throttle=0x40,
        power_w=350,
        cuda=12080,
    )
    (gpu,) = found["gpus"]  # type: ignore[misc]
    assert (found["driver"], found["cuda"], found["code"], found["problem"]) == ("580.65.06", [12, 8], "", "")
    assert (gpu["name"], gpu["uuid"], gpu["capability"]) == ("NVIDIA H200", f"GPU-{nvml_stub.UUID}", [9, 0])
    assert (gpu["memory_bytes"], gpu["used_bytes"]) == (143771 * 2**20, 1000 * 2**20), (
        "used leaves out what the driver reserves"
    )
    assert gpu["free_bytes"] == (143771 - 1500) * 2**20
    assert gpu["compute_mode"] == "exclusive"
    assert gpu["processes"] == [{"pid": 4711, "memory_bytes": 900 * 2**20}, {"pid": 12, "memory_bytes": None}]
    assert (gpu["num_uncorrected"], gpu["slowdowns"]) == (2, ["heat (by the hardware)"])
    assert (gpu["power_limit_w"], gpu["default_power_limit_w"], gpu["energy_problem"]) == (350, 700, "")


OPTIONAL_CALLS = (
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetMemoryInfo_v2",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetComputeMode",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetRetiredPagesPendingStatus",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetPowerManagementDefaultLimit",
    "nvmlDeviceGetTotalEnergyConsumption",
)


def test_what_a_gpu_does_not_support_costs_that_answer_only() -> None:
    errors = dict.fromkeys(OPTIONAL_CALLS, nvml_stub.NOT_SUPPORTED)
    (gpu,) = survey(errors=errors)["gpus"]  # type: ignore[misc]
    assert gpu["memory_bytes"] == 80 * GIB, "by the older of the two calls"
    assert (gpu["name"], gpu["energy_problem"]) == ("an NVIDIA GPU", "Not Supported")
    (gpu,) = survey(errors=errors | {"nvmlDeviceGetMemoryInfo": nvml_stub.NOT_SUPPORTED})["gpus"]  # type: ignore[misc]
    assert gpu["memory_bytes"] is None, "a GPU that has no memory of its own"


def test_a_gpu_that_is_lost_between_two_calls_does_not_answer() -> None:
    found = survey(gpus=2, errors={"nvmlDeviceGetRemappedRows_0": nvml_stub.GPU_IS_LOST})
    assert [gpu["index"] for gpu in found["gpus"]] == [1]  # type: ignore[attr-defined]
    assert (found["num_silent"], found["code"]) == (1, "")


@pytest.mark.parametrize(
    ("stub", "code", "problem"),
    [
        ({"errors": {"nvmlInit_v2": 12}}, "LIBRARY_NOT_FOUND", "NVML Shared Library Not Found"),
        ({"errors": {"nvmlInit_v2": 999}}, "UNKNOWN", "Unknown Error"),
        ({"errors": {"nvmlDeviceGetCount_v2": 999}}, "UNKNOWN", "Unknown Error"),
        ({"errors": {"nvmlDeviceGetHandleByIndex_v2": 15}}, "GPU_IS_LOST", "GPU is lost"),
        ({"gpus": 0}, "NO_GPU", "the driver reports no GPU"),
    ],
)
def test_why_there_is_no_gpu_has_a_name_and_words(stub: dict[str, object], code: str, problem: str) -> None:
    found = survey(**stub)
    assert (found["gpus"], found["code"], found["problem"]) == ([], code, problem)


def test_a_machine_without_the_library_is_told_so(tmp_path: Path) -> None:
    environment = spine.environment_of({"LD_LIBRARY_PATH": str(tmp_path)})
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    assert json.loads(answer(SURVEY, environment))["code"] == "LIBRARY_NOT_FOUND"


METER = """
import sys, repro.hardware as h
meter = h.EnergyMeter(device="cuda", uuid=sys.argv[1])
before = meter.joules()
if len(sys.argv) > 2:
    open(sys.argv[2], "w").write("nvmlDeviceGetTotalEnergyConsumption 15")
print([before, meter.joules(), meter.problem])
"""


def test_a_counter_that_answers_no_longer_is_told_with_nvml_s_words(tmp_path: Path) -> None:
    file = tmp_path / "errors"
    environment = nvml_stub.environment(energy_j=5000, error_file=file)
    assert answer(METER, environment, nvml_stub.UUID) == "[5000.0, 5000.0, '']"
    assert answer(METER, environment, nvml_stub.UUID, str(file)) == "[5000.0, None, 'NVML: GPU is lost']"


@pytest.mark.parametrize(
    ("uuid", "stub", "problem"),
    [
        (nvml_stub.UUID, {"errors": {"nvmlDeviceGetTotalEnergyConsumption": 3}}, "NVML: Not Supported"),
        (nvml_stub.UUID, {"errors": {"nvmlInit_v2": 999}}, "NVML: Unknown Error"),
        (nvml_stub.UUID, {"mig": 1, "slices": 1}, "a MIG slice has no energy counter of its own"),
        (nvml_stub.SLICE_UUID, {"mig": 1, "slices": 1}, "a MIG slice has no energy counter of its own"),
        ("no-such-gpu", {}, "NVML: Not Found"),
    ],
)
def test_a_device_without_a_counter_says_why(uuid: str, stub: dict[str, object], problem: str) -> None:
    assert answer(METER, nvml_stub.environment(**stub), uuid) == f"[None, None, {problem!r}]"  # type: ignore[arg-type]


def test_the_cpu_has_no_counter_and_no_problem_with_it() -> None:
    meter = EnergyMeter(device="cpu")
    assert (meter.joules(), meter.problem) == (None, "")


def test_energy_that_is_not_counted_stands_in_the_record_with_its_reason() -> None:
    training = Training(rows=[], wall_s=1.0, selected_step=1, dev_accuracy=None, resumed_from_step=None)
    assert energy_used(100.0, 175.0, training, problem="") == (75.0, ())
    joules, (choice,) = energy_used(100.0, None, training, problem="NVML: GPU is lost")
    assert joules is None
    assert (choice.what, choice.value, choice.reason) == ("energy", "not counted", "NVML: GPU is lost")
    joules, (choice,) = energy_used(100.0, 5.0, training, problem="")
    assert (joules, choice.reason) == (None, "the GPU's counter began anew")
    assert energy_used(None, None, training, problem="") == (None, ()), "on a CPU nobody expects any"
    resumed = Training(rows=[], wall_s=1.0, selected_step=1, dev_accuracy=None, resumed_from_step=3)
    assert energy_used(100.0, 175.0, resumed, problem="") == (None, ())
