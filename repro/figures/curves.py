"""Learning curves: loss above, accuracy below, against steps; one figure for each data set and recipe.

Must not know which cells are chosen (`repro.analysis.curves`) or where their logs lie. Read `curve_panels` first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.analysis.arms import contender
from repro.analysis.convergence import TRAINED_ACCURACY
from repro.analysis.curves import History
from repro.figures.captions import without_library
from repro.figures.marks import FAMILY_COLOURS, WIDTH, Style, draw_dots, draw_legend, legend_height, styles_of
from repro.formatting import FAMILY_NAMES, NBSP, count, loss, percent, shortened, threshold
from repro.records import EpochRow
from repro.spec import Family, Role
from repro.svg import LIGHT, Figure, Sheet, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 380
"""Without legend, in px."""
_TRAINED = f"{threshold(TRAINED_ACCURACY, 100)}{NBSP}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePanel:
    """One data set and recipe at its largest size."""

    dataset: str
    recipe: str
    init: str
    """Of the cells; `scratch` for upstream runs."""
    num_train_images: int
    role: Role
    is_regularised: bool
    has_dev: bool
    """Whether a dev split was held out."""
    cells: tuple[str, ...]
    """Ids of the cells, whose `epochs.jsonl` is drawn."""
    curves: Figure


def curve_panels(places: Sequence[Sequence[History]]) -> Iterable[CurvePanel]:
    """A panel for each place."""
    for number, histories in enumerate(places, 1):
        row = histories[0].row
        yield CurvePanel(
            dataset=row.dataset,
            recipe=row.recipe,
            init=row.init,
            num_train_images=row.num_train_images,
            role=row.role,
            is_regularised=row.is_regularised,
            has_dev=any(_has_dev(history) for history in histories),
            cells=tuple(history.row.id for history in histories),
            curves=_figure(histories, name=f"curves-{number}"),
        )


def curves_title(histories: Sequence[History]) -> str:
    """When each model reaches 99 % of its training images as it saw them, or how far it came."""
    several = len({history.row.family for history in histories}) < len(histories)
    ends = max(history.points[-1].step for history in histories)
    if several:
        within = f"right, as seen, within {count(ends)} steps"
        reached = sum(_first_trained(history) is not None for history in histories)
        return f"{reached} of {len(histories)} models get {_TRAINED} of the training images {within}"
    parts = []
    for history in histories:
        step = _first_trained(history)
        best = percent(max(point.train_accuracy for point in history.points))
        parts.append(f"{FAMILY_NAMES[history.row.family]} " + (f"by step {count(step)}" if step else f"never, {best} at most"))
    return f"{_TRAINED} of the training images right, as seen: {', '.join(parts)}; {count(ends)} steps"


def _first_trained(history: History) -> int | None:
    return next((point.step for point in history.points if point.train_accuracy >= TRAINED_ACCURACY), None)


def _has_dev(history: History) -> bool:
    return any(point.dev_loss is not None for point in history.points)


def _figure(histories: Sequence[History], *, name: str) -> Figure:
    series = {(history.row.family, contender(history.row.model, history.row.init)): history for history in histories}
    styles = styles_of(series)
    num_lines = len(series)
    foot = legend_height(num_lines)
    height = _HEIGHT + foot
    with Sheet(WIDTH, height) as canvas:
        upper = canvas.add_axes((0.125, (0.575 * _HEIGHT + foot) / height, 0.835, 0.345 * _HEIGHT / height))
        lower = canvas.add_axes((0.125, (0.115 * _HEIGHT + foot) / height, 0.835, 0.345 * _HEIGHT / height))
        for key, history in series.items():
            _draw(upper, lower, history, styles[key])
        has_dev = any(_has_dev(history) for history in histories)
        _finish_axes(upper, lower, histories, has_dev=has_dev)
        draw_legend(
            canvas,
            [(Style(line=styles[key].line, marker=""), FAMILY_COLOURS[key[0]], _in_the_legend(*key)) for key in series],
        )
        return finish(
            canvas,
            name=name,
            title=curves_title(histories),
            description="Against optimizer steps: above the loss in nats, logarithmic, as optimised; below the accuracy in "
            "per cent on the training images as the model saw them, augmented; "
            + ("faint dotted lines: on the dev split; " if has_dev else "")
            + f"dashed: {_TRAINED}. "
            + " ".join(_in_words(history) for history in histories),
        )


def _draw(upper: "Axes", lower: "Axes", history: History, style: Style) -> None:
    colour, points = FAMILY_COLOURS[history.row.family], history.points
    steps = [point.step for point in points]
    upper.plot(steps, [max(point.train_loss, 1e-6) for point in points], color=colour, linewidth=1.8, linestyle=style.line)
    lower.plot(steps, [100 * point.train_accuracy for point in points], color=colour, linewidth=1.8, linestyle=style.line)
    on_dev = [point for point in points if point.dev_loss is not None and point.dev_accuracy is not None]
    if on_dev:
        places = [point.step for point in on_dev]
        losses, accuracies = _dev_values(on_dev)
        for axes, values in ((upper, losses), (lower, accuracies)):
            axes.plot(places, values, color=colour, linewidth=1, alpha=0.55)
            draw_dots(axes, list(zip(places, values, strict=True)), colour, diameter=3, alpha=0.55)


def _dev_values(points: Sequence[EpochRow]) -> tuple[list[float], list[float]]:
    losses = [max(point.dev_loss, 1e-6) for point in points if point.dev_loss is not None]
    return losses, [100 * point.dev_accuracy for point in points if point.dev_accuracy is not None]


def _finish_axes(upper: "Axes", lower: "Axes", histories: Sequence[History], *, has_dev: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    last = max(history.points[-1].step for history in histories)
    for axes in (upper, lower):
        axes.set_xlim(0, 1.02 * last)
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: count(step)))
    upper.set_yscale("log")
    low, high = upper.get_ylim()
    subs = (1.0,) if high / low > 300 else (1.0, 3.0) if high / low > 8 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    upper.yaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=6))
    upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    upper.yaxis.set_minor_locator(NullLocator())
    upper.tick_params(axis="x", labelbottom=False)
    low = min(lower.get_ylim()[0], 95.0)
    lower.set_ylim(low, 101.5)
    lower.locator_params(axis="y", nbins=5)
    lower.set_yticks([tick for tick in lower.get_yticks() if low <= tick <= 100])
    lower.axhline(100 * TRAINED_ACCURACY, color=LIGHT["ink"], linewidth=1, linestyle=(0, (4, 3)))
    lower.text(
        0.995,
        100 * TRAINED_ACCURACY - 0.02 * (101.5 - low),
        _TRAINED,
        transform=lower.get_yaxis_transform(),
        ha="right",
        va="top",
        color=LIGHT["muted"],
        fontsize=11,
    )
    lower.set_xlabel("steps")
    dots = "; dots: dev split" if has_dev else ""
    upper.set_title(f"loss (nats, log scale){dots}", loc="left", fontsize=12.5, color=LIGHT["ink"], pad=8)
    lower.set_title(f"training accuracy as seen (%){dots}", loc="left", fontsize=12.5, color=LIGHT["ink"], pad=8)


def _in_the_legend(family: Family, model: str) -> str:
    return f"{FAMILY_NAMES[family]} {shortened(without_library(model), 46)}"


def _in_words(history: History) -> str:
    last = history.points[-1]
    dev = f", dev accuracy {percent(last.dev_accuracy)}" if last.dev_accuracy is not None else ""
    return (
        f"{FAMILY_NAMES[history.row.family]} ({history.row.model}) at step {count(last.step)}: "
        f"loss {loss(last.train_loss)} nats, training accuracy {percent(last.train_accuracy)}{dev}."
    )
