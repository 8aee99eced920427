"""A model's training steps through CUDA graphs: forward and backward pass recorded once, then played back as a whole.

Small models on a fast GPU wait for the start of each operation; a graph is started once. No compiler is needed. What is
recorded is compared with the model's own passes before it is used. Must not know whether it pays (`timing`). Read `graph_steps`
first.
"""

import contextlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from repro.errors import StepsNotGraphed
from repro.spec import Recipe
from repro.training.data import TrainingData
from repro.training.loop import Forward, add_gradients
from repro.training.mixing import Mixed, Unmixed
from repro.training.precision import Precision
from repro.training.rehearsal import rehearsal_images, rehearsing

WARMUP_PASSES = 3
"""Passes before the recording, in which libraries start and choose kernels; torch's own default."""
TOLERANCE = 0.02
"""Relative difference beyond which recorded passes are wrong: far more than bfloat16 and the order of atomic sums make of the
same operations, far less than stale weights or images do."""
SHRUNK = 0.9
"""By what weights are multiplied while passes are compared: recorded passes that went on with the weights of the recording
would show, and a tenth cannot hide behind a normalisation, for gradients grow as weights shrink."""
IN_PLACE_OF_ZERO = 0.1
"""Standard deviation of what stands in place of weights that are zero meanwhile: no gradient passes a head of zeros."""
REMEDY = "The steps are taken as they are."


def graph_steps(
    model: nn.Module, data: TrainingData, recipe: Recipe, *, precision: Precision, micro_batch: int | None
) -> tuple[Forward, float]:
    """What training steps call in the model's place, and the seconds until it was ready; the model itself is left as it was.

    Its memory is free once nothing refers to it any more and Python has collected its garbage. Gradients lie where the graph
    writes them, and are overwritten by the next backward pass. Raises StepsNotGraphed where graphs do not fit the recipe, or
    give other numbers than the model; else whatever torch raises.
    """
    if recipe.trains == "head":
        raise StepsNotGraphed("only the head is trained, which CUDA graphs are not made for here", remedy=REMEDY)
    images = rehearsal_images(data, recipe)
    whole = len(images.labels_B)
    if micro_batch is not None and micro_batch < whole:
        # The gradients of the first part would be overwritten by those of the second: github.com/pytorch/pytorch/issues/181723.
        message = f"a batch goes through the model in parts ({micro_batch} of {whole} images), and CUDA graphs take it whole"
        raise StepsNotGraphed(message, remedy=REMEDY)
    with warnings.catch_warnings():
        # torch warns once that gradients cross streams; it sees to them itself.
        warnings.simplefilter("ignore")
        expected = _one_pass(model, model, images, recipe, precision)
        # The first pass starts the device's libraries, which the first step would do otherwise.
        started = time.perf_counter()
        # The stream is the former one again before the model is put back as it was.
        with rehearsing(model, None, device_type=precision.device_type), _stream_kept(precision):
            # Other images than those that are compared: a graph that went on with what it was recorded with would show.
            x_BCHW = torch.empty_like(images.x_BCHW).copy_(images.x_BCHW.flip(0))
            # torch changes the module that it is given, and returns it.
            recorded = _Recorded(model, precision)
            torch.cuda.make_graphed_callables(recorded, (x_BCHW,), num_warmup_iters=WARMUP_PASSES)
        found = _one_pass(recorded, model, images, recipe, precision)
        _require_alike(found, expected)
    shape = images.x_BCHW.shape

    def forward(x_BCHW: Tensor) -> Tensor:
        # torch would copy a batch of another size into the recorded one's place by repeating it.
        assert x_BCHW.shape == shape, "graphs are recorded for whole batches"
        logits_BK: Tensor = recorded(x_BCHW)
        return logits_BK

    return forward, time.perf_counter() - started


class _Recorded(nn.Module):
    """Stands before the model, since torch replaces the `forward` of the module that it is given."""

    def __init__(self, model: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, x_BCHW: Tensor) -> Tensor:
        # Weights that autocast rounded before would be recorded as they were then.
        with self.precision.autocast(keeps_weights=False):
            logits_BK: Tensor = self.model(x_BCHW)
        return logits_BK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """What a forward and backward pass gives, each as one vector of float32."""

    loss: Tensor
    gradient: Tensor
    buffers: Tensor


def _one_pass(forward: Forward, model: nn.Module, images: Mixed | Unmixed, recipe: Recipe, precision: Precision) -> _Pass:
    """Run one with weights moved a little, of which nothing is left; always from the same random state."""
    with rehearsing(model, None, device_type=precision.device_type), _moved(model):
        loss, _ = add_gradients(forward, images, recipe, precision=precision, micro_batch=None)
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        # A count of batches would hide everything else in the norm.
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        return _Pass(loss=_vector([loss]), gradient=_vector(gradients), buffers=_vector(buffers))


@contextlib.contextmanager
def _moved(model: nn.Module) -> Iterator[None]:
    """All weights shrunk, zeros filled, in place where a graph finds them, always alike; afterwards bitwise as before."""
    weights = [(parameter, parameter.detach().clone()) for parameter in model.parameters()]
    generator = torch.Generator(weights[0][0].device).manual_seed(0)
    try:
        with torch.no_grad():
            for parameter, _ in weights:
                filling = torch.empty_like(parameter).normal_(std=IN_PLACE_OF_ZERO, generator=generator)
                parameter.copy_(torch.where(parameter == 0, filling, SHRUNK * parameter))
        yield
    finally:
        with torch.no_grad():
            for parameter, before in weights:
                parameter.copy_(before)


def _vector(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().float().flatten() for tensor in tensors]) if tensors else torch.zeros(0)


def _require_alike(found: _Pass, expected: _Pass) -> None:
    """Raise StepsNotGraphed, naming what differs and by how much; what is no number is not alike."""
    for what in ("loss", "gradient", "buffers"):
        one, other = getattr(found, what), getattr(expected, what)
        if one.shape != other.shape:
            raise StepsNotGraphed(f"CUDA graphs gave another number of {what} values than the model", remedy=REMEDY)
        difference, size = float((one - other).norm()), float(other.norm())
        if not difference <= TOLERANCE * size:
            message = f"CUDA graphs gave another {what} than the model: relative difference {difference / (size or 1):.3g}"
            raise StepsNotGraphed(message, remedy=REMEDY)


def _stream_kept(precision: Precision) -> contextlib.AbstractContextManager[object]:
    """The stream of before is the current one afterwards: a recording that fails leaves its own."""
    if precision.device_type != "cuda":
        return contextlib.nullcontext()
    return torch.cuda.stream(torch.cuda.current_stream())
