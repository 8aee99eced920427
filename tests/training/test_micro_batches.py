"""Micro-batches change nothing but rounding: gradients, losses and counts are those of the whole batch."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from training_toy import CNN, CPU, FINE_TUNING, LINEAR_PROBE, RECIPE, STRONG, VIT, grey_data, toy_model, train_toy

from repro.spec import Recipe
from repro.training.loop import train_step
from repro.training.optimization import make_optimizer


def group_norm_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2)
    )


def outcome_of_a_step(model: nn.Module, recipe: Recipe, micro_batch: int | None) -> tuple[float, int, dict[str, torch.Tensor]]:
    """Loss, correct answers and weights after one step; the last is taken of plain SGD, whose change is the gradient."""
    data = grey_data()
    loss, correct = train_step(
        model,
        make_optimizer(model, recipe),
        data,
        recipe,
        data.train_positions[:20],
        upcoming_B=None,
        step=3,
        precision=CPU,
        augmentation_seed=0,
        micro_batch=micro_batch,
    )
    return float(loss), int(correct.sum()), {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("recipe", [RECIPE, STRONG], ids=["plain", "mixed"])
@pytest.mark.parametrize("make_model", [toy_model, group_norm_model], ids=["LayerNorm", "GroupNorm"])
@pytest.mark.parametrize("micro_batch", [1, 5, 8, 10])
def test_a_step_in_parts_is_the_step_of_the_whole(make_model: Any, recipe: Recipe, micro_batch: int) -> None:
    # Eight does not divide 20, so the last part is smaller. A head of zeros would leave the backbone without gradients.
    recipe = recipe.model_copy(update={"optimizer": "sgd", "momentum": 0.0, "lr": 1.0, "warmup_steps": 0, "clip_norm": 0.5})
    model = make_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    whole = outcome_of_a_step(copy.deepcopy(model), recipe, None)
    parts = outcome_of_a_step(copy.deepcopy(model), recipe, micro_batch)
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    assert parts[1] == whole[1]
    for name, tensor in whole[2].items():
        torch.testing.assert_close(parts[2][name], tensor, rtol=1e-4, atol=1e-5, msg=name)
        assert not torch.equal(tensor, model.state_dict()[name]), f"{name} was trained"


@pytest.mark.parametrize("micro_batch", [8, 100])
@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
@pytest.mark.parametrize("recipe", [RECIPE, STRONG], ids=["plain", "mixed"])
def test_one_part_is_the_whole_bit_by_bit(spec: Any, recipe: Recipe, micro_batch: int) -> None:
    whole, part = toy_model(spec), toy_model(spec)
    rows = train_toy(whole, data=grey_data(), recipe=recipe).rows
    again = train_toy(part, data=grey_data(), recipe=recipe, micro_batch=micro_batch).rows
    assert [row.train_loss for row in again] == [row.train_loss for row in rows]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(part.state_dict()[name], tensor), name


def test_the_model_never_sees_more_than_a_part_of_the_same_images() -> None:
    # BatchNorm's statistics are those of the part, which a recipe names for that reason.
    seen: dict[int | None, list[torch.Tensor]] = {None: [], 4: []}
    for micro_batch, images in seen.items():
        model = toy_model(CNN)
        model.register_forward_pre_hook(lambda _, inputs, images=images: images.append(inputs[0].clone()))
        train_toy(model, data=grey_data(), recipe=STRONG, micro_batch=micro_batch)
    assert {len(x_BCHW) for x_BCHW in seen[4]} == {4}
    assert torch.equal(torch.cat(seen[4]), torch.cat(seen[None]))


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
@pytest.mark.parametrize("recipe", [FINE_TUNING, STRONG, LINEAR_PROBE], ids=["fine-tuning", "strong", "probe"])
def test_resumption_in_parts_is_bitwise(spec: Any, recipe: Recipe) -> None:
    size = recipe.image_size
    data = grey_data(num_dev=8, image_size=size, repeat_grey=True)
    model, states = toy_model(spec, image_size=size or 4, num_channels=3), list[dict[str, Any]]()
    whole = train_toy(model, data=data, recipe=recipe, states=states, micro_batch=4)
    assert len(states) > 3
    for state in states[:2]:
        resumed = toy_model(spec, image_size=size or 4, num_channels=3, seed=5)
        rest = train_toy(resumed, data=data, recipe=recipe, state=copy.deepcopy(state), micro_batch=4)
        assert [row.train_loss for row in rest.rows] == [row.train_loss for row in whole.rows]
        assert [row.dev_accuracy for row in rest.rows] == [row.dev_accuracy for row in whole.rows]
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name
