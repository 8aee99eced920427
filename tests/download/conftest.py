"""What the tests of downloads share: a server, a display that remembers, and the fetching of one file."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toy_downloads import QUICK, Remembering
from unruly_server import UnrulyServer

from repro.download import Downloader, Patience, RemoteFile


@pytest.fixture
def server() -> Iterator[UnrulyServer]:
    with UnrulyServer() as server:
        yield server


@pytest.fixture
def display() -> Remembering:
    return Remembering()


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "file.tar.gz"


@pytest.fixture
def fetch(destination: Path, display: Remembering) -> Callable[..., bytes]:
    """Fetch one file with quick patience and return what lies at the destination, nothing being left beside it."""

    def fetch(file: RemoteFile, patience: Patience = QUICK) -> bytes:
        with Downloader(display=display, patience=patience) as downloader:
            (done,) = downloader.get_all([(file, destination)])
        content = done.path.read_bytes()
        assert (done.path, done.size_bytes) == (destination, len(content))
        assert (done.sha256, done.md5) == (hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest())
        assert done.url in [address.url for address in file.addresses]
        assert [path.name for path in destination.parent.iterdir()] == [destination.name]
        return content

    return fetch
