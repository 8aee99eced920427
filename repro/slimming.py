"""matplotlib's SVG without what shows nothing: the same drawing in a third of the bytes.

Works on the parsed element, in place. Must not know colours, titles or what is plotted. Read `slim` first.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

NAMESPACE = "http://www.w3.org/2000/svg"
FONTS = "system-ui,'Segoe UI',Roboto,'Helvetica Neue','Liberation Sans',Arial,sans-serif"

_LINK = "{http://www.w3.org/1999/xlink}href"
_GROUP, _DEFS, _PATH, _USE, _TEXT = (f"{{{NAMESPACE}}}{tag}" for tag in ("g", "defs", "path", "use", "text"))
_TEXTS = frozenset({_TEXT, *(f"{{{NAMESPACE}}}{tag}" for tag in ("tspan", "title", "desc"))})
"""Elements whose white space counts."""
_DEFAULTS = {"stroke-dashoffset": "0"}
_SLACK_PX = 0.6
"""What may stand out of its frame before it is cut off: less than a line's width."""

Element = ElementTree.Element
Point = tuple[float, float]


def slim(root: Element, *, prefix: str) -> None:
    """Shrink a drawing; ids that are left begin with `prefix`, so that several figures can share one page.

    Gone are groups without attributes, shapes without paint, indentation, decimals below a tenth of a pixel, the font of each
    label, frames that cut nothing off, and a style rule that would reach into the page. Ticks become one path, markers carry
    their own paint, neighbours of one style share it.
    """
    root.attrib.pop("version", None)
    root.set("style", f"stroke-linejoin:round;font-family:{FONTS}")
    _order_ticks(root)
    _tidy(root)
    shapes, frames = _definitions(root)
    painted: dict[tuple[str, str], Element] = {}
    _splice_groups(root)
    _paint_markers(root, shapes, painted)
    _unframe(root, frames)
    _join(root)
    _define(root, [*painted.values()], frames, prefix=prefix)
    for element in root.iter():
        for key in ("x", "y", "width", "height") if element is not root else ():
            if value := element.get(key):
                element.set(key, _number(float(value)))
        if value := element.get("d"):
            element.set("d", compact_path(value, decimals=2 if element.get("id") else 1))


def compact_path(data: str, *, decimals: int = 1) -> str:
    """Path data of absolute M, L, C, Q and Z in the shortest relative form, every point rounded to `decimals` of a pixel."""
    unit = 10**decimals
    written, letter_before = "", ""
    here = start = (0, 0)
    exactly: Point = (0.0, 0.0)
    for letter, points in _commands(data):
        if letter == "Z":
            written, letter_before, here = written + "z", "z", start
            continue
        rounded = [(round(x * unit), round(y * unit)) for x, y in points]
        if letter == "L" and rounded == [here]:
            if letter_before != "m":
                continue
            # A PDF shows square ends of a line only where it has a direction.
            rounded = [(here[0] + (points[0] != exactly), here[1])]
        steps: list[int] = []
        for x, y in rounded:  # the control points of a curve, too, are told from where it begins
            steps += (x - here[0], y - here[1])
        here, exactly = rounded[-1], points[-1]
        name = letter.lower()
        if letter == "M":
            start = here
        elif letter == "L" and not all(steps):
            name, steps = ("h", steps[:1]) if steps[1] == 0 else ("v", steps[1:])
        numbers = [_shortest(step, decimals) for step in steps]
        # What follows an m without a letter is a line, so a letter is left out only where it was written before.
        written += _appended(written, numbers, letter="" if name == letter_before != "m" else name)
        letter_before = name
    return written


def _shortest(steps: int, decimals: int) -> str:
    sign, digits = "-" if steps < 0 else "", str(abs(steps)).rjust(decimals + 1, "0")
    whole, fraction = digits[:-decimals].lstrip("0"), digits[-decimals:].rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole or '0'}"


def _appended(before: str, numbers: Iterable[str], *, letter: str) -> str:
    """The letter and the numbers, with a space only where two numbers would run together."""
    text = letter
    for number in numbers:
        last = re.search(r"[\d.]*$", (before + text)[-24:])
        runs_on = last and last.group() and number[0] != "-" and not (number[0] == "." and "." in last.group())
        text += f" {number}" if runs_on else number
    return text


