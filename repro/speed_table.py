"""A benchmark as rows of words, for the page and for the terminal.

Must not know how anything is measured. Read `speed_rows` first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repro.benchmarks import Benchmark, BenchRow, Blocks, Speed, WaySpeed
from repro.formatting import ABSENT, NBSP, count, percent, quantity, seconds, size_bytes
from repro.progress import shortened
from repro.spec import Family

SIGNIFICANT_DIGITS = 4
NAMES = ("model", "recipe", "batch")
FIRST_TO_GO = ("J/image", "memory", "quartiles", "operations", "evaluation img/s", "of peak")
"""Columns that a narrow terminal is not shown, in this order."""
LONGEST_NAME, SHORTEST_NAME = 40, 4
"""Characters to which names are cut where they have no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRow:
    """One case in words; an en dash where there is no number."""

    model: str
    family: Family
    recipe: str
    side: str
    """Of the images that the model is given."""
    batch: str
    """Images of a step as timed, and of the recipe where it has more."""
    loop: str
    """Images a second."""
    loop_spread: str
    """Quartiles of the blocks; empty where nothing was measured."""
    ceiling: str
    ceiling_spread: str
    ratio: str
    ratio_spread: str
    evaluation: str
    evaluation_spread: str
    flops: str
    share: str
    memory: str
    joules: str
    first_step: str
    other_ways: tuple[str, ...]
    """Images a second of the bare step compiled, and through CUDA graphs, with seconds until ready, or why there are none."""
    problem: str
    """Why nothing was measured; empty where it was."""
    notes: tuple[str, ...]
    """What was chosen automatically, with reasons."""


def speed_rows(benchmark: Benchmark) -> tuple[SpeedRow, ...]:
    """The rows in the order in which they were measured."""
    return tuple(_row(row) for row in benchmark.rows)


def speed_text(benchmark: Benchmark, *, width: int) -> str:
    """The table for a terminal of so many columns, with a line below for each case that could not be measured."""
    rows = speed_rows(benchmark)
    measured = [row for row in rows if not row.problem]
    lines = _lines(_fitting(_columns(measured), width)) if measured else []
    told = [f"{row.model} {row.recipe}: bare step {way}" for row in rows for way in row.other_ways]
    told += [f"{row.model} {row.recipe}: not measured. {row.problem}" for row in rows if row.problem]
    return "\n".join([*(line[:width].rstrip() for line in lines), *told])


def _lines(columns: dict[str, list[str]]) -> list[str]:
    """Title and cells of each column under each other: names to the left, numbers to the right."""
    widths = {title: max(map(len, (title, *cells))) for title, cells in columns.items()}

    def line(words: Iterable[str]) -> str:
        placed = zip(widths.items(), words, strict=True)
        return "  ".join(word.ljust(width) if title in NAMES else word.rjust(width) for (title, width), word in placed)

    return [line(columns), *(line(cells) for cells in zip(*columns.values(), strict=True))]


def _columns(rows: Sequence[SpeedRow]) -> dict[str, list[str]]:
    return {
        "model": [row.model for row in rows],
        "recipe": [row.recipe for row in rows],
        "batch": [row.batch for row in rows],
        "loop img/s": [row.loop for row in rows],
        "ceiling img/s": [row.ceiling for row in rows],
        "ratio": [row.ratio for row in rows],
        "quartiles": [row.ratio_spread for row in rows],
        "evaluation img/s": [row.evaluation for row in rows],
        "operations": [row.flops for row in rows],
        "of peak": [row.share for row in rows],
        "memory": [row.memory for row in rows],
        "J/image": [row.joules for row in rows],
    }


def _fitting(columns: dict[str, list[str]], width: int) -> dict[str, list[str]]:
    """As many of the columns as a terminal has room for, then names cut in their middle; the file has all."""

    def needed(found: dict[str, list[str]]) -> int:
        return sum(max(map(len, (title, *cells))) + 2 for title, cells in found.items()) - 2

    for title in FIRST_TO_GO:
        if needed(columns) <= width:
            break
        columns = {other: cells for other, cells in columns.items() if other != title}
    for longest in range(LONGEST_NAME, SHORTEST_NAME - 1, -1):
        if needed(columns) <= width:
            break
        columns |= {title: [shortened(name, longest) for name in columns[title]] for title in NAMES}
    return columns


def _row(row: BenchRow) -> SpeedRow:
    case, speed = row.case, row.speed
    loop, ceiling, ratio, evaluation = (
        (speed.loop_images_per_s, speed.ceiling_images_per_s, speed.loop_to_ceiling_ratio, speed.evaluation_images_per_s)
        if speed is not None
        else (None, None, None, None)
    )
    is_cut = speed is not None and speed.batch_size != case.batch_size
    return SpeedRow(
        model=case.model,
        family=case.family,
        recipe=case.recipe,
        side=f"{case.image_size}{NBSP}px",
        batch=f"{speed.batch_size} of {case.batch_size}" if speed is not None and is_cut else str(case.batch_size),
        loop=_rate(loop),
        loop_spread=_rates(loop),
        ceiling=_rate(ceiling),
        ceiling_spread=_rates(ceiling),
        ratio=percent(ratio.median) if ratio else ABSENT,
        ratio_spread=f"{100 * ratio.lower:.1f} to {100 * ratio.upper:.1f}" if ratio else "",
        evaluation=_rate(evaluation),
        evaluation_spread=_rates(evaluation),
        flops=quantity(speed.loop_flops_per_s if speed else None, "FLOP/s"),
        share=percent(speed.peak_share if speed else None),
        memory=size_bytes(speed.peak_mem_bytes if speed else None),
        joules=quantity(speed.joules_per_image if speed else None, "J"),
        first_step=seconds(speed.first_step_s if speed else None),
        other_ways=_other_ways(speed) if speed else (),
        problem=row.problem,
        notes=tuple(f"{choice.what} {choice.value} ({choice.reason})" for choice in speed.choices) if speed else (),
    )


def _other_ways(speed: Speed) -> tuple[str, ...]:
    ways = (("compiled", speed.compiled, "compiling"), ("through CUDA graphs", speed.graphed, "recording"))
    return tuple(_in_a_way(how, found, preparing) for how, found, preparing in ways if found is not None)


def _in_a_way(how: str, speed: WaySpeed, preparing: str) -> str:
    if speed.ceiling_images_per_s is None or speed.ready_s is None:
        return f"not {how}: {speed.problem}"
    return f"{how}: {_rate(speed.ceiling_images_per_s)} images/s after {seconds(speed.ready_s)} of {preparing}"


def _rate(blocks: Blocks | None) -> str:
    return ABSENT if blocks is None else _significant(blocks.median)


def _rates(blocks: Blocks | None) -> str:
    return "" if blocks is None else f"{_significant(blocks.lower)} to {_significant(blocks.upper)}"


def _significant(value: float) -> str:
    """Four digits, with separators where they are whole: `1,440`, `12.35`."""
    if value >= 10 ** (SIGNIFICANT_DIGITS - 1):
        return count(round(value))
    return f"{value:.{SIGNIFICANT_DIGITS}g}"
