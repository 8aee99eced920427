"""Whether cells run in bfloat16 on a CPU that multiplies in it: as earlier cells did, or as a short probe finds.

One precision for a whole run, as on a GPU, for families that are compared would else differ in it. Must not know torch. Read
`settle_precision` first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from repro.attempts import Attempt, read_attempt
from repro.choices import PRECISION, chosen
from repro.errors import EnvironmentProblem
from repro.hardware import BFLOAT16, DeviceChoice, processor_name
from repro.messages import Measured
from repro.plan import PlannedCell
from repro.records import LAST, CellStatus
from repro.timing.kinds import step_key
from repro.timing.recorded import records_from_here
from repro.workspace import Workspace

LEAST_GAIN = 1.15
"""All steps together must be so many times as fast: less is not worth that they round otherwise than in float32."""
LEAST_STEP_S = 0.05
"""Shorter steps are those of the micro models, of which the ViT takes three times as long in bfloat16: not tried then."""


def settle_precision(
    unfinished: Sequence[PlannedCell],
    planned: Sequence[PlannedCell],
    device: DeviceChoice,
    known: Mapping[str, Measured],
    probe: Callable[[DeviceChoice], Mapping[str, Measured]],
    begun: Sequence[Attempt] = (),
) -> tuple[DeviceChoice, dict[str, Measured]]:
    """The device with its precision settled, and the step times of the unfinished cells in it, by `step_key`, as far as timed.

    Finished cells among `planned` decide, and cells that were `begun` and interrupted, where there are any from this device.
    `known` are times in float32; `probe` times all kinds of unfinished cells on the device that it is given. Where
    nothing can be timed yet, nothing is settled. Raises EnvironmentProblem where steps in float32 cannot be timed.
    """
    if (told := _told(planned, begun, device)) is not None:
        why = f"{told}, as in earlier cells of this profile on this processor"
        return replace(device, bfloat16=told == BFLOAT16, may_bfloat16=False, precision_reason=why), dict(known)
    steps = dict[str, int]()
    for entry in unfinished:
        if entry.cell.recipe.ridge_penalty is None:
            steps[step_key(entry.cell)] = steps.get(step_key(entry.cell), 0) + entry.cell.recipe.steps
    plain = dict(known) if steps.keys() <= known.keys() else {**known, **probe(device)}
    timed = {key: plain[key].step_s for key in steps if key in plain}
    if not timed:
        return device, plain
    shortest = min(timed, key=lambda key: timed[key])
    if timed[shortest] < LEAST_STEP_S:
        why = f"float32: steps of {1000 * timed[shortest]:.2g} ms ({shortest.split()[0]}) are too short for bfloat16 on a CPU"
        return replace(device, may_bfloat16=False, precision_reason=why), plain
    try:
        fast = dict(probe(replace(device, bfloat16=True)))
    except EnvironmentProblem as error:
        why = f"float32: steps in bfloat16 could not be timed ({error.message})"
        return replace(device, may_bfloat16=False, precision_reason=why), plain
    gains = [timed[key] / fast[key].step_s for key in timed]
    gain = sum(steps[key] * timed[key] for key in timed) / sum(steps[key] * fast[key].step_s for key in timed)
    by_kind = " to ".join(dict.fromkeys(f"{gain:.2f}" for gain in (min(gains), max(gains))))
    if gain >= LEAST_GAIN and min(gains) >= 1:
        why = f"bfloat16: steps are {by_kind} times as fast as in float32 on this processor"
        return replace(device, bfloat16=True, may_bfloat16=False, precision_reason=why), {**plain, **fast}
    why = f"float32: steps in bfloat16 would be {by_kind} times as fast on this processor"
    return replace(device, may_bfloat16=False, precision_reason=why), plain


def interrupted_attempts(planned: Sequence[PlannedCell], workspace: Workspace) -> list[Attempt]:
    """With what cells were begun that are not done and will go on from a state."""
    found = []
    for entry in planned:
        if entry.status is CellStatus.DONE or entry.fingerprint is None or entry.cell.recipe.ridge_penalty is not None:
            continue
        folder = workspace.run_dir(entry.cell.id, entry.fingerprint)
        if (folder / LAST).exists() and (attempt := read_attempt(folder, entry.fingerprint)):
            found.append(attempt)
    return found


def _told(planned: Sequence[PlannedCell], begun: Sequence[Attempt], device: DeviceChoice) -> str | None:
    """The precision of the cell that ended or was begun last."""
    # A head that is solved for is so in float32 whatever the others do.
    cells = [
        (record.finished_at, record.choices)
        for cell, record in records_from_here(planned, device)
        if cell.recipe.ridge_penalty is None
    ]
    here = (device.name, processor_name())
    cells += [(one.started_at, one.choices) for one in begun if (one.device, one.processor) == here]
    told = [(at, choice.value) for at, choices in cells if (choice := chosen(choices, PRECISION))]
    return max(told)[1] if told else None
