"""What a person sees while files arrive: live bars in a terminal, a few plain lines otherwise. Writes to stderr only.

Must not know how files are fetched. Read `TransferDisplay` first.
"""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column

from repro.screen import Screen

BAR_WIDTH = 14
PLAIN_STEP_FRACTION = 0.1
PLAIN_PAUSE_S = 5.0
PLAIN_PAUSE_UNKNOWN_S = 30.0
"""Between two lines of a file whose length nobody knows."""


class TransferDisplay(Protocol):
    """Follows files by name while they arrive; all methods may be called from any thread."""

    def started(self, name: str, total_bytes: int | None, done_bytes: int) -> None:
        """A file has begun to arrive, of which so much was here already."""

    def advanced(self, name: str, num_bytes: int) -> None:
        """So many more bytes have come."""

    def restarted(self, name: str, done_bytes: int) -> None:
        """The file goes on from here, which is before where it was."""

    def finished(self, name: str) -> None:
        """The file is complete."""

    def stopped(self, name: str) -> None:
        """The file will not be completed now."""

    def say(self, line: str) -> None:
        """Anything else worth a line."""

    def close(self) -> None:
        """Nothing more will come."""


@dataclass(slots=True, kw_only=True)
class _Arrival:
    """How far a file is."""

    total_bytes: int | None
    """Its length, or None."""
    done_bytes: int
    """How much is here."""
    come_bytes: int = 0
    """How much has come over the network."""
    started_s: float
    """Clock when it began."""
    told_s: float
    """Clock of its last line."""
    told_tenths: int = 0
    """How many tenths that line told."""


class PlainTransfers:
    """A line when a file begins, a few on its way, and one at its end, for logs and pipes."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._lock = threading.RLock()
        self._arrivals: dict[str, _Arrival] = {}

    def started(self, name: str, total_bytes: int | None, done_bytes: int) -> None:
        """The first line."""
        with self._lock:
            now_s = self._clock()
            arrival = _Arrival(total_bytes=total_bytes, done_bytes=done_bytes, started_s=now_s, told_s=now_s)
            arrival.told_tenths = _tenths(arrival)
            self._arrivals[name] = arrival
            total = size_words(total_bytes) if total_bytes is not None else "length unknown"
            resumed = f", resumed at {size_words(done_bytes)}" if done_bytes else ""
            self.say(f"{name}: downloading, {total}{resumed}")

    def advanced(self, name: str, num_bytes: int) -> None:
        """A line at each tenth, but not too often."""
        with self._lock:
            arrival, now_s = self._arrivals[name], self._clock()
            arrival.done_bytes += num_bytes
            arrival.come_bytes += num_bytes
            waited_s, tenths = now_s - arrival.told_s, _tenths(arrival)
            if arrival.total_bytes is None:
                due = waited_s >= PLAIN_PAUSE_UNKNOWN_S
            else:
                due = waited_s >= PLAIN_PAUSE_S and tenths > arrival.told_tenths and arrival.done_bytes < arrival.total_bytes
            if due:
                arrival.told_s, arrival.told_tenths = now_s, tenths
                self.say(f"{name}: {_share(arrival)}, {self._speed(arrival)}")

    def restarted(self, name: str, done_bytes: int) -> None:
        """A line that says so."""
        with self._lock:
            arrival = self._arrivals[name]
            arrival.done_bytes = done_bytes
            arrival.told_s, arrival.told_tenths = self._clock(), _tenths(arrival)
            self.say(f"{name}: starts again at {size_words(done_bytes)}")

    def finished(self, name: str) -> None:
        """The last line."""
        with self._lock:
            arrival = self._arrivals.pop(name)
            self.say(f"{name}: complete, {size_words(arrival.done_bytes)}, {self._speed(arrival)}")

    def stopped(self, name: str) -> None:
        """The last line of a file that did not come through."""
        with self._lock:
            self.say(f"{name}: stopped at {_share(self._arrivals.pop(name))}")

    def say(self, line: str) -> None:
        """The line as it is."""
        with self._lock:
            self._say(line)

    def close(self) -> None:
        """Nothing to close."""

    def _speed(self, arrival: _Arrival) -> str:
        return f"{size_words(arrival.come_bytes / max(self._clock() - arrival.started_s, 1e-3))}/s"


class LiveTransfers:
    """A bar for each file that is arriving, below the lines of those that have ended."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        # Only the name may shrink, so that every bar stays on one line.
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=BAR_WIDTH),
            DownloadColumn(table_column=Column(no_wrap=True, justify="right")),
            TransferSpeedColumn(table_column=Column(no_wrap=True, justify="right")),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            console=screen.console,
            expand=True,
        )
        self._lock = threading.RLock()
        self._bars: dict[str, TaskID] = {}

    def started(self, name: str, total_bytes: int | None, done_bytes: int) -> None:
        """A new bar."""
        with self._lock:
            self._screen.show(self._progress)  # not before: an empty display would leave an empty line
            self._bars[name] = self._progress.add_task(name, total=total_bytes, completed=done_bytes)

    def advanced(self, name: str, num_bytes: int) -> None:
        """The bar moves."""
        self._progress.advance(self._bars[name], num_bytes)

    def restarted(self, name: str, done_bytes: int) -> None:
        """The bar goes back."""
        self._progress.reset(self._bars[name], completed=done_bytes)

    def finished(self, name: str) -> None:
        """The bar goes, a line stays."""
        with self._lock:
            task = next(task for task in self._progress.tasks if task.id == self._bars[name])
            elapsed_s, size_bytes = task.elapsed or 0.0, task.completed
            self._drop(name)
            self.say(f"{name}: complete, {size_words(size_bytes)} in {elapsed_s:.0f} s")

    def stopped(self, name: str) -> None:
        """The bar goes."""
        with self._lock:
            self._drop(name)

    def say(self, line: str) -> None:
        """The line, above the bars."""
        self._screen.say(line)

    def close(self) -> None:
        """Stop drawing."""
        with self._lock:
            for name in list(self._bars):
                self._drop(name)
            self._screen.hide(self._progress)

    def _drop(self, name: str) -> None:
        self._progress.remove_task(self._bars.pop(name))


def make_transfer_display(say: Callable[[str], None], screen: Screen) -> TransferDisplay:
    """Live in a terminal, plain otherwise."""
    return LiveTransfers(screen) if sys.stderr.isatty() else PlainTransfers(say)


def size_words(num_bytes: float) -> str:
    """A number of bytes for people: `170.5 MB`."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} bytes"
    for unit in ("kB", "MB"):
        num_bytes /= 1000
        if num_bytes < 999.95:
            return f"{num_bytes:.1f} {unit}"
    return f"{num_bytes / 1000:.1f} GB"


def _tenths(arrival: _Arrival) -> int:
    # The small addend keeps an exact tenth from being rounded down.
    return int(arrival.done_bytes / arrival.total_bytes / PLAIN_STEP_FRACTION + 1e-9) if arrival.total_bytes else 0


def _share(arrival: _Arrival) -> str:
    if not arrival.total_bytes:
        return size_words(arrival.done_bytes)
    percent = int(100 * arrival.done_bytes / arrival.total_bytes)
    return f"{percent} % of {size_words(arrival.total_bytes)}"
