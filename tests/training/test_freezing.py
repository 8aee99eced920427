"""A linear probe changes its head and nothing else, and leaves the model trainable."""

import copy

import pytest
import torch
from torch import nn
from training_toy import CNN, CPU, LINEAR_PROBE, VIT, grey_data, toy_data, toy_head, toy_model, train_toy

from repro.errors import TrainingDiverged
from repro.spec import ModelSpec
from repro.training.evaluation import evaluate
from repro.training.freezing import enter_training_mode, freeze_all_but, only_training
from repro.training.optimization import make_optimizer


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_only_the_head_changes(spec: ModelSpec, optimizer: str) -> None:
    model, data = toy_model(spec), grey_data(num_dev=8)
    # Statistics that differ from those of the batches, which BatchNorm would take on while training.
    train_toy(model, data=data)
    before = copy.deepcopy(model.state_dict())
    head = toy_head(model)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    train_toy(model, data=data, recipe=LINEAR_PROBE.model_copy(update={"optimizer": optimizer}))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    head_names = {names[id(parameter)] for parameter in head.parameters()}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in head_names), name
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if name not in head_names)
    assert all(parameter.requires_grad for parameter in model.parameters()), "as before"


def test_a_probe_learns_from_frozen_features() -> None:
    model, data = toy_model(CNN), toy_data()
    train_toy(model, recipe=LINEAR_PROBE.model_copy(update={"steps": 200, "lr": 0.1}))
    assert evaluate(model, data.normalised_batch, positions_N=data.train_positions, precision=CPU).accuracy > 0.9


def test_no_graph_is_kept_for_the_backbone() -> None:
    model = toy_model()
    handed: list[torch.Tensor] = []
    toy_head(model).register_forward_pre_hook(lambda _, inputs: handed.append(inputs[0]))
    train_toy(model, recipe=LINEAR_PROBE)
    assert len(handed) == LINEAR_PROBE.steps
    assert not any(features.requires_grad for features in handed)


def test_the_optimizer_is_given_the_head_alone() -> None:
    model = toy_model()
    head = toy_head(model)
    with only_training(head, model):
        groups = make_optimizer(model, LINEAR_PROBE).param_groups
    given = [parameter for group in groups for parameter in group["params"]]
    assert len(given) == 2
    assert {id(parameter) for parameter in given} == {id(parameter) for parameter in head.parameters()}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_run_that_diverges_leaves_the_model_trainable_too() -> None:
    model = toy_model()
    with pytest.raises(TrainingDiverged):
        train_toy(model, recipe=LINEAR_PROBE.model_copy(update={"lr": 1e30, "optimizer": "sgd", "clip_norm": None}))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_gradients_from_before_do_not_count() -> None:
    model = toy_model()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    freeze_all_but(toy_head(model), model)
    assert sum(parameter.grad is not None for parameter in model.parameters()) == 2


def test_what_was_frozen_before_stays_frozen() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].weight.requires_grad_(False)
    with only_training(model[2], model):
        assert [parameter.requires_grad for parameter in model.parameters()] == [*[False] * 4, True, True]
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, *[True] * 5]
    assert freeze_all_but(None, model) == []


def test_the_backbone_of_a_probe_is_in_evaluation_mode() -> None:
    model = toy_model(CNN).eval()
    enter_training_mode(model, toy_head(model))
    assert [name for name, module in model.named_modules() if module.training] == ["fc"]
    enter_training_mode(model, None)
    assert all(module.training for module in model.modules())
