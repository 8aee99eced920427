"""What the system's files show of NVIDIA GPUs, on machines that are made of files."""

from pathlib import Path

import pytest

from repro.hardware import HostFacts, look_at_host


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_machine_without_anything(tmp_path: Path) -> None:
    facts = look_at_host(root=tmp_path, environment={})
    assert facts == HostFacts()
    assert not facts.has_nvidia_gpu


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Feb 24 22:55:35 UTC 2024\nGCC version: 12.3.0\n",
            "535.161.08",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs@dvs)\n", "580.65.06"),
        ("something else", ""),
    ],
)
def test_the_driver_s_version_is_read_from_the_kernel_module(text: str, driver: str, tmp_path: Path) -> None:
    write(tmp_path, proc__driver__nvidia__version=text)
    assert look_at_host(root=tmp_path).driver == driver


def test_the_module_s_own_version_serves_where_the_other_is_covered_up(tmp_path: Path) -> None:
    write(tmp_path, sys__module__nvidia__version="550.54.15\n")
    assert look_at_host(root=tmp_path).driver == "550.54.15"


def test_only_nvidia_s_display_devices_count(tmp_path: Path) -> None:
    devices = {
        "a": ("0x10de", "0x030000"),
        "b": ("0x10de", "0x030200"),
        "c": ("0x10de", "0x040300"),
        "d": ("0x8086", "0x030000"),
    }
    for name, (vendor, kind) in devices.items():
        folder = tmp_path / "sys/bus/pci/devices" / name
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "class").write_text(kind + "\n")
    facts = look_at_host(root=tmp_path)
    assert facts.num_pci_gpus == 2
    assert facts.has_nvidia_gpu


def test_device_files_and_wsl(tmp_path: Path) -> None:
    write(tmp_path, dev__nvidia0="", dev__nvidiactl="", dev__nvram="", dev__dxg="")
    facts = look_at_host(root=tmp_path, environment={"CUDA_VISIBLE_DEVICES": "1"})
    assert facts.device_files == ("nvidia0", "nvidiactl")
    assert (facts.is_wsl, facts.has_wsl_gpu, facts.visible_devices) == (True, True, "1")


def test_wsl_without_a_gpu_is_known_by_its_kernel(tmp_path: Path) -> None:
    write(tmp_path, proc__sys__kernel__osrelease="5.15.153.1-microsoft-standard-WSL2\n")
    facts = look_at_host(root=tmp_path)
    assert (facts.is_wsl, facts.has_wsl_gpu) == (True, False)


def test_this_machine_can_be_looked_at() -> None:
    assert look_at_host().num_pci_gpus >= 0
