"""A probe times what a recipe asks for, on images of the right shape."""

import pytest
import torch
from recorded_passes import Recording
from training_toy import CNN, RECIPE, STRONG, VIT, toy_model

from repro.catalog import load_catalog
from repro.choices import StepWay
from repro.errors import StepsNotGraphed
from repro.messages import Probe
from repro.models.macs import count_parameters
from repro.probe import measure_step
from repro.spec import ModelSpec, Recipe
from repro.training.data import TrainingData


def probe_of(spec: ModelSpec, recipe: Recipe, *, num_steps: int) -> Probe:
    return Probe(
        model=spec,
        recipe=recipe,
        image_size=4,
        num_channels=1,
        num_classes=2,
        device="cpu",
        bfloat16=False,
        channels_last=True,
        num_steps=num_steps,
    )


@pytest.mark.parametrize("recipe", [RECIPE, STRONG], ids=["plain", "strong"])
@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_a_step_takes_time(spec: ModelSpec, recipe: Recipe) -> None:
    measured = measure_step(probe_of(spec, recipe, num_steps=2))
    assert measured.step_s > 0
    assert measured.num_parameters == count_parameters(toy_model(spec))


@pytest.mark.parametrize(("probe_s", "expected"), [(1000.0, 3 + 5), (0.0, 1 + 2)], ids=["fast steps", "slow steps"])
def test_slow_steps_are_timed_fewer_times(monkeypatch: pytest.MonkeyPatch, probe_s: float, expected: int) -> None:
    # On a CPU a step of a model made for GPUs takes many seconds, and the forecast must not take longer than its use.
    asked: list[int] = []

    def counted(*arguments: object, step: int, **options: object) -> None:
        asked.append(step)

    monkeypatch.setattr("repro.probe.train_step", counted)
    monkeypatch.setattr("repro.probe.PROBE_S", probe_s)
    measure_step(probe_of(VIT, RECIPE, num_steps=5))
    assert len(asked) == expected
    assert asked == list(range(expected))


LIBRARY_VIT = ModelSpec(name="timm/test_vit.r160_in1k", family="vit")


@pytest.mark.parametrize("name", ["finetune-short", "linear-probe", "few-shot"])
def test_a_librarys_model_is_timed_at_the_recipes_size_with_three_channels(name: str) -> None:
    recipe = load_catalog().recipes[name].model_copy(update={"image_size": 32, "batch_size": 8, "micro_batch": None})
    measured = measure_step(probe_of(LIBRARY_VIT, recipe, num_steps=2))
    assert measured.image_s > 0
    assert (measured.step_s > 0) == (name != "few-shot"), "in closed form there is no step"


def test_fewer_images_are_timed_where_a_batch_takes_too_long_and_the_time_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(model: object, optimizer: object, data: TrainingData, *arguments: object, **options: object) -> None:
        sizes.append(len(data.batch(torch.empty(0, dtype=torch.int64))[0]))

    monkeypatch.setattr("repro.probe.train_step", counted)
    monkeypatch.setattr("repro.probe.PROBE_S", 0.0)
    measure_step(probe_of(VIT, RECIPE.model_copy(update={"batch_size": 64}), num_steps=2))
    assert set(sizes) == {2}


def test_steps_are_timed_in_the_way_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.make_graphed_callables", recording := Recording())
    measured = measure_step(probe_of(CNN, RECIPE, num_steps=2).model_copy(update={"way": StepWay.GRAPHED}))
    assert recording.num_backward == 1 + 3 + 2, "tried, warmed up, timed"
    assert (measured.ready_s > 0, measured.step_s > 0) == (True, True)


def test_a_probe_of_graphs_that_change_numbers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.make_graphed_callables", Recording(gradient=lambda gradient: 2 * gradient))
    with pytest.raises(StepsNotGraphed, match="another gradient"):
        measure_step(probe_of(CNN, RECIPE, num_steps=2).model_copy(update={"way": StepWay.GRAPHED}))
