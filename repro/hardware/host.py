"""What the system itself shows of NVIDIA GPUs, without any library: whether there is one at all, and which driver is loaded.

Read from /proc, /sys and /dev, all without privileges; a container sees most of the host's. Must not know NVML. Read
`look_at_host` first.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NVIDIA_VENDOR = "0x10de"
"""PCI vendor number."""
DISPLAY_CLASS = "0x03"
"""How the PCI classes of display and 3D controllers begin; a GPU's audio device has another."""
_VERSION = re.compile(r"Kernel Module.*?\s(\d+(?:\.\d+)+)")
"""`NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build …`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the system shows."""

    driver: str = ""
    """Version of the kernel module that is loaded; empty without one."""
    num_pci_gpus: int = 0
    """NVIDIA display devices on the PCI bus."""
    device_files: tuple[str, ...] = ()
    """Names of the GPUs' device files: `nvidia0`, `nvidiactl`, …"""
    is_wsl: bool = False
    """Whether this is Linux under Windows (WSL2)."""
    has_wsl_gpu: bool = False
    """Whether WSL2 shows a GPU here, of whatever maker."""
    visible_devices: str | None = None
    """What CUDA_VISIBLE_DEVICES says; None where it is not set."""

    @property
    def has_nvidia_gpu(self) -> bool:
        """Whether anything speaks for an NVIDIA GPU."""
        return bool(self.driver or self.num_pci_gpus or self.device_files)


def look_at_host(*, root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> HostFacts:
    """Read all of it; what cannot be read counts as not there. `root` is where /proc, /sys and /dev are looked for."""
    has_wsl_gpu = (root / "dev/dxg").exists()
    return HostFacts(
        driver=_driver(root),
        num_pci_gpus=sum(_is_nvidia_gpu(device) for device in _listed(root / "sys/bus/pci/devices")),
        device_files=tuple(path.name for path in _listed(root / "dev") if re.fullmatch(r"nvidia(ctl|-uvm|[0-9]+)", path.name)),
        is_wsl=has_wsl_gpu or "microsoft" in _read(root / "proc/sys/kernel/osrelease").lower(),
        has_wsl_gpu=has_wsl_gpu,
        visible_devices=environment.get("CUDA_VISIBLE_DEVICES"),
    )


def _driver(root: Path) -> str:
    found = _VERSION.search(_read(root / "proc/driver/nvidia/version"))
    # In a container the first file may be covered up.
    return found.group(1) if found else _read(root / "sys/module/nvidia/version").strip()


def _is_nvidia_gpu(device: Path) -> bool:
    vendor, kind = _read(device / "vendor").strip(), _read(device / "class").strip()
    return vendor == NVIDIA_VENDOR and kind.startswith(DISPLAY_CLASS)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
