"""The drawing is the same after slimming: every point within a twentieth of a pixel, every mark, every text."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from repro.slimming import NAMESPACE, compact_path
from repro.svg import Sheet, finish


def points_of(data: str) -> list[tuple[float, float]]:
    """Ends of the pieces of a relative path, absolute."""
    found, here, start = [], np.zeros(2), np.zeros(2)
    for letter, text in re.findall(r"([a-z])([^a-z]*)", data):
        numbers = [float(number) for number in re.findall(r"-?(?:\d+(?:\.\d+)?|\.\d+)", text)]
        if letter == "z":
            here = start
            continue
        size = {"h": 1, "v": 1, "c": 6}.get(letter, 2)
        for first in range(0, len(numbers), size):
            piece = numbers[first : first + size]
            step = (piece[0], 0) if letter == "h" else (0, piece[0]) if letter == "v" else piece[-2:]
            here = here + np.array(step)
            start = here if letter == "m" else start
            found.append((float(here[0]), float(here[1])))
    return found


def test_points_stay_where_they_are_however_long_the_path() -> None:
    rng = np.random.default_rng(0)
    points = np.cumsum(rng.normal(size=(500, 2)) * 3, axis=0) + 200
    data = "M " + " L ".join(f"{x} {y}" for x, y in points)
    found = np.array(points_of(compact_path(data)))
    assert abs(found - np.round(points, 1)).max() < 1e-6 and len(compact_path(data)) < len(data) / 5


@pytest.mark.parametrize(
    ("data", "short"),
    [
        ("M 10 20 L 30 20 L 30 25.5 L 10 20 z", "m10 20h20v5.5l-20-5.5z"),
        ("M 0.25 -0.5 L 0.5 -0.75", "m.2-.5l.3-.3"),
        ("M 1 1 L 1 1 M 5 1 L 5 1", "m1 1h0m4 0h0"),
        ("M 1 1 L 1.001 1", "m1 1h.1"),
        ("M 1 1 L 2 2 L 2 2 L 3.5 3.5", "m1 1l1 1 1.5 1.5"),
        ("M 0 0 C 1 0 2 1 2 2 C 2 3 1 4 0 4 Z", "m0 0c1 0 2 1 2 2 0 1-1 2-2 2z"),
    ],
)
def test_paths_are_written_in_few_letters(data: str, short: str) -> None:
    assert compact_path(data) == short


def test_nothing_that_is_drawn_gets_lost_and_ids_are_the_figures_own() -> None:
    with Sheet(300, 200) as canvas:
        axes = canvas.add_axes((0.1, 0.2, 0.8, 0.7))
        axes.plot([0, 1, 2], [0, 2, 1], marker="o", color="#00669e")
        axes.plot([0, 1, 2], [5, 5, 5], color="#b34700")
        axes.set_ylim(0, 3)
        axes.set_xticks([0, 1, 2], ["zero", "one", "two"])
        figure = finish(canvas, name="toy", title="A title", description="What it shows")
    root = ElementTree.fromstring(figure.svg)
    assert len(list(root.iter(f"{{{NAMESPACE}}}use"))) == 3, "a mark for each point"
    assert {"zero", "one", "two"} <= {element.text for element in root.iter(f"{{{NAMESPACE}}}text")}
    ids = {element.get("id", "") for element in root.iter() if element.get("id")}
    referred = set(re.findall(r"#(toy-[\w-]+)", figure.svg))
    assert referred <= ids and all(name.startswith("toy-") for name in ids)
    framed = [element for element in root.iter() if element.get("clip-path")]
    assert len(framed) == 1 and "cnn" in framed[0].get("style", ""), "what lies outside its axes stays cut off"
