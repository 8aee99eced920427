"""The compiled steps of a cell, where the run has found that they pay.

Must not know how that was found out. Read `compiled_steps` first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from repro.messages import Job
from repro.records import COMPILE, Choice
from repro.spec import Recipe
from repro.training.compilation import compile_steps
from repro.training.data import TrainingData
from repro.training.loop import Forward
from repro.training.precision import Precision
from repro.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """How the steps of a cell are taken."""

    forward: Forward | None
    """What they call in the model's place; None: the model."""
    choices: tuple[Choice, ...]
    """The job's, with what came of compiling."""


def compiled_steps(
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
    """Compile the steps if the job says so. Whatever fails is told in the record, and the cell is trained as it is."""
    if not job.compiled or recipe.ridge_penalty is not None:
        return Steps(forward=None, choices=job.choices)
    try:
        forward, seconds = compile_steps(
            model,
            data,
            recipe,
            precision=precision,
            head=head,
            micro_batch=micro_batch,
            cache=Workspace(home=job.home).compiled_dir,
        )
    except Exception as error:  # noqa: BLE001 - compilers raise all kinds; the record tells it, and nothing is lost but speed
        torch.compiler.reset()
        what = " ".join(str(error).split())[:300]
        log(f"not compiled: {type(error).__name__}: {what}")
        reason = f"compiling failed in this cell: {type(error).__name__}: {what}"
        return Steps(forward=None, choices=_with(job.choices, Choice(what=COMPILE, value="no", reason=reason, holds=False)))
    log(f"steps compiled in {seconds:.2f} s")
    return Steps(forward=forward, choices=job.choices)


def _with(choices: tuple[Choice, ...], new: Choice) -> tuple[Choice, ...]:
    """The choices, `new` in place of an earlier one on the same matter."""
    return (*(choice for choice in choices if choice.what != new.what), new)
