"""Training learns, resumes bitwise, names the step of a divergence, and treats both families alike."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from training_toy import CNN, CPU, FINE_TUNING, RECIPE, STRONG, VIT, grey_data, toy_data, toy_model, train_toy

from repro.errors import TrainingDiverged
from repro.records import EpochRow
from repro.spec import ModelSpec, Recipe
from repro.training.data import TrainingData
from repro.training.enlargement import enlarge
from repro.training.evaluation import evaluate
from repro.training.loop import check_losses, train_step
from repro.training.optimization import make_optimizer
from repro.training.precision import Precision

GOLDEN = Path(__file__).parent / "golden_losses.json"


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_learns_the_toy_task(spec: ModelSpec) -> None:
    model, data = toy_model(spec), toy_data()
    before = evaluate(model, data.normalised_batch, positions_N=data.train_positions, precision=CPU)
    training = train_toy(model, data=data)
    after = evaluate(model, data.normalised_batch, positions_N=data.train_positions, precision=CPU)
    assert before.loss == pytest.approx(0.6931, abs=1e-3)
    assert after.loss < 0.5
    assert after.accuracy > 0.9
    assert training.rows[-1].step == RECIPE.steps
    assert training.selected_step == RECIPE.steps


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
@pytest.mark.parametrize("recipe", [RECIPE, STRONG], ids=["plain", "augmented"])
def test_a_resumed_run_ends_bitwise_as_an_undisturbed_one(spec: ModelSpec, recipe: Recipe) -> None:
    undisturbed, states = toy_model(spec), list[dict[str, Any]]()
    whole = train_toy(undisturbed, data=grey_data(), recipe=recipe, states=states)
    assert len(states) > 3
    for state in states[:3]:
        resumed = toy_model(spec, seed=5)
        rest = train_toy(resumed, data=grey_data(), recipe=recipe, state=copy.deepcopy(state))
        assert rest.resumed_from_step == state["step"]
        assert [row.train_loss for row in rest.rows] == [row.train_loss for row in whole.rows]
        for name, tensor in undisturbed.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_best_dev_weights_are_kept_where_the_recipe_says_so() -> None:
    recipe = RECIPE.model_copy(update={"dev_fraction": 0.25, "select": "best_dev"})
    data = toy_data(num_dev=10)
    model = toy_model()
    training = train_toy(model, data=data, recipe=recipe)
    accuracies = [row.dev_accuracy for row in training.rows]
    best = max(accuracy for accuracy in accuracies if accuracy is not None)
    assert training.dev_accuracy == best
    last_best = max(index for index, accuracy in enumerate(accuracies) if accuracy == best)
    assert training.selected_step == training.rows[last_best].step
    again = evaluate(model, data.normalised_batch, positions_N=data.dev_positions, precision=CPU)
    assert again.accuracy == best


def test_watching_the_dev_split_does_not_change_training() -> None:
    watched, unwatched = toy_model(CNN), toy_model(CNN)
    data = toy_data(num_dev=10)
    blind = TrainingData(
        batch=data.batch,
        normalise=data.normalise,
        train_positions=data.train_positions,
        dev_positions=data.dev_positions[:0],
        num_classes=2,
        flip_keeps_label=True,
    )
    train_toy(watched, data=data)
    train_toy(unwatched, data=blind)
    for name, tensor in watched.state_dict().items():
        assert torch.equal(tensor, unwatched.state_dict()[name]), name


def test_augmentation_follows_its_seed_and_the_data_sets_permission() -> None:
    recipe = RECIPE.model_copy(update={"flip": True})
    data = toy_data()
    forbidden = TrainingData(
        batch=data.batch,
        normalise=data.normalise,
        train_positions=data.train_positions,
        dev_positions=data.dev_positions,
        num_classes=2,
        flip_keeps_label=False,
    )
    losses = {
        "plain": train_toy(toy_model()).rows[-1].train_loss,
        "flipped": train_toy(toy_model(), recipe=recipe).rows[-1].train_loss,
        "other seed": train_toy(toy_model(), recipe=recipe, augmentation_seed=3).rows[-1].train_loss,
        "forbidden": train_toy(toy_model(), recipe=recipe, data=forbidden).rows[-1].train_loss,
    }
    assert losses["forbidden"] == losses["plain"]
    assert len(set(losses.values())) == 3


def seen_by(spec: ModelSpec, recipe: Recipe, *, augmentation_seed: int = 2) -> list[Tensor]:
    """The images that a model is trained on."""
    model, seen = toy_model(spec), list[Tensor]()
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    train_toy(model, data=grey_data(), recipe=recipe, augmentation_seed=augmentation_seed)
    return seen


def test_both_families_see_the_same_images() -> None:
    vit, cnn = seen_by(VIT, STRONG), seen_by(CNN, STRONG)
    assert len(vit) == len(cnn) == STRONG.steps
    assert all(torch.equal(one, other) for one, other in zip(vit, cnn, strict=True))
    other_seed = seen_by(VIT, STRONG, augmentation_seed=3)
    assert not any(torch.equal(one, other) for one, other in zip(vit, other_seed, strict=True))


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_the_toy_task_is_learnt_from_strongly_changed_images(spec: ModelSpec) -> None:
    model, data = toy_model(spec), grey_data()
    training = train_toy(model, data=data, recipe=STRONG.model_copy(update={"steps": 120}))
    after = evaluate(model, data.normalised_batch, positions_N=data.train_positions, precision=CPU)
    assert after.accuracy > 0.8
    assert 0.3 < training.rows[-1].train_accuracy < 1


@pytest.mark.parametrize(
    "change",
    [{"trivial_augment": True}, {"mixup_alpha": 0.8}, {"cutmix_alpha": 1.0}, {"erase_probability": 0.5}],
    ids=lambda change: next(iter(change)),
)
def test_each_change_is_made_where_the_recipe_asks_for_it(change: dict[str, object]) -> None:
    plain = train_toy(toy_model(), data=grey_data()).rows[-1].train_loss
    assert train_toy(toy_model(), data=grey_data(), recipe=RECIPE.model_copy(update=change)).rows[-1].train_loss != plain


def test_the_next_positions_are_announced_when_a_batch_has_been_taken() -> None:
    data, events = toy_data(), list[tuple[str, list[int]]]()

    def batch(positions_B: Tensor) -> tuple[Tensor, Tensor]:
        events.append(("batch", positions_B.tolist()))
        return data.batch(positions_B)

    watched = TrainingData(
        batch=batch,
        normalise=data.normalise,
        train_positions=data.train_positions,
        dev_positions=data.dev_positions,
        num_classes=2,
        flip_keeps_label=True,
        prefetch=lambda positions_B: events.append(("prefetch", positions_B.tolist())),
    )
    train_toy(toy_model(), data=watched)
    assert [name for name, _ in events] == ["batch", "prefetch"] * (RECIPE.steps - 1) + ["batch"]
    assert all(events[place][1] == events[place + 1][1] for place in range(1, len(events) - 1, 2))


class Questions(TorchDispatchMode):
    """Notes every operation whose answer the host would have to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        is_by_mask = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if is_by_mask or name in (
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "equal",
            "is_nonzero",
            "repeat_interleave",
        ):
            self.asked.append(name)
        return function(*args, **(kwargs or {}))


