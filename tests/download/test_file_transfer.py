"""One file from hosts that misbehave: it comes through whole and right, or the error says who answered what."""

import errno
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_downloads import CONTENT, OTHER, PAGE, PATIENT, QUICK, Fetch, Remembering, leave_part, refused, remote
from unruly_server import UnrulyServer

from repro.download import Address, Downloader, DownloadFailed
from repro.errors import DiskFull, EnvironmentProblem


def test_a_file_comes_whole_and_as_it_is(server: UnrulyServer, fetch: Fetch, display: Remembering) -> None:
    url = server.serve("f", CONTENT)
    assert fetch(remote(url)) == CONTENT
    assert [(seen.range, seen.authorization, seen.accept_encoding) for seen in server.requests] == [(None, None, "identity")]
    assert display.events == [("started", "file.tar.gz"), ("finished", "file.tar.gz")]
    assert display.bytes == {"file.tar.gz": len(CONTENT)}


@pytest.mark.parametrize(
    "manner",
    [
        {"chunked": True},
        {"states_length": False},
        {"content_encoding": "gzip"},
        {"trickle": (60_000, 0.0)},
        {"content_type": "text/plain"},
    ],
    ids=str,
)
@pytest.mark.parametrize("known", [(True, True), (False, True), (True, False), (False, False)], ids=str)
def test_bytes_come_through_however_they_are_sent(
    server: UnrulyServer, fetch: Fetch, manner: dict[str, Any], known: tuple[bool, bool]
) -> None:
    pinned, sized = known
    assert fetch(remote(server.serve("f", CONTENT, **manner), pinned=pinned, sized=sized)) == CONTENT


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ({"status_always": 401}, "401 Unauthorized (it wants a token, or another one)"),
        ({"status_always": 403}, "403 Forbidden"),
        ({"status_always": 404}, "404 Not Found"),
        ({"status_always": 410}, "410 Gone"),
        ({"status_always": 451}, "451 Unavailable For Legal Reasons"),
        ({"status_always": 503}, "503 Service Unavailable (3 attempts in a row brought nothing new)"),
        ({"status_always": 0}, "the connection was dropped (3 attempts"),
        ({"status_always": 204}, "204 No Content"),
        ({"content_type": "text/html; charset=utf-8"}, "a web page instead of the file"),
        ({"content": PAGE.ljust(len(CONTENT))}, "a web page instead of the file"),
        ({"content": b"<html>" + b" " * 20, "states_length": False}, "a web page instead of the file"),
        ({"content": PAGE.ljust(len(CONTENT)), "trickle": (3, 0.0)}, "a web page instead of the file"),
        ({"content": CONTENT + b"x"}, f"its file has {len(CONTENT) + 1:,} bytes instead of the expected {len(CONTENT):,}"),
        ({"stated_length": 12}, f"its file has 12 bytes instead of the expected {len(CONTENT):,}"),
        ({"content": CONTENT * 2, "states_length": False}, f"it sends more than the expected {len(CONTENT):,} bytes"),
        ({"content": CONTENT * 2, "chunked": True}, f"it sends more than the expected {len(CONTENT):,} bytes"),
        ({"content": CONTENT[:-1], "states_length": False}, "its file has 307,199 bytes instead of the expected 307,200"),
        (
            {"content": CONTENT[:-1], "states_length": False, "ignores_range": True},
            "its answer ended after 307,199 of 307,200 bytes (3 attempts",
        ),
        ({"content": OTHER}, f"its bytes are wrong: expected sha256 {hashlib.sha256(CONTENT).hexdigest()}, found "),
        ({"hangs": True}, "nothing came for 0.3 s (3 attempts"),
        ({"hang_after": 0}, "nothing came for 0.3 s (3 attempts"),
        ({"redirect_to": "f"}, "it redirects without end"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_host_of_no_use_is_told_and_the_next_one_serves(
    server: UnrulyServer, fetch: Fetch, display: Remembering, manner: dict[str, Any], said: str
) -> None:
    bad = server.serve("f", **{"content": CONTENT, **manner})
    good = server.serve("good", CONTENT)
    assert refused(fetch, remote(bad)).startswith(f"file.tar.gz could not be downloaded from host A: {said}")
    assert fetch(remote(bad, good)) == CONTENT
    assert any(line.startswith(f"file.tar.gz: host A: {said}") and line.endswith("trying host B") for line in display.lines)


def test_an_answer_that_will_not_change_is_asked_for_once(server: UnrulyServer, fetch: Fetch) -> None:
    refused(fetch, remote(server.url("missing"), server.serve("page", PAGE), server.serve("wrong", OTHER)))
    assert [seen.path for seen in server.requests] == ["missing", "page", "wrong"]


def test_all_hosts_are_told_line_by_line(server: UnrulyServer, fetch: Fetch) -> None:
    message = refused(
        fetch, remote(server.url("none"), server.serve("page", PAGE, content_type="text/html"), "http://no-such-host.invalid/f")
    )
    assert message.splitlines() == [
        "file.tar.gz could not be downloaded:",
        "  host A: 404 Not Found",
        "  host B: a web page instead of the file",
        "  host C: its name cannot be resolved; is there a network? (2 attempts in a row brought nothing new)",
    ]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/f", "the connection is refused (2 attempts"),
        ("nonsense", "the request cannot be made: "),
        ("ftp://127.0.0.1/f", "the request cannot be made: "),
        ("http://127.0.0.1:port/f", "'http://127.0.0.1:port/f' is not an address: "),
        (f"http://{'a' * 70}.example/f", " is not an address: "),
    ],
)
def test_an_address_that_leads_nowhere_is_told_in_one_line(fetch: Fetch, url: str, said: str) -> None:
    message = refused(fetch, remote(url))
    assert said in message
    assert "\n" not in message


