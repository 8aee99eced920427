"""What changes the state of the whole process: one thread at a time, and without the libraries' warnings.

Files of weights are inspected by several threads, and Python's warning filters, torch's random state and its list of what a
file may hold belong to all of them. Must not know what is done meanwhile. Read `quietly` first.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.RLock()


@contextmanager
def quietly() -> Iterator[None]:
    """Nobody else is in here, and warnings are not shown."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
