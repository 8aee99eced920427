"""Step times from a short probe in worker processes. Must not know torch. Read `probe_step_times` first."""

import statistics
from collections.abc import Mapping, Sequence

from repro.errors import EnvironmentProblem
from repro.hardware import DeviceChoice
from repro.messages import Failed, Measured, Probe, Ready
from repro.plan import DataFacts, PlannedCell
from repro.records import CellStatus
from repro.spec import DatasetSpec
from repro.timing.kinds import step_key
from repro.workers import Died, Workers

PROBE_STEPS = 20
"""Steps timed per model and recipe: about a second each on a CPU core."""
PROBE_TIMEOUT_S = 300.0
"""How long a worker may take to answer a probe before the forecast is given up."""


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
