"""Bars of several displays in one region of the terminal."""

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from repro.screen import Screen


def bars(name: str, screen: Screen) -> Progress:
    made = Progress(TextColumn("{task.description}"), console=screen.console)
    made.add_task(name)
    return made


def seen(file: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


@pytest.fixture
def file() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def screen(file: io.StringIO) -> Screen:
    return Screen(Console(file=file, width=60, force_terminal=True))


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_two_groups_are_drawn_together_and_end_in_either_order(
    screen: Screen, file: io.StringIO, *, first_ends_first: bool
) -> None:
    files, cells = bars("files", screen), bars("cells", screen)
    screen.show(files)
    screen.show(cells)
    assert re.search(r"files *\r?\n.*cells", seen(file)), "one below the other"
    gone, left = (files, cells) if first_ends_first else (cells, files)
    screen.hide(gone)
    before = len(file.getvalue())
    screen.say("a line [not markup]")
    written = file.getvalue()[before:]
    assert "a line [not markup]" in written
    assert left.tasks[0].description in written, "drawn again below the line"
    assert gone.tasks[0].description not in written
    screen.hide(left)
    before = len(file.getvalue())
    screen.say("the end")
    assert file.getvalue()[before:] == "the end\n", "nothing is drawn any more"


def test_bars_can_stay_as_lines(screen: Screen, file: io.StringIO) -> None:
    cells = bars("all cells", screen)
    screen.show(cells)
    before = len(file.getvalue())
    screen.hide(cells, leave=True)
    screen.hide(cells, leave=True)
    assert seen(file)[-len("all cells\n") :] == "all cells\n"
    assert file.getvalue()[before:].count("all cells") <= 2, "the last frame, and the line that stays"
    screen.show(cells)
    screen.hide(cells)
    assert not seen(file).endswith("all cells\n")
