"""The schedule's corners, which parameters decay, and steps by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from training_toy import CNN, CPU, FINE_TUNING, RECIPE, VIT, grey_data, toy_model

from repro.spec import ModelSpec
from repro.training.augmentation import augment
from repro.training.loop import train_step
from repro.training.optimization import learning_rate, make_optimizer
from repro.training.seeds import derive_seed


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


@pytest.mark.parametrize(
    ("nesterov", "momentum", "expected"), [(True, 0.9, (0.19, 0.271)), (False, 0.9, (0.1, 0.19)), (True, 0.0, (0.1, 0.1))]
)
def test_sgd_moves_by_its_momentum(nesterov: bool, momentum: float, expected: tuple[float, float]) -> None:
    # One parameter, gradient 1 at each step: Nesterov moves by lr * (1 + m), then lr * (1 + m + m²); else by one power less.
    model = torch.nn.Linear(1, 1, bias=False)
    recipe = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 0.1, "momentum": momentum, "nesterov": nesterov})
    optimizer = make_optimizer(model, recipe)
    moved, start = 0.0, model.weight.item()
    for step in expected:
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        moved += step
        assert start - model.weight.item() == pytest.approx(moved, abs=1e-5)


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_fine_tuning_steps_are_those_of_plain_momentum_by_hand(spec: ModelSpec) -> None:
    recipe = FINE_TUNING.model_copy(update={"clip_norm": 0.1})
    data, model = grey_data(image_size=8), toy_model(spec, image_size=8)
    with torch.no_grad():
        # A head of zeros would leave the backbone without gradients.
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    by_hand, optimizer = copy.deepcopy(model).train(), make_optimizer(model.train(), recipe)
    plain = torch.optim.SGD(by_hand.parameters(), lr=recipe.lr, momentum=0.9)
    for step in range(3):
        positions = torch.arange(8 * step, 8 * step + 8)
        loss, _ = train_step(
            model, optimizer, data, recipe, positions, upcoming_B=None, step=step, precision=CPU, augmentation_seed=0
        )
        x_BCHW, labels_B = data.batch(positions)
        seed = derive_seed("step", 0, step)
        logits_BK = by_hand(augment(x_BCHW, recipe, flip=True, normalise=data.normalise, seed=seed))
        expected = functional.cross_entropy(logits_BK, labels_B)
        plain.zero_grad()
        expected.backward()
        norm = nn.utils.clip_grad_norm_(by_hand.parameters(), 0.1)
        assert norm > 0.1, "it was clipped"
        plain.param_groups[0]["lr"] = learning_rate(step, recipe)
        plain.step()
        assert float(loss) == pytest.approx(expected.item(), rel=1e-5)
    for (name, tensor), other in zip(model.state_dict().items(), by_hand.state_dict().values(), strict=True):
        torch.testing.assert_close(tensor, other, rtol=1e-5, atol=1e-6, msg=name)
