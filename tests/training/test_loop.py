"""Training learns, resumes bitwise, names the step of a divergence, and treats both families alike."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training_toy import CNN, CPU, RECIPE, VIT, toy_data, toy_model

from repro.errors import TrainingDiverged
from repro.records import EpochRow
from repro.spec import ModelSpec, Recipe
from repro.training.evaluation import evaluate
from repro.training.loop import Training, TrainingData, check_losses, train

GOLDEN = Path(__file__).parent / "golden_losses.json"


def run(
    model: torch.nn.Module,
    *,
    data: TrainingData | None = None,
    recipe: Recipe = RECIPE,
    state: dict[str, Any] | None = None,
    states: list[dict[str, Any]] | None = None,
    augmentation_seed: int = 2,
) -> Training:
    kept: list[dict[str, Any]] = states if states is not None else []
    return train(
        model,
        data or toy_data(),
        recipe,
        precision=CPU,
        order_seed=1,
        augmentation_seed=augmentation_seed,
        state=state,
        save=lambda new: kept.append(copy.deepcopy(new)),
        progress=lambda step, row: None,
    )


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_learns_the_toy_task(spec: ModelSpec) -> None:
    model, data = toy_model(spec), toy_data()
    before = evaluate(model, data.batch, positions_N=data.train_positions, precision=CPU)
    training = run(model, data=data)
    after = evaluate(model, data.batch, positions_N=data.train_positions, precision=CPU)
    assert before.loss == pytest.approx(0.6931, abs=1e-3)
    assert after.loss < 0.5
    assert after.accuracy > 0.9
    assert training.rows[-1].step == RECIPE.steps
    assert training.selected_step == RECIPE.steps


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
@pytest.mark.parametrize("augmented", [False, True], ids=["plain", "augmented"])
def test_a_resumed_run_ends_bitwise_as_an_undisturbed_one(spec: ModelSpec, augmented: bool) -> None:
    recipe = RECIPE.model_copy(update={"flip": augmented, "crop_padding": int(augmented)})
    undisturbed, states = toy_model(spec), list[dict[str, Any]]()
    whole = run(undisturbed, recipe=recipe, states=states)
    assert len(states) > 3
    for state in states[:3]:
        resumed = toy_model(spec, seed=5)
        rest = run(resumed, recipe=recipe, state=copy.deepcopy(state))
        assert rest.resumed_from_step == state["step"]
        assert [row.train_loss for row in rest.rows] == [row.train_loss for row in whole.rows]
        for name, tensor in undisturbed.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_best_dev_weights_are_kept_where_the_recipe_says_so() -> None:
    recipe = RECIPE.model_copy(update={"dev_fraction": 0.25, "select": "best_dev"})
    data = toy_data(num_dev=10)
    model = toy_model()
    training = run(model, data=data, recipe=recipe)
    accuracies = [row.dev_accuracy for row in training.rows]
    best = max(accuracy for accuracy in accuracies if accuracy is not None)
    assert training.dev_accuracy == best
    last_best = max(index for index, accuracy in enumerate(accuracies) if accuracy == best)
    assert training.selected_step == training.rows[last_best].step
    again = evaluate(model, data.batch, positions_N=data.dev_positions, precision=CPU)
    assert again.accuracy == best


def test_watching_the_dev_split_does_not_change_training() -> None:
    watched, unwatched = toy_model(CNN), toy_model(CNN)
    data = toy_data(num_dev=10)
    blind = TrainingData(
        batch=data.batch,
        train_positions=data.train_positions,
        dev_positions=data.dev_positions[:0],
        num_classes=2,
        flip_keeps_label=True,
    )
    run(watched, data=data)
    run(unwatched, data=blind)
    for name, tensor in watched.state_dict().items():
        assert torch.equal(tensor, unwatched.state_dict()[name]), name


def test_augmentation_follows_its_seed_and_the_data_sets_permission() -> None:
    recipe = RECIPE.model_copy(update={"flip": True})
    data = toy_data()
    forbidden = TrainingData(
        batch=data.batch,
        train_positions=data.train_positions,
        dev_positions=data.dev_positions,
        num_classes=2,
        flip_keeps_label=False,
    )
    losses = {
        "plain": run(toy_model()).rows[-1].train_loss,
        "flipped": run(toy_model(), recipe=recipe).rows[-1].train_loss,
        "other seed": run(toy_model(), recipe=recipe, augmentation_seed=3).rows[-1].train_loss,
        "forbidden": run(toy_model(), recipe=recipe, data=forbidden).rows[-1].train_loss,
    }
    assert losses["forbidden"] == losses["plain"]
    assert len(set(losses.values())) == 3


def test_divergence_is_named_with_its_step() -> None:
    with pytest.raises(TrainingDiverged, match=r"(became (nan|inf) at step \d+|diverged: mean loss)"):
        run(toy_model(), recipe=RECIPE.model_copy(update={"lr": 1e6, "clip_norm": None, "warmup_steps": 0, "optimizer": "sgd"}))


def test_the_first_broken_step_is_the_one_named() -> None:
    losses = torch.tensor([0.5, 0.4, float("nan"), float("inf")])
    with pytest.raises(TrainingDiverged, match="became nan at step 13"):
        check_losses(losses, first_step=10, limit=100.0)
    with pytest.raises(TrainingDiverged, match=r"steps 11 to 12.*largest at step 12"):
        check_losses(torch.tensor([90.0, 120.0]), first_step=10, limit=100.0)
    check_losses(torch.tensor([0.5]), first_step=0, limit=100.0)


def test_a_set_smaller_than_a_batch_still_trains_on_full_batches() -> None:
    training = run(toy_model(), data=toy_data(5))
    assert training.rows[-1].epoch == pytest.approx(RECIPE.steps * RECIPE.batch_size / 5)


def test_losses_are_those_of_the_golden_file() -> None:
    """A change of these numbers is a change of the training semantics: raise TRAINING_SEMANTICS and renew the file."""
    got = {spec.name: [row.train_loss for row in run(toy_model(spec)).rows] for spec in (VIT, CNN)}
    golden = json.loads(GOLDEN.read_text())
    for name, losses in golden.items():
        # Not bitwise: the last digits differ between processors.
        assert got[name] == pytest.approx(losses, rel=2e-3), name


def test_rows_survive_the_file() -> None:
    rows = run(toy_model()).rows
    assert [EpochRow.model_validate_json(row.model_dump_json()) for row in rows] == rows
