"""One case is measured through the real loop: what the numbers are made of, never how large they are."""

from pathlib import Path

import pytest
from training_toy import CNN, LINEAR_PROBE, RECIPE, STRONG, VIT

from repro.bench import measure_speed
from repro.bench.clock import LEAST_BLOCKS
from repro.bench.setting import prepared
from repro.benchmarks import Speed, blocks_of
from repro.catalog import load_catalog
from repro.hardware import IMAGE_BUDGET_VARIABLE
from repro.messages import Trial
from repro.models.macs import count_forward_macs
from repro.spec import ModelSpec, Recipe


def trial_of(folder: Path, spec: ModelSpec = VIT, recipe: Recipe = RECIPE, **changes: object) -> Trial:
    trial = Trial(
        model=spec,
        recipe=recipe,
        image_size=4,
        num_channels=1,
        num_classes=2,
        flip_keeps_label=True,
        num_images=50,
        num_train_images=30,
        seconds=0.02,
        folder=folder,
        device="cpu",
        device_name="cpu",
        driver=None,
        bfloat16=False,
        channels_last=True,
        command="vitrepro bench",
        commit=None,
    )
    return trial.model_copy(update=changes)


def measured(trial: Trial) -> tuple[Speed, list[int]]:
    steps: list[int] = []
    return measure_speed(trial, progress=steps.append).speed, steps


def told(speed: Speed) -> dict[str, str]:
    return {choice.what: choice.value for choice in speed.choices}


@pytest.mark.parametrize("recipe", [RECIPE, STRONG, LINEAR_PROBE], ids=["plain", "strong", "probe"])
@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_the_loop_and_the_bare_step_are_measured_in_pairs(spec: ModelSpec, recipe: Recipe, tmp_path: Path) -> None:
    speed, steps = measured(trial_of(tmp_path, spec, recipe))
    assert speed.loop_images_per_s and speed.ceiling_images_per_s and speed.loop_to_ceiling_ratio
    loop, ceiling = speed.loop_images_per_s.values, speed.ceiling_images_per_s.values
    assert len(loop) == len(ceiling) >= LEAST_BLOCKS
    ratios = [one / other for one, other in zip(loop, ceiling, strict=True)]
    assert speed.loop_to_ceiling_ratio.values == pytest.approx(ratios)
    assert speed.loop_to_ceiling_ratio.median == pytest.approx(blocks_of(ratios).median)
    assert speed.loop_flops_per_s == pytest.approx(speed.loop_images_per_s.median * speed.flops_per_image)
    assert speed.peak_share == pytest.approx(speed.loop_flops_per_s / speed.peak_flops_per_s)
    assert speed.flops_per_image == speed.forward_macs * (2 if recipe.is_probe else 6)
    assert len(speed.evaluation_images_per_s.values) >= LEAST_BLOCKS
    assert steps, "the parent hears of logging intervals, as of a cell"


def test_what_the_loop_does_is_what_a_cell_does(tmp_path: Path) -> None:
    speed, _ = measured(trial_of(tmp_path))
    log = (tmp_path / "log.txt").read_text()
    assert " loss " in log and " training accuracy " in log
    assert (tmp_path / "last.pt").is_file()
    assert speed.first_step_s is not None and speed.first_step_s > 0
    assert speed.peak_mem_bytes is not None and speed.peak_mem_bytes > 0
    assert (speed.joules_per_image, speed.energy_problem != "") == (None, True)
    assert told(speed) == {"images": "resident", "micro-batch": "8 of 8"}


def test_images_are_streamed_where_the_data_sets_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IMAGE_BUDGET_VARIABLE, "0")
    assert told(measured(trial_of(tmp_path))[0])["images"] == "streamed"
    # Too many to make: a few stand for them, and are streamed as all of them would be.
    monkeypatch.setenv(IMAGE_BUDGET_VARIABLE, "1")
    monkeypatch.setattr("repro.bench.setting.MOST_IMAGE_BYTES", 2**12)
    speed, _ = measured(trial_of(tmp_path, num_images=2**27))
    [images] = [choice for choice in speed.choices if choice.what == "images"]
    assert images.value == "streamed"
    assert images.reason.endswith(f"256 random ones stand for {2**27}")


def test_what_is_solved_for_has_no_steps(tmp_path: Path) -> None:
    recipe = load_catalog().recipes["few-shot"].model_copy(update={"image_size": 8, "batch_size": 8})
    speed, steps = measured(trial_of(tmp_path, recipe=recipe))
    assert (speed.loop_images_per_s, speed.ceiling_images_per_s, speed.loop_to_ceiling_ratio) == (None, None, None)
    assert (speed.first_step_s, speed.loop_flops_per_s, speed.peak_share, steps) == (None, None, None, [])
    assert speed.evaluation_images_per_s.median > 0
    assert told(speed)["steps"] == "none"


def test_fewer_images_are_timed_where_a_batch_would_take_too_long(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"batch_size": 64, "micro_batch": 32})
    for peak, batch, micro, evaluated in ((1e15, 64, "32 of 64", 1000), (1.0, 2, "2 of 2", 2)):
        with prepared(trial_of(tmp_path, CNN, recipe), peak_flops_per_s=peak) as setting:
            found = {choice.what: choice.value for choice in setting.choices}
            assert setting.recipe.batch_size == batch
            assert found["micro-batch"] == micro
            assert setting.start.evaluation_batch == evaluated
            assert ("batch" in found, "evaluation batch" in found) == (batch < 64, evaluated < 1000)
    assert found["batch"] == "2 of 64"


def test_a_grey_image_is_given_to_a_librarys_model_at_the_recipes_size(tmp_path: Path) -> None:
    recipe = (
        load_catalog()
        .recipes["finetune-short"]
        .model_copy(update={"image_size": 32, "batch_size": 4, "micro_batch": None, "lr_grid": ()})
    )
    library = ModelSpec(name="timm/test_vit.r160_in1k", family="vit")
    with prepared(trial_of(tmp_path, library, recipe), peak_flops_per_s=1e15) as setting:
        x_BCHW, _ = setting.data.normalised_batch(setting.data.train_positions[:3])
        assert x_BCHW.shape == (3, 3, 32, 32)
        assert abs(float(x_BCHW.mean())) < 0.5
        assert setting.forward_macs == count_forward_macs(setting.start.model, image_size=32, num_channels=3)
