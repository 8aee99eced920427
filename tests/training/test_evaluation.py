"""Accuracy and loss are exact, also over a partial last batch."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from training_toy import CPU

from repro.training.evaluation import EVALUATION_BATCH, evaluate, evaluation_batch


def test_a_partial_last_batch_counts_in_full() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(10, 3, generator=generator), torch.randint(0, 3, (10,), generator=generator)
    seen: list[int] = []

    def batch(positions: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(positions))
        return images[positions], labels[positions]

    model = nn.Identity().train()
    announced: list[list[int]] = []
    result = evaluate(
        model,
        batch,
        positions_N=torch.arange(10),
        precision=CPU,
        prefetch=lambda positions: announced.append([len(seen), *positions.tolist()]),
        batch_images=4,
    )
    assert seen == [4, 4, 2]
    assert announced == [[1, 4, 5, 6, 7], [2, 8, 9]], "each chunk while the one before is computed"
    assert not model.training
    assert result.accuracy == pytest.approx((images.argmax(1) == labels).float().mean().item())
    assert result.loss == pytest.approx(functional.cross_entropy(images, labels).item(), rel=1e-6)
    assert torch.equal(result.predicted_N, images.argmax(1))


@pytest.mark.parametrize("size", [8, 32, 64])
@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_small_images_are_evaluated_as_many_at_once_as_ever(size: int, device_type: str) -> None:
    assert evaluation_batch(size, device_type) == EVALUATION_BATCH


def test_larger_images_are_evaluated_fewer_at_once() -> None:
    assert [evaluation_batch(224, device) for device in ("cuda", "cpu")] == [256, 64]
    assert [evaluation_batch(384, device) for device in ("cuda", "cpu")] == [87, 21]
    assert evaluation_batch(96, "cuda") == EVALUATION_BATCH, "never more than small ones"
    assert evaluation_batch(2000, "cpu") == 8
