"""What is seen while files arrive: a few lines in a pipe, bars that stay on one line in a terminal."""

import io
import re

import pytest
from rich.console import Console

from repro.download import LiveTransfers, PlainTransfers, make_transfer_display, size_words
from repro.screen import Screen

MB = 1_000_000


def test_plain_transfers_write_a_start_some_tenths_and_an_end() -> None:
    lines: list[str] = []
    now_s = 0.0
    display = PlainTransfers(lines.append, clock=lambda: now_s)
    display.started("a.zip", 100 * MB, 0)
    for _ in range(100):
        now_s += 0.25  # exact in binary
        display.advanced("a.zip", MB)
    display.finished("a.zip")
    display.say("a note")
    display.close()
    assert lines == [
        "a.zip: downloading, 100.0 MB",
        "a.zip: 20 % of 100.0 MB, 4.0 MB/s",
        "a.zip: 40 % of 100.0 MB, 4.0 MB/s",
        "a.zip: 60 % of 100.0 MB, 4.0 MB/s",
        "a.zip: 80 % of 100.0 MB, 4.0 MB/s",
        "a.zip: complete, 100.0 MB, 4.0 MB/s",
        "a note",
    ]


def test_a_slow_file_has_ten_lines_not_more() -> None:
    lines: list[str] = []
    now_s = 0.0
    display = PlainTransfers(lines.append, clock=lambda: now_s)
    display.started("a.zip", 1000, 0)
    for _ in range(1000):
        now_s += 6.0
        display.advanced("a.zip", 1)
    assert len(lines) == 10


def test_plain_transfers_tell_resumption_restart_and_stop() -> None:
    lines: list[str] = []
    now_s = 0.0
    display = PlainTransfers(lines.append, clock=lambda: now_s)
    display.started("a.zip", 100 * MB, 40 * MB)
    display.restarted("a.zip", 0)
    display.advanced("a.zip", 10 * MB)
    display.stopped("a.zip")
    display.started("b", None, 0)
    now_s = 40.0
    display.advanced("b", 2 * MB)
    display.finished("b")
    assert lines == [
        "a.zip: downloading, 100.0 MB, resumed at 40.0 MB",
        "a.zip: starts again at 0 bytes",
        "a.zip: stopped at 10 % of 100.0 MB",
        "b: downloading, length unknown",
        "b: 2.0 MB, 50.0 kB/s",
        "b: complete, 2.0 MB, 50.0 kB/s",
    ]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_bar_stays_on_one_line(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    display = LiveTransfers(Screen(console))
    try:
        display.started("[red]a-very-long-name-of-an-archive-that-someone-chose-cifar-10-binary.tar.gz", 999_900_000, 0)
        display.started("b.bin", None, 0)
        display.started("c.bin", 10 * MB, 9 * MB)
        display.advanced("b.bin", 5 * MB)
        display.restarted("c.bin", 0)
        display.advanced("c.bin", 999_000)
        # A console of its own, since that of a live display draws the bars once more.
        plain = Console(file=io.StringIO(), width=width, force_terminal=True)
        with plain.capture() as capture:
            plain.print(display._progress.get_renderable())
    finally:
        display.close()
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).rstrip() for line in capture.get().splitlines()]
    assert len(lines) == 3, lines
    assert all(len(line) <= width for line in lines)
    assert "0.0/999.9 MB" in lines[0]
    assert "5.0/? MB" in lines[1]
    assert "1.0/10.0 MB" in lines[2]


def test_live_transfers_leave_a_line_for_what_is_complete() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    display = LiveTransfers(Screen(console))
    display.say("a note [not markup]")
    display.started("a", 2 * MB, MB)
    display.advanced("a", MB)
    display.finished("a")
    display.started("b", 2 * MB, 0)
    display.stopped("b")
    display.started("c", 2 * MB, 0)
    display.close()
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a note [not markup]" in written
    assert re.search(r"a: complete, 2.0 MB in \d+ s", written)
    assert "b: complete" not in written


def test_the_display_follows_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(make_transfer_display(print, Screen()), PlainTransfers)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    display = make_transfer_display(print, Screen())
    assert isinstance(display, LiveTransfers)
    display.close()


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (170_498_071, "170.5 MB"),
        (999_960_000, "1.0 GB"),
        (2.5e12, "2500.0 GB"),
    ],
)
def test_sizes_are_told_for_people(num_bytes: float, words: str) -> None:
    assert size_words(num_bytes) == words
