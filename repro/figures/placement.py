"""Where the names of points go, so that none covers a point, a bar or another name. Pure geometry, in pixels.

Must not know what is plotted. Read `place_labels` first.
"""

from collections.abc import Iterator, Sequence

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""
Spot = tuple[float, float]
"""The left end of a text and the middle of its height."""

REACH = (9.0, 15.0, 23.0, 33.0)
"""How far from its point a text may stand, in px; the nearest first."""


def place_labels(
    points: Sequence[Spot], widths: Sequence[float], *, height: float, inside: Box, obstacles: Sequence[Box]
) -> list[Spot] | None:
    """A place for each text of `widths`, beside its point; None where they do not all fit.

    Texts stay `inside`, and clear of `obstacles` and of each other. The points with most neighbours choose first.
    """
    crowd = [sum(abs(x - other) < 60 and abs(y - above) < 30 for other, above in points) for x, y in points]
    order = sorted(range(len(points)), key=lambda number: (-crowd[number], -points[number][1], points[number][0]))
    taken = list(obstacles)
    places: dict[int, Spot] = {}
    for number in order:
        for x, y in _spots(points[number], widths[number], height):
            box = (x, y - height / 2, x + widths[number], y + height / 2)
            if _lies_inside(box, inside) and not any(_overlap(box, other) for other in taken):
                places[number] = (x, y)
                taken.append(box)
                break
        else:
            return None
    return [places[number] for number in range(len(points))]


def _spots(point: Spot, width: float, height: float) -> Iterator[Spot]:
    x, y = point
    for reach in REACH:
        half = reach + height / 2
        yield x + reach, y
        yield x - reach - width, y
        for side in (half - 2, -half + 2):
            yield x - width / 2, y + side
            yield x + 2, y + side
            yield x - width - 2, y + side


def _lies_inside(box: Box, outer: Box) -> bool:
    return box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
