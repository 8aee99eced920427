"""A small file with its published facts, quick patience, and a display that remembers. No test by itself."""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from repro.download import Address, DownloadFailed, Patience, RemoteFile, partial

Fetch = Callable[..., bytes]
"""The fixture `fetch`."""
CONTENT = bytes(range(256)) * 1200
OTHER = bytes(len(CONTENT))
PAGE = b"\n <!DOCTYPE HTML><title>Please log in</title>"
QUICK = Patience(
    connect_s=5.0, read_s=0.3, attempts=3, first_wait_s=0.01, longest_wait_s=0.02, slow_bytes_per_s=1_000_000, slow_after_s=0.2
)
PATIENT = replace(QUICK, read_s=30.0)
"""For what must not time out."""


class Remembering:
    """A display that remembers; unlike the real ones it fails on misuse."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.bytes: dict[str, int] = {}
        self.moved = threading.Event()
        """Set once any byte has come."""

    def started(self, name: str, total_bytes: int | None, done_bytes: int) -> None:
        assert name not in self.bytes
        self.events.append(("started", name))
        self.bytes[name] = done_bytes

    def advanced(self, name: str, num_bytes: int) -> None:
        self.bytes[name] += num_bytes
        self.moved.set()

    def restarted(self, name: str, done_bytes: int) -> None:
        self.events.append(("restarted", name))
        self.bytes[name] = done_bytes

    def finished(self, name: str) -> None:
        self.events.append(("finished", name))

    def stopped(self, name: str) -> None:
        self.events.append(("stopped", name))
        del self.bytes[name]

    def say(self, line: str) -> None:
        self.lines.append(line)

    def close(self) -> None:
        self.events.append(("closed", ""))


def remote(
    *urls: str, content: bytes = CONTENT, pinned: bool = True, sized: bool = True, name: str = "file.tar.gz"
) -> RemoteFile:
    """A file with these addresses, at hosts called A, B, …"""
    return RemoteFile(
        name=name,
        addresses=tuple(Address(url=url, host=f"host {'ABCDEFG'[number]}") for number, url in enumerate(urls)),
        size_bytes=len(content) if sized else None,
        sha256=hashlib.sha256(content).hexdigest() if pinned else None,
        md5=hashlib.md5(content).hexdigest() if pinned else None,
    )


def leave_part(destination: Path, content: bytes, *, url: str | None = None, validator: str | None = None) -> None:
    """What a killed process leaves."""
    destination.parent.mkdir(parents=True)
    partial.part_path(destination).write_bytes(content)
    if url is not None:
        note = {"schema_version": 1, "url": url, "validator": validator}
        partial.sidecar_path(destination).write_text(json.dumps(note))


def refused(fetch: Fetch, *arguments: Any) -> str:
    """What a fetch that must fail says."""
    with pytest.raises(DownloadFailed) as caught:
        fetch(*arguments)
    assert "--from DIR" in caught.value.remedy
    return caught.value.message
