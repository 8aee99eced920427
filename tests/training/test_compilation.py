"""Compiled training steps: close to plain ones, reused by later cells, and nothing is changed by compiling."""

from pathlib import Path

import pytest
import torch
import torch._dynamo
from compiler_here import needs_a_compiler
from torch._dynamo.utils import counters
from training_toy import CNN, CPU, LINEAR_PROBE, RECIPE, STRONG, VIT, grey_data, toy_head, toy_model, train_toy

from repro.spec import ModelSpec, Recipe
from repro.training.compilation import CACHE_VARIABLE, compile_steps

pytestmark = [pytest.mark.slow, needs_a_compiler]


@pytest.fixture(autouse=True)
def cache_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "/to/be/replaced")


@pytest.mark.parametrize(
    ("spec", "recipe", "micro_batch"),
    [(VIT, RECIPE, None), (CNN, RECIPE, None), (VIT, STRONG, 4), (CNN, LINEAR_PROBE, None)],
    ids=["vit", "cnn", "strong in micro-batches", "linear probe"],
)
def test_losses_are_close_to_those_of_plain_steps(
    spec: ModelSpec, recipe: Recipe, micro_batch: int | None, tmp_path: Path
) -> None:
    data = grey_data()
    plain, model = toy_model(spec), toy_model(spec)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    head = toy_head(model) if recipe.is_probe else None
    forward, seconds = compile_steps(model, data, recipe, precision=CPU, head=head, micro_batch=micro_batch, cache=tmp_path)
    assert seconds > 0
    assert model.state_dict().keys() == before.keys(), "names are those of the plain model"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())

    frames = counters["frames"]["total"]
    rows = train_toy(model, data=data, recipe=recipe, micro_batch=micro_batch, forward=forward).rows
    assert counters["frames"]["total"] == frames, "everything was compiled before the first step"
    expected = train_toy(plain, data=data, recipe=recipe, micro_batch=micro_batch).rows
    assert [row.train_loss for row in rows] == pytest.approx([row.train_loss for row in expected], rel=1e-3)


def test_a_second_cell_of_the_kind_compiles_nothing(tmp_path: Path) -> None:
    torch._dynamo.reset()

    def compiled(seed: int) -> int:
        compile_steps(toy_model(seed=seed), grey_data(), RECIPE, precision=CPU, head=None, micro_batch=None, cache=tmp_path)
        return int(counters["stats"]["unique_graphs"])

    first = compiled(1)
    assert compiled(2) == first


def test_a_process_that_holds_too_many_kinds_does_not_go_on_uncompiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr("repro.training.compilation.KINDS_IN_MEMORY", 1)
    other = RECIPE.model_copy(update={"batch_size": 10})
    compile_steps(toy_model(), grey_data(), RECIPE, precision=CPU, head=None, micro_batch=None, cache=tmp_path)
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
        compile_steps(toy_model(), grey_data(), other, precision=CPU, head=None, micro_batch=None, cache=tmp_path)
