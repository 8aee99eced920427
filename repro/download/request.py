"""What is asked of a download, what comes back, how patient it is, and how it fails.

Must not know HTTP. Read `RemoteFile` first.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from repro.errors import ReproError, UsageError

TIMEOUT_VARIABLE = "VITREPRO_NETWORK_TIMEOUT_S"
LONGEST_TIMEOUT_S = 86_400
LONGEST_CONNECT_S = 10.0

REMEDY = (
    "Run the same command again: it resumes where it stopped. If a host stays out of reach or slow, name another mirror "
    "in its environment variable, or bring the files yourself and give their folder with --from DIR."
)


class DownloadFailed(ReproError):
    """A file could not be had from any of its addresses; what came of it is kept."""

    def __init__(self, message: str, *, remedy: str, status: int | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        """HTTP status with which the only address refused it; None where there were several, or it ended otherwise."""


class TooSlow(DownloadFailed):
    """The bytes come too slowly for a caller that has somewhere else to ask; what came is kept."""


class DownloadCancelled(ReproError):
    """The download was stopped, here or by another thread; what came is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One place where a file lies."""

    url: str
    """Full address of the file, http or https."""
    host: str
    """Whose host it is, for messages: `University of Toronto`."""
    token: str | None = None
    """Sent as a bearer token to this address, and not to where it redirects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBytes:
    """What is known of a file's bytes before it is here."""

    size_bytes: int | None
    """Published length, or None."""
    sha256: str | None
    """Published digest, 64 lower-case hex digits, or None."""
    md5: str | None
    """Published older digest, 32 lower-case hex digits, or None."""
    sha256_prefix: str | None = None
    """The first digits of the digest, where a file's name holds them, or None."""

    @property
    def is_pinned(self) -> bool:
        """Whether a digest holds every copy to the same bytes, so that a part may be completed from any address."""
        return any((self.sha256, self.md5, self.sha256_prefix))


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile(KnownBytes):
    """One file and all that is known of its bytes."""

    name: str
    """For messages, and to tell whether a web page may be what is wanted."""
    addresses: tuple[Address, ...]
    """Where the same bytes lie, the preferred address first; at least one."""

    def __post_init__(self) -> None:
        assert self.addresses, f"{self.name} has no address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """A file that is here, complete and right as far as that is known."""

    path: Path
    """Where it lies."""
    sha256: str
    """Its digest, 64 hex digits."""
    md5: str
    """Its older digest, 32 hex digits."""
    size_bytes: int
    """Its length."""
    url: str
    """The address its last byte came from, without user and password; for a file that was here already, the preferred one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a download waits and how often it tries."""

    connect_s: float = LONGEST_CONNECT_S
    """Longest wait for a connection, above 0."""
    read_s: float = 30.0
    """Longest wait for the next bytes, above 0."""
    attempts: int = 5
    """How many attempts in a row may bring no new byte before an address is given up, at least 1."""
    unreached_attempts: int = 2
    """The same for a host that could not be connected to and has given nothing yet: there is often no network at all."""
    first_wait_s: float = 1.0
    """Wait before the second attempt; it doubles with each further one."""
    longest_wait_s: float = 30.0
    """Longest wait between two attempts, even where a host asks for more."""
    slow_bytes_per_s: int = 200_000
    """Mean speed of all files of a call below which a download is too slow, where that matters to the caller."""
    slow_after_s: float = 20.0
    """Over how many seconds that mean is taken."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The defaults, with the time limits of `$VITREPRO_NETWORK_TIMEOUT_S`. Raises UsageError for a bad value."""
        text = environment.get(TIMEOUT_VARIABLE, "").strip()
        if not text:
            return cls()
        try:
            timeout_s = float(text)
        except ValueError:
            timeout_s = math.nan
        if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
            raise UsageError(
                f"{TIMEOUT_VARIABLE} is {text!r}; it should be a number of seconds above 0 and up to {LONGEST_TIMEOUT_S}.",
                remedy=f"Give a number as in {TIMEOUT_VARIABLE}=60, or unset it.",
            )
        return cls(connect_s=min(LONGEST_CONNECT_S, timeout_s), read_s=timeout_s)
