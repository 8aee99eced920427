"""How transfers are stopped from outside, and how their speed is watched.

Must not know files or answers. Read `Stop` first.
"""

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from repro.download.request import DownloadCancelled

Trace = Callable[[str, Mapping[str, object]], None]
"""What httpx2 calls with each event of a request, as its `trace` extension."""


class Stop:
    """Ends the transfers of one call within moments, whatever they wait for: the next attempt, or a silent host."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    def set(self) -> None:
        """Stop: who waits is woken, who reads finds the connection closed."""
        self._event.set()
        with self._lock:
            for connection in self._sockets:
                _hang_up(connection)

    @property
    def is_set(self) -> bool:
        """Whether it has been set."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise DownloadCancelled once it is set."""
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Wait so long. Raises DownloadCancelled as soon as it is set."""
        if self._event.wait(seconds):
            raise DownloadCancelled("The download was stopped.", remedy="Run the same command again: it resumes.")

    @contextlib.contextmanager
    def watching(self) -> Iterator[Trace]:
        """Yield a trace that learns the connections of one request, so that `set` can end a read that would hang.

        Needs fresh connections: one that is kept alive between requests is not seen here.
        """
        seen: set[socket.socket] = set()

        def trace(event: str, info: Mapping[str, object]) -> None:
            if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
                return
            ask = getattr(info.get("return_value"), "get_extra_info", None)
            connection = ask("socket") if ask is not None else None
            if isinstance(connection, socket.socket):
                with self._lock:
                    seen.add(connection)
                    self._sockets.add(connection)
                if self.is_set:
                    _hang_up(connection)

        try:
            yield trace
        finally:
            with self._lock:
                self._sockets -= seen


class SpeedMeter:
    """The mean speed of all transfers of one call over the last `window_s` seconds. Safe between threads."""

    def __init__(self, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: list[str] = []
        self._since_s = clock()
        self._arrivals: deque[tuple[float, int]] = deque()
        self._window_bytes = 0

    @contextlib.contextmanager
    def asking(self, host: str) -> Iterator[None]:
        """A transfer asks this host, from now to the end of the block; time in which none asks is not counted."""
        with self._lock:
            if not self._hosts:
                self._since_s = self._clock()
                self._arrivals.clear()
                self._window_bytes = 0
            self._hosts.append(host)
        try:
            yield
        finally:
            with self._lock:
                self._hosts.remove(host)

    def add(self, num_bytes: int) -> None:
        """So many bytes have come."""
        with self._lock:
            self._arrivals.append((self._clock(), num_bytes))
            self._window_bytes += num_bytes
            self._forget()

    def bytes_per_s(self) -> float | None:
        """The mean speed, or None while nothing is asked for or the window is not yet full."""
        with self._lock:
            self._forget()
            full = bool(self._hosts) and self._clock() - self._since_s >= self._window_s
            return self._window_bytes / self._window_s if full else None

    def hosts(self) -> list[str]:
        """Who is being asked, each once."""
        with self._lock:
            return list(dict.fromkeys(self._hosts))

    def _forget(self) -> None:
        start_s = self._clock() - self._window_s
        while self._arrivals and self._arrivals[0][0] < start_s:
            self._window_bytes -= self._arrivals.popleft()[1]


def _hang_up(connection: socket.socket) -> None:
    # The plain socket's method, also for TLS: it wakes the reading thread, where closing would not, and it leaves the TLS
    # object alone that this thread still uses.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
