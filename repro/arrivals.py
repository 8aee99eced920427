"""What a fetch that goes on beside a run has not brought yet, and how the two end one another.

Must not know what is fetched, nor how. Read `Arrivals` first.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

LOOK_S = 0.2
"""How often one who waits looks up, so that a signal is seen."""
LEAVE_S = 10.0
"""How long a fetch that was stopped may take to end; it does within moments, but where it decodes a large picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """What was on its way at one moment."""

    names: Mapping[str, str]
    """Data sets by name and weights by key, each with what to call it. Not to be used yet: what the home has may be damaged."""
    is_over: bool
    """Whether nothing more will come."""


NOTHING_COMES = Coming(names={}, is_over=True)


class Arrivals:
    """What a fetch in a thread brings; one fetch, one run."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._missing: dict[str, str] = {}
        self._is_over = True
        self._error: BaseException | None = None

    @contextmanager
    def of(self, missing: Mapping[str, str], *, work: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
        """Within the block a thread fetches what is missing; leaving stops it, whatever it has brought by then.

        `work` fetches, and has `settled` called for each; `stop` ends it within moments.
        """
        self._missing, self._is_over = dict(missing), False
        # A daemon, since one that hangs in a name lookup must not keep a process alive that was told to end.
        thread = threading.Thread(target=self._fetch, args=[work], name="fetch", daemon=True)
        try:
            thread.start()
            yield
        finally:
            if thread.is_alive():
                stop()
                thread.join(LEAVE_S)

    def settled(self, name: str) -> None:
        """It is there, verified, or cannot be had."""
        with self._changed:
            self._missing.pop(name, None)
            self._changed.notify_all()

    def coming(self) -> Coming:
        """What is on its way now. Raises what has ended the fetch: a full disk, weights that nobody knows."""
        with self._changed:
            if self._error is not None:
                raise self._error
            return NOTHING_COMES if self._is_over else Coming(names=dict(self._missing), is_over=False)

    def wait(self, seen: Coming) -> None:
        """Until something other than `seen` is on its way. Raises what has ended the fetch."""
        while self.coming() == seen:
            with self._changed:
                self._changed.wait(LOOK_S)

    def _fetch(self, work: Callable[[], None]) -> None:
        ended_by: BaseException | None = None
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that runs the cells, whatever it is
            ended_by = error
        with self._changed:
            self._is_over, self._error = True, ended_by
            self._changed.notify_all()