def _commands(data: str) -> Iterator[tuple[str, list[Point]]]:
    for letter, text in re.findall(r"([MLCQZz])([^MLCQZz]*)", data):
        numbers = [float(number) for number in text.split()]
        yield letter.upper(), list(zip(numbers[::2], numbers[1::2], strict=True))


def _number(value: float) -> str:
    return f"{round(value, 1) + 0:g}"  # plus zero: none is negative


def _order_ticks(root: Element) -> None:
    """Along each axis first grid lines, then ticks, then labels, which do not overlap: so like stands beside like."""
    for axis in root.iter(_GROUP):
        if not axis.get("id", "").startswith("matplotlib.axis"):
            continue
        parts = [part for tick in axis for part in (tick if "tick_" in tick.get("id", "") else (tick,))]
        axis[:] = sorted(parts, key=_rank)


def _rank(part: Element) -> int:
    if part.get("id", "").startswith("text"):
        return 2
    return int(part.find(f".//{_USE}") is not None)


def _tidy(root: Element) -> None:
    """Styles in few words; what is invisible goes."""
    for element in root.iter():
        if element.tag not in _TEXTS:
            element.text = None
        for child in list(element):
            if child.tag not in _TEXTS or element.tag not in _TEXTS:
                child.tail = None
            if child.tag == f"{{{NAMESPACE}}}style" or child.get("style") == "fill: none":
                element.remove(child)
        if "style" in element.attrib and element is not root:
            style = element.get("style", "")
            if element.tag in _TEXTS:
                style = re.sub(r"font-family: [^;]*;? ?", "", re.sub(r"font: ([\d.]+px) [^;]*", r"font-size: \1", style))
            element.set("style", _merged(style))
            if not element.get("style"):
                del element.attrib["style"]
        if transform := element.get("transform"):
            element.set("transform", re.sub(r"-?\d+\.\d+", lambda number: _number(float(number.group())), transform))
            if transform.startswith("rotate(-0 "):
                del element.attrib["transform"]


def _merged(*styles: str | None) -> str:
    """One style of several, a later one before an earlier one."""
    rules: dict[str, str] = {}
    for style in styles:
        for rule in (style or "").split(";"):
            name, _, value = rule.partition(":")
            if value:
                rules[name.strip()] = value.strip()
    return ";".join(f"{name}:{value}" for name, value in rules.items() if _DEFAULTS.get(name) != value)


def _definitions(root: Element) -> tuple[dict[str, Element], dict[str, Element]]:
    """Take out all definitions: shapes and frames by their ids."""
    shapes: dict[str, Element] = {}
    frames: dict[str, Element] = {}
    for holder in list(root.iter()):
        for defs in holder.findall(_DEFS):
            holder.remove(defs)
            for element in defs:
                (frames if element.tag == f"{{{NAMESPACE}}}clipPath" else shapes)[element.get("id", "")] = element
    return shapes, frames


def _splice_groups(element: Element) -> None:
    """Put the children of each group in its place, with what it says of all of them; what is empty goes."""
    children: list[Element] = []
    for child in list(element):
        _splice_groups(child)
        child.attrib.pop("id", None)
        if child.tag != _GROUP or not set(child.attrib) <= {"clip-path", "style"} or "opacity" in _properties(child):
            children.append(child)
            continue
        for part in child:
            if "clip-path" in child.attrib:
                part.attrib.setdefault("clip-path", child.get("clip-path", ""))
            if style := _merged(child.get("style"), part.get("style")):
                part.set("style", style)
            children.append(part)
    element[:] = children


def _properties(element: Element) -> set[str]:
    return {rule.partition(":")[0] for rule in element.get("style", "").split(";")}


