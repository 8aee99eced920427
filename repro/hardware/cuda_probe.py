"""What torch can do on the GPU: the side that tries it, started by `repro.hardware.cuda`, prints one JSON object and ends.

Must not know NVML, nor what its answer means. Read `try_cuda`, then `check_product`.
"""

import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from repro.hardware.cuda import BFLOAT16_CAPABILITY, CudaProbe, ProductCheck, first_line

if TYPE_CHECKING:
    from torch import Tensor

SIZE = 4096
"""Large enough to keep the largest GPU busy, and 0.2 GB in all."""
NUM_REPEATS = 10
"""Products that are timed."""
NUM_ROWS = 8
"""Rows that are computed once more on the CPU, in float64."""
FLOAT32_LIMIT = 1e-2
"""Relative difference beyond which float32 products are wrong: TensorFloat-32, if somebody has switched it on, makes 3e-4."""


def main() -> None:
    """Print the answer, and nothing else, on stdout."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever a library prints must not mix with the answer.
    os.dup2(2, 1)
    with answer:
        answer.write(try_cuda().model_dump_json())


def try_cuda() -> CudaProbe:
    """Start CUDA and multiply two matrices."""
    try:
        import torch
    except (ImportError, OSError) as error:
        # OSError: a library that torch needs does not load.
        return CudaProbe(problem="no-torch", words=first_line(str(error)))
    found = CudaProbe(torch=torch.__version__, cuda=torch.version.cuda)
    if torch.version.cuda is None:
        return found.model_copy(update={"problem": "no-cuda"})
    found = found.model_copy(update={"archs": tuple(torch.cuda.get_arch_list())})
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        properties = torch.cuda.get_device_properties(0)
        found = found.model_copy(
            update={
                "name": torch.cuda.get_device_name(0),
                "uuid": str(properties.uuid),
                "capability": (properties.major, properties.minor),
                "memory_bytes": properties.total_memory,
            }
        )
        free_bytes, _ = torch.cuda.mem_get_info(0)
        with_bfloat16 = (properties.major, properties.minor) >= BFLOAT16_CAPABILITY
        product = check_product(device="cuda", with_bfloat16=with_bfloat16)
        found = found.model_copy(update={"free_bytes": free_bytes, "product": product})
    except torch.OutOfMemoryError as error:
        return found.model_copy(update={"problem": "no-memory", "words": first_line(str(error))})
    except (RuntimeError, AssertionError, torch.cuda.DeferredCudaCallError) as error:
        return found.model_copy(update={"problem": "not-started", "words": first_line(str(error))})
    if product.float32_error > FLOAT32_LIMIT:
        words = f"a float32 product is wrong by {product.float32_error:.0%}"
        return found.model_copy(update={"problem": "wrong-result", "words": words})
    return found


def check_product(*, device: str, with_bfloat16: bool, size: int = SIZE, num_repeats: int = NUM_REPEATS) -> ProductCheck:
    """Multiply two random matrices of `size` rows and columns on `device`, in float32 and bfloat16; time and compare."""
    import torch

    generator = torch.Generator().manual_seed(0)
    on_cpu = [torch.randn(size, size, generator=generator) for _ in range(2)]
    left, right = (matrix.to(device) for matrix in on_cpu)
    exact = on_cpu[0][:NUM_ROWS].double() @ on_cpu[1].double()
    product = left @ right
    float32_error = _difference(product[:NUM_ROWS].cpu().double(), exact)
    float32_s = _seconds(lambda: left @ right, device=device, num_repeats=num_repeats)
    bfloat16_error = bfloat16_s = None
    if with_bfloat16:
        short_left, short_right = left.bfloat16(), right.bfloat16()
        bfloat16_error = _difference((short_left @ short_right).float(), product)
        bfloat16_s = _seconds(lambda: short_left @ short_right, device=device, num_repeats=num_repeats)
    operations = 2 * size**3 / 1e12
    return ProductCheck(
        size=size,
        float32_error=float32_error,
        float32_tflops=operations / float32_s,
        bfloat16_error=bfloat16_error,
        bfloat16_tflops=operations / bfloat16_s if bfloat16_s else None,
    )


def _difference(found: "Tensor", exact: "Tensor") -> float:
    """Relative difference of two matrices (Frobenius norms); 1 where one is not finite."""
    difference = float((found - exact).norm() / exact.norm())
    return difference if math.isfinite(difference) else 1.0


def _seconds(multiply: "Callable[[], Tensor]", *, device: str, num_repeats: int) -> float:
    """Seconds of one product, the first left out."""
    import torch

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    multiply()
    wait()
    started = time.perf_counter()
    for _ in range(num_repeats):
        multiply()
    wait()
    return (time.perf_counter() - started) / num_repeats


if __name__ == "__main__":
    main()
