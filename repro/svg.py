"""How every figure is drawn: one style, colours that follow the page, titles for screen readers, the same bytes every time.

A figure is a matplotlib `Figure` whose colours all come from `LIGHT`. `finish` turns it into an SVG that stands inline in a
page: each colour becomes a CSS variable with the light colour as fallback, so the page's dark mode reaches into the figure.
`literal` undoes that for files and for print. Must not know what is plotted. Read `finish` first.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repro.formatting import printable
from repro.slimming import NAMESPACE, slim

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LIGHT = {
    "vit": "#00669e",
    "cnn": "#b34700",
    "ink": "#1b1f24",
    "muted": "#59616b",
    "grid": "#dfe3e8",
    "surface": "#fefefe",
}
"""Every colour that a figure may use, as the light page shows it; the page's CSS defines `--<name>` for both modes."""

FONT_SIZE = 12.5
"""CSS pixels, at the figure's own width."""

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": LIGHT["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": FONT_SIZE,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": FONT_SIZE,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.9,
    "lines.solid_capstyle": "round",
    "path.simplify": False,
    "savefig.dpi": 72,
    "svg.fonttype": "none",
    "svg.hashsalt": "vitrepro",
    "text.color": LIGHT["ink"],
    "text.parse_math": False,
    "xtick.color": LIGHT["muted"],
    "xtick.labelsize": FONT_SIZE,
    "ytick.color": LIGHT["muted"],
    "ytick.labelsize": FONT_SIZE,
    "ytick.major.size": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A finished figure."""

    name: str
    """Name of its file without the suffix; unique within a report, fit for an id."""
    title: str
    """The finding, in words and numbers."""
    description: str
    """What is drawn and how to read it."""
    svg: str
    """The `<svg>` element, colours as CSS variables."""


class Sheet:
    """An empty drawing of `width` x `height` CSS pixels in the common style; use as `with Sheet(…) as canvas`."""

    def __init__(self, width: float, height: float) -> None:
        self._size = (width / 72, height / 72)

    def __enter__(self) -> "Canvas":
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure as Canvas

        self._context = matplotlib.rc_context(_STYLE)
        self._context.__enter__()
        canvas = Canvas(figsize=self._size)
        FigureCanvasSVG(canvas)
        return canvas

    def __exit__(self, *exception: object) -> None:
        self._context.__exit__(None, None, None)


def finish(canvas: "Canvas", *, name: str, title: str, description: str) -> Figure:
    """The figure as an accessible inline SVG. Call inside the `with Sheet` block."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # A name may hold characters that matplotlib's font lacks; the browser's fonts draw the text, widths are guessed.
        warnings.simplefilter("ignore", UserWarning)
        metadata = {"Creator": None, "Date": None, "Format": None, "Type": None}
        canvas.savefig(buffer, format="svg", metadata=metadata)
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 (matplotlib's own output)
    for metadata_element in root.findall(f"{{{NAMESPACE}}}metadata"):
        root.remove(metadata_element)
    slim(root, prefix=name)
    _describe(root, name=name, title=printable(title), description=printable(description))
    text = ElementTree.tostring(root, encoding="unicode").replace(" />", "/>")
    for colour, value in LIGHT.items():
        text = text.replace(value, f"var(--{colour}, {value})")
    return Figure(name=name, title=title, description=description, svg=text)


def literal(markup: str) -> str:
    """`markup` with every `var(--name, #colour)` replaced by its fallback: for print and for plain SVG viewers."""
    return re.sub(r"var\(--[a-z-]+, (#[0-9a-f]{6})\)", r"\1", markup)


def label_lines(axes: "Axes", labels: list[tuple[float, str, str]], *, at: float) -> None:
    """Write each (y, text, colour) to the right of x = `at`, moved apart where they would overlap. Limits must be set."""
    bottom, top = axes.get_ylim()
    height_px = axes.get_window_extent().height
    gap = 1.25 * FONT_SIZE * (top - bottom) / max(height_px, 1)
    free = bottom - gap
    placed = []
    for value, text, colour in sorted(labels):
        free = max(value, free + gap)
        placed.append((value, free, text, colour))
    # What was pushed up past the top comes down again, pushing its neighbours.
    ceiling = top
    for value, position, text, colour in reversed(placed):
        position = min(position, ceiling) if position > value else position
        ceiling = position - gap
        axes.annotate(
            printable(text),
            xy=(at, position),
            xytext=(9, 0),
            textcoords="offset points",
            va="center_baseline",
            color=colour,
            weight="bold",
            annotation_clip=False,
        )


def _describe(root: ElementTree.Element, *, name: str, title: str, description: str) -> None:
    """Give the drawing a title and a description, and a size that follows its container."""
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{{{NAMESPACE}}}{tag}", {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(position, element)
