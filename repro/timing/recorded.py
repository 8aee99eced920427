"""What finished cells tell of how long others will take. Must not start anything. Read `recorded_step_times` first."""

import statistics
from collections.abc import Sequence

from repro.hardware import DeviceChoice, processor_name
from repro.messages import Measured
from repro.plan import PlannedCell
from repro.timing.kinds import EVALUATED_TRAIN_IMAGES, step_key


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
