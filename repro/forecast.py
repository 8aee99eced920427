"""How long a matrix will take and how much disk it needs, from measured step times.

Step times come from earlier records on the same hardware, else from a short probe in as many worker processes as will run, so
that their contention is in the figure. Must not know torch. Read `make_forecast` first.
"""

import heapq
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.errors import EnvironmentProblem
from repro.hardware import DeviceChoice, processor_name
from repro.messages import Failed, Measured, Probe, Ready
from repro.plan import DataFacts, PlannedCell
from repro.progress import duration_words
from repro.records import CellStatus
from repro.spec import Cell, DatasetSpec, Role
from repro.workers import Died, Workers

PROBE_STEPS = 20
"""Steps timed per model and recipe: about a second each on a CPU core."""
PROBE_TIMEOUT_S = 300.0
"""How long a worker may take to answer a probe before the forecast is given up."""
BYTES_PER_PARAMETER = 4
"""float32 weights."""
STATE_COPIES = 3
"""A resumable state holds the weights and AdamW's two moments."""
CELL_FILES_BYTES = 40_000
"""Record, log, curves and predictions of a cell: docs/measurements.md."""
EVALUATED_TRAIN_IMAGES = 10_000
"""Training images that are evaluated at most."""
EVALUATIONS_PER_RUN = 20
"""How often a dev split is evaluated at most."""
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
    wall_s: float
    """Seconds that the rest will take with all workers."""
    disk_bytes: int
    """Bytes that the rest will write."""
    cell_s: Mapping[str, float]
    """Seconds of each unfinished cell, by id."""
    num_untimed: int
    """Unfinished cells that are left out, because nothing is known of their images before they are fetched."""
    source: str
    """Where the step times come from."""
    smaller_profile: str | None = None
    """A profile that takes less time, if there is one."""

    def line(self) -> str:
        """The forecast in one line."""
        left = self.num_cells - self.num_done
        rest = f"; {self.num_untimed} of them not counted before their data are fetched" if self.num_untimed else ""
        return (
            f"forecast: {left} of {self.num_cells} cells to run, about {duration_words(self.wall_s)} with {self.num_workers} "
            f"worker{'s' * (self.num_workers > 1)}, {self.disk_bytes / 1e6:.0f} MB of disk (step times from "
            f"{self.source}){rest}{self._way_out()}"
        )

    def _way_out(self) -> str:
        if self.wall_s < LONG_S or self.smaller_profile is None:
            return ""
        return f". A smaller study: --profile {self.smaller_profile}"


def step_key(cell: Cell) -> str:
    """What the time of a step depends on, apart from the hardware and the images' shape."""
    recipe = cell.recipe
    augmented = f"{recipe.flip} {recipe.crop_padding} {recipe.trivial_augment} {recipe.mixes} {recipe.erase_probability > 0}"
    enlarged = f"{recipe.image_size} {recipe.crop_min_area < 1} {recipe.micro_batch}"
    trained = f"{recipe.trains} {recipe.ridge_penalty is not None}"
    return f"{cell.model.name} {cell.dataset.name} {recipe.batch_size} {recipe.optimizer} {augmented} {enlarged} {trained}"


def cell_seconds(cell: Cell, measured: Measured, num_test_images: int) -> float:
    """Seconds of a cell: its steps, and the images that are evaluated (so many of the test part, and a sample of the rest)."""
    if cell.recipe.ridge_penalty is not None:
        return measured.image_s * (cell.num_train_images + num_test_images)
    evaluated = num_test_images + min(cell.num_train_images, EVALUATED_TRAIN_IMAGES)
    if cell.role is Role.LR_SEARCH:
        evaluated = round(cell.recipe.dev_fraction * cell.num_train_images) * EVALUATIONS_PER_RUN
    return measured.step_s * cell.recipe.steps + measured.image_s * evaluated


