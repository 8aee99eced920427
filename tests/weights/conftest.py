"""What the tests of weights share: a server, a home, and an environment without tokens and mirrors."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_weights import Home
from unruly_server import UnrulyServer

from repro.workspace import Workspace

VARIABLES = ("HF_TOKEN", "HF_ENDPOINT", "HUGGINGFACE_HUB_CACHE", "VITREPRO_HUGGINGFACE_URL", "VITREPRO_PYTORCH_URL")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the user's, in which all tools keep theirs."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[UnrulyServer]:
    with UnrulyServer() as running:
        yield running


@pytest.fixture
def hub(server: UnrulyServer, monkeypatch: pytest.MonkeyPatch) -> UnrulyServer:
    """The server, in the hub's place."""
    monkeypatch.setenv("HF_ENDPOINT", server.url("").rstrip("/"))
    return server


@pytest.fixture
def home(workspace: Workspace) -> Home:
    return Home(workspace)
