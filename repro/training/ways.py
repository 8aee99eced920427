"""The ways of taking training steps: what each puts in the model's place.

Must not know which of them pays. Read `ready_steps` first.
"""

from pathlib import Path

from torch import nn

from repro.choices import StepWay
from repro.spec import Recipe
from repro.training.compilation import compile_steps
from repro.training.data import TrainingData
from repro.training.graphs import graph_steps
from repro.training.loop import Forward
from repro.training.precision import Precision


def ready_steps(
    way: StepWay,
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    *,
    precision: Precision,
    head: nn.Module | None,
    micro_batch: int | None,
    cache: Path | None,
) -> tuple[Forward | None, float]:
    """What steps taken in this way call in the model's place, and the seconds until it was ready; None for plain ones.

    The model is left as it was. `cache` is the folder for compiled code. Raises as `compile_steps` and `graph_steps` do.
    """
    if way is StepWay.COMPILED:
        assert cache is not None, "who asks for compiled steps says where their code is kept"
        return compile_steps(model, data, recipe, precision=precision, head=head, micro_batch=micro_batch, cache=cache)
    if way is StepWay.GRAPHED:
        return graph_steps(model, data, recipe, precision=precision, micro_batch=micro_batch)
    return None, 0.0
