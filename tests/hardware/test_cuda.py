"""What torch can do on a GPU: the process that tries it, and the matrix product by which it is tried."""

import subprocess
import sys

import pytest
import torch

from repro.hardware import CudaProbe, cuda, probe_cuda
from repro.hardware.cuda_probe import _difference, check_product, try_cuda


def test_a_product_is_compared_and_timed_in_both_precisions() -> None:
    product = check_product(device="cpu", with_bfloat16=True, size=256, num_repeats=2)
    assert product.size == 256
    assert product.float32_error < 1e-5
    assert product.bfloat16_error is not None
    assert 1e-3 < product.bfloat16_error < 5e-3, "rounding to 8 binary digits"
    assert product.float32_tflops > 0
    assert product.bfloat16_tflops is not None
    assert product.bfloat16_tflops > 0


def test_bfloat16_may_be_left_out() -> None:
    product = check_product(device="cpu", with_bfloat16=False, size=64, num_repeats=1)
    assert (product.bfloat16_error, product.bfloat16_tflops) == (None, None)


def test_the_same_numbers_are_multiplied_each_time() -> None:
    errors = {check_product(device="cpu", with_bfloat16=True, size=64, num_repeats=1).bfloat16_error for _ in range(2)}
    assert len(errors) == 1


def test_a_product_that_is_not_finite_is_wrong_altogether() -> None:
    exact = torch.ones(2, 2)
    assert _difference(torch.full((2, 2), torch.nan), exact) == 1.0
    assert _difference(exact * 1.5, exact) == pytest.approx(0.5)


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
def test_a_torch_without_cuda_says_so() -> None:
    assert try_cuda() == CudaProbe(problem="no-cuda", torch=torch.__version__)
    assert probe_cuda() == try_cuda(), "in a process of its own"


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
def test_cuda_that_does_not_start_is_told_in_torch_s_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = try_cuda()
    assert (found.problem, found.words, found.cuda) == ("not-started", "Torch not compiled with CUDA enabled", "13.0")


def use_program(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(cuda, "PROBE_COMMAND", ("/bin/sh", "-c", script))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -SEGV $$", "ended by SIGSEGV"),
        (
            "echo >&2 'Traceback:'; echo >&2 'ImportError: libcudart.so.13'; exit 1",
            "ended by exit code 1: ImportError: libcudart.so.13",
        ),
        ("echo not JSON", "ended by exit code 0"),
        ('echo \'{"problem": "nonsense"}\'', "ended by exit code 0"),
    ],
)
def test_a_probe_that_does_not_answer_is_a_problem_in_words(script: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_program(monkeypatch, script)
    assert probe_cuda() == CudaProbe(problem="died", words=words)


def test_a_probe_that_cannot_be_started_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "PROBE_COMMAND", ("/no/such/program",))
    assert probe_cuda() == CudaProbe(problem="died", words="it could not be started (No such file or directory)")


def test_a_probe_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    use_program(monkeypatch, "exec sleep 60")
    monkeypatch.setattr(cuda, "TIMEOUT_S", 0.2)
    assert probe_cuda() == CudaProbe(problem="hung", words="no answer within 0 s")


def test_the_parent_needs_no_torch() -> None:
    code = "import sys, repro.hardware; print('torch' in sys.modules, 'repro.hardware.cuda_probe' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


@pytest.mark.gpu
def test_a_real_gpu_computes_in_both_precisions() -> None:
    probe = probe_cuda()
    assert probe.problem == ""
    assert probe.name == torch.cuda.get_device_name(0)
    assert probe.capability == torch.cuda.get_device_capability(0)
    assert probe.uuid == str(torch.cuda.get_device_properties(0).uuid)
    assert probe.product is not None
    assert probe.product.float32_error < 1e-3
    if probe.capability >= (8, 0):
        assert probe.product.bfloat16_error is not None
        assert probe.product.bfloat16_error < 0.01
