"""How the steps of a cell are taken: plain, or in the way that the run has found to pay.

Must not know how that was found out. Read `steps_of` first.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from repro.choices import STEPS, Choice, StepWay
from repro.errors import StepsNotGraphed
from repro.messages import Job
from repro.spec import Recipe
from repro.training.data import TrainingData
from repro.training.loop import Forward
from repro.training.precision import Precision
from repro.training.ways import ready_steps
from repro.workspace import Workspace

READY = {StepWay.COMPILED: "steps compiled in {:.2f} s", StepWay.GRAPHED: "steps recorded as CUDA graphs in {:.2f} s"}
"""What the log says of steps that are not plain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How the steps of a cell are taken."""

    forward: Forward | None
    """What they call in the model's place; None: the model."""
    choices: tuple[Choice, ...]
    """The job's, with what came of it."""


def steps_of(
    job: Job,
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    *,
    precision: Precision,
    head: nn.Module | None,
    micro_batch: int,
    log: Callable[[str], None],
) -> Steps:
    """Make the steps ready as the job says. Whatever fails is told in the record, and the cell is trained with plain steps."""
    if job.way is StepWay.PLAIN or recipe.ridge_penalty is not None:
        return Steps(forward=None, choices=job.choices)
    try:
        forward, seconds = ready_steps(
            job.way,
            model,
            data,
            recipe,
            precision=precision,
            head=head,
            micro_batch=micro_batch,
            cache=Workspace(home=job.home).compiled_dir,
        )
    except Exception as error:  # noqa: BLE001 - compilers raise all kinds; the record tells it, and nothing is lost but speed
        reason = " ".join(str(error).split())[:300]
        if not isinstance(error, StepsNotGraphed):
            reason = f"{job.way.failure} in this cell: {type(error).__name__}: {reason}"
    else:
        log(READY[job.way].format(seconds))
        return Steps(forward=forward, choices=job.choices)
    log(f"plain steps: {reason}")
    # What was made so far holds memory, and only the garbage collector finds it, now that the exception is gone.
    if job.way is StepWay.COMPILED:
        torch.compiler.reset()
    gc.collect()
    return Steps(forward=None, choices=_with(job.choices, Choice(what=STEPS, value=StepWay.PLAIN, reason=reason, holds=False)))


def _with(choices: tuple[Choice, ...], new: Choice) -> tuple[Choice, ...]:
    """The choices, `new` in place of an earlier one on the same matter."""
    return (*(choice for choice in choices if choice.what != new.what), new)
