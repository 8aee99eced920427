"""What a person sees while cells run: live bars in a terminal, one plain line a cell otherwise. Writes to stderr only.

Must not know how cells are run. Read `Display` first.
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from repro.screen import Screen

BAR_WIDTH = 16
BAR_COLUMNS_WIDTH = BAR_WIDTH + len(" 1000/1000 steps 0:00:00 ")
"""Characters of a line that the name cannot have."""
QUIET_S = 1.0


class Display(Protocol):
    """Follows a matrix of cells; `slot` is the worker's number, `eta_s` how many seconds the rest will take."""

    def expect(self, num_cells: int) -> None:
        """So many cells are to be run in all: more, or fewer, than was thought."""

    def started(self, slot: int, cell_id: str, num_steps: int) -> None:
        """A worker has taken a cell."""

    def stepped(self, slot: int, step: int, eta_s: float) -> None:
        """A worker's cell has done `step` steps."""

    def ended(self, slot: int | None, line: str, eta_s: float) -> None:
        """A cell is done, failed or blocked (no slot); `line` says which."""

    def say(self, line: str) -> None:
        """Anything else worth a line."""

    def close(self) -> None:
        """Nothing more will come."""


class PlainDisplay:
    """One line a cell, for logs and pipes."""

    def __init__(self, num_cells: int, say: Callable[[str], None]) -> None:
        self._num_cells = num_cells
        self._num_ended = 0
        self._say = say

    def expect(self, num_cells: int) -> None:
        """The next lines count to another number."""
        self._num_cells = num_cells

    def started(self, slot: int, cell_id: str, num_steps: int) -> None:
        """Nothing: the line comes when the cell ends."""

    def stepped(self, slot: int, step: int, eta_s: float) -> None:
        """Nothing, likewise."""

    def ended(self, slot: int | None, line: str, eta_s: float) -> None:
        """The cell's line."""
        self._num_ended += 1
        width = len(str(self._num_cells))
        self._say(f"[{self._num_ended:{width}d}/{self._num_cells}] {line}  {eta_words(eta_s)}".rstrip())

    def say(self, line: str) -> None:
        """The line as it is."""
        self._say(line)

    def close(self) -> None:
        """Nothing to close."""


class LiveDisplay:
    """A bar per running cell and one for the matrix, below the lines of the cells that have ended."""

    def __init__(self, num_cells: int, screen: Screen) -> None:
        self._screen = screen
        # Only the name may shrink, and it loses its middle (see `shortened`), so that every bar stays on one line.
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=BAR_WIDTH),
            MofNCompleteColumn(table_column=Column(no_wrap=True, justify="right")),
            TextColumn("{task.fields[unit]}", table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            console=screen.console,
            expand=True,
        )
        self._matrix = self._progress.add_task("all cells", total=num_cells, unit="cells")
        self._bars: dict[int, TaskID] = {}
        screen.show(self._progress)

    def expect(self, num_cells: int) -> None:
        """The matrix's bar has another end."""
        self._progress.update(self._matrix, total=num_cells)

    def started(self, slot: int, cell_id: str, num_steps: int) -> None:
        """A new bar for the slot."""
        self._drop(slot)
        name = shortened(cell_id, self._screen.console.width - BAR_COLUMNS_WIDTH)
        self._bars[slot] = self._progress.add_task(name, total=num_steps, unit="steps")

    def stepped(self, slot: int, step: int, eta_s: float) -> None:
        """The slot's bar moves."""
        if slot in self._bars:
            self._progress.update(self._bars[slot], completed=step)
        self._tell(eta_s)

    def ended(self, slot: int | None, line: str, eta_s: float) -> None:
        """The slot's bar goes, the cell's line stays above the bars."""
        if slot is not None:
            self._drop(slot)
        self.say(line)
        self._progress.update(self._matrix, advance=1)
        self._tell(eta_s)

    def say(self, line: str) -> None:
        """The line, above the bars."""
        self._screen.say(line)

    def close(self) -> None:
        """Stop drawing."""
        for slot in list(self._bars):
            self._drop(slot)
        self._screen.hide(self._progress, leave=True)

    def _tell(self, eta_s: float) -> None:
        self._progress.update(self._matrix, description=f"all cells  {eta_words(eta_s)}".rstrip())

    def _drop(self, slot: int) -> None:
        if slot in self._bars:
            self._progress.remove_task(self._bars.pop(slot))


