"""In which ways training steps may be taken here, and what compiling lacks: the user's word, compilers, headers.

Must not know torch, nor which way pays (`timing`). Read `ways_allowed` first.
"""

import os
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from repro.choices import StepWay
from repro.errors import EnvironmentProblem

COMPILE_VARIABLE = "VITREPRO_COMPILE"
"""Environment variable that says in which ways training steps may be taken."""
AUTO, GRAPHS, NEVER = "auto", "graphs", "never"
WAYS: dict[str, tuple[StepWay, ...]] = {
    AUTO: (StepWay.GRAPHED, StepWay.COMPILED),
    GRAPHS: (StepWay.GRAPHED,),
    NEVER: (),
}
"""The ways beside plain steps, by its value."""
COMPILERS = {"cuda": ("CC", ("gcc", "clang")), "cpu": ("CXX", ("g++", "clang++"))}
"""What torch and Triton look for, by kind of device: a variable, and names on the path."""


def ways_allowed() -> tuple[StepWay, ...]:
    """The ways beside plain steps that the user leaves to a measurement. Raises EnvironmentProblem for any other word."""
    stated = os.environ.get(COMPILE_VARIABLE, AUTO)
    if stated not in WAYS:
        raise EnvironmentProblem(
            f"{COMPILE_VARIABLE} is {stated!r}, which is none of {AUTO}, {GRAPHS} and {NEVER}.",
            remedy=f"Set it to {NEVER} (training steps are plain), to {GRAPHS} (CUDA graphs where they pay, nothing compiled), "
            f"or to {AUTO} or unset it: CUDA graphs or compiled, where that pays.",
        )
    return WAYS[stated]


def lacks_for_compiling(device: str) -> str:
    """What must be installed before steps on `cpu` or `cuda` can be compiled, in words; empty where nothing is missing.

    On a GPU it is Triton that compiles: it needs a C compiler for the few lines of C that start its kernels.
    """
    variable, names = COMPILERS[device]
    if not os.environ.get(variable) and not any(shutil.which(name) for name in names):
        return f"compiling needs a {'C' if device == 'cuda' else 'C++'} compiler ({names[0]}), and there is none"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
        return f"compiling needs Python's headers ({package}), and they are not there"
    if device == "cuda" and find_spec("triton") is None:
        return "compiling for a GPU needs Triton, and it is not installed"
    return ""
