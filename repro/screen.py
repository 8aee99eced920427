"""The part of the terminal that is drawn again and again, shared by all that show bars in it.

rich draws one such region at a time, and ends nested ones in the order of a stack; files arrive beside cells that run, and
either may end first. Must not know what the bars count. Read `Screen.show` first.
"""

import threading

from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress
from rich.text import Text


class Screen:
    """Groups of bars, one below the other, below the lines that stay. All methods may be called from any thread."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._lock = threading.RLock()
        self._shown: list[Progress] = []
        self._live: Live | None = None

    def show(self, bars: Progress) -> None:
        """Draw these bars, not started themselves, below those that are there; nothing if they are drawn already."""
        with self._lock:
            if bars in self._shown:
                return
            self._shown.append(bars)
            if self._live is None:
                self._live = Live(get_renderable=self._all_bars, console=self.console, refresh_per_second=10, transient=True)
                self._live.start()
            self._live.refresh()

    def hide(self, bars: Progress, *, leave: bool = False) -> None:
        """Draw these bars no longer; with `leave` they stay as lines, as they are now. Nothing if they are not drawn."""
        with self._lock:
            if bars not in self._shown:
                return
            if self._live is not None and self._shown == [bars]:
                self._live.stop()
                self._live = None
            self._shown.remove(bars)
            if self._live is not None:
                self._live.refresh()
            if leave:
                self.console.print(bars)

    def say(self, line: str) -> None:
        """The line, above the bars."""
        self.console.print(Text(line), soft_wrap=True)

    def _all_bars(self) -> Group:
        # rich asks from a thread of its own, and whoever hides bars holds the lock while it waits for rich.
        return Group(*list(self._shown))
