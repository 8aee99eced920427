"""A download that breaks off goes on where it was, with the bytes of the same file or from its beginning."""

import errno
import hashlib
from pathlib import Path
from typing import Any

import pytest
from toy_downloads import CONTENT, OTHER, PAGE, Fetch, Remembering, leave_part, refused, remote
from unruly_server import UnrulyServer

from repro.download import partial
from repro.errors import DiskFull


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("sized", [True, False])
def test_a_host_that_drops_the_connection_again_and_again_is_resumed(
    server: UnrulyServer, fetch: Fetch, display: Remembering, pinned: bool, sized: bool
) -> None:
    url = server.serve("f", CONTENT, drop_after=30_000, etag='"v1"')
    assert fetch(remote(url, pinned=pinned, sized=sized)) == CONTENT
    assert server.ranges("f") == [None, *(f"bytes={start}-" for start in range(30_000, len(CONTENT), 30_000))]
    assert {seen.if_range for seen in server.requests[1:]} == {None if pinned else '"v1"'}
    assert ("restarted", "file.tar.gz") not in display.events


@pytest.mark.parametrize("validators", [{}, {"etag": 'W/"weak"'}], ids=str)
def test_an_unpinned_file_without_a_reliable_version_is_never_resumed(
    server: UnrulyServer, fetch: Fetch, validators: dict[str, Any]
) -> None:
    url = server.serve("f", CONTENT, drop_after=30_000, **validators)
    assert "dropped (3 attempts in a row brought nothing new)" in refused(fetch, remote(url, pinned=False))
    assert set(server.ranges("f")) == {None}


def test_a_last_modified_date_serves_where_the_etag_is_weak(server: UnrulyServer, fetch: Fetch) -> None:
    date = "Tue, 01 Apr 2025 00:00:00 GMT"
    url = server.serve("f", CONTENT, drop_after=200_000, etag='W/"weak"', last_modified=date)
    assert fetch(remote(url, pinned=False)) == CONTENT
    assert server.requests[1].if_range == date


def test_a_host_that_drops_and_ignores_ranges_is_given_up(server: UnrulyServer, fetch: Fetch, display: Remembering) -> None:
    url = server.serve("f", CONTENT, drop_after=30_000, ignores_range=True)
    message = refused(fetch, remote(url))
    assert message == (
        "file.tar.gz could not be downloaded from host A: the connection was dropped (3 attempts in a row brought nothing new)."
    )
    assert display.events[-1] == ("stopped", "file.tar.gz")
    assert ("restarted", "file.tar.gz") in display.events


def test_a_range_that_is_ignored_starts_from_the_first_byte(
    server: UnrulyServer, fetch: Fetch, destination: Path, display: Remembering
) -> None:
    leave_part(destination, OTHER[:1000])
    assert fetch(remote(server.serve("f", CONTENT, ignores_range=True))) == CONTENT
    assert server.ranges("f") == ["bytes=1000-"]
    assert display.bytes == {"file.tar.gz": len(CONTENT)}


@pytest.mark.parametrize("manner", [{"wrong_range_start": True}, {"wrong_range_total": 5}], ids=str)
@pytest.mark.parametrize("sized", [True, False])
def test_a_wrong_answer_to_a_range_does_no_harm(
    server: UnrulyServer, fetch: Fetch, manner: dict[str, Any], sized: bool
) -> None:
    url = server.serve("f", CONTENT, drop_after=200_000, **manner)
    good = server.serve("good", CONTENT)
    assert fetch(remote(url, good, sized=sized)) == CONTENT
    assert server.ranges("f")[:2] == [None, "bytes=200000-"]


def test_a_host_that_falls_silent_in_mid_body_is_resumed(server: UnrulyServer, fetch: Fetch) -> None:
    assert fetch(remote(server.serve("f", CONTENT, hang_after=200_000))) == CONTENT
    assert server.ranges("f") == [None, "bytes=200000-"]


def test_the_next_host_completes_what_the_first_began_if_the_file_is_pinned(server: UnrulyServer, fetch: Fetch) -> None:
    first = server.serve("first", CONTENT, drop_after=100_000, ignores_range=True)
    assert fetch(remote(first, server.serve("second", CONTENT))) == CONTENT
    assert server.ranges("second") == ["bytes=100000-"]


def test_the_next_host_starts_anew_if_the_file_is_not_pinned(server: UnrulyServer, fetch: Fetch) -> None:
    first = server.serve("first", OTHER, drop_after=100_000, ignores_range=True, etag='"same"')
    second = server.serve("second", CONTENT, drop_after=50_000, etag='"same"')
    assert fetch(remote(first, second, pinned=False)) == CONTENT
    assert server.ranges("second")[:2] == [None, "bytes=50000-"]


