"""The schedule's corners, and which parameters decay."""

import pytest
import torch
from training_toy import CNN, RECIPE, VIT, toy_model

from repro.training.optimization import learning_rate, make_optimizer


def test_warm_up_then_cosine() -> None:
    recipe = RECIPE.model_copy(update={"lr": 1.0, "steps": 110, "warmup_steps": 10})
    rates = [learning_rate(step, recipe) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-3


def test_without_warm_up_it_starts_at_the_peak() -> None:
    assert learning_rate(0, RECIPE.model_copy(update={"warmup_steps": 0})) == RECIPE.lr


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_only_layer_weights_decay(optimizer: str) -> None:
    recipe = RECIPE.model_copy(update={"weight_decay": 0.1, "optimizer": optimizer})
    for spec, expected in ((VIT, {"patch_embed.proj.weight", "head.weight"}), (CNN, {"conv1.weight", "fc.weight"})):
        model = toy_model(spec)
        decayed, others = make_optimizer(model, recipe).param_groups
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        decayed_names = {names[id(parameter)] for parameter in decayed["params"]}
        other_names = {names[id(parameter)] for parameter in others["params"]}
        assert expected <= decayed_names
        assert decayed["weight_decay"] == 0.1
        assert others["weight_decay"] == 0.0
        assert all(
            name.endswith(("bias", "bn1.weight", "bn2.weight", "norm.weight", "norm1.weight", "norm2.weight"))
            or name in ("cls_token", "pos_embed")
            for name in other_names
        )
        assert len(decayed_names) + len(other_names) == len(names)


def test_sgd_is_nesterovs() -> None:
    # One parameter, gradient 1 at each step: Nesterov moves by lr * (1 + m), then lr * (1 + m + m²).
    model = torch.nn.Linear(1, 1, bias=False)
    recipe = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0})
    optimizer = make_optimizer(model, recipe)
    start = model.weight.item()
    for expected in (0.19, 0.19 + 0.271):
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        assert start - model.weight.item() == pytest.approx(expected, abs=1e-5)
