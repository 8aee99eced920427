"""A benchmark as rows of words, for the page and for the terminal.

Must not know how anything is measured. Read `speed_rows` first.
"""

import io
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from repro.benchmarks import Benchmark, BenchRow, Blocks, CompiledSpeed
from repro.formatting import ABSENT, NBSP, count, percent, quantity, seconds, size_bytes
from repro.spec import Family

SIGNIFICANT_DIGITS = 4


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
    compiled: str
    """Images a second of the compiled bare step and seconds of compiling, or why there are none; empty where not tried."""
    problem: str
    """Why nothing was measured; empty where it was."""
    notes: tuple[str, ...]
    """What was chosen automatically, with reasons."""


def speed_rows(benchmark: Benchmark) -> tuple[SpeedRow, ...]:
    """The rows in the order in which they were measured."""
    return tuple(_row(row) for row in benchmark.rows)


def speed_text(benchmark: Benchmark, *, width: int) -> str:
    """The table for a terminal of so many columns, with a line below for each case that could not be measured."""
    table = Table(box=None, pad_edge=False, header_style="")
    for title in ("model", "recipe", "batch"):
        table.add_column(title, overflow="fold")
    for title in ("loop images/s", "ceiling images/s", "ratio", "evaluation images/s", "loop", "of peak", "memory", "J/image"):
        table.add_column(title, justify="right")
    rows = speed_rows(benchmark)
    for row in rows:
        if not row.problem:
            ratio = f"{row.ratio} ({row.ratio_spread})" if row.ratio_spread else row.ratio
            named = (row.model, row.recipe, row.batch)
            numbers = (row.loop, row.ceiling, ratio, row.evaluation, row.flops, row.share, row.memory, row.joules)
            table.add_row(*(Text(word) for word in (*named, *numbers)))
    told = [f"{row.model} {row.recipe}: bare step {row.compiled}" for row in rows if row.compiled]
    told += [f"{row.model} {row.recipe}: not measured. {row.problem}" for row in rows if row.problem]
    buffer = io.StringIO()
    if not all(row.problem for row in rows):
        Console(file=buffer, width=width, color_system=None).print(table)
    return "\n".join([*(line.rstrip() for line in buffer.getvalue().splitlines()), *told])


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
        compiled=_compiled(speed.compiled if speed else None),
        problem=row.problem,
        notes=tuple(f"{choice.what} {choice.value} ({choice.reason})" for choice in speed.choices) if speed else (),
    )


def _compiled(speed: CompiledSpeed | None) -> str:
    if speed is None:
        return ""
    if speed.ceiling_images_per_s is None or speed.compile_s is None:
        return f"not compiled: {speed.problem}"
    return f"compiled: {_rate(speed.ceiling_images_per_s)} images/s after {seconds(speed.compile_s)} of compiling"


def _rate(blocks: Blocks | None) -> str:
    return ABSENT if blocks is None else _significant(blocks.median)


def _rates(blocks: Blocks | None) -> str:
    return "" if blocks is None else f"{_significant(blocks.lower)} to {_significant(blocks.upper)}"


def _significant(value: float) -> str:
    """Four digits, with separators where they are whole: `1,440`, `12.35`."""
    if value >= 10 ** (SIGNIFICANT_DIGITS - 1):
        return count(round(value))
    return f"{value:.{SIGNIFICANT_DIGITS}g}"
