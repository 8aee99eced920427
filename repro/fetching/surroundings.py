"""What fetching works with: the network, bars, room on the disk, and a way to end it from another thread.

Must not know what is fetched. Read `Stopping` first.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from repro.context import Context
from repro.download import DownloadCancelled, Downloader, Patience, make_transfer_display
from repro.errors import DiskFull
from repro.progress import CountingDisplay
from repro.workspace import free_disk_bytes


class Stopping:
    """Ends what a thread fetches, from another, within moments; what has come of unfinished files is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._downloader: Downloader | None = None

    def set(self) -> None:
        """Stop the transfers; the next ones, and the next image that is counted, raise DownloadCancelled."""
        with self._lock:
            self._is_set = True
            downloader = self._downloader
        if downloader is not None:
            downloader.close()

    def check(self) -> None:
        """Raise DownloadCancelled once it is set."""
        if self._is_set:
            raise DownloadCancelled("The fetch was stopped.", remedy="Run the same command again: it resumes.")

    @contextmanager
    def watching(self, downloader: Downloader) -> Iterator[None]:
        """Within the block `set` ends this one's transfers, of which there is one at a time."""
        with self._lock:
            self._downloader = downloader
        try:
            # Set before the block or within it: in either case it is seen.
            self.check()
            yield
        finally:
            with self._lock:
                self._downloader = None


def require_space(context: Context, *, downloads: int, packs: int) -> None:
    """For so many bytes of data sets, and for the weights besides. Raises DiskFull."""
    weights = context.weights_bytes_to_fetch()
    free = free_disk_bytes(context.workspace)
    if free < downloads + packs + weights:
        raise DiskFull(
            f"{(downloads + weights) / 1e6:,.0f} MB must be downloaded and {packs / 1e6:,.0f} MB of images stored; "
            f"{free / 1e6:,.0f} MB are free at {context.workspace.home}.",
            remedy="Free some space, or give a --home on a larger disk.",
        )


@contextmanager
def downloading(context: Context, stopping: Stopping) -> Iterator[Downloader | None]:
    """A downloader with bars of its own; None with `--offline`."""
    stopping.check()
    if context.offline:
        yield None
        return
    display = make_transfer_display(context.say, context.screen)
    try:
        with Downloader(display=display, patience=Patience.from_environment()) as downloader, stopping.watching(downloader):
            yield downloader
    finally:
        display.close()


@contextmanager
def counting(context: Context, stopping: Stopping) -> Iterator[Callable[[str, int, int], None]]:
    """Follows the making of a pack: call it with what is done, how many are, of how many."""
    display = CountingDisplay(context.say, context.screen)

    def show(what: str, done: int, total: int) -> None:
        stopping.check()
        display.show(what, done, total)

    try:
        yield show
    finally:
        display.close()
