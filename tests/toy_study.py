"""Small studies for the tests of `repro.analysis`: rows and predictions without any training."""

from collections.abc import Sequence

import numpy as np

from repro.analysis.results import CellRow, Outcome
from repro.analysis.statistics import Correctness
from repro.records import CellStatus
from repro.spec import Claim, Family, Measure, Role, Scope

FAMILIES: dict[str, Family] = {"vit": "vit", "vit_b": "vit", "cnn": "cnn", "cnn_b": "cnn"} | {
    "vit_cifar": "vit",
    "resnet18_cifar": "cnn",
}


def exact(num_correct: Sequence[int], num_images: int = 400) -> Correctness:
    """bool (S, I): seed s gets the first num_correct[s] images right, so accuracies are exact and seeds agree."""
    return np.arange(num_images)[None, :] < np.asarray(num_correct)[:, None]


class ToyStudy:
    """Collects outcomes and predictions of arms."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.predictions: dict[str, Correctness] = {}

    def add(
        self,
        model: str,
        size: int,
        correct: Correctness | Sequence[int],
        *,
        dataset: str = "toy",
        init: str = "scratch",
        recipe: str = "plain",
        is_regularised: bool = False,
        steps: int = 400,
        train_accuracy: float = 1.0,
        role: Role = Role.STUDY,
        status: CellStatus = CellStatus.DONE,
        first_seed: int = 1,
    ) -> list[str]:
        """One cell for each row of `correct`; their ids."""
        matrix = correct if isinstance(correct, np.ndarray) else exact(correct)
        ids = []
        for seed, correct_I in enumerate(matrix, start=first_seed):
            done = status is CellStatus.DONE
            row = CellRow(
                id=f"{dataset}.n{size}.{model}.{init}.{recipe}.s{seed}",
                fingerprint="0" * 64,
                role=role,
                dataset=dataset,
                model=model,
                family=FAMILIES[model],
                init=init,
                num_upstream_images=int(init.rpartition("@")[2]) if "@" in init else 0,
                recipe=recipe,
                is_regularised=is_regularised,
                num_train_images=size,
                seed=seed,
                status=status,
                reason="" if done else "not yet run",
                test_accuracy=float(correct_I.mean()) if done else None,
                test_loss=0.5 if done else None,
                train_accuracy=train_accuracy if done else None,
                train_loss=0.01 if done else None,
                dev_accuracy=None,
                selected_step=steps if done else None,
                num_parameters=1000 if done else None,
                forward_macs=2000 if done else None,
                train_flops=1e9 / 3 if done else None,
                wall_s=1.5 if done else None,
                total_s=2.5 if done else None,
                energy_j=None,
                peak_mem_bytes=10**8 if done else None,
                device="cpu" if done else None,
                device_shared=False if done else None,
            )
            self.outcomes.append(Outcome(row=row, record=None))
            if done:
                self.predictions[row.id] = correct_I
            ids.append(row.id)
        return ids


def toy_claim(measure: Measure = Measure.FAMILY_GAP, **fields: object) -> Claim:
    """A claim with everything but the fields of interest filled in."""
    defaults: dict[str, object] = {
        "id": "toy-claim",
        "statement": "A is ahead of B.",
        "source": "Section 1",
        "published": "5 points",
        "scope": Scope(init="scratch"),
        "measure": measure,
        "ahead": "cnn",
        "quantifier": "every",
        "both_scales": False,
        "smallest_effect": 0.01,
        "smallest_effect_log_odds": 0.1,
        "reason": "for a test",
    }
    return Claim.model_validate(defaults | fields)
