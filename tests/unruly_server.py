"""A web server on 127.0.0.1 that misbehaves as told, path by path, and remembers what it was asked. No test by itself.

Read `UnrulyServer.serve` first.
"""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

HANG_LIMIT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it came."""

    path: str
    range: str | None
    if_range: str | None
    authorization: str | None
    accept_encoding: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How one path behaves; the defaults are a good server that resumes."""

    content: bytes = b""
    """What the file is."""
    statuses: tuple[int, ...] = ()
    """Answers to the first requests, before it behaves as said below; 0 drops the connection without an answer."""
    status_always: int | None = None
    """Answer to all other requests."""
    retry_after: str | None = None
    """Sent with those statuses."""
    drop_after: int | None = None
    """Each answer breaks off after so many bytes of its body."""
    ignores_range: bool = False
    """Always the whole file with 200."""
    wrong_range_start: bool = False
    """A 206 says that it begins one byte later."""
    wrong_range_total: int | None = None
    """A 206 says that the file has so many bytes."""
    stated_length: int | None = None
    """Content-Length of a 200, if not the right one."""
    states_length: bool = True
    """False: no Content-Length, the end of the connection is the end of the body."""
    chunked: bool = False
    """Transfer-Encoding: chunked."""
    content_type: str = "application/octet-stream"
    content_encoding: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    redirect_to: str | None = None
    hangs: bool = False
    """No answer at all."""
    hang_after: int | None = None
    """Silence after so many bytes of each body."""
    trickle: tuple[int, float] | None = None
    """So many bytes at a time, with a pause of so many seconds after each."""
    gate: threading.Barrier | None = None
    """Waits for the others before it answers."""
    opened: threading.Event | None = None
    """Waits for it before it answers."""


class UnrulyServer:
    """A context manager; `requests` grows in the order in which requests come."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.requests: list[Seen] = []
        self.let_go = threading.Event()
        """Ends all hanging; set when the server closes."""
        self._host = host
        self._manners: dict[str, Manner] = {}
        self._num_asked: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.unruly = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, path: str, content: bytes = b"", **manner: Any) -> str:
        """Let `path` behave so from now on, and return its full address."""
        with self._lock:
            self._manners[path] = Manner(content=content, **manner)
            self._num_asked[path] = 0
        return self.url(path)

    def url(self, path: str) -> str:
        return f"http://{self._host}:{self._server.server_port}/{path}"

    def ranges(self, path: str) -> list[str | None]:
        """The Range header of each request for the path."""
        return [seen.range for seen in self.requests if seen.path == path]

    def take(self, seen: Seen) -> tuple[Manner | None, int]:
        """Note a request; returns how to behave, and how many came before it."""
        with self._lock:
            self.requests.append(seen)
            number = self._num_asked.get(seen.path, 0)
            self._num_asked[seen.path] = number + 1
            return self._manners.get(seen.path), number


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing joins them
    unruly: UnrulyServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are the point of these tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""

    def do_GET(self) -> None:
        self.close_connection = True
        headers = self.headers
        seen = Seen(
            path=self.path.lstrip("/"),
            range=headers["Range"],
            if_range=headers["If-Range"],
            authorization=headers["Authorization"],
            accept_encoding=headers["Accept-Encoding"],
        )
        manner, number = self.server.unruly.take(seen)
        with contextlib.suppress(OSError):
            self._answer(manner, number, seen)

    def _answer(self, manner: Manner | None, number: int, seen: Seen) -> None:
        if manner is None:
            return self._status(404, None)
        if manner.gate is not None:
            manner.gate.wait(HANG_LIMIT_S)
        if manner.opened is not None:
            manner.opened.wait(HANG_LIMIT_S)
        if number < len(manner.statuses):
            return self._status(manner.statuses[number], manner.retry_after)
        if manner.status_always is not None:
            return self._status(manner.status_always, manner.retry_after)
        if manner.redirect_to is not None:
            self.send_response(302)
            self.send_header("Location", manner.redirect_to)
            return self._end_headers()
        if manner.hangs:
            self.server.unruly.let_go.wait(HANG_LIMIT_S)
            return None
        start = self._start(manner, seen)
        if start is not None and start >= len(manner.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(manner.content)}")
            return self._end_headers()
        self._head(manner, start)
        return self._body(manner, manner.content[start or 0 :])

    def _status(self, status: int, retry_after: str | None) -> None:
        if status == 0:
            return
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Type", "text/html")
        self._end_headers()

    def _end_headers(self) -> None:
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def _start(self, manner: Manner, seen: Seen) -> int | None:
        """From which byte on to send, None for a 200 with the whole file."""
        if seen.range is None or manner.ignores_range:
            return None
        if seen.if_range is not None and seen.if_range not in {manner.etag, manner.last_modified}:
            return None
        found = re.fullmatch(r"bytes=(\d+)-", seen.range)
        assert found, seen.range
        return int(found[1])

    def _head(self, manner: Manner, start: int | None) -> None:
        length = len(manner.content)
        if start is None:
            self.send_response(200)
            stated = manner.stated_length if manner.stated_length is not None else length
        else:
            self.send_response(206)
            stated, first = length - start, start + manner.wrong_range_start
            self.send_header("Content-Range", f"bytes {first}-{length - 1}/{manner.wrong_range_total or length}")
        if manner.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif manner.states_length:
            self.send_header("Content-Length", str(stated))
        for name, value in (
            ("Content-Type", manner.content_type),
            ("Content-Encoding", manner.content_encoding),
            ("ETag", manner.etag),
            ("Last-Modified", manner.last_modified),
            ("Connection", "close"),
        ):
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _body(self, manner: Manner, body: bytes) -> None:
        limits = [limit for limit in (manner.drop_after, manner.hang_after) if limit is not None]
        for piece in _pieces(body[: min(limits)] if limits else body, manner):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if manner.chunked else piece)
            if manner.trickle is not None and self.server.unruly.let_go.wait(manner.trickle[1]):
                return
        if manner.chunked and manner.drop_after is None:
            self.wfile.write(b"0\r\n\r\n")
        if manner.hang_after is not None:
            self.server.unruly.let_go.wait(HANG_LIMIT_S)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)


def _pieces(body: bytes, manner: Manner) -> Iterator[bytes]:
    size = manner.trickle[0] if manner.trickle else 50_000
    for start in range(0, len(body), size):
        yield body[start : start + size]