def make_forecast(
    cells: Sequence[PlannedCell],
    step_times: Mapping[str, Measured],
    *,
    num_workers: int,
    source: str,
    num_test_images: Mapping[str, int] | None = None,
) -> Forecast:
    """Add up the unfinished cells as `num_workers` workers will take them, in order. `step_times` is by `step_key`.

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
    free_at = [WORKER_START_S] * num_workers
    for seconds in cell_s.values():
        heapq.heappush(free_at, heapq.heappop(free_at) + seconds)
    weights = [step_times[step_key(entry.cell)].num_parameters * BYTES_PER_PARAMETER for entry in waiting]
    kept = sum(size for entry, size in zip(waiting, weights, strict=True) if entry.is_upstream)
    disk = kept + len(waiting) * CELL_FILES_BYTES + num_workers * STATE_COPIES * max(weights, default=0)
    return Forecast(
        num_cells=len(cells),
        num_done=len(cells) - len(unfinished),
        num_untimed=len(unfinished) - len(waiting),
        num_workers=num_workers,
        wall_s=max(free_at) if waiting else 0.0,
        disk_bytes=disk,
        cell_s=cell_s,
        source=source,
    )


def recorded_step_times(cells: Sequence[PlannedCell], device: DeviceChoice) -> dict[str, Measured]:
    """Median step times of finished cells that ran on the same device (and processor), by `step_key`."""
    here = (device.name, processor_name())
    steps, images, parameters = dict[str, list[float]](), dict[str, list[float]](), dict[str, int]()
    for entry in cells:
        record = entry.record
        is_from_here = record is not None and (record.environment.device, record.environment.processor) == here
        # A search that diverged was given up before its last step.
        if record is not None and is_from_here and not record.diverged:
            key, recipe = step_key(entry.cell), entry.cell.recipe
            is_solved = recipe.ridge_penalty is not None
            steps.setdefault(key, []).append(0.0 if is_solved else record.wall_s / recipe.steps)
            # Where images are enlarged, evaluation costs as much as some steps; at 32 px it is lost in the start of a cell.
            if recipe.image_size is not None and record.test_accuracy is not None:
                evaluated = record.num_test_images + min(entry.cell.num_train_images, EVALUATED_TRAIN_IMAGES)
                images.setdefault(key, []).append((record.total_s if is_solved else record.total_s - record.wall_s) / evaluated)
            parameters[key] = record.num_parameters
    return {
        key: Measured(
            step_s=statistics.median(values),
            image_s=max(0.0, statistics.median(images.get(key, [0.0]))),
            num_parameters=parameters[key],
        )
        for key, values in steps.items()
    }


def probe_step_times(
    cells: Sequence[PlannedCell], facts: Mapping[str, DataFacts], device: DeviceChoice, known: Mapping[str, Measured]
) -> dict[str, Measured]:
    """Time a step of every kind of unfinished cell that `known` lacks, in all workers at once; by `step_key`.

    Kinds whose image shape is not known yet (data not fetched) are left out. Raises EnvironmentProblem if a worker fails.
    """
    probes: dict[str, Probe] = {}
    for entry in cells:
        cell = entry.cell
        if entry.status is CellStatus.DONE or step_key(cell) in known or step_key(cell) in probes:
            continue
        shape = image_shape(cell.dataset, facts.get(cell.dataset.name))
        if shape is not None:
            probes[step_key(cell)] = Probe(
                model=cell.model,
                recipe=cell.recipe,
                image_size=shape[0],
                num_channels=shape[1],
                num_classes=shape[2],
                device=device.device,
                bfloat16=device.bfloat16,
                channels_last=device.channels_last,
                num_steps=PROBE_STEPS,
            )
    if not probes:
        return {}
    with Workers(device.num_workers) as workers:
        return {key: _probe_everywhere(workers, probe) for key, probe in probes.items()}


def image_shape(spec: DatasetSpec, facts: DataFacts | None) -> tuple[int, int, int] | None:
    """Image size, channels and classes, from the fetched data or from the catalogue; None where neither knows."""
    if facts is not None:
        return facts.image_size, facts.num_channels, facts.num_classes
    if spec.image_size and spec.num_channels and spec.num_classes:
        return spec.image_size, spec.num_channels, spec.num_classes
    return None


def _probe_everywhere(workers: Workers, probe: Probe) -> Measured:
    for slot in range(workers.num_workers):
        workers.order(slot, probe)
    answers: list[Measured] = []
    while len(answers) < workers.num_workers:
        event = workers.next_event(PROBE_TIMEOUT_S)
        remedy = "Run `vitrepro check --verbose`; if it stays so, report it."
        if event is None:
            raise EnvironmentProblem(f"A worker did not answer within {PROBE_TIMEOUT_S:.0f} s.", remedy=remedy)
        answer = event[1]
        if isinstance(answer, Measured):
            answers.append(answer)
        elif isinstance(answer, Failed):
            raise EnvironmentProblem(f"Timing {probe.model.name} failed: {answer.message}", remedy=answer.remedy)
        elif isinstance(answer, Died):
            raise EnvironmentProblem(f"A worker that was timing {probe.model.name} {answer.description}.", remedy=remedy)
        else:
            assert isinstance(answer, Ready)
    return Measured(
        step_s=statistics.mean(answer.step_s for answer in answers),
        image_s=statistics.mean(answer.image_s for answer in answers),
        num_parameters=answers[0].num_parameters,
    )
