"""A probe times what a recipe asks for, on images of the right shape."""

import pytest
from training_toy import CNN, RECIPE, STRONG, VIT, toy_model

from repro.messages import Probe
from repro.models.macs import count_parameters
from repro.probe import measure_step
from repro.spec import ModelSpec, Recipe


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
