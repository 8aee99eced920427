"""Several files at once, for several callers: the threads, the client, and how all of it ends.

Must not know how one file is fetched. Read `Downloader.get_all` first.
"""

import contextlib
import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from repro.download.control import SpeedMeter, Stop
from repro.download.display import TransferDisplay, size_words
from repro.download.request import REMEDY, DownloadCancelled, Downloaded, Patience, RemoteFile, TooSlow
from repro.download.transfer import Means, Transfer
from repro.errors import EnvironmentProblem

USER_AGENT = "vitrepro"
LOOK_S = 0.2
"""How often a call looks whether its transfers are too slow, or stopped."""
LEAVE_S = 0.5
"""How long stopped transfers are waited for, by their call and again by `close`; one that looks up a name cannot be woken."""

Job = tuple[Future[Downloaded], Callable[[], Downloaded]]


class Downloader:
    """Fetches files, at most so many at once over all callers. A context manager; the display stays the caller's to close.

    Leaving it, also by an exception, stops all transfers within moments; what has come of their files is kept.
    """

    def __init__(self, *, display: TransferDisplay, patience: Patience | None = None, max_at_once: int = 4) -> None:
        self._display = display
        self._patience = patience or Patience()
        self._max_at_once = max_at_once
        self._lock = threading.Condition()
        self._client: httpx2.Client | None = None
        self._closed = False
        self._calls: set[Stop] = set()
        self._threads: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._labels: dict[Path, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def get_all(self, requests: Sequence[tuple[RemoteFile, Path]], *, may_be_slow: bool = True) -> list[Downloaded]:
        """The files, each at its destination, in the order of the requests. May be called from several threads at once.

        Raises the first failure among the files, after the others were stopped: DownloadFailed, DiskFull, EnvironmentProblem,
        or DownloadCancelled where the downloader is closed meanwhile; with `may_be_slow=False` also TooSlow. What has come of
        unfinished files is kept, and a later call resumes it.
        """
        stop, meter = Stop(), SpeedMeter(self._patience.slow_after_s)
        means = Means(
            client=self._open_client,
            display=self._display,
            patience=self._patience,
            stop=stop,
            meter=meter,
            jitter=random.Random(),  # noqa: S311 - spreads waits, keeps no secret
        )
        futures: list[Future[Downloaded]] = []
        try:
            with self._lock:
                self._calls.add(stop)
                if self._closed:
                    stop.set()
                stop.check()
            for file, destination in requests:
                futures.append(self._submit(file, destination, means))
            while wait(futures, timeout=LOOK_S, return_when=FIRST_EXCEPTION).not_done:
                _raise_first(futures)
                stop.check()
                if not may_be_slow:
                    self._check_speed(meter)
            return [future.result() for future in futures]
        finally:
            # However the call ends, a signal's exception in this very thread included, its transfers end with it.
            stop.set()
            for future in futures:
                future.cancel()
            wait(futures, timeout=LEAVE_S)
            with self._lock:
                self._calls.discard(stop)

    def close(self) -> None:
        """Stop all transfers, wait a moment for their threads, and close the connections."""
        with self._lock:
            self._closed = True
            calls, threads, client = list(self._calls), list(self._threads), self._client
        for stop in calls:
            stop.set()
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join(LEAVE_S / len(threads))
        if client is not None:
            client.close()

    def _submit(self, file: RemoteFile, destination: Path, means: Means) -> Future[Downloaded]:
        future: Future[Downloaded] = Future()
        with self._lock:
            self._jobs.put((future, lambda: self._transfer(file, destination, means)))
            if not self._closed and len(self._threads) < self._max_at_once:
                # Daemons: a thread stuck in a name lookup must not keep a process alive that was told to end, which the
                # threads of concurrent.futures would.
                thread = threading.Thread(target=self._work, name=f"download-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, transfer = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = transfer()
            except BaseException as error:  # noqa: BLE001 - handed over to the thread that waits for it, whatever it is
                future.set_exception(error)
            else:
                future.set_result(result)

    def _transfer(self, file: RemoteFile, destination: Path, means: Means) -> Downloaded:
        means.stop.check()
        with self._claim(file, destination, means.stop) as label:
            return Transfer(file, destination, means, label=label).run()

    @contextlib.contextmanager
    def _claim(self, file: RemoteFile, destination: Path, stop: Stop) -> Iterator[str]:
        """Hold a destination against other transfers to it; yields a name for the display that no other transfer has."""
        with self._lock:
            while destination in self._labels:
                self._lock.wait(LOOK_S)
                stop.check()
            taken = self._labels.values()
            label = file.name if file.name not in taken else f"{destination.parent.name}/{file.name}"
            if label in taken:
                label = str(destination)
            self._labels[destination] = label
        try:
            yield label
        finally:
            with self._lock:
                del self._labels[destination]
                self._lock.notify_all()

    def _open_client(self) -> httpx2.Client:
        """The client, made when it is first needed: files that are here already need no certificates and no proxy."""
        with self._lock:
            if self._client is None:
                patience = self._patience
                try:
                    self._client = httpx2.Client(
                        headers={"User-Agent": USER_AGENT},
                        timeout=httpx2.Timeout(patience.read_s, connect=patience.connect_s),
                        follow_redirects=True,
                        # None is kept alive, so that `Stop` sees every connection; files are few and large.
                        limits=httpx2.Limits(max_keepalive_connections=0),
                    )
                except (OSError, ValueError, ImportError, httpx2.InvalidURL) as error:
                    raise EnvironmentProblem(
                        f"The network cannot be used as the environment asks: {error}.",
                        remedy="Correct or unset HTTP_PROXY, HTTPS_PROXY, ALL_PROXY (http:// proxies only), SSL_CERT_FILE and "
                        "SSL_CERT_DIR, and run the same command again.",
                    ) from error
            return self._client

    def _check_speed(self, meter: SpeedMeter) -> None:
        speed, limit = meter.bytes_per_s(), self._patience.slow_bytes_per_s
        if speed is not None and speed < limit:
            hosts = " and ".join(meter.hosts()) or "The host"
            raise TooSlow(f"{hosts} sends only {size_words(speed)}/s, less than {size_words(limit)}/s.", remedy=REMEDY)


def _raise_first(futures: list[Future[Downloaded]]) -> None:
    """Raise what a transfer raised; that others were stopped is told only where nothing else is."""
    errors = [error for future in futures if future.done() and (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, DownloadCancelled)):
        raise error
