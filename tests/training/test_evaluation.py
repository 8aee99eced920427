"""Accuracy and loss are exact, also over a partial last batch."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from training_toy import CPU

from repro.training import evaluation
from repro.training.evaluation import evaluate


def test_a_partial_last_batch_counts_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 4)
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
    )
    assert seen == [4, 4, 2]
    assert announced == [[1, 4, 5, 6, 7], [2, 8, 9]], "each chunk while the one before is computed"
    assert not model.training
    assert result.accuracy == pytest.approx((images.argmax(1) == labels).float().mean().item())
    assert result.loss == pytest.approx(functional.cross_entropy(images, labels).item(), rel=1e-6)
    assert torch.equal(result.predicted_N, images.argmax(1))