def test_a_password_in_an_address_stays_out_of_what_is_told(
    server: UnrulyServer, destination: Path, display: Remembering
) -> None:
    url = server.serve("f", CONTENT, drop_after=200_000)
    with Downloader(display=display, patience=QUICK) as downloader:
        (done,) = downloader.get_all([(remote(url.replace("//", "//user:secret@")), destination)])
    assert done.url == url
    assert all(str(seen.authorization).startswith("Basic ") for seen in server.requests)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 0])
def test_trouble_that_passes_is_sat_out(server: UnrulyServer, fetch: Fetch, status: int) -> None:
    assert fetch(remote(server.serve("f", CONTENT, statuses=(status, status)))) == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "retry_after", ["0", "100000", "Tue, 01 Apr 2025 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "soon", "-1"]
)
def test_a_host_may_say_when_to_come_back_within_limits(server: UnrulyServer, fetch: Fetch, retry_after: str) -> None:
    assert fetch(remote(server.serve("f", CONTENT, statuses=(429,), retry_after=retry_after))) == CONTENT


def test_an_older_digest_alone_is_verified_too(server: UnrulyServer, fetch: Fetch) -> None:
    file = replace(remote(server.serve("f", OTHER)), sha256=None)
    assert f"expected md5 {hashlib.md5(CONTENT).hexdigest()}, found {hashlib.md5(OTHER).hexdigest()}" in refused(fetch, file)


@pytest.mark.parametrize("pinned", [True, False])
def test_a_file_that_is_here_needs_no_request(server: UnrulyServer, fetch: Fetch, destination: Path, pinned: bool) -> None:
    leave_part(destination, b"from a kill just after the end", url="http://x.example/f")
    destination.write_bytes(CONTENT)
    assert fetch(remote(server.serve("f", CONTENT), pinned=pinned)) == CONTENT
    assert server.requests == []


def test_the_first_digits_of_a_digest_are_verified_too(server: UnrulyServer, fetch: Fetch) -> None:
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    wrong = replace(remote(server.serve("wrong", OTHER), pinned=False), sha256_prefix=digits)
    found = hashlib.sha256(OTHER).hexdigest()
    assert f"by its name the sha256 begins with {digits}, found {found}" in refused(fetch, wrong)
    begun = server.serve("begun", CONTENT, drop_after=1000, ignores_range=True)
    right = replace(remote(begun, server.serve("f", CONTENT), pinned=False), sha256_prefix=digits)
    assert fetch(right) == CONTENT
    assert server.ranges("f") == ["bytes=1000-"], "they hold every copy to the same bytes"


