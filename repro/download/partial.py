"""The part of a file that has arrived: its bytes, their digests, and where they came from.

It lies beside its destination as `<name>.part`, and with it `<name>.part.json`, which says which version of which address the
bytes are. Must not know HTTP. Read `Partial` first.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from repro.download.request import Downloaded, KnownBytes, RemoteFile
from repro.workspace import write_atomically, writing

READ_BYTES = 1 << 20
HEAD_BYTES = 512
"""How many bytes from the start are kept in memory, to see what they are."""


class WrongBytes(Exception):
    """The bytes are not those that were published; the text says what was expected and what was found."""


class PartOrigin(BaseModel):
    """The sidecar of a part."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    schema_version: Literal[1] = 1
    """Version of this file's format."""
    url: str
    """Where the bytes come from."""
    validator: str | None
    """ETag or Last-Modified of the version that they are, where the host gives one that can be relied on."""


class Digests:
    """SHA-256 and MD5 of the same bytes."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size_bytes = 0

    def update(self, data: bytes) -> None:
        """The next bytes."""
        self._sha256.update(data)
        self._md5.update(data)
        self.size_bytes += len(data)

    def complaint(self, file: KnownBytes) -> str | None:
        """How the bytes differ from what is known of the file, or None."""
        if file.size_bytes is not None and self.size_bytes != file.size_bytes:
            return f"it has {self.size_bytes:,} bytes instead of the expected {file.size_bytes:,}"
        for kind, expected, found in (
            ("sha256", file.sha256, self._sha256.hexdigest()),
            ("md5", file.md5, self._md5.hexdigest()),
        ):
            if expected is not None and found != expected.lower():
                return f"its bytes are wrong: expected {kind} {expected}, found {found}"
        found = self._sha256.hexdigest()
        if file.sha256_prefix is not None and not found.startswith(file.sha256_prefix):
            return f"its bytes are wrong: by its name the sha256 begins with {file.sha256_prefix}, found {found}"
        return None

    def downloaded(self, path: Path, url: str) -> Downloaded:
        """The result for a file of these bytes."""
        return Downloaded(
            path=path, sha256=self._sha256.hexdigest(), md5=self._md5.hexdigest(), size_bytes=self.size_bytes, url=url
        )


class Partial:
    """The part of one file, open for more bytes. A context manager: leaving it closes the file and keeps what there is.

    All methods raise DiskFull and EnvironmentProblem where the disk does not do as told.
    """

    def __init__(self, destination: Path, file: RemoteFile) -> None:
        self.destination = destination
        self.path = part_path(destination)
        self.head = b""
        self._file = file
        self._digests = Digests()
        self._stack = contextlib.ExitStack()
        self._stream: io.FileIO | None = None
        self._origin: PartOrigin | None = None

    def __enter__(self) -> Self:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what has been counted and digested is in the file, also after a kill.
            self._stream = self._stack.enter_context(self.path.open("a+b", buffering=0))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # nothing is buffered, so nothing is lost
            self._stack.close()
        if self.size_bytes == 0:
            discard(self.destination)

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return self._digests.size_bytes

    def load(self, check: Callable[[], None]) -> None:
        """Digest what an earlier process left; `check` is called now and then and may raise."""
        with writing(self.path):
            self._open.seek(0)
            for data in _pieces(self._open, check):
                self._count(data)
            self._origin = _read_origin(self.destination)

    def origin_url(self) -> str | None:
        """Where the bytes came from, where that is known."""
        return self._origin.url if self._origin else None

    def validator_for(self, url: str) -> str | None:
        """What tells whether that address still has the version whose bytes these are; None where nothing does."""
        return self._origin.validator if self._origin and self._origin.url == url else None

    def restart(self) -> None:
        """Drop all bytes."""
        with writing(self.path):
            self._open.truncate(0)
            self._open.seek(0)
            sidecar_path(self.destination).unlink(missing_ok=True)
        self._digests = Digests()
        self._origin = None
        self.head = b""

    def remember(self, url: str, validator: str | None) -> None:
        """The bytes from here on are of that version at that address."""
        origin = PartOrigin(url=url, validator=validator)
        if origin != self._origin:
            with writing(self.path):
                write_atomically(sidecar_path(self.destination), origin.model_dump_json(), durable=False)
            self._origin = origin

    def append(self, data: bytes) -> None:
        """The next bytes."""
        with writing(self.path):
            rest = memoryview(data)
            while rest:
                rest = rest[self._open.write(rest) :]
        self._count(data)

    def complaint(self) -> str | None:
        """How the bytes differ from what is known of the file, or None."""
        return self._digests.complaint(self._file)

    def finish(self, url: str) -> Downloaded:
        """Verify the bytes and give the file its final name. Raises WrongBytes, the part being dropped then."""
        if complaint := self.complaint():
            self.restart()
            raise WrongBytes(complaint)
        with writing(self.destination):
            os.fsync(self._open.fileno())
            self.path.replace(self.destination)
        discard(self.destination)
        return self._digests.downloaded(self.destination, url)

    @property
    def _open(self) -> io.FileIO:
        assert self._stream is not None, "a part is used inside its with block"
        return self._stream

    def _count(self, data: bytes) -> None:
        self._digests.update(data)
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]


def part_path(destination: Path) -> Path:
    """Where the part of a file lies."""
    return destination.with_name(f"{destination.name}.part")


def sidecar_path(destination: Path) -> Path:
    """Where it stands what the part is of."""
    return destination.with_name(f"{destination.name}.part.json")


def discard(destination: Path) -> None:
    """Remove the part of a file, if any, and what was noted of it."""
    with writing(destination):
        part_path(destination).unlink(missing_ok=True)
        sidecar_path(destination).unlink(missing_ok=True)


def digests_of(path: Path, check: Callable[[], None]) -> Digests | None:
    """The digests of a whole file, or None where there is none; `check` is called now and then and may raise."""
    digests = Digests()
    with writing(path):
        try:
            with path.open("rb", buffering=0) as stream:
                for data in _pieces(stream, check):
                    digests.update(data)
        except FileNotFoundError:
            return None
    return digests


def _pieces(stream: io.FileIO, check: Callable[[], None]) -> Iterator[bytes]:
    while data := stream.read(READ_BYTES):
        check()
        yield data


def _read_origin(destination: Path) -> PartOrigin | None:
    """What the sidecar says; one that is missing or damaged says nothing, and its part is then fetched anew."""
    try:
        return PartOrigin.model_validate_json(sidecar_path(destination).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
