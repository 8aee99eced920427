"""What the page says of the speed of a machine: a table for each device that the home holds a benchmark of.

Must not know how anything was measured. Read `speed_section` first.
"""

from dataclasses import dataclass

from repro.benchmarks import Benchmark
from repro.speed_table import SpeedRow, speed_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedTable:
    """One device."""

    benchmark: Benchmark
    rows: tuple[SpeedRow, ...]
    num_missing: int
    """Cases that were to be measured and were not tried, since the run was stopped."""
    on_cpu: bool
    has_cut_batches: bool
    """Whether fewer images than the recipe's batch were timed anywhere."""
    notes: tuple[str, ...]
    """What was chosen for all rows, with reasons."""


def speed_section(benchmarks: tuple[Benchmark, ...]) -> tuple[SpeedTable, ...]:
    """The tables; none where there is no benchmark, and then the page has no such section."""
    return tuple(
        SpeedTable(
            benchmark=benchmark,
            rows=speed_rows(benchmark),
            num_missing=benchmark.num_cases - len(benchmark.rows),
            on_cpu=benchmark.device == "cpu",
            has_cut_batches=any(row.speed is not None and row.speed.batch_size < row.case.batch_size for row in benchmark.rows),
            notes=tuple(f"{choice.what} {choice.value} ({choice.reason})" for choice in benchmark.choices),
        )
        for benchmark in benchmarks
    )
