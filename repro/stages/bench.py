"""Stage `bench`: for each model of a profile, how near the training loop comes to what this device can do with it.

Every case is measured in a worker process of its own, so that its memory and its first step are its own. A case that fails is a
row with its reason; the file is written anew after each row. Must not know how a case is measured. Read `bench` first.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from repro.benchmarks import BenchCase, Benchmark, BenchRow, WaySpeed, write_benchmark
from repro.choices import Choice, StepWay
from repro.context import Context, source_commit
from repro.errors import DiskFull, EnvironmentProblem, UsageError
from repro.hardware import CPU_THREADS_PER_WORKER, DeviceChoice, lacks_for_compiling, usable_cores
from repro.messages import Failed, Trial, Tried, TriedWay
from repro.plan import DataFacts, PlannedCell
from repro.records import CellStatus, Environment
from repro.spec import Cell, Recipe, Role
from repro.timing import image_shape
from repro.workers import Died, Workers
from repro.workspace import Workspace, command_line

ANSWER_TIMEOUT_S = 3600.0
"""How long a worker may be silent; after each logging interval it says a word."""
READY_TIMEOUT_S = 300.0
"""How long compiling or recording may take."""
ROLES = (Role.STUDY, Role.UPSTREAM)
"""Searches and convergence checks make the same steps as these."""
NO_MATTER = Recipe(name="any", lr=1.0, batch_size=1, steps=1).model_dump(
    include={
        "name",
        "lr",
        "lr_grid",
        "adam_beta2",
        "weight_decay",
        "steps",
        "warmup_steps",
        "steps_at",
        "dev_fraction",
        "select",
        "divergence_factor",
        "reason",
    }
)
"""Fields of a recipe on which the cost of a step does not depend, each with one value for all."""
SCRATCH_PREFIX = ".measuring-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Cells whose steps cost the same."""

    cell: Cell
    """The one with the most training images, the first of several."""
    num_cells: int
    """How many there are."""
    shape: tuple[int, int, int]
    """Image size, channels and classes of the data set."""
    num_images: int
    """Images of the data set's training part, as far as known; of the subset otherwise."""

    @property
    def case(self) -> BenchCase:
        """As the file tells it."""
        cell, (source_size, num_channels, num_classes) = self.cell, self.shape
        return BenchCase(
            cell=cell.id,
            num_cells=self.num_cells,
            dataset=cell.dataset.name,
            model=cell.model.name,
            family=cell.model.family,
            recipe=cell.recipe.name,
            optimizer=cell.recipe.optimizer,
            batch_size=cell.recipe.batch_size,
            source_size=source_size,
            image_size=cell.recipe.image_size or source_size,
            num_channels=1 if num_channels == 1 else 3,
            num_classes=num_classes,
            num_train_images=cell.num_train_images,
        )


def bench(context: Context, *, seconds: float, row_done: Callable[[BenchRow, int, int], None]) -> tuple[Benchmark, Path]:
    """Measure every case of the cells that `--only` names; what was found, and where it is written.

    `row_done` is called with each row, its number and how many there are. Raises UsageError where there is nothing to measure,
    DiskFull, Interrupted on a signal; rows that are measured stay.
    """
    kinds = kinds_of(context)
    plan = context.plan()
    # A model that cannot be timed is told in its own row, and costs no other.
    with suppress(EnvironmentProblem):
        context.settle_precision([entry for entry in context.selected(plan) if entry.status is not CellStatus.DONE], plan)
    device = context.device
    rows: list[BenchRow] = []
    environment: Environment | None = None
    started_at = _now()
    with _scratch(context.workspace) as folder:
        for number, kind in enumerate(kinds, 1):
            trial = _trial(kind, device, seconds=seconds, folder=folder)
            answer = _measured(trial, device)
            if isinstance(answer, Failed) and answer.stops_the_run:
                raise DiskFull(answer.message, remedy=answer.remedy)
            if isinstance(answer, Tried):
                environment = answer.environment
                other_ways = {
                    "compiled": _in_a_way(StepWay.COMPILED, trial, device, context.workspace.compiled_dir),
                    "graphed": _in_a_way(StepWay.GRAPHED, trial, device, context.workspace.compiled_dir),
                }
                speed = answer.speed.model_copy(update=other_ways)
                rows.append(BenchRow(case=kind.case, speed=speed, problem="", remedy=""))
            else:
                assert isinstance(answer, Failed), "other ways were not asked for"
                rows.append(BenchRow(case=kind.case, speed=None, problem=answer.message, remedy=answer.remedy))
            benchmark = Benchmark(
                profile=context.profile.name,
                device=device.name,
                seconds=seconds,
                num_cases=len(kinds),
                rows=tuple(rows),
                choices=_choices(device),
                environment=environment,
                started_at=started_at,
                finished_at=_now(),
            )
            path = write_benchmark(context.workspace, benchmark)
            row_done(rows[-1], number, len(kinds))
    return benchmark, path


