"""What a step keeps for its backward pass is counted once, and the model does not notice."""

import copy

import pytest
import torch
from torch import nn
from training_toy import CNN, CPU, VIT, toy_model

from repro.spec import ModelSpec
from repro.training.freezing import freeze_all_but
from repro.training.memory import fitting_micro_batch, saved_bytes_per_image
from repro.training.precision import Precision

BFLOAT16 = Precision(device_type="cpu", bfloat16=True, channels_last=True)


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))


@pytest.mark.parametrize("num_images", [2, 5])
def test_each_storage_counts_once_and_weights_do_not(num_images: int) -> None:
    # The first layer keeps its 16 inputs; the ReLU's 32 results, which the second layer keeps too, lie in memory once.
    saved = saved_bytes_per_image(small_net(), shape=(1, 4, 4), precision=CPU, num_images=num_images)
    assert saved == (16 + 32) * 4


def test_bfloat16_halves_it_and_copies_of_weights_do_not_count() -> None:
    assert saved_bytes_per_image(small_net(), shape=(1, 4, 4), precision=BFLOAT16) == (16 + 32) * 2


def test_a_frozen_backbone_keeps_nothing() -> None:
    model = small_net()
    freeze_all_but(model[3], model)
    assert saved_bytes_per_image(model, shape=(1, 4, 4), precision=CPU) == 32 * 4


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_it_grows_with_the_image(spec: ModelSpec) -> None:
    small, large = (
        saved_bytes_per_image(toy_model(spec, image_size=size), shape=(1, size, size), precision=CPU) for size in (8, 16)
    )
    assert 3 < large / small < 6


def test_the_model_is_as_it_was() -> None:
    model = toy_model(CNN)
    model.bn1.eval()
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    drawn = torch.get_rng_state()
    saved_bytes_per_image(model, shape=(1, 4, 4), precision=CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)


def test_the_model_is_as_it_was_after_an_error() -> None:
    model = toy_model(CNN).eval()
    before = copy.deepcopy(model.state_dict())
    model.fc.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        saved_bytes_per_image(model, shape=(1, 4, 4), precision=CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("batch_size", "bytes_per_image", "budget_bytes", "expected"),
    [(512, 100, 13_000, 128), (512, 100, 51_200, 512), (96, 1, 40, 32), (7, 1, 6, 1), (512, 1000, 10, 1), (512, 0, 0, 512)],
)
def test_the_largest_divisor_that_fits_is_taken(
    batch_size: int, bytes_per_image: int, budget_bytes: int, expected: int
) -> None:
    assert fitting_micro_batch(batch_size, bytes_per_image, budget_bytes) == expected
