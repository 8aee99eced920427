"""Stage `check`: one line a thing, each with a remedy unless it is ok, and a forecast where nothing stands in the way."""

from dataclasses import replace
from pathlib import Path

import pytest
import spine

from repro.catalog import load_profile
from repro.context import Context
from repro.hardware import CudaProbe, Gpu, GpuSurvey, HostFacts, Inspection, device
from repro.stages import check as stage
from repro.stages.check import CheckLine, CheckResult, Level, check


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """The finished study: a forecast needs no probe."""
    profile, home = spine.copy_of_finished(tmp_path)
    context, _ = spine.make_context(profile, home)
    spine.fetch(context)
    return context


def line(result: CheckResult, name: str) -> CheckLine:
    (found,) = [line for line in result.lines if line.name == name]
    return found


def use_gpu(
    monkeypatch: pytest.MonkeyPatch, *gpus: Gpu, code: str = "", problem: str = "", probe: CudaProbe | None = None
) -> None:
    survey = GpuSurvey(gpus=gpus, code=code, problem=problem, driver="580.1" if gpus else "")
    seen = Inspection(survey=survey, host=HostFacts(), container=None, probe=probe)
    monkeypatch.setattr(stage, "inspect_gpus", lambda probes: seen)
    monkeypatch.setattr(device, "inspect_gpus", lambda: seen)


def test_a_good_machine_is_ok_throughout_and_gets_a_forecast(context: Context) -> None:
    result = check(context)
    assert not result.failed
    assert [found.name for found in result.lines] == ["python", "nvml", "device", "cores", "memory", "home", "data", "disk"]
    assert all(found.message for found in result.lines)
    assert all(found.remedy for found in result.lines if found.level is not Level.OK)
    assert line(result, "data").message == "all data sets and weights of the profile are there"
    assert result.forecast is not None
    assert result.forecast.num_cells == result.forecast.num_done == spine.NUM_CELLS


def test_the_device_is_told_with_the_precision_that_timing_has_settled(context: Context) -> None:
    context.device = replace(context.device, may_bfloat16=True)
    assert line(check(context), "device").message.endswith("; float32, as in earlier cells of this profile on this processor")


def test_data_that_are_not_there_are_said_and_no_failure(context: Context) -> None:
    (context.workspace.dataset_dir("dots") / "manifest.json").unlink()
    result = check(context)
    assert line(result, "data").message.startswith("not all there yet")
    assert not result.failed


def test_a_gpu_is_listed_with_driver_and_memory(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(index=0, name="NVIDIA H200", memory_bytes=140 * 2**30, free_bytes=100 * 2**30)
    use_gpu(monkeypatch, gpu, probe=CudaProbe(problem="not-started", words="CUDA unknown error"))
    context.requested_device = "auto"
    result = check(context)
    assert line(result, "nvml").message == "driver 580.1: NVIDIA H200 (140 GiB, 100 free)"
    assert line(result, "torch").level is Level.WARNING
    assert line(result, "torch").message == "torch cannot start CUDA: CUDA unknown error"
    assert "--device cpu" in line(result, "torch").remedy
    assert "NVIDIA H200 is there, but torch cannot start CUDA" in line(result, "device").message
    assert not result.failed


def test_a_gpu_that_is_asked_for_and_missing_is_a_failure(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpu(monkeypatch, code="LIBRARY_NOT_FOUND", problem="NVML Shared Library Not Found")
    context.requested_device = "cuda"
    result = check(context)
    assert line(result, "nvml").level is Level.FAILURE
    assert line(result, "device").level is Level.FAILURE
    assert "--device cpu" in line(result, "device").remedy
    assert result.failed
    assert result.forecast is None


def test_the_profiles_that_need_less_are_those_that_it_names(context: Context) -> None:
    assert [one.name for one in stage._smaller_profiles(load_profile("paper"))] == ["full", "quick", "demo"]
    assert [one.gpu_memory_gib for one in stage._smaller_profiles(load_profile("paper"))] == [16, 8, None]
    assert stage._smaller_profiles(load_profile("demo")) == []
    assert stage._smaller_profiles(load_profile("quick").model_copy(update={"smaller": "full"}))[-1].name == "demo"


def test_little_memory_is_a_warning(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "available_memory_bytes", lambda: 100 * 2**20)
    result = check(context)
    assert line(result, "memory").level is Level.WARNING
    assert line(result, "memory").remedy
    assert not result.failed


def test_too_small_a_disk_is_a_failure(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "free_disk_bytes", lambda workspace: 100 * 2**20)
    result = check(context)
    assert line(result, "disk").level is Level.FAILURE
    assert "--home" in line(result, "disk").remedy
    assert result.failed


def test_a_home_that_cannot_be_written_is_a_failure_and_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    context, _ = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    result = check(context)
    assert line(result, "home").level is Level.FAILURE
    assert "--home" in line(result, "home").remedy
    assert line(result, "disk").level is Level.OK
    assert result.forecast is None


def test_workers_that_cannot_be_timed_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, _ = spine.make_context(spine.write_study(tmp_path), tmp_path / "home")
    spine.fetch(context)

    def broken(*arguments: object) -> None:
        raise stage.EnvironmentProblem("A worker that was timing m ended with exit code 1.", remedy="Look at it.")

    monkeypatch.setattr("repro.context.probe_step_times", broken)
    result = check(context)
    assert line(result, "workers").level is Level.FAILURE
    assert line(result, "workers").remedy == "Look at it."


def test_a_large_data_set_needs_memory_in_each_worker(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = context.facts()
    large = {name: replace(one, num_train_images=10**6, image_size=32, num_channels=3) for name, one in facts.items()}
    monkeypatch.setattr(stage, "available_memory_bytes", lambda: 64 * 2**30)
    small_line = line(check(context), "memory").message
    monkeypatch.setattr(Context, "facts", lambda self: large)
    # A million images of 3 kB are 2.9 GiB, in each worker.
    needed_gib = context.device.num_workers * (stage.WORKER_MEMORY_BYTES + 3072 * 10**6) / 2**30
    assert f"about {needed_gib:.1f} GiB needed" in line(check(context), "memory").message
    assert small_line != line(check(context), "memory").message


def test_there_is_no_forecast_of_cells_that_cannot_be_counted_yet(tmp_path: Path) -> None:
    profile = spine.write_study(tmp_path, spine.STUDY.replace("[12, 1.0]", "[1.0]").replace("size = [12]", "size = [1.0]"))
    profile.write_text(profile.read_text().replace("convergence_check_at = [12]", ""))
    context, _ = spine.make_context(profile, tmp_path / "home")
    result = check(context)
    assert result.forecast is None, "its sizes are fractions of data that are not there"
    assert not result.failed
    spine.fetch(context)
    assert check(context).forecast is not None
