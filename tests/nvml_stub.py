"""A stand-in for NVIDIA's management library (`nvml_stub.c`), for commands in processes of their own.

`nvidia-ml-py` loads `libnvidia-ml.so.1` by name, so a folder with the stub on LD_LIBRARY_PATH is all it takes: nothing of
vitrepro is replaced. What the GPUs answer is said in the environment.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import spine

SOURCE = Path(__file__).with_suffix(".c")
UUID = "00000000-0000-0000-0000-000000000000"
"""Of the first GPU; that of the second ends with 1."""
SLICE_UUID = "11111111-0000-0000-0000-000000000000"
"""Of the first GPU's first slice; that of the second ends with 1."""

UNKNOWN, GPU_IS_LOST, RESET_REQUIRED, MISMATCH, NO_PERMISSION, NOT_LOADED, NOT_SUPPORTED = 999, 15, 16, 18, 4, 9, 3
"""NVML's error codes (nvml.h)."""


@cache
def folder() -> Path:
    """The folder with the library, built once a test session. Skips the test where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (gcc) for a stand-in of the NVIDIA driver library")
    path = Path(tempfile.mkdtemp(prefix="nvml-", dir=Path(os.environ["HOME"]).parent))
    arguments = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", path / "libnvidia-ml.so.1", SOURCE]
    subprocess.run([compiler, *arguments], check=True)
    return path


def environment(*, errors: Mapping[str, int] | None = None, error_file: Path | None = None, **values: object) -> dict[str, str]:
    """The environment of a process that sees the stub: values as in `memory_mib=8192`, errors by the name of the call.

    A line `call code` in `error_file` makes a call fail from the moment at which it is written.
    """
    named = {f"STUB_{name.upper()}": str(value) for name, value in values.items()}
    failing = {f"STUB_ERROR_{call}": str(code) for call, code in (errors or {}).items()}
    file = {"STUB_ERROR_FILE": str(error_file)} if error_file else {}
    return spine.environment_of({"LD_LIBRARY_PATH": str(folder()), **named, **failing, **file})