FINE_TUNING_STRONG = STRONG.model_copy(update={"image_size": 8, "crop_min_area": 0.3})


@pytest.mark.parametrize(("recipe", "micro_batch"), [(STRONG, None), (FINE_TUNING_STRONG, 16)], ids=["plain", "fine-tuning"])
@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_a_strong_step_asks_the_device_nothing(spec: ModelSpec, recipe: Recipe, micro_batch: int | None) -> None:
    model = toy_model(spec, image_size=recipe.image_size or 4, num_channels=3)
    data = grey_data(image_size=recipe.image_size, repeat_grey=True)
    optimizer = make_optimizer(model, recipe)
    with Questions() as questions:
        train_step(
            model,
            optimizer,
            data,
            recipe,
            data.train_positions,
            upcoming_B=None,
            step=0,
            precision=CPU,
            augmentation_seed=0,
            micro_batch=micro_batch,
        )
        assert questions.asked == []
        assert torch.ones(1).item() == 1
        assert questions.asked == ["_local_scalar_dense"], "it would have been noticed"


@pytest.mark.gpu
@pytest.mark.parametrize(("recipe", "micro_batch"), [(STRONG, None), (FINE_TUNING_STRONG, 4)], ids=["plain", "fine-tuning"])
def test_a_strong_step_never_waits_for_the_gpu(recipe: Recipe, micro_batch: int | None) -> None:
    precision = Precision(device_type="cuda", bfloat16=True, channels_last=True)
    model = toy_model(CNN).to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = grey_data()
    greys, labels = (tensor.to("cuda") for tensor in data.batch(data.train_positions))
    on_gpu = dataclasses.replace(
        data,
        batch=lambda positions_B: tuple(tensor[positions_B.to("cuda", non_blocking=True)] for tensor in (greys, labels)),
    )
    optimizer = make_optimizer(model, recipe)
    for step in range(4):
        # The first steps allocate and choose kernels, which may wait.
        torch.cuda.set_sync_debug_mode("error" if step > 1 else "default")
        try:
            train_step(
                model,
                optimizer,
                on_gpu,
                recipe,
                torch.arange(8 * step, 8 * step + 8),
                upcoming_B=None,
                step=step,
                precision=precision,
                augmentation_seed=0,
                micro_batch=micro_batch,
            )
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_what_is_evaluated_has_the_models_channels_and_size() -> None:
    data = grey_data(image_size=8, repeat_grey=True)
    x_BCHW, labels_B = data.normalised_batch(torch.arange(5))
    greys, labels = data.batch(torch.arange(5))
    assert torch.equal(x_BCHW, data.normalise(enlarge(greys, 8)).expand(5, 3, 8, 8))
    assert torch.equal(labels_B, labels)


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_enlarged_images_are_learnt_from_and_watched_in_small_batches(spec: ModelSpec) -> None:
    data = dataclasses.replace(grey_data(num_dev=10, image_size=8, repeat_grey=True), evaluation_batch=3)
    model, seen = toy_model(spec, image_size=8, num_channels=3), set[tuple[bool, tuple[int, ...]]]()
    model.register_forward_pre_hook(lambda _, inputs: seen.add((model.training, tuple(inputs[0].shape))))
    training = train_toy(model, data=data, recipe=FINE_TUNING.model_copy(update={"steps": 80}))
    assert seen == {(True, (8, 3, 8, 8)), (False, (3, 3, 8, 8)), (False, (1, 3, 8, 8))}
    assert training.rows[-1].train_accuracy > 0.7
    assert training.dev_accuracy is not None and training.dev_accuracy > 0.7


