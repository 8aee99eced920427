"""What a person sees while cells run: live bars in a terminal, one plain line a cell otherwise. Writes to stderr only.

Must not know how cells are run. Read `Display` first.
"""

import sys
from collections.abc import Callable
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Display(Protocol):
    """Follows a matrix of cells; `slot` is the worker's number."""

    def started(self, slot: int, cell_id: str, num_steps: int) -> None:
        """A worker has taken a cell."""

    def stepped(self, slot: int, step: int) -> None:
        """A worker's cell has done `step` steps."""

    def ended(self, slot: int | None, line: str, eta_s: float) -> None:
        """A cell is done, failed or blocked (no slot); `line` says which, `eta_s` how long the rest will take."""

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

    def started(self, slot: int, cell_id: str, num_steps: int) -> None:
        """Nothing: the line comes when the cell ends."""

    def stepped(self, slot: int, step: int) -> None:
        """Nothing, likewise."""

    def ended(self, slot: int | None, line: str, eta_s: float) -> None:
        """The cell's line."""
        self._num_ended += 1
        width = len(str(self._num_cells))
        self._say(f"[{self._num_ended:{width}d}/{self._num_cells}] {line}  {eta_words(eta_s)}")

    def say(self, line: str) -> None:
        """The line as it is."""
        self._say(line)

    def close(self) -> None:
        """Nothing to close."""


class LiveDisplay:
    """A bar per running cell and one for the matrix."""

    def __init__(self, num_cells: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._matrix = self._progress.add_task("[bold]all cells[/bold]", total=num_cells, note="")
        self._bars: dict[int, TaskID] = {}
        self._progress.start()

    def started(self, slot: int, cell_id: str, num_steps: int) -> None:
        """A new bar for the slot."""
        self._drop(slot)
        self._bars[slot] = self._progress.add_task(_escape(cell_id), total=num_steps, note="steps")

    def stepped(self, slot: int, step: int) -> None:
        """The slot's bar moves."""
        if slot in self._bars:
            self._progress.update(self._bars[slot], completed=step)

    def ended(self, slot: int | None, line: str, eta_s: float) -> None:
        """The slot's bar goes, the cell's line stays above the bars."""
        if slot is not None:
            self._drop(slot)
        self._progress.console.print(_escape(line), highlight=False, soft_wrap=True)
        self._progress.update(self._matrix, advance=1, note=eta_words(eta_s))

    def say(self, line: str) -> None:
        """The line, above the bars."""
        self._progress.console.print(_escape(line), highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Stop drawing."""
        for slot in list(self._bars):
            self._drop(slot)
        self._progress.stop()

    def _drop(self, slot: int) -> None:
        if slot in self._bars:
            self._progress.remove_task(self._bars.pop(slot))


def make_display(num_cells: int, say: Callable[[str], None]) -> Display:
    """Live in a terminal, plain otherwise."""
    return LiveDisplay(num_cells) if sys.stderr.isatty() else PlainDisplay(num_cells, say)


def eta_words(seconds: float) -> str:
    """`ETA 4 min`, or nothing when nothing is left."""
    return f"ETA {duration_words(seconds)}" if seconds > 0 else ""


def duration_words(seconds: float) -> str:
    """A duration for people: `40 s`, `4 min`, `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
