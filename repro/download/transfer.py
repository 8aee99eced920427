"""One file, from the first of its addresses that gives the right bytes.

Must not know that there are other files or threads. Read `Transfer.run` first.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from repro.download.answer import A_PAGE, Body, CannotResume, OutOfRange, Passing, Unusable, is_page, judge, trouble
from repro.download.control import SpeedMeter, Stop
from repro.download.display import TransferDisplay
from repro.download.partial import HEAD_BYTES, Partial, WrongBytes, digests_of, discard
from repro.download.request import REMEDY, Address, Downloaded, DownloadFailed, Patience, RemoteFile
from repro.workspace import writing

SHORT_WAIT = 0.1
"""Share of the first wait that follows an attempt which brought new bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a transfer works with, most of it shared with others."""

    client: Callable[[], httpx2.Client]
    """Gives the client; called only where something must be asked for."""
    display: TransferDisplay
    """Who is told."""
    patience: Patience
    """When to try again, and when to give up."""
    stop: Stop
    """Ends the transfer from outside."""
    meter: SpeedMeter
    """Is told of each byte that comes."""
    jitter: random.Random
    """Spreads the waits, so that many downloads do not come back at the same moment."""


class Transfer:
    """The fetching of one file; used once."""

    def __init__(self, file: RemoteFile, destination: Path, means: Means, *, label: str) -> None:
        self._file = file
        self._destination = destination
        self._means = means
        self._label = label
        self._part = Partial(destination, file)
        self._shown_bytes: int | None = None
        self._total_bytes: int | None = None
        self._resumed = False

    def run(self) -> Downloaded:
        """The file, complete and verified; what an earlier process left of it is used.

        Raises DownloadFailed, DownloadCancelled, DiskFull or EnvironmentProblem. Writes the destination; what has come of a
        file that fails stays beside it.
        """
        found = self._existing()
        if found is not None:
            return found
        try:
            with self._part:
                done = self._from_part() or self._from_addresses()
        finally:
            if self._shown_bytes is not None:
                self._means.display.stopped(self._label)
        return done

    def _existing(self) -> Downloaded | None:
        """The file if it is here and right; a wrong one is removed."""
        digests = digests_of(self._destination, self._means.stop.check)
        if digests is None:
            return None
        complaint = digests.complaint(self._file)
        if complaint is None:
            discard(self._destination)
            return digests.downloaded(self._destination, _public(self._file.addresses[0].url))
        self._say(f"{self._destination} is not the file it should be ({complaint}); it is fetched anew")
        with writing(self._destination):
            self._destination.unlink()
        return None

    def _from_part(self) -> Downloaded | None:
        """The file if its part is whole already; a part that cannot become the file is dropped."""
        self._part.load(self._means.stop.check)
        size_bytes, complete_bytes = self._part.size_bytes, self._file.size_bytes
        complaint = self._part.complaint()
        if complaint is None and self._file.is_pinned and size_bytes > 0:
            return self._part.finish(self._part.origin_url() or _public(self._file.addresses[0].url))
        over = complete_bytes is not None and (size_bytes > complete_bytes or (size_bytes == complete_bytes and complaint))
        if over or is_page(self._part.head, self._file):
            self._part.restart()
        return None

    def _from_addresses(self) -> Downloaded:
        answers: list[str] = []
        status = None
        for address in self._file.addresses:
            try:
                with self._means.meter.asking(address.host):
                    return self._from_address(address)
            except Unusable as reason:
                answers.append(f"{address.host}: {reason}")
                status = reason.status
                if len(answers) < len(self._file.addresses):
                    self._say(f"{answers[-1]}; trying {self._file.addresses[len(answers)].host}")
        if len(answers) == 1:
            raise DownloadFailed(f"{self._label} could not be downloaded from {answers[0]}.", remedy=REMEDY, status=status)
        raise DownloadFailed("\n  ".join([f"{self._label} could not be downloaded:", *answers]), remedy=REMEDY)

    def _from_address(self, address: Address) -> Downloaded:
        """The file from one address, with as many attempts as patience allows. Raises Unusable."""
        patience, part = self._means.patience, self._part
        longest_bytes, num_fruitless, started_anew = self._offset(address), 0, False
        first_bytes = longest_bytes
        self._total_bytes = self._file.size_bytes
        while True:
            try:
                self._attempt(address)
                done = part.finish(_public(address.url))
                self._finished()
                return done
            except WrongBytes as wrong:
                # A part of something else, or a host that resumes wrongly: worth one attempt in one piece.
                if not self._resumed or started_anew:
                    raise Unusable(str(wrong)) from wrong
                self._say(f"{address.host}: {wrong}; trying once more from the first byte")
                longest_bytes = num_fruitless = 0
                started_anew = True
            except Passing as failure:
                self._means.stop.check()  # a connection that was closed because of a stop looks like any other
                num_fruitless = 0 if part.size_bytes > longest_bytes else num_fruitless + 1
                longest_bytes = max(longest_bytes, part.size_bytes)
                unreached = failure.unreached and longest_bytes == first_bytes
                limit = min(patience.attempts, patience.unreached_attempts) if unreached else patience.attempts
                if num_fruitless >= limit:
                    times = f" ({num_fruitless} attempts in a row brought nothing new)" if num_fruitless > 1 else ""
                    raise Unusable(f"{failure.reason}{times}") from failure
                if num_fruitless:
                    self._say(f"{address.host}: {failure.reason}; trying again")
                self._means.stop.wait(self._wait_s(num_fruitless, failure.retry_after_s))

    def _attempt(self, address: Address) -> None:
        """One request, and all bytes that it brings. Returns when the part is whole. Raises Unusable or Passing."""
        self._means.stop.check()
        offset = self._offset(address)
        try:
            with (
                self._means.stop.watching() as trace,
                self._means.client().stream(
                    "GET", address.url, headers=self._headers(address, offset), extensions={"trace": trace}
                ) as response,
            ):
                body = judge(response, self._file, offset=offset)
                self._accept(address, body)
                self._read(response)
        except OutOfRange as answer:
            if self._part.size_bytes != (self._file.size_bytes or answer.total_bytes):
                self._part.restart()
                raise Passing("it says that there is nothing to resume") from answer
            self._resumed = True
        except CannotResume:
            self._part.restart()
            raise
        except httpx2.RequestError as error:
            raise trouble(error, self._means.patience) from error
        except (httpx2.InvalidURL, UnicodeError) as error:  # UnicodeError: a host name that no name server could hold
            raise Unusable(f"{_public(address.url)!r} is not an address: {error}") from error

    def _accept(self, address: Address, body: Body) -> None:
        """Make the part end where the body begins."""
        part, total_bytes = self._part, body.total_bytes
        if body.start and None not in (total_bytes, self._total_bytes) and total_bytes != self._total_bytes:
            raise CannotResume("its file has changed meanwhile")
        self._total_bytes = total_bytes if body.start == 0 else total_bytes or self._total_bytes
        self._resumed = body.start > 0
        if body.start == 0 and part.size_bytes:
            part.restart()
        part.remember(_public(address.url), body.validator)
        if self._shown_bytes is None:
            self._means.display.started(self._label, self._total_bytes, part.size_bytes)
        elif self._shown_bytes != part.size_bytes:
            self._means.display.restarted(self._label, part.size_bytes)
        self._shown_bytes = part.size_bytes

    def _read(self, response: httpx2.Response) -> None:
        part, means, total_bytes = self._part, self._means, self._total_bytes
        # No chunk size: httpx2 would hold back what does not fill a chunk, and lose it with the connection.
        for data in response.iter_raw():
            means.stop.check()
            if total_bytes is not None and part.size_bytes + len(data) > total_bytes:
                part.restart()
                raise Unusable(f"it sends more than the expected {total_bytes:,} bytes")
            part.append(data)
            means.meter.add(len(data))
            means.display.advanced(self._label, len(data))
            self._shown_bytes = part.size_bytes
            if part.size_bytes - len(data) < HEAD_BYTES and is_page(part.head, self._file):
                part.restart()
                raise Unusable(A_PAGE)
        if total_bytes is not None and part.size_bytes < total_bytes:
            raise Passing(f"its answer ended after {part.size_bytes:,} of {total_bytes:,} bytes")

    def _offset(self, address: Address) -> int:
        """From which byte on to ask this address."""
        can_resume = self._file.is_pinned or self._part.validator_for(_public(address.url)) is not None
        return self._part.size_bytes if can_resume else 0

    def _headers(self, address: Address, offset: int) -> dict[str, str]:
        # Identity: a .tar.gz that a host labels as compressed on the way must arrive as it is.
        headers = {"Accept-Encoding": "identity"}
        if address.token is not None:
            if not (address.token.isascii() and address.token.isprintable()):
                raise Unusable("the token given for it has characters that cannot be sent")
            headers["Authorization"] = f"Bearer {address.token}"
        if offset:
            headers["Range"] = f"bytes={offset}-"
            validator = self._part.validator_for(_public(address.url))
            if validator is not None and not self._file.is_pinned:
                headers["If-Range"] = validator
        return headers

    def _wait_s(self, num_fruitless: int, retry_after_s: float | None) -> float:
        patience = self._means.patience
        if retry_after_s is not None:
            return min(retry_after_s, patience.longest_wait_s)
        if num_fruitless == 0:
            # A host that breaks off but goes on giving is no faster for being waited for.
            return patience.first_wait_s * SHORT_WAIT
        doubled_s: float = patience.first_wait_s * 2 ** (num_fruitless - 1)
        return min(doubled_s, patience.longest_wait_s) * self._means.jitter.uniform(0.5, 1.0)

    def _finished(self) -> None:
        if self._shown_bytes is not None:
            self._means.display.finished(self._label)
            self._shown_bytes = None

    def _say(self, line: str) -> None:
        self._means.display.say(f"{self._label}: {line}")


def _public(url: str) -> str:
    """The address without user and password, which must not get into records and messages."""
    try:
        parsed = httpx2.URL(url)
        return str(parsed.copy_with(userinfo=b"")) if parsed.userinfo else url
    except httpx2.InvalidURL:
        return url
