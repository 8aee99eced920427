"""In which ways steps may be taken here, and what compiling lacks."""

import sysconfig
from pathlib import Path

import pytest

from repro.choices import StepWay
from repro.errors import EnvironmentProblem
from repro.hardware import choose_device, compilers, lacks_for_compiling
from repro.hardware.compilers import ways_allowed

GRAPHED, COMPILED = StepWay.GRAPHED, StepWay.COMPILED


@pytest.mark.parametrize(
    ("stated", "expected"),
    [(None, (GRAPHED, COMPILED)), ("auto", (GRAPHED, COMPILED)), ("graphs", (GRAPHED,)), ("never", ())],
)
def test_the_user_may_forbid_it(stated: str | None, expected: tuple[StepWay, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITREPRO_COMPILE", raising=False)
    if stated is not None:
        monkeypatch.setenv("VITREPRO_COMPILE", stated)
    assert ways_allowed() == expected
    assert choose_device("cpu").ways == (), "never on a CPU"


@pytest.mark.parametrize("stated", ["", "always", "Never", "1"])
def test_another_word_is_an_error_on_any_device(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITREPRO_COMPILE", stated)
    told = f"VITREPRO_COMPILE is '{stated}', which is none of auto, graphs and never"
    with pytest.raises(EnvironmentProblem, match=told) as caught:
        choose_device("cpu")
    assert "never" in caught.value.remedy


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that has everything; the folder of Python's headers."""
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(compilers.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(compilers, "find_spec", lambda name: object())
    return tmp_path


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_nothing_is_lacking_where_all_is_there(device: str, complete: Path) -> None:
    assert lacks_for_compiling(device) == ""


@pytest.mark.parametrize(
    ("device", "variable", "words"),
    [("cuda", "CC", "needs a C compiler (gcc), and there is none"), ("cpu", "CXX", "needs a C++ compiler (g++)")],
)
def test_a_missing_compiler_is_named(
    device: str, variable: str, words: str, complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    assert words in lacks_for_compiling(device)
    monkeypatch.setenv(variable, "/opt/bin/cc")
    assert lacks_for_compiling(device) == "", "one that is named need not be on the path"


def test_missing_headers_and_a_missing_triton_are_named(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "find_spec", lambda name: None)
    assert lacks_for_compiling("cpu") == ""
    assert "needs Triton" in lacks_for_compiling("cuda")
    (complete / "Python.h").unlink()
    assert "needs Python's headers (python3." in lacks_for_compiling("cuda")
