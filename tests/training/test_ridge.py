"""The closed-form head is scikit-learn's ridge regression on standardised features, folded into the model's own layer."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional
from training_toy import CNN, CPU, RECIPE, VIT, grey_data, toy_features, toy_head, toy_model, train_toy

from repro.errors import TrainingDiverged
from repro.records import EpochRow
from repro.spec import ModelSpec, Recipe
from repro.training.data import TrainingData
from repro.training.evaluation import evaluate
from repro.training.ridge import RidgeHead, extract_features, fit_ridge, train_head_by_ridge, write_head

RIDGE = Recipe.model_validate(RECIPE.model_dump() | {"trains": "head", "steps": 1, "warmup_steps": 0, "ridge_penalty": 2.0})


def task(num_images: int, num_features: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Features float32 (N, D) of means and deviations that differ widely, and labels in turn."""
    generator = torch.Generator().manual_seed(num_images)
    labels_N = torch.arange(num_images) % num_classes
    centres_KD = torch.randn(num_classes, num_features, generator=generator)
    x_ND = centres_KD[labels_N] + torch.randn(num_images, num_features, generator=generator)
    return x_ND * torch.logspace(-3, 3, num_features) + torch.linspace(-50, 50, num_features), labels_N


def by_sklearn(x_ND: Tensor, labels_N: Tensor, *, num_classes: int, penalty: float) -> np.ndarray:
    """Outputs (N, K) on the images that it was fitted to."""
    z_ND = StandardScaler().fit_transform(x_ND.double().numpy())
    targets_NK = np.where(labels_N.numpy()[:, None] == np.arange(num_classes), 1.0, -1.0)
    solution = Ridge(alpha=penalty, fit_intercept=True, solver="svd").fit(z_ND, targets_NK)
    return np.asarray(solution.predict(z_ND)).reshape(len(z_ND), -1)


def outputs(fitted: RidgeHead, x_ND: Tensor) -> Tensor:
    return x_ND.double() @ fitted.weight_KD.T + fitted.bias_K


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1000.0])
@pytest.mark.parametrize("num_features", [6, 64])
@pytest.mark.parametrize(("per_class", "num_classes"), [(1, 10), (5, 10), (10, 10), (1, 2), (5, 2), (10, 3)])
def test_it_is_ridge_regression(per_class: int, num_classes: int, num_features: int, penalty: float) -> None:
    x_ND, labels_N = task(per_class * num_classes, num_features, num_classes)
    fitted = fit_ridge(x_ND, labels_N, num_classes=num_classes, penalty=penalty)
    assert fitted.weight_KD.shape == (num_classes, num_features)
    assert fitted.bias_K.shape == (num_classes,)
    expected = by_sklearn(x_ND, labels_N, num_classes=num_classes, penalty=penalty)
    np.testing.assert_allclose(outputs(fitted, x_ND).numpy(), expected, rtol=1e-6, atol=1e-6)


def test_weights_are_those_of_the_standardised_features() -> None:
    x_ND, labels_N = task(40, 12, 4)
    fitted = fit_ridge(x_ND, labels_N, num_classes=4, penalty=3.0)
    z_ND = StandardScaler().fit_transform(x_ND.double().numpy())
    solution = Ridge(alpha=3.0).fit(z_ND, 2.0 * functional.one_hot(labels_N, 4).double().numpy() - 1)
    own = fitted.weight_KD * x_ND.double().std(dim=0, correction=0)
    np.testing.assert_allclose(own.numpy(), solution.coef_, rtol=1e-6, atol=1e-8)