def _unframe(root: Element, frames: dict[str, Element]) -> None:
    """Drop the frame of everything that lies inside it."""
    boxes = {}
    for name, frame in frames.items():
        x, y, width, height = (float(frame[0].get(key, 0)) for key in ("x", "y", "width", "height"))
        boxes[f"url(#{name})"] = (x - _SLACK_PX, y - _SLACK_PX, x + width + _SLACK_PX, y + height + _SLACK_PX)
    for element in root.iter():
        box = boxes.get(element.get("clip-path", ""))
        if box is None:
            continue
        points = [point for _, part in _commands(element.get("d", "")) for point in part]
        if element.tag == _USE:
            points = [(float(element.get("x", 0)), float(element.get("y", 0)))]
        if points and all(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in points):
            del element.attrib["clip-path"]


def _paint_markers(root: Element, shapes: dict[str, Element], painted: dict[tuple[str, str], Element]) -> None:
    """Put the paint of markers into their shapes, one shape a paint; a tick, or what stands once, becomes a path of its own."""
    uses = list(root.iter(_USE))
    num_uses = Counter(element.get(_LINK) for element in uses)
    for element in uses:
        is_alone = num_uses[element.get(_LINK)] == 1
        name = element.attrib.pop(_LINK).removeprefix("#")
        shape = shapes[name]
        style = _merged(shape.get("style"), element.attrib.pop("style", None))
        commands = list(_commands(shape.get("d", "")))
        if is_tick := [letter for letter, _ in commands] == ["M", "L"]:
            style = _merged(style, "fill:none")
        if is_tick or is_alone:
            x, y = (float(element.attrib.pop(key, 0)) for key in ("x", "y"))
            moved = [" ".join([letter, *(f"{px + x} {py + y}" for px, py in points)]) for letter, points in commands]
            element.tag = _PATH
            element.attrib |= {"d": " ".join(moved), "style": style}
            continue
        painted.setdefault((name, style), ElementTree.Element(_PATH, {"d": shape.get("d", ""), "style": style}))
        element.set("href", f"#{name} {style}")


def _join(element: Element) -> None:
    """Make neighbours that are painted alike one path where that looks the same, and else give them their style together."""
    for child in element:
        _join(child)
    children: list[Element] = []
    for child in element:
        before = children[-1] if children else None
        if before is not None and _is_line(child) and _is_line(before) and _paint(child) == _paint(before):
            before.set("d", f"{before.get('d')} {child.get('d')}")
        else:
            children.append(child)
    joined: list[Element] = []
    for (style, tag), members in groupby(children, key=lambda child: (child.get("style"), child.tag)):
        alike = list(members)
        if len(alike) < 2 or not style or tag in (_GROUP, _USE) or "opacity" in _properties(alike[0]):
            joined += alike
            continue
        group = ElementTree.Element(_GROUP, {"style": style})
        for part in alike:
            del part.attrib["style"]
            group.append(part)
        joined.append(group)
    element[:] = joined


def _is_line(element: Element) -> bool:
    """Whether it is a path that is stroked and opaque, so that it may overlap with another and look the same."""
    found = re.search(r"(^|;)(stroke-)?opacity:", element.get("style", ""))
    return element.tag == _PATH and "fill:none" in element.get("style", "") and not found


def _paint(element: Element) -> dict[str, str]:
    return {key: value for key, value in element.attrib.items() if key != "d"}


def _define(root: Element, shapes: Sequence[Element], frames: dict[str, Element], *, prefix: str) -> None:
    """Define what is used, under short ids."""
    used = {element.get(key, "") for element in root.iter() for key in ("href", "clip-path")}
    kept = {f"url(#{name})": frame for name, frame in frames.items() if f"url(#{name})" in used}
    by_link = {element.get("href", ""): None for element in root.iter(_USE)}
    links = dict(zip(by_link, shapes, strict=True))
    names = {link: f"{prefix}-{number}" for number, link in enumerate((*links, *kept))}
    for element in root.iter():
        for key, form in (("href", "#{}"), ("clip-path", "url(#{})")):
            if element.get(key) in names:
                element.set(key, form.format(names[element.get(key, "")]))
    defs = ElementTree.Element(_DEFS)
    for link, element in (*links.items(), *kept.items()):
        element.set("id", names[link])
        defs.append(element)
    if len(defs):
        root.insert(0, defs)
