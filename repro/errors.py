"""What goes wrong for a user, in words a user can act on.

Every expected problem is a `ReproError`: it carries a message (with the bad value and what is legal), a remedy (what to do
next) and the exit code. `repro.cli.main` is the only place that prints them. Must not know any other module.
Read `ReproError` first.
"""

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command; the README shows the same table."""

    DONE = 0
    """Everything asked for was done."""
    ERROR = 1
    """A user's or environment error: message and remedy were printed."""
    USAGE = 2
    """The command line was wrong."""
    UNFINISHED = 3
    """The run ended, but some cells failed or are blocked."""
    DIFFERENT = 4
    """`verify` found a number, file or verdict that is not what it should be."""
    INTERRUPTED = 130
    """Ctrl-C; the same command resumes."""
    TERMINATED = 143
    """SIGTERM (docker stop, a batch system); the same command resumes."""


class ReproError(Exception):
    """A problem to tell the user about: `message` says what is wrong, `remedy` what to do next."""

    exit_code: ExitCode = ExitCode.ERROR

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.remedy))


def _rebuild(kind: type[ReproError], message: str, remedy: str) -> ReproError:
    return kind(message, remedy=remedy)


class UsageError(ReproError):
    """The command line names something that does not exist."""

    exit_code = ExitCode.USAGE


class ProfileError(ReproError):
    """A profile file, or a catalogue entry it names, is wrong."""


class DataError(ReproError):
    """A data set is missing, broken or unusable."""


class DataUnavailable(DataError):
    """The files of a data set cannot be had: no host answers, or the network must not be touched."""


class WeightsUnavailable(DataError):
    """Weights cannot be had, or are not what they should be; the cells that need them are blocked."""


class EnvironmentProblem(ReproError):
    """The machine lacks something: a writable home, memory, a usable device."""


class HomeBusy(ReproError):
    """Another run holds this home."""


class DiskFull(ReproError):
    """A file could not be written for want of space; the sweep stops, nothing finished is lost."""


class CorruptFile(ReproError):
    """A file of the home cannot be read as what it should be."""


class NothingToVerify(ReproError):
    """The home holds no report, or no finished cell, that could be verified."""


class TrainingDiverged(ReproError):
    """The training loss became NaN, infinite or absurdly large; the message names the step."""


class OutOfMemory(ReproError):
    """The device ran out of memory in a cell."""


class StepsNotGraphed(ReproError):
    """Training steps cannot go through CUDA graphs, or would give other numbers; they are taken as they are then."""


class Interrupted(ReproError):
    """A signal stopped the run; what was finished stays, the rest resumes."""

    def __init__(self, message: str, *, remedy: str, exit_code: ExitCode = ExitCode.INTERRUPTED) -> None:
        super().__init__(message, remedy=remedy)
        self.exit_code = exit_code


NO_SPACE_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
"""What the system says when a disk or a quota is full."""