def test_data_and_recipe_must_agree_on_the_size() -> None:
    with pytest.raises(AssertionError):
        train_toy(toy_model(image_size=8), data=grey_data(), recipe=FINE_TUNING)


def test_divergence_is_named_with_its_step() -> None:
    with pytest.raises(TrainingDiverged, match=r"(became (nan|inf) at step \d+|diverged: mean loss)"):
        train_toy(
            toy_model(), recipe=RECIPE.model_copy(update={"lr": 1e6, "clip_norm": None, "warmup_steps": 0, "optimizer": "sgd"})
        )


def test_the_first_broken_step_is_the_one_named() -> None:
    losses = torch.tensor([0.5, 0.4, float("nan"), float("inf")])
    with pytest.raises(TrainingDiverged, match="became nan at step 13"):
        check_losses(losses, first_step=10, limit=100.0)
    with pytest.raises(TrainingDiverged, match=r"steps 11 to 12.*largest at step 12"):
        check_losses(torch.tensor([90.0, 120.0]), first_step=10, limit=100.0)
    check_losses(torch.tensor([0.5]), first_step=0, limit=100.0)


def test_a_set_smaller_than_a_batch_still_trains_on_full_batches() -> None:
    training = train_toy(toy_model(), data=toy_data(5))
    assert training.rows[-1].epoch == pytest.approx(RECIPE.steps * RECIPE.batch_size / 5)


def test_losses_are_those_of_the_golden_file() -> None:
    """A change of these numbers is a change of the training semantics: raise TRAINING_SEMANTICS and renew the file."""
    got = {spec.name: [row.train_loss for row in train_toy(toy_model(spec)).rows] for spec in (VIT, CNN)}
    golden = json.loads(GOLDEN.read_text())
    for name, losses in golden.items():
        # Not bitwise: the last digits differ between processors.
        assert got[name] == pytest.approx(losses, rel=2e-3), name


def test_rows_survive_the_file() -> None:
    rows = train_toy(toy_model()).rows
    assert [EpochRow.model_validate_json(row.model_dump_json()) for row in rows] == rows
