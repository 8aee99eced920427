"""Cores and memory: what there is, and how much of it images and activations may fill."""

import os
from pathlib import Path

import psutil
import pytest
import torch

from repro.errors import EnvironmentProblem
from repro.hardware import (
    activation_budget_bytes,
    available_memory_bytes,
    image_budget_bytes,
    machine,
    peak_memory_bytes,
    processor_name,
    stated_cells_at_once,
    usable_cores,
)
from repro.hardware.machine import multiplies_in_bfloat16


def control_group(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """A container's limits: `cpu__cpu_max="…"` is the file `cpu/cpu.max`."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(machine, "_CGROUP", folder)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu_max": "max 100000"}, 8),
        ({"cpu_max": "250000 100000"}, 2),
        ({"cpu_max": "50000 100000"}, 1),
        ({"cpu_max": "nonsense"}, 8),
        ({"cpu__cpu_cfs_quota_us": "-1", "cpu__cpu_cfs_period_us": "100000"}, 8),
        ({"cpu__cpu_cfs_quota_us": "350000", "cpu__cpu_cfs_period_us": "100000"}, 3),
        ({"cpu__cpu_cfs_quota_us": "50000", "cpu__cpu_cfs_period_us": "100000"}, 1),
    ],
)
def test_cores_are_those_of_affinity_and_quota(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    control_group(tmp_path, monkeypatch, **files)
    assert usable_cores() == expected


@pytest.mark.parametrize(
    "files",
    [
        {"memory_max": str(3 * 2**20), "memory_current": str(2**20)},
        {"memory__memory_limit_in_bytes": str(3 * 2**20), "memory__memory_usage_in_bytes": str(2**20)},
    ],
    ids=["version 2", "version 1"],
)
def test_memory_keeps_within_the_containers_limit(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control_group(tmp_path, monkeypatch, **files)
    assert available_memory_bytes() == 2 * 2**20
    assert activation_budget_bytes(device="cpu")[0] == 3 * 2**20 // 8


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", ""])
def test_without_a_limit_memory_is_the_machines(limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control_group(tmp_path, monkeypatch, memory_max=limit, memory_current="0")
    assert activation_budget_bytes(device="cpu")[0] == psutil.virtual_memory().total // 8


def test_a_process_has_a_resident_peak() -> None:
    assert peak_memory_bytes(device="cpu") > 10**6


def test_the_processor_has_a_name() -> None:
    assert processor_name()
    assert "\n" not in processor_name()


def test_images_may_fill_a_quarter_of_the_memory_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITREPRO_IMAGES_ON_DEVICE_GIB", raising=False)
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: 2**33)
    assert image_budget_bytes(device="cpu") == (2**31, "a quarter of the 8.0 GiB of memory that are available")


def test_images_may_fill_half_of_a_gpus_free_memory_and_of_torchs_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITREPRO_IMAGES_ON_DEVICE_GIB", raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 7 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 2**30)
    assert image_budget_bytes(device="cuda") == (2**33, "half of the 16.0 GiB that are free on the GPU")
    assert activation_budget_bytes(device="cuda") == (2**33, "half of 16.0 GiB free")
    assert image_budget_bytes(device="cuda", at_once=4) == (2**31, "half of 1/4 of the 16.0 GiB that are free on the GPU")
    assert activation_budget_bytes(device="cuda", at_once=4) == (2**31, "half of 1/4 of 16.0 GiB free")


@pytest.mark.parametrize(("stated", "size_bytes"), [("0", 0), ("0.5", 2**29), ("24", 24 * 2**30)])
def test_the_memory_for_images_can_be_set(stated: str, size_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITREPRO_IMAGES_ON_DEVICE_GIB", stated)
    for device in ("cpu", "cuda"):
        assert image_budget_bytes(device=device) == (size_bytes, f"VITREPRO_IMAGES_ON_DEVICE_GIB is {stated}")


@pytest.mark.parametrize(("stated", "number"), [(None, None), ("1", 1), ("12", 12)])
def test_the_cells_at_once_can_be_set(stated: str | None, number: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITREPRO_CELLS_AT_ONCE", raising=False)
    if stated is not None:
        monkeypatch.setenv("VITREPRO_CELLS_AT_ONCE", stated)
    assert stated_cells_at_once() == number


@pytest.mark.parametrize("stated", ["", "0", "many", "-2", "1.5", "²"])
def test_cells_at_once_that_are_no_whole_number_are_an_error(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITREPRO_CELLS_AT_ONCE", stated)
    with pytest.raises(EnvironmentProblem, match=r"VITREPRO_CELLS_AT_ONCE is '.*', which is not a whole number of 1 or more"):
        stated_cells_at_once()


@pytest.mark.parametrize("stated", ["", "much", "-1", "nan", "inf", "1e999"])
def test_memory_for_images_that_is_no_number_is_an_error(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITREPRO_IMAGES_ON_DEVICE_GIB", stated)
    with pytest.raises(EnvironmentProblem, match=r"VITREPRO_IMAGES_ON_DEVICE_GIB is '.*', which is not a number of GiB"):
        image_budget_bytes(device="cpu")


def test_activations_may_fill_a_share_of_memory_that_does_not_change_with_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, words = activation_budget_bytes(device="cpu")
    monkeypatch.setattr("repro.hardware.machine.available_memory_bytes", lambda: 1)
    assert activation_budget_bytes(device="cpu") == (budget, words)
    assert 2**26 < budget < psutil.virtual_memory().total // 7
    assert words.startswith("an eighth of")


@pytest.mark.parametrize(
    ("text", "knows"),
    [
        ("model name\t: A\nflags\t\t: fpu avx512f avx512_bf16 vaes\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu avx512f avx_ne_convert\n", False),
        ("bugs\t: bf16\n", False),
        ("", False),
    ],
)
def test_a_processor_tells_whether_it_multiplies_in_bfloat16(text: str, knows: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert multiplies_in_bfloat16(tmp_path / "cpuinfo") == knows
    assert not multiplies_in_bfloat16(tmp_path / "nowhere")
