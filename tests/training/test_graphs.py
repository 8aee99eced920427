"""Steps through CUDA graphs: the model stays as it was, numbers stay the same, and what would change them is refused.

On a CPU a stand-in records (`recorded_passes`).
"""

import copy
import gc
import weakref
from typing import NoReturn

import pytest
import torch
from recorded_passes import Recording
from torch import Tensor, nn
from training_toy import CNN, CPU, LINEAR_PROBE, RECIPE, STRONG, VIT, grey_data, toy_model, train_toy

from repro.errors import StepsNotGraphed
from repro.spec import ModelSpec, Recipe
from repro.training.data import TrainingData
from repro.training.graphs import graph_steps
from repro.training.loop import Forward
from repro.training.optimization import make_optimizer
from repro.training.precision import Precision
from repro.training.seeds import generator_for

PLACE = "torch.cuda.make_graphed_callables"


def graphed(
    model: nn.Module,
    data: TrainingData | None = None,
    recipe: Recipe = RECIPE,
    *,
    precision: Precision = CPU,
    micro_batch: int | None = None,
) -> Forward:
    return graph_steps(model, data or grey_data(), recipe, precision=precision, micro_batch=micro_batch)[0]


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_untouched(model: nn.Module, before: dict[str, Tensor]) -> None:
    assert model.state_dict().keys() == before.keys(), "names are those of the plain model"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert "forward" not in vars(model), "evaluation goes through the model's own code"


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_the_model_and_randomness_are_left_as_they_were(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACE, recording := Recording())
    model = toy_model(spec)
    before, random_before = state_of(model), torch.get_rng_state()
    graphed(model)
    assert (recording.num_forward, recording.num_backward) == (1, 1), "it was tried before it is used"
    assert_untouched(model, before)
    assert torch.equal(torch.get_rng_state(), random_before)


@pytest.mark.parametrize(
    ("spec", "recipe", "micro_batch"),
    [(VIT, RECIPE, None), (CNN, RECIPE, RECIPE.batch_size), (VIT, STRONG, None), (CNN, STRONG, None)],
    ids=["vit", "cnn", "strong vit", "strong cnn"],
)
def test_training_gives_bitwise_what_plain_steps_give(
    spec: ModelSpec, recipe: Recipe, micro_batch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PLACE, recording := Recording())
    data, plain, model = grey_data(num_dev=8), toy_model(spec), toy_model(spec)
    forward = graphed(model, data, recipe, micro_batch=micro_batch)
    found = train_toy(model, data=data, recipe=recipe, micro_batch=micro_batch, forward=forward)
    expected = train_toy(plain, data=data, recipe=recipe, micro_batch=micro_batch)
    assert recording.num_forward == 1 + recipe.steps, "every step, and no evaluation"
    assert [(row.train_loss, row.dev_loss) for row in found.rows] == [(row.train_loss, row.dev_loss) for row in expected.rows]
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), plain.parameters(), strict=True))
    assert all(torch.equal(one, other) for one, other in zip(model.buffers(), plain.buffers(), strict=True))


def test_a_state_that_is_loaded_after_the_recording_is_what_steps_go_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACE, Recording())
    states: list[dict[str, object]] = []
    undisturbed, model = toy_model(CNN), toy_model(CNN, seed=5)
    train_toy(undisturbed, data=grey_data(), states=states)
    train_toy(model, data=grey_data(), state=copy.deepcopy(states[1]), forward=graphed(model))
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), undisturbed.parameters(), strict=True))


def first_is_zero() -> Recording:
    """Every gradient is right but those of one shape."""
    shape = next(toy_model(CNN).parameters()).shape
    return Recording(gradient=lambda gradient: torch.zeros_like(gradient) if gradient.shape == shape else gradient)


@pytest.mark.parametrize(
    ("recording", "what"),
    [
        (Recording(gradient=lambda gradient: 1.03 * gradient), "another gradient than the model: relative difference 0.03"),
        (Recording(gradient=lambda gradient: gradient * float("nan")), "another gradient than the model"),
        (first_is_zero(), "another gradient than the model"),
        (Recording(logits=lambda logits_BK: 10 * logits_BK), "another loss than the model"),
        (Recording(copies_images=False), "than the model"),
        (Recording(reads_weights=False), "than the model"),
    ],
    ids=["scaled", "nan", "one of them", "loss", "stale images", "stale weights"],
)
def test_other_numbers_than_the_models_are_refused(recording: Recording, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACE, recording)
    model = toy_model(CNN)
    before = state_of(model)
    with pytest.raises(StepsNotGraphed, match=what):
        graphed(model)
    assert_untouched(model, before)