def test_how_the_only_host_refused_is_told_apart(server: UnrulyServer, destination: Path, display: Remembering) -> None:
    missing, broken = server.serve("f", status_always=403), server.serve("g", status_always=503)
    with Downloader(display=display, patience=QUICK) as downloader:
        for urls, status in (([missing], 403), ([broken], None), ([missing, missing], None)):
            with pytest.raises(DownloadFailed) as caught:
                downloader.get_all([(remote(*urls), destination)])
            assert caught.value.status == status


@pytest.mark.parametrize("content", [OTHER, b"", CONTENT + b"x"], ids=["wrong", "empty", "longer"])
def test_a_wrong_file_in_the_place_is_fetched_anew(
    server: UnrulyServer, fetch: Fetch, destination: Path, display: Remembering, content: bytes
) -> None:
    destination.parent.mkdir()
    destination.write_bytes(content)
    assert fetch(remote(server.serve("f", CONTENT))) == CONTENT
    assert re.fullmatch(r"file.tar.gz: .* is not the file it should be \(.*\); it is fetched anew", display.lines[0])


def test_a_page_may_be_what_is_wanted(server: UnrulyServer, fetch: Fetch) -> None:
    assert fetch(remote(server.serve("f", PAGE, content_type="text/html"), content=PAGE, name="licence.html")) == PAGE


def test_a_token_goes_to_its_own_host_only(server: UnrulyServer, fetch: Fetch) -> None:
    with UnrulyServer(host="localhost") as other:
        url = server.serve("start", redirect_to=server.url("middle"))
        server.serve("middle", redirect_to=other.serve("end", CONTENT))
        file = replace(remote(url), addresses=(Address(url=url, host="host A", token="secret"),))
        assert fetch(file) == CONTENT
        assert [seen.authorization for seen in server.requests] == ["Bearer secret"] * 2
        assert [seen.authorization for seen in other.requests] == [None]


def test_a_token_is_not_sent_to_the_next_host(server: UnrulyServer, fetch: Fetch) -> None:
    first = Address(url=server.url("none"), host="host A", token="secret")
    second = Address(url=server.serve("f", CONTENT), host="host B")
    assert fetch(replace(remote("-"), addresses=(first, second))) == CONTENT
    assert [seen.authorization for seen in server.requests] == ["Bearer secret", None]


def test_a_token_that_cannot_be_sent_is_told_without_showing_it(server: UnrulyServer, fetch: Fetch) -> None:
    address = Address(url=server.serve("f", CONTENT), host="host A", token="sécret\n")
    message = refused(fetch, replace(remote("-"), addresses=(address,)))
    assert "the token given for it has characters that cannot be sent" in message
    assert "cret\n" not in message


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_nothing_has_the_final_name(
    server: UnrulyServer, destination: Path, display: Remembering, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(number, "No space")

    monkeypatch.setattr("os.fsync", full)
    with (
        Downloader(display=display, patience=PATIENT) as downloader,
        pytest.raises(DiskFull, match=re.escape(str(destination))),
    ):
        downloader.get_all([(remote(server.serve("f", CONTENT)), destination)])
    assert {path.name for path in destination.parent.iterdir()} == {"file.tar.gz.part", "file.tar.gz.part.json"}


def test_a_place_that_cannot_be_written_is_told(server: UnrulyServer, fetch: Fetch, destination: Path) -> None:
    destination.mkdir(parents=True)
    with pytest.raises(EnvironmentProblem, match="Is a directory"):
        fetch(remote(server.serve("f", CONTENT)))
    destination.rmdir()
    destination.parent.rmdir()
    destination.parent.write_text("a file")
    with pytest.raises(EnvironmentProblem, match="Not a directory"):
        fetch(remote(server.serve("f", CONTENT)))
