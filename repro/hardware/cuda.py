"""What torch can do on the GPU, tried in a process of its own: the parent's side.

A crash or a hang of CUDA then costs an answer and not the command; the parent needs no torch, and holds no GPU that only one
process may use. `cuda_probe` is the other side. Read `probe_cuda` first.
"""

import contextlib
import signal
import subprocess
import sys
from typing import Literal

from pydantic import ValidationError

from repro.spec import Spec

PROBE_COMMAND: tuple[str, ...] = (sys.executable, "-m", "repro.hardware.cuda_probe")
"""What is started; its stdout is a `CudaProbe`. A test may name another program."""
TIMEOUT_S = 120.0
"""Importing torch from a slow disk takes a minute; what takes longer hangs."""
END_TIMEOUT_S = 5.0
"""How long a killed probe may take to end: one that waits inside the driver ends never."""
BFLOAT16_CAPABILITY = (8, 0)
"""From here on GPUs compute in bfloat16; older ones emulate it or refuse."""
NUM_LETTERS = 200
"""How much of an error is told."""

Problem = Literal["", "no-torch", "no-cuda", "not-started", "no-memory", "wrong-result", "died", "hung"]
"""Why torch cannot compute on the GPU; empty where it can."""


class ProductCheck(Spec):
    """A matrix product on the device, in both precisions."""

    size: int
    """Rows and columns of the matrices."""
    float32_error: float
    """Relative difference of the float32 product from one in float64 on the CPU."""
    float32_tflops: float
    """10^12 operations a second."""
    bfloat16_error: float | None
    """Relative difference of the bfloat16 product from the float32 one; None where bfloat16 is not tried."""
    bfloat16_tflops: float | None
    """10^12 operations a second."""


class CudaProbe(Spec):
    """What torch says and does."""

    problem: Problem = ""
    """Why it cannot compute on the GPU."""
    words: str = ""
    """The same in torch's own words, in one line."""
    torch: str = ""
    """Version of torch."""
    cuda: str | None = None
    """CUDA version that it was built with."""
    archs: tuple[str, ...] = ()
    """What its kernels were compiled for: `sm_90`, `compute_120`, …"""
    name: str = ""
    """The GPU's name."""
    uuid: str = ""
    """The GPU's (or MIG slice's) UUID, without prefix."""
    capability: tuple[int, int] | None = None
    """Compute capability."""
    memory_bytes: int = 0
    """Total memory."""
    free_bytes: int = 0
    """Free memory before the product."""
    product: ProductCheck | None = None
    """What came of it."""


def probe_cuda() -> CudaProbe:
    """Start the probe and wait for its answer. Never raises: what goes wrong is a problem in words."""
    try:
        process = subprocess.Popen(PROBE_COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        return CudaProbe(problem="died", words=f"it could not be started ({error.strerror})")
    try:
        answer, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return CudaProbe(problem="hung", words=f"no answer within {TIMEOUT_S:.0f} s")
    finally:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
            process.communicate(timeout=END_TIMEOUT_S)
    try:
        return CudaProbe.model_validate_json(answer)
    except ValidationError:
        return CudaProbe(problem="died", words=_ending(process.returncode, errors))


def first_line(text: str) -> str:
    """The first line with anything in it, cut where it is long."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return lines[0][:NUM_LETTERS] if lines else ""


def _ending(returncode: int, errors: str) -> str:
    how = f"exit code {returncode}"
    if returncode < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-returncode).name
    # The last line of a traceback says what it was.
    last = first_line("\n".join(reversed(errors.splitlines())))
    return f"ended by {how}: {last}" if last else f"ended by {how}"