def kinds_of(context: Context) -> list[Kind]:
    """The cases of the named cells, in the order in which they run. Raises UsageError where there are none."""
    plan, facts = context.plan(), context.facts()
    if plan.unsized:
        context.say(f"note: cells of {', '.join(plan.unsized)} are listed once `vitrepro fetch` has counted its images")
    named = [entry for entry in context.selected(plan) if context.is_named(entry)] if plan.cells else []
    found: dict[str, list[PlannedCell]] = {}
    for entry in named:
        if entry.cell.role not in ROLES:
            continue
        shape = image_shape(entry.cell.dataset, facts.get(entry.cell.dataset.name))
        if shape is None:
            context.say(f"note: {entry.cell.id} is left out: the size of its images is known once `vitrepro fetch` has run")
            continue
        found.setdefault(_cost_key(entry.cell, shape), []).append(entry)
    if not found:
        raise UsageError(
            f"Profile {context.profile.name!r} has nothing to measure{' here' if context.only else ''}.",
            remedy="Run `vitrepro fetch` with the same profile and home, or name other cells with --only; "
            "`vitrepro plan` lists them.",
        )
    return [_kind([entry.cell for entry in entries], facts) for entries in found.values()]


def _cost_key(cell: Cell, shape: tuple[int, int, int]) -> str:
    """What the cost of a step depends on."""
    recipe = cell.recipe.model_copy(update=NO_MATTER)
    model = cell.model.model_dump_json(exclude={"citation"})
    return f"{model} {shape} {cell.dataset.flip_keeps_label} {recipe.model_dump_json()}"


def _kind(cells: list[Cell], facts: dict[str, DataFacts]) -> Kind:
    largest = max(cells, key=lambda cell: cell.num_train_images)
    known = facts.get(largest.dataset.name)
    shape = image_shape(largest.dataset, known)
    assert shape is not None
    counted = known.num_train_images if known is not None else largest.dataset.num_train_images
    return Kind(cell=largest, num_cells=len(cells), shape=shape, num_images=counted or largest.num_train_images)


def _trial(kind: Kind, device: DeviceChoice, *, seconds: float, folder: Path) -> Trial:
    cell, (image_size, num_channels, num_classes) = kind.cell, kind.shape
    return Trial(
        model=cell.model,
        recipe=cell.recipe,
        image_size=image_size,
        num_channels=num_channels,
        num_classes=num_classes,
        flip_keeps_label=cell.dataset.flip_keeps_label,
        num_images=kind.num_images,
        num_train_images=cell.num_train_images,
        seconds=seconds,
        folder=folder,
        device=device.device,
        device_name=device.name,
        driver=device.driver,
        bfloat16=device.bfloat16,
        channels_last=device.channels_last,
        command=command_line(),
        commit=source_commit(),
    )


def _measured(trial: Trial, device: DeviceChoice, timeout_s: float = ANSWER_TIMEOUT_S) -> Tried | TriedWay | Failed:
    """What a worker process, started for this, makes of the trial."""
    with Workers(1) as workers:
        workers.order(0, trial)
        while (event := workers.next_event(timeout_s)) is not None:
            if isinstance(event[1], Tried | TriedWay | Failed):
                return event[1]
            if isinstance(event[1], Died):
                return _failed(f"The worker that measured it {event[1].description}.")
    return _failed(f"A worker on {device.name} did not answer within {timeout_s:.0f} s.")


def _in_a_way(way: StepWay, trial: Trial, device: DeviceChoice, cache: Path) -> WaySpeed | None:
    """The bare step taken in this way, where a run would try it; whatever goes wrong is a reason."""
    if way not in device.ways or trial.recipe.ridge_penalty is not None:
        return None
    problem = lacks_for_compiling(device.device) if way is StepWay.COMPILED else ""
    if not problem:
        update = {"way": way, "cache": cache}
        answer = _measured(trial.model_copy(update=update), device, READY_TIMEOUT_S + trial.seconds)
        if isinstance(answer, TriedWay):
            return answer.speed
        assert isinstance(answer, Failed), "nothing else was asked for"
        problem = answer.message
    return WaySpeed(ceiling_images_per_s=None, ready_s=None, problem=problem)


def _failed(message: str) -> Failed:
    return Failed(
        error="WorkerDied",
        message=message,
        remedy="A killed worker mostly lacked memory: close other programs, or take a smaller batch_size in the recipe.",
        traceback="",
        stops_the_run=False,
        worker_is_spoilt=True,
    )


def _choices(device: DeviceChoice) -> tuple[Choice, ...]:
    cores = usable_cores()
    alone = "the GPU to itself, as in training"
    on_cpu = f"with {CPU_THREADS_PER_WORKER} thread, as in training; the other {cores - 1} of {cores} cores are left idle"
    return (
        *device.choices(),
        Choice(what="workers", value="1", reason=on_cpu if device.device == "cpu" else alone),
    )


@contextmanager
def _scratch(workspace: Workspace) -> Iterator[Path]:
    """A folder on the home's own disk for logs and states, gone at the end; so is what a killed run has left."""
    parent = workspace.home / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
