"""What is seen while cells run: plain lines in a pipe, bars that stay on one line in a terminal."""

import io
import re

import pytest
from rich.console import Console

from repro.progress import (
    Clock,
    CountingDisplay,
    LiveDisplay,
    Occupancy,
    PlainDisplay,
    duration_words,
    eta_words,
    make_display,
    shortened,
)
from repro.screen import Screen

LONG_ID = "my-very-long-data-set.n1197.resnet_micro.glyphs-64000.micro-finetune-with-a-long-name.s5"


def test_a_plain_display_writes_one_numbered_line_a_cell() -> None:
    lines: list[str] = []
    display = PlainDisplay(10, lines.append)
    display.started(0, "a", 100)
    display.stepped(0, 50, 30.0)
    display.ended(0, "a  done in 2.0 s, test accuracy 0.500", 130.0)
    display.ended(None, "b  blocked: why", 0.0)
    display.say("a note")
    display.close()
    assert lines == ["[ 1/10] a  done in 2.0 s, test accuracy 0.500  ETA 2 min", "[ 2/10] b  blocked: why", "a note"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_bar_stays_on_one_line_with_its_numbers(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    display = LiveDisplay(26, Screen(console))
    try:
        display.started(0, LONG_ID, 40)
        display.started(1, "[red]short", 1000)
        display.stepped(0, 30, 200.0)
        display.stepped(1, 1000, 200.0)
        display.ended(None, "x", 180.0)
        # A console of its own, since that of a live display draws the bars once more.
        plain = Console(file=io.StringIO(), width=width, force_terminal=True)
        with plain.capture() as capture:
            plain.print(display._progress.get_renderable())
    finally:
        display.close()
    lines = [without_escapes(line).rstrip() for line in capture.get().splitlines()]
    assert all(len(line) <= width for line in lines)
    matrix, first, second = lines
    assert "1/26" in matrix
    assert "30/40" in first
    assert "1000/1000" in second
    if width >= 80:
        assert matrix.startswith("all cells  ETA 3 min ")
        assert second.startswith("[red]short "), "an id is no markup"
        assert first.partition(" ")[0].endswith(".s5"), "the end of an id tells cells apart"
    assert ("…" in first) == (width < 140)


def without_escapes(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)


def test_the_lines_of_ended_cells_stay_whole_above_the_bars() -> None:
    file = io.StringIO()
    display = LiveDisplay(2, Screen(Console(file=file, width=80, force_terminal=True)))
    display.started(0, LONG_ID, 40)
    display.ended(0, f"{LONG_ID}  FAILED: [why] a long reason", 0.0)
    display.close()
    assert f"{LONG_ID}  FAILED: [why] a long reason\n" in without_escapes(file.getvalue())


def test_a_pipe_gets_the_plain_display(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(make_display(3, print, Screen()), PlainDisplay)


def test_a_count_says_a_line_each_tenth_in_a_pipe_once_it_takes_long() -> None:
    lines: list[str] = []
    now_s = 0.0
    display = CountingDisplay(lines.append, Screen(Console(file=io.StringIO())), now_s=lambda: now_s)
    for done in range(0, 1001, 100):
        display.show("short work", done, 1000)
    assert lines == []
    display.show("decoding", 250, 1000)
    now_s = 5.0
    for done in range(250, 1001, 25):
        display.show("decoding", done, 1000)
    display.show("nothing", 0, 0)
    display.close()
    assert lines == [f"decoding: {percent} % ({10 * percent} of 1000)" for percent in range(30, 101, 10)]


def test_a_count_is_a_bar_in_a_terminal_and_leaves_nothing() -> None:
    file = io.StringIO()
    lines: list[str] = []
    now_s = 0.0
    screen = Screen(Console(file=file, width=100, force_terminal=True))
    display = CountingDisplay(lines.append, screen, now_s=lambda: now_s)
    display.show("[a] decoding", 0, 1000)
    assert file.getvalue() == ""
    now_s = 2.0
    display.show("[a] decoding", 500, 1000)
    display.close()
    assert "[a] decoding" in without_escapes(file.getvalue())
    assert "500/1000" in without_escapes(file.getvalue())
    display.show("writing", 1000, 1000)
    display.close()
    assert "writing" not in file.getvalue(), "another count begins quietly"
    assert lines == []


def test_what_was_busy_is_counted_in_parts_of_the_device() -> None:
    now_s = 100.0
    occupancy = Occupancy(lambda: now_s)
    assert (occupancy.busy_share, occupancy.wall_s) == (None, 0.0)
    occupancy.started("a")
    occupancy.started("b")
    now_s = 110.0
    occupancy.ended("a", 0.5, 8.0)
    occupancy.ended("b", 0.5)
    assert (occupancy.busy_share, occupancy.wall_s) == (0.9, 10.0)
    # Half the device, after it has waited for data.
    now_s = 115.0
    occupancy.started("a")
    now_s = 120.0
    occupancy.ended("a", 0.5)
    assert occupancy.busy_share == pytest.approx((9.0 + 2.5) / 20.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5400, "1 h 30 min"), (7500, "2 h 05 min")],
)
def test_durations_are_in_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_no_eta_when_nothing_is_left() -> None:
    assert eta_words(0.2) == ""
    assert eta_words(40) == "ETA 40 s"


def test_a_name_loses_its_middle_only_when_it_must() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefghij", 7) == "abc…hij"
    assert [len(shortened(LONG_ID, width)) for width in (2, 5, 30)] == [2, 5, 30]


def test_the_clock_counts_down_by_the_forecast() -> None:
    clock = Clock({"a": 100.0, "b": 60.0, "c": 40.0}, {"a": 0.5, "b": 0.5, "c": 0.5})
    assert clock.eta_s() == 100.0
    clock.started("a")
    clock.started("b")
    clock.stepped("a", 0.5)
    assert clock.eta_s() == (50.0 + 60.0 + 40.0) / 2
    clock.ended("b")
    clock.ended("c")
    assert clock.eta_s() == 50.0, "one worker alone is left, the other cannot help"
    clock.ended("a")
    assert clock.eta_s() == 0.0


def test_the_clock_counts_what_part_of_the_device_a_cell_takes() -> None:
    clock = Clock({"a": 40.0, "b": 40.0, "large": 100.0}, {"a": 0.25, "b": 0.25, "large": 1.0})
    assert clock.eta_s() == 10.0 + 10.0 + 100.0
    clock.started("a")
    clock.started("b")
    clock.stepped("a", 0.5)
    assert clock.eta_s() == 5.0 + 10.0 + 100.0
    clock.ended("large")
    assert clock.eta_s() == 40.0, "the cell that runs longest holds the sweep up"


def test_the_clock_learns_the_pace_of_finished_cells() -> None:
    clock = Clock({"a": 10.0, "b": 30.0}, {"a": 1.0, "b": 1.0})
    clock.started("a")
    clock.learn("a", 20.0)
    clock.ended("a")
    assert clock.eta_s() == 60.0


def test_the_clock_does_not_stumble_over_cells_without_a_forecast() -> None:
    clock = Clock({}, {"a": 1.0, "b": 1.0})
    clock.started("a")
    clock.stepped("a", 0.5)
    clock.learn("a", 3.0)
    clock.ended("a")
    clock.ended("b")
    assert clock.eta_s() == 0.0