def test_rounding_is_no_other_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACE, Recording(gradient=lambda gradient: gradient.bfloat16().float()))
    graphed(toy_model(CNN))


@pytest.mark.parametrize(
    ("recipe", "micro_batch", "reason"),
    [
        (RECIPE, 4, r"a batch goes through the model in parts \(4 of 8 images\), and CUDA graphs take it whole"),
        (LINEAR_PROBE, None, "only the head is trained"),
    ],
)
def test_what_graphs_do_not_fit_is_not_recorded(
    recipe: Recipe, micro_batch: int | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PLACE, lambda *arguments, **options: pytest.fail("recorded"))
    with pytest.raises(StepsNotGraphed, match=reason):
        graphed(toy_model(), recipe=recipe, micro_batch=micro_batch)


def test_a_recording_that_fails_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: nn.Module, sample_args: tuple[Tensor, ...], num_warmup_iters: int) -> NoReturn:
        module(*sample_args).sum().backward()
        torch.rand(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(PLACE, fail)
    model = toy_model(CNN)
    before, random_before = state_of(model), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="capturing"):
        graphed(model)
    assert_untouched(model, before)
    assert torch.equal(torch.get_rng_state(), random_before)


def test_weights_are_rounded_in_every_pass_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACE, Recording())
    model = toy_model()
    forward = graphed(model, precision=(rounding := Precision(device_type="cpu", bfloat16=True, channels_last=False)))
    seen: list[tuple[bool, bool]] = []
    model.register_forward_pre_hook(
        lambda *_: seen.append((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))
    )
    with rounding.autocast():
        forward(torch.zeros(8, 1, 4, 4))
        model(torch.zeros(8, 1, 4, 4))
    assert seen == [(True, False), (True, True)]


def test_passes_are_compared_from_one_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACE, Recording())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        graphed(nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.Dropout(0.5), nn.Linear(64, 2)))


def test_a_batch_of_another_size_is_never_repeated_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACE, Recording())
    forward = graphed(toy_model())
    with pytest.raises(AssertionError, match="whole batches"):
        forward(torch.zeros(1, 1, 4, 4))


def test_nothing_keeps_a_recording_when_its_cell_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[nn.Module]] = []

    def noted(module: nn.Module, sample_args: tuple[Tensor, ...], num_warmup_iters: int) -> nn.Module:
        made.append(weakref.ref(module))
        return Recording()(module, sample_args, num_warmup_iters)

    monkeypatch.setattr(PLACE, noted)
    model = toy_model()
    forward = graphed(model)
    gc.collect()
    assert made[0]() is not None
    del forward
    gc.collect()
    assert made[0]() is None, "else a worker would fill the GPU, cell by cell"


@pytest.mark.gpu
@pytest.mark.parametrize("bfloat16", [True, False])
@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_on_a_gpu_five_steps_are_close_to_plain_ones(spec: ModelSpec, bfloat16: bool) -> None:
    precision = Precision(device_type="cuda", bfloat16=bfloat16, channels_last=True)
    generator = generator_for(0)
    x_BCHW = torch.randn(8, 1, 4, 4, generator=generator).to("cuda", memory_format=torch.channels_last)
    labels_B = torch.randint(2, (8,), generator=generator).to("cuda")
    data = TrainingData(
        batch=lambda _positions: (x_BCHW.clone(), labels_B),
        normalise=lambda x_BCHW: x_BCHW,
        train_positions=torch.arange(8),
        dev_positions=torch.arange(0),
        num_classes=2,
        flip_keeps_label=True,
    )

    def trained(model: nn.Module, *, through_graphs: bool) -> list[float]:
        forward: Forward = graphed(model, data, precision=precision) if through_graphs else model
        model.train()
        optimizer, losses = make_optimizer(model, RECIPE), []
        for step in range(5):
            optimizer.zero_grad(set_to_none=True)
            with precision.autocast():
                # Not always the same images, so that a step on the last ones would show.
                logits_BK = forward(x_BCHW.roll(step, 0) * (1 + 0.1 * step))
            loss = nn.functional.cross_entropy(logits_BK.float(), labels_B.roll(step, 0))
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss))
        return losses

    plain, model = (toy_model(spec).to("cuda", memory_format=torch.channels_last) for _ in range(2))  # type: ignore[call-overload]
    losses, expected = trained(model, through_graphs=True), trained(plain, through_graphs=False)
    assert losses == pytest.approx(expected, rel=2e-2 if bfloat16 else 1e-3)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert float((one - other).norm()) <= 0.05 * float(other.norm()) + 1e-3