def test_features_and_images_give_the_same_solution() -> None:
    x_ND, labels_N = task(20, 20, 4)
    primal = fit_ridge(x_ND, labels_N, num_classes=4, penalty=0.5)
    # One constant feature more does not count, and makes the other way the shorter one.
    dual = fit_ridge(torch.cat([x_ND, torch.full((20, 1), 3.7)], dim=1), labels_N, num_classes=4, penalty=0.5)
    torch.testing.assert_close(dual.weight_KD[:, :20], primal.weight_KD, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(dual.bias_K, primal.bias_K, rtol=1e-8, atol=1e-9)
    assert not dual.weight_KD[:, 20].any()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_what_differs_by_rounding_only_is_constant(value: float) -> None:
    x_ND, labels_N = task(12, 5, 3)
    x_ND[:, 2] = value
    x_ND[::2, 2] *= 1 + 1e-7
    fitted = fit_ridge(x_ND, labels_N, num_classes=3, penalty=1e-3)
    others = fit_ridge(x_ND[:, [0, 1, 3, 4]], labels_N, num_classes=3, penalty=1e-3)
    assert torch.equal(fitted.weight_KD[:, 2], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(outputs(fitted, x_ND), outputs(others, x_ND[:, [0, 1, 3, 4]]), rtol=1e-8, atol=1e-8)


def test_nothing_to_learn_from_gives_the_classes_shares() -> None:
    fitted = fit_ridge(torch.full((4, 3), 0.1), torch.tensor([0, 0, 0, 1]), num_classes=2, penalty=1.0)
    torch.testing.assert_close(outputs(fitted, torch.full((1, 3), 0.1))[0], torch.tensor([0.5, -0.5], dtype=torch.float64))
    alone = fit_ridge(torch.randn(1, 3), torch.tensor([1]), num_classes=3, penalty=1.0)
    assert torch.equal(alone.weight_KD, torch.zeros(3, 3, dtype=torch.float64))
    assert alone.bias_K.tolist() == [-1, 1, -1]


def test_it_is_deterministic() -> None:
    x_ND, labels_N = task(30, 100, 3)
    first, again = (fit_ridge(x_ND, labels_N, num_classes=3, penalty=1.0) for _ in range(2))
    assert torch.equal(first.weight_KD, again.weight_KD) and torch.equal(first.bias_K, again.bias_K)


@pytest.mark.parametrize("head", [nn.Linear(12, 4), nn.Conv2d(12, 4, kernel_size=1)], ids=["linear", "1x1 convolution"])
def test_the_solution_is_put_into_the_head(head: nn.Linear | nn.Conv2d) -> None:
    x_ND, labels_N = torch.randn(20, 12, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 4
    fitted = fit_ridge(x_ND, labels_N, num_classes=4, penalty=1.0)
    write_head(head, fitted)
    images = x_ND if isinstance(head, nn.Linear) else x_ND.view(20, 12, 1, 1)
    torch.testing.assert_close(head(images).flatten(1), outputs(fitted, x_ND).float(), rtol=1e-4, atol=1e-5)


def test_features_are_those_of_the_images_in_their_order() -> None:
    data, announced = grey_data(10, repeat_grey=True, image_size=6), list[list[int]]()
    x_ND, labels_N = extract_features(
        lambda x_BCHW: x_BCHW.mean(dim=(2, 3)).to(torch.bfloat16),
        data.normalised_batch,
        torch.tensor([7, 2, 3, 9, 4]),
        precision=CPU,
        batch_images=2,
        prefetch=lambda positions_B: announced.append(positions_B.tolist()),
    )
    images, labels = data.normalised_batch(torch.tensor([7, 2, 3, 9, 4]))
    assert x_ND.dtype == torch.float32 and x_ND.shape == (5, 3)
    torch.testing.assert_close(x_ND, images.mean(dim=(2, 3)), rtol=1e-2, atol=1e-2)
    assert torch.equal(labels_N, labels)
    assert announced == [[3, 9], [4]]


def fit(model: nn.Module, data: TrainingData, rows: list[tuple[int, EpochRow]]):  # type: ignore[no-untyped-def]
    return train_head_by_ridge(
        model,
        toy_head(model),
        toy_features(model),
        data,
        RIDGE,
        precision=CPU,
        progress=lambda step, row: rows.append((step, row)),
    )


@pytest.mark.parametrize("spec", [VIT, CNN], ids=["vit", "cnn"])
def test_a_models_head_is_fitted_and_nothing_else_changes(spec: ModelSpec) -> None:
    model, data, rows = toy_model(spec), grey_data(num_dev=10), list[tuple[int, EpochRow]]()
    train_toy(model, data=data)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training = fit(model, data, rows)
    assert rows == [(1, training.rows[0])] and len(training.rows) == 1
    row = training.rows[0]
    after = evaluate(model, data.normalised_batch, positions_N=data.train_positions, precision=CPU)
    assert row.train_accuracy == after.accuracy > 0.8
    assert row.train_loss == pytest.approx(after.loss, rel=1e-3)
    assert (row.step, row.epoch, row.lr) == (1, 1.0, RIDGE.lr)
    assert row.dev_accuracy == training.dev_accuracy is not None
    assert (training.selected_step, training.resumed_from_step) == (1, None)
    assert training.wall_s == row.elapsed_s > 0
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == ({"head.weight", "head.bias"} if spec is VIT else {"fc.weight", "fc.bias"})


def test_without_a_dev_split_there_are_no_dev_numbers() -> None:
    training = fit(toy_model(), grey_data(), [])
    assert training.dev_accuracy is None and training.rows[0].dev_loss is None


def test_features_that_are_not_finite_are_named() -> None:
    model = toy_model()
    with torch.no_grad():
        model.get_parameter("norm.weight").fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="not all finite"):
        fit(model, grey_data(), [])