def test_an_unpinned_file_that_has_changed_is_fetched_from_its_first_byte(
    server: UnrulyServer, fetch: Fetch, destination: Path
) -> None:
    url = server.serve("f", CONTENT, etag='"new"')
    leave_part(destination, OTHER[:1000], url=url, validator='"old"')
    assert fetch(remote(url, pinned=False)) == CONTENT
    assert [(seen.range, seen.if_range) for seen in server.requests] == [("bytes=1000-", '"old"')]


@pytest.mark.parametrize("sidecar", [None, "{", '{"schema_version": 2, "url": "x", "validator": "y"}', "[]"])
def test_an_unpinned_part_of_unknown_origin_is_not_used(
    server: UnrulyServer, fetch: Fetch, destination: Path, sidecar: str | None
) -> None:
    leave_part(destination, OTHER[:1000])
    if sidecar is not None:
        partial.sidecar_path(destination).write_text(sidecar)
    assert fetch(remote(server.serve("f", CONTENT), pinned=False)) == CONTENT
    assert server.ranges("f") == [None]


def test_a_killed_download_goes_on_where_it_was(
    server: UnrulyServer, fetch: Fetch, destination: Path, display: Remembering
) -> None:
    leave_part(destination, CONTENT[:1000])
    assert fetch(remote(server.serve("f", CONTENT))) == CONTENT
    assert server.ranges("f") == ["bytes=1000-"]
    assert display.bytes == {"file.tar.gz": len(CONTENT)}


@pytest.mark.parametrize("sized", [True, False])
def test_a_part_that_is_whole_needs_no_request_if_pinned(
    server: UnrulyServer, fetch: Fetch, destination: Path, sized: bool
) -> None:
    url = server.serve("f", CONTENT)
    leave_part(destination, CONTENT, url=url)
    assert fetch(remote(server.url("preferred"), url, sized=sized)) == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("sized", [True, False])
def test_a_part_that_is_whole_is_confirmed_by_its_host_if_not_pinned(
    server: UnrulyServer, fetch: Fetch, destination: Path, sized: bool
) -> None:
    url = server.serve("f", CONTENT, etag='"v1"')
    leave_part(destination, CONTENT, url=url, validator='"v1"')
    assert fetch(remote(url, pinned=False, sized=sized)) == CONTENT
    assert server.ranges("f") == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("left", [OTHER, OTHER + b"x", PAGE], ids=["as long", "longer", "a page"])
def test_a_part_that_cannot_become_the_file_is_dropped(
    server: UnrulyServer, fetch: Fetch, destination: Path, left: bytes
) -> None:
    leave_part(destination, left)
    assert fetch(remote(server.serve("f", CONTENT))) == CONTENT
    assert server.ranges("f") == [None]


def test_a_part_beyond_the_end_is_dropped_where_the_length_is_unknown(
    server: UnrulyServer, fetch: Fetch, destination: Path
) -> None:
    leave_part(destination, CONTENT + b"x")
    assert fetch(remote(server.serve("f", CONTENT), sized=False)) == CONTENT
    assert server.ranges("f") == [f"bytes={len(CONTENT) + 1}-", None]


def test_a_resumed_file_with_wrong_bytes_is_tried_once_in_one_piece(
    server: UnrulyServer, fetch: Fetch, destination: Path
) -> None:
    leave_part(destination, OTHER[:1000])
    assert fetch(remote(server.serve("f", CONTENT))) == CONTENT
    assert server.ranges("f") == ["bytes=1000-", None]


def test_wrong_bytes_in_one_piece_are_not_tried_again(server: UnrulyServer, fetch: Fetch, destination: Path) -> None:
    leave_part(destination, OTHER[:1000])
    message = refused(fetch, remote(server.serve("f", OTHER)))
    assert f"found {hashlib.sha256(OTHER).hexdigest()}" in message
    assert server.ranges("f") == ["bytes=1000-", None]
    assert list(destination.parent.iterdir()) == []


def test_a_redirect_is_resumed(server: UnrulyServer, fetch: Fetch) -> None:
    url = server.serve("f", redirect_to=server.serve("g", CONTENT, drop_after=200_000))
    assert fetch(remote(url)) == CONTENT
    assert server.ranges("g") == [None, "bytes=200000-"]


def test_a_disk_that_fills_up_on_the_way_keeps_what_came(
    server: UnrulyServer, fetch: Fetch, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, append = remote(server.serve("f", CONTENT)), partial.Partial.append

    def filling(self: partial.Partial, data: bytes) -> None:
        append(self, data[:1000])
        with partial.writing(self.path):
            raise OSError(errno.ENOSPC, "No space")

    with monkeypatch.context() as patch:
        patch.setattr(partial.Partial, "append", filling)
        with pytest.raises(DiskFull):
            fetch(file)
    assert fetch(file) == CONTENT
    assert server.ranges("f") == [None, "bytes=1000-"]
