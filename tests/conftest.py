"""What every test gets: one quiet thread, a home of its own, and no GPU tests where there is no GPU.

The environment is set while pytest reads this file, so before any test module imports torch or matplotlib.
"""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from repro.workspace import HOME_VARIABLE, Workspace, prepare_home

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")

# A background job inherits ignored signals, and its children too; the tests of signals need them as a terminal gives them.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

_session_dir = Path(tempfile.mkdtemp(prefix="vitrepro-tests-"))
_USER_FOLDERS = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR", "TORCH_HOME", "HF_HOME", "HF_HUB_CACHE")
for _name in (*_USER_FOLDERS, "COLUMNS"):
    os.environ.pop(_name, None)
os.environ["HOME"] = str(_session_dir / "user")
os.environ[HOME_VARIABLE] = str(_session_dir / "vitrepro-home")
Path(os.environ["HOME"]).mkdir()


def pytest_unconfigure() -> None:
    """Remove the session's folders."""
    shutil.rmtree(_session_dir, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip `gpu` tests, saying why, on a machine without a CUDA device; torch is imported only if there are any."""
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device; torch sees none"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A prepared, empty home of the test's own."""
    workspace = Workspace(home=tmp_path / "home")
    prepare_home(workspace)
    return workspace
