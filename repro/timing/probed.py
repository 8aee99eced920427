"""Step times from a short probe in worker processes, all at once. Must not know torch. Read `take_together` first."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence

from repro.errors import EnvironmentProblem
from repro.hardware import CELLS_AT_ONCE_VARIABLE, DeviceChoice
from repro.messages import Enough, Failed, Measured, Probe, Steady
from repro.plan import DataFacts, PlannedCell
from repro.records import CellStatus
from repro.spec import Cell, DatasetSpec
from repro.timing.kinds import step_key
from repro.workers import Died, Workers

PROBE_STEPS = 20
"""Steps timed per model and recipe: about a second each on a CPU core."""
PROBE_TIMEOUT_S = 300.0
"""How long a worker may take to answer a probe before the forecast is given up."""
STEADY_S = 2.5
"""How long the workers of an open-ended probe take steps together, after the last of them has warmed up."""
REMEDY = "Run `vitrepro check --verbose`; if it stays so, report it."


def probe_step_times(
    cells: Sequence[PlannedCell], facts: Mapping[str, DataFacts], device: DeviceChoice, known: Mapping[str, Measured]
) -> dict[str, Measured]:
    """Time a step of every kind of unfinished cell that `known` lacks, in all workers at once; by `step_key`.

    Kinds whose image shape is not known yet (data not fetched) are left out. Raises EnvironmentProblem if a worker fails.
    """
    probes: dict[str, Probe] = {}
    for entry in cells:
        key = step_key(entry.cell)
        if entry.status is CellStatus.DONE or key in known or key in probes:
            continue
        if (probe := probe_of(entry.cell, facts, device)) is not None:
            probes[key] = probe
    if not probes:
        return {}
    with Workers(device.num_workers) as workers:
        return {key: _mean(take_together(workers, probe, workers.num_workers), probe) for key, probe in probes.items()}


def probe_of(cell: Cell, facts: Mapping[str, DataFacts], device: DeviceChoice) -> Probe | None:
    """What to have timed for cells of this kind; None where the images' shape is not known yet."""
    shape = image_shape(cell.dataset, facts.get(cell.dataset.name))
    if shape is None:
        return None
    return Probe(
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


def image_shape(spec: DatasetSpec, facts: DataFacts | None) -> tuple[int, int, int] | None:
    """Image size, channels and classes, from the fetched data or from the catalogue; None where neither knows."""
    if facts is not None:
        return facts.image_size, facts.num_channels, facts.num_classes
    if spec.image_size and spec.num_channels and spec.num_classes:
        return spec.image_size, spec.num_channels, spec.num_classes
    return None


def take_together(workers: Workers, probe: Probe, number: int, *, patience_s: float | None = None) -> list[Measured] | Failed:
    """Have `number` workers carry out the probe at once: what each measured, or what went wrong with the first that failed.

    An open-ended probe is ended when all have taken steps together for `STEADY_S`, or one has failed. Workers that have died or
    are spoilt are replaced, all are idle afterwards. With `patience_s` those that are silent for so long are replaced, and it
    has failed; without it EnvironmentProblem is raised if one does not answer.
    """
    for slot in range(number):
        workers.order(slot, probe)
    waiting_for, num_steady = set(range(number)), 0
    answers: list[Measured] = []
    problem: Failed | None = None
    silence_s = PROBE_TIMEOUT_S if patience_s is None else patience_s
    enough_at, heard_at = math.inf, time.monotonic()
    while waiting_for:
        if (now := time.monotonic()) >= enough_at:
            enough_at = math.inf
            for slot in waiting_for:
                workers.order(slot, Enough())
        if now >= heard_at + silence_s:
            message = f"A worker did not answer within {silence_s:.0f} s."
            if patience_s is None:
                raise EnvironmentProblem(message, remedy=REMEDY)
            for slot in waiting_for:
                workers.replace(slot)
            return problem or _as_failed("NoAnswer", message)
        found = workers.next_event(max(0.0, min(enough_at, heard_at + silence_s) - now))
        if found is None:
            continue
        (slot, answer), heard_at = found, time.monotonic()
        if slot not in waiting_for:
            if isinstance(answer, Died):
                workers.replace(slot)
        elif isinstance(answer, Steady):
            num_steady += 1
            if num_steady == number and problem is None:
                enough_at = heard_at + STEADY_S
        elif isinstance(answer, Measured):
            answers.append(answer)
            waiting_for.discard(slot)
        elif isinstance(answer, Failed | Died):
            waiting_for.discard(slot)
            if isinstance(answer, Died) or answer.worker_is_spoilt:
                workers.replace(slot)
            if problem is None:
                problem = _as_failed("WorkerDied", f"a worker {answer.description}.") if isinstance(answer, Died) else answer
                enough_at = heard_at
    return problem or answers


def failed(probe: Probe, number: int, problem: Failed) -> EnvironmentProblem:
    """The error for a probe that went wrong in a way that stops the forecast, `number` having been asked for."""
    together, fewer = "", ""
    if number > 1:
        together, fewer = f" with {number} at once", f" Or set {CELLS_AT_ONCE_VARIABLE} to less."
    message = f"Timing {probe.model.name}{together} failed: {problem.message}"
    return EnvironmentProblem(message, remedy=problem.remedy + fewer)


def _as_failed(error: str, message: str) -> Failed:
    return Failed(
        error=error,
        message=message,
        remedy=REMEDY,
        traceback="",
        stops_the_run=False,
        worker_is_spoilt=True,
    )


def _mean(answers: list[Measured] | Failed, probe: Probe) -> Measured:
    if isinstance(answers, Failed):
        raise failed(probe, 1, answers)
    return Measured(
        step_s=statistics.mean(answer.step_s for answer in answers),
        image_s=statistics.mean(answer.image_s for answer in answers),
        num_parameters=answers[0].num_parameters,
    )
