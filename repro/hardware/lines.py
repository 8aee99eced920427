"""What one line of `vitrepro check` says. Must not know what is looked at. Read `CheckLine` first."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a line of the check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """One thing that was looked at."""

    name: str
    """What, in at most seven letters."""
    level: Level
    """How it came out."""
    message: str
    """What was found, in one line."""
    remedy: str = ""
    """What to do, unless it is ok."""
    code: str = ""
    """What was found, as a word that stays the same for scripts (`driver-too-old`); empty where name and level say it."""