class CountingDisplay:
    """Follows long work that is counted, one thing after another: a bar in a terminal, else a plain line each tenth.

    Work that is done within a moment is not worth a word, so nothing is shown of its first `QUIET_S` seconds.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        screen: Screen,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._screen = screen
        self._now_s = now_s
        self._what = ""
        self._began_s = 0.0
        self._tenths = 0
        self._bar: Progress | None = None

    def show(self, what: str, done: int, total: int) -> None:
        """`done` of `total` are finished of what is being done; another `what` begins another count."""
        if what != self._what:
            self.close()
            self._what, self._began_s, self._tenths = what, self._now_s(), 10 * done // max(1, total)
        if self._now_s() - self._began_s < QUIET_S:
            return
        if self._screen.console.is_terminal:
            self._move_bar(done, total)
        elif (tenths := 10 * done // max(1, total)) > self._tenths:
            self._tenths = tenths
            self._say(f"{what}: {10 * tenths} % ({done} of {total})")

    def close(self) -> None:
        """The bar, if there is one, goes."""
        self._what = ""
        if self._bar is not None:
            self._screen.hide(self._bar)
            self._bar = None

    def _move_bar(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=BAR_WIDTH),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._screen.console,
            )
            self._bar.add_task(self._what, total=total)
            self._screen.show(self._bar)
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)


class Clock:
    """How long the rest of a sweep will take: the forecast of each cell, corrected by how long the cells so far took."""

    def __init__(self, cell_s: Mapping[str, float], shares: Mapping[str, float]) -> None:
        """`shares` are the parts of the device that the cells to be run take, by id."""
        self._cell_s = cell_s
        self._shares = shares
        self._waiting_s = sum(self._whole_device_s(cell_id) for cell_id in shares)
        self._running_s: dict[str, float] = {}
        self._seen_s = self._seen_expected_s = 0.0

    def started(self, cell_id: str) -> None:
        """A worker has taken the cell."""
        self._running_s[cell_id] = self._cell_s.get(cell_id, 0.0)
        self._waiting_s -= self._whole_device_s(cell_id)

    def stepped(self, cell_id: str, fraction: float) -> None:
        """`fraction` of the cell's steps are done."""
        self._running_s[cell_id] = self._cell_s.get(cell_id, 0.0) * (1 - fraction)

    def learn(self, cell_id: str, total_s: float) -> None:
        """The cell, run without interruption, took so many seconds."""
        if cell_id in self._cell_s:
            self._seen_s += total_s
            self._seen_expected_s += self._cell_s[cell_id]

    def ended(self, cell_id: str) -> None:
        """The cell is done, has failed, or will not be run."""
        if cell_id in self._running_s:
            del self._running_s[cell_id]
        else:
            self._waiting_s -= self._whole_device_s(cell_id)

    def eta_s(self) -> float:
        """Seconds until the sweep ends."""
        pace = self._seen_s / self._seen_expected_s if self._seen_expected_s else 1.0
        running_s = sum(seconds * self._shares[cell_id] for cell_id, seconds in self._running_s.items())
        return pace * max([max(0.0, self._waiting_s) + running_s, *self._running_s.values()])

    def _whole_device_s(self, cell_id: str) -> float:
        """What the cell adds to the sweep's length where the device is always full."""
        return self._cell_s.get(cell_id, 0.0) * self._shares[cell_id]


class Occupancy:
    """How much of the device a run has kept busy, from the start of its first cell to the end of its last."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._began_s: dict[str, float] = {}
        self._first_s: float | None = None
        self._last_s = 0.0
        self._busy_s = 0.0

    def started(self, cell_id: str) -> None:
        """A worker has been given the cell."""
        self._began_s[cell_id] = self._now_s()
        if self._first_s is None:
            self._first_s = self._began_s[cell_id]

    def ended(self, cell_id: str, part: float, cell_s: float | None = None) -> None:
        """The cell has ended, which took such a part of the device for so many seconds, as it tells, or since it was given."""
        self._last_s = self._now_s()
        began_s = self._began_s.pop(cell_id)
        self._busy_s += part * (self._last_s - began_s if cell_s is None else cell_s)

    @property
    def wall_s(self) -> float:
        """Seconds from the first start to the last end; what is fetched meanwhile and worker processes that start count."""
        return max(0.0, self._last_s - self._first_s) if self._first_s is not None else 0.0

    @property
    def busy_share(self) -> float | None:
        """The share of the device that was busy, 0 … 1; None where nothing has ended."""
        return min(1.0, self._busy_s / self.wall_s) if self.wall_s > 0 else None


def make_display(num_cells: int, say: Callable[[str], None], screen: Screen) -> Display:
    """Live in a terminal, plain otherwise."""
    return LiveDisplay(num_cells, screen) if sys.stderr.isatty() else PlainDisplay(num_cells, say)


def shortened(text: str, width: int) -> str:
    """`text` in at most `width` characters: its middle is cut, since ids differ at their ends."""
    if len(text) <= width:
        return text
    tail = max(1, (width - 1) // 2)
    return f"{text[: max(0, width - 1 - tail)]}…{text[-tail:]}"


def eta_words(seconds: float) -> str:
    """`ETA 4 min`, or nothing when nothing is left."""
    return f"ETA {duration_words(seconds)}" if seconds >= 0.5 else ""


def duration_words(seconds: float) -> str:
    """A duration for people: `40 s`, `4 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
