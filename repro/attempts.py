"""With what an unfinished cell was begun: `attempt.json`, there until its record is.

A cell that was interrupted goes on from its last state, which does not tell in which precision its steps were taken.
Must not know how a cell is run. Read `Attempt` first.
"""

from pathlib import Path
from typing import Literal

from repro.choices import PRECISION, Choice, chosen
from repro.documents import read_document, write_document
from repro.errors import CorruptFile
from repro.spec import Spec

ATTEMPT = "attempt.json"
FIRST_STEPS = "first steps"
"""`Choice.what` of what an interrupted attempt took its steps with, where the one that ended the cell has something else."""


class Attempt(Spec):
    """How a cell was begun."""

    schema_version: Literal[1] = 1
    """Version of this layout."""
    fingerprint: str
    """64 hex digits; see `Cell.fingerprint`."""
    device: str
    """`cpu` or the name of the GPU."""
    processor: str
    """Name of the CPU."""
    choices: tuple[Choice, ...]
    """What was chosen automatically."""
    started_at: str
    """UTC time, ISO 8601."""

    def first_steps(self, *, device: str, precision: str) -> tuple[Choice, ...]:
        """What the record of a cell that goes on from its state, on that device and in that precision, has to tell of it."""
        told = tuple(choice for choice in self.choices if choice.what == FIRST_STEPS)
        own = chosen(self.choices, PRECISION)
        if own is None or (self.device, own.value) == (device, precision):
            return told
        reason = f"taken on {self.device} by an attempt that was interrupted"
        return (*told, Choice(what=FIRST_STEPS, value=own.value, reason=reason))


UNTOLD = Choice(what=FIRST_STEPS, value="unknown", reason="an attempt that was interrupted has left no word of it")
"""Of a cell that goes on from a state without an attempt beside it."""


def write_attempt(folder: Path, attempt: Attempt) -> None:
    """Write `attempt.json`. Raises DiskFull."""
    write_document(folder / ATTEMPT, attempt)


def read_attempt(folder: Path, fingerprint: str) -> Attempt | None:
    """How the cell was begun, or None: one that cannot be read costs no more than what it tells."""
    try:
        found = read_document(folder / ATTEMPT, Attempt, remedy="")
    except CorruptFile:
        return None
    return found if found is not None and found.fingerprint == fingerprint else None
