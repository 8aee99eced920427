"""What a host's answer means: the wanted bytes, trouble that may pass, or an address of no use.

Must not know files on the disk, nor when to try again. Read `judge` first.
"""

import email.utils
import re
import socket
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from repro.download.request import Patience, RemoteFile

PASSING_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Besides all of 500 to 599."""
CONTENT_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)")
UNSATISFIED_RANGE = re.compile(r"bytes\s+\*/(\d+)")
PAGE_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)", re.IGNORECASE)
PAGE_TYPES = ("text/html", "application/xhtml+xml")
A_PAGE = "a web page instead of the file"


class Unusable(Exception):
    """The address does not give the file; the text says why."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Passing(Exception):
    """The attempt failed for a reason that may pass."""

    def __init__(self, reason: str, *, retry_after_s: float | None = None, unreached: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.unreached = unreached


class OutOfRange(Exception):
    """There are no bytes from the asked one on."""

    def __init__(self, total_bytes: int | None) -> None:
        super().__init__()
        self.total_bytes = total_bytes


class CannotResume(Passing):
    """The answer does not go on where the part ends; the file must be fetched from its first byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A body worth reading."""

    start: int
    """Place of its first byte in the file: that which was asked for, or 0."""
    total_bytes: int | None
    """Length of the whole file, as known or as the host says; None where neither."""
    validator: str | None
    """What names this version of the file in an `If-Range`."""


def judge(response: httpx2.Response, file: RemoteFile, *, offset: int) -> Body:
    """What the answer to a request for the bytes from `offset` on is. Raises Unusable, Passing, CannotResume or OutOfRange."""
    status = response.status_code
    if offset and status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        found = UNSATISFIED_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        total_bytes = int(found[1]) if found else None
        _check_length(total_bytes, file)
        raise OutOfRange(total_bytes)
    if status in PASSING_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Passing(_status_words(response), retry_after_s=_retry_after_s(response))
    if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        raise Unusable(_status_words(response), status=status)
    if not _may_be_page(file) and response.headers.get("Content-Type", "").lower().startswith(PAGE_TYPES):
        raise Unusable(A_PAGE)
    start, total_bytes = _place(response, offset)
    _check_length(total_bytes, file)
    return Body(start=start, total_bytes=file.size_bytes or total_bytes, validator=_validator(response))


def is_page(head: bytes, file: RemoteFile) -> bool:
    """Whether a body that begins so is a web page where none is wanted."""
    return not _may_be_page(file) and PAGE_START.match(head) is not None


def trouble(error: httpx2.RequestError, patience: Patience) -> Unusable | Passing:
    """What a request that got no whole answer means, in words."""
    match error:
        case httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError():
            return Unusable(f"the request cannot be made: {error}")
        case httpx2.TooManyRedirects():
            return Unusable("it redirects without end")
        case httpx2.ConnectTimeout():
            return Passing(f"no connection within {patience.connect_s:g} s", unreached=True)
        case httpx2.ConnectError() | httpx2.ProxyError():
            return Passing(_connect_words(error), unreached=True)
        case httpx2.TimeoutException():
            return Passing(f"nothing came for {patience.read_s:g} s")
        case httpx2.RemoteProtocolError() if "closed connection" not in str(error) and "disconnected" not in str(error):
            return Passing(f"its answer is not proper HTTP: {error}")
        case _:
            return Passing("the connection was dropped")


def _place(response: httpx2.Response, offset: int) -> tuple[int, int | None]:
    """Where the body begins in the file, and how long that file is."""
    if response.status_code == HTTPStatus.OK:  # also in answer to a Range: then it is ignored, or the version has changed
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() and "Transfer-Encoding" not in response.headers else None
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if found is None or int(found[1]) != offset:
        raise CannotResume(f"it sends other bytes than those from {offset:,} on")
    return offset, None if found[3] == "*" else int(found[3])


def _check_length(total_bytes: int | None, file: RemoteFile) -> None:
    if file.size_bytes is not None and total_bytes is not None and total_bytes != file.size_bytes:
        raise Unusable(f"its file has {total_bytes:,} bytes instead of the expected {file.size_bytes:,}")


def _validator(response: httpx2.Response) -> str | None:
    etag: str = response.headers.get("ETag", "")
    if etag.startswith('"') and etag.isascii():  # a weak one, W/"…", does not promise the same bytes
        return etag
    return response.headers.get("Last-Modified") or None


def _retry_after_s(response: httpx2.Response) -> float | None:
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _status_words(response: httpx2.Response) -> str:
    words = f"{response.status_code} {response.reason_phrase}".strip()
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        return f"{words} (it wants a token, or another one)"
    return words


def _may_be_page(file: RemoteFile) -> bool:
    return file.name.lower().endswith((".html", ".htm", ".xhtml"))


def _connect_words(error: httpx2.RequestError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved; is there a network?"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection is refused"
        # httpx2 wraps the library below, and that one keeps the system's error as context or as its only argument.
        inner = next((argument for argument in cause.args if isinstance(argument, BaseException)), None)
        cause = cause.__cause__ or cause.__context__ or inner
    return f"no connection: {error}".rstrip(": ")
