"""What finished cells tell of how long others will take, and how many ran at once. Must not start anything.

Read `recorded_step_times` first.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from repro.choices import PRECISION, StepWay, chosen
from repro.hardware import DeviceChoice, processor_name
from repro.messages import Measured
from repro.plan import PlannedCell
from repro.records import Record
from repro.spec import Cell
from repro.timing.kinds import EVALUATED_TRAIN_IMAGES, step_key
from repro.timing.sharing import AtOnce, recorded
from repro.timing.stepping import Stepping, recorded_stepping


def recorded_step_times(
    cells: Sequence[PlannedCell],
    device: DeviceChoice,
    at_once: Mapping[str, AtOnce] | None = None,
    steppings: Mapping[str, Stepping] | None = None,
) -> dict[str, Measured]:
    """Median step times of finished cells that ran on the same device (and processor), by `step_key`.

    Only those count that ran in the device's precision, as many at once on a GPU as `at_once` says of their kind or alone where
    it says nothing, and that took their steps as `steppings` says of their kind, or plain ones.
    """
    steps, images, parameters = dict[str, list[float]](), dict[str, list[float]](), dict[str, int]()
    for cell, record in _records_in_its_precision(cells, device):
        key, recipe = step_key(cell), cell.recipe
        wanted = at_once[key].number if at_once and key in at_once else 1
        # A search that diverged was given up before its last step.
        if record.diverged or recorded(record).number != wanted:
            continue
        if recorded_stepping(record).way is not (steppings[key].way if steppings and key in steppings else StepWay.PLAIN):
            continue
        is_solved = recipe.ridge_penalty is not None
        steps.setdefault(key, []).append(0.0 if is_solved else record.wall_s / recipe.steps)
        # Where images are enlarged, evaluation costs as much as some steps; at 32 px it is lost in the start of a cell.
        if recipe.image_size is not None and record.test_accuracy is not None:
            evaluated = record.num_test_images + min(cell.num_train_images, EVALUATED_TRAIN_IMAGES)
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


def recorded_at_once(cells: Sequence[PlannedCell], device: DeviceChoice) -> dict[str, AtOnce]:
    """How many cells of a kind run at once on this device, by `step_key`, as earlier runs have measured it, the latest last."""
    found: dict[str, AtOnce] = {}
    for cell, record in sorted(_records_in_its_precision(cells, device), key=lambda pair: pair[1].finished_at):
        if (told := recorded(record)).holds:
            found[step_key(cell)] = told
    return found


def recorded_steppings(cells: Sequence[PlannedCell], device: DeviceChoice, *, torch: str) -> dict[str, Stepping]:
    """In which way steps of a kind are taken on this device with this version of torch, likewise, as far as it is allowed."""
    found: dict[str, Stepping] = {}
    if not device.ways:
        return found
    for cell, record in sorted(_records_in_its_precision(cells, device), key=lambda pair: pair[1].finished_at):
        told = recorded_stepping(record)
        is_allowed = told.way is StepWay.PLAIN or told.way in device.ways
        if told.holds and is_allowed and record.environment.packages.get("torch") == torch:
            found[step_key(cell)] = told
    return found


def _records_in_its_precision(cells: Sequence[PlannedCell], device: DeviceChoice) -> Iterator[tuple[Cell, Record]]:
    """Those of `records_from_here` that ran in the device's precision: in another, steps take other time and memory."""
    for cell, record in records_from_here(cells, device):
        precision = chosen(record.choices, PRECISION)
        if precision is None or precision.value == device.precision:
            yield cell, record


def records_from_here(cells: Sequence[PlannedCell], device: DeviceChoice) -> Iterator[tuple[Cell, Record]]:
    """Finished cells that ran on the same device and processor."""
    here = (device.name, processor_name())
    for entry in cells:
        record = entry.record
        if record is not None and (record.environment.device, record.environment.processor) == here:
            yield entry.cell, record
