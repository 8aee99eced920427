"""How long a matrix will take and how much disk it needs, from measured step times.

Must not know where they come from (`timing`), nor torch. Read `make_forecast` first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from repro.messages import Measured
from repro.plan import PlannedCell
from repro.progress import duration_words
from repro.records import CellStatus
from repro.timing import Sharing, Stepping, cell_seconds, seconds_together, step_key

BYTES_PER_PARAMETER = 4
"""float32 weights."""
STATE_COPIES = 3
"""A resumable state holds the weights and AdamW's two moments."""
CELL_FILES_BYTES = 40_000
"""Record, log, curves and predictions of a cell: docs/measurements.md."""
LONG_S = 2 * 3600.0
"""From here on the forecast names a smaller profile: what `full` is made to take at most on the fastest GPU."""
WORKER_START_S = 4.0
"""Starting a worker process (importing torch): docs/measurements.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What the unfinished cells will cost."""

    num_cells: int
    """Cells selected."""
    num_done: int
    """Cells of them already finished."""
    num_workers: int
    """Worker processes."""
    sharing: Sharing
    """How many cells run at once, of each kind."""
    wall_s: float
    """Seconds that the rest will take, so many at once."""
    disk_bytes: int
    """Bytes that the rest will write."""
    cell_s: Mapping[str, float]
    """Seconds of each unfinished cell beside the others, by id."""
    num_untimed: int
    """Unfinished cells that are left out, because nothing is known of their images before they are fetched."""
    source: str
    """Where the step times come from."""
    steppings: Mapping[str, Stepping] = field(default_factory=dict)
    """In which way steps are taken, by `timing.step_key`, where that was looked at."""
    smaller_profile: str | None = None
    """A profile that takes less time, if there is one."""

    def line(self) -> str:
        """The forecast in one line."""
        left = self.num_cells - self.num_done
        rest = f"; {self.num_untimed} of them not counted before their data are fetched" if self.num_untimed else ""
        workers = f"{self.num_workers} worker{'s' * (self.num_workers > 1)}"
        if self.sharing.on_gpu and self.num_workers > 1:
            workers = f"up to {self.num_workers} cells at once on the GPU"
        return (
            f"forecast: {left} of {self.num_cells} cells to run, about {duration_words(self.wall_s)} with {workers}, "
            f"{self.disk_bytes / 1e6:.0f} MB of disk (step times from {self.source}){rest}{self._way_out()}"
        )

    def _way_out(self) -> str:
        if self.wall_s < LONG_S or self.smaller_profile is None:
            return ""
        return f". A smaller study: --profile {self.smaller_profile}"


def make_forecast(
    cells: Sequence[PlannedCell],
    step_times: Mapping[str, Measured],
    *,
    sharing: Sharing,
    source: str,
    num_test_images: Mapping[str, int] | None = None,
) -> Forecast:
    """Add up the unfinished cells as workers will take them, in order. `step_times` is by `step_key`, with so many at once.

    `num_test_images` is by data set; where it is not known yet, evaluation is not counted. Cells without a step time are
    counted, and not added.
    """
    unfinished = [entry for entry in cells if entry.status is not CellStatus.DONE]
    waiting = [entry for entry in unfinished if step_key(entry.cell) in step_times]
    tested = num_test_images or {}
    cell_s = {
        entry.cell.id: cell_seconds(entry.cell, step_times[step_key(entry.cell)], tested.get(entry.cell.dataset.name, 0))
        for entry in waiting
    }
    together_s = seconds_together((cell_s[entry.cell.id], sharing.share(entry.cell)) for entry in waiting)
    weights = [step_times[step_key(entry.cell)].num_parameters * BYTES_PER_PARAMETER for entry in waiting]
    kept = sum(size for entry, size in zip(waiting, weights, strict=True) if entry.is_upstream)
    disk = kept + len(waiting) * CELL_FILES_BYTES + sharing.num_workers * STATE_COPIES * max(weights, default=0)
    return Forecast(
        num_cells=len(cells),
        num_done=len(cells) - len(unfinished),
        num_untimed=len(unfinished) - len(waiting),
        num_workers=sharing.num_workers,
        sharing=sharing,
        wall_s=WORKER_START_S + together_s if waiting else 0.0,
        disk_bytes=disk,
        cell_s=cell_s,
        source=source,
    )
