"""Small studies for the tests of `repro.analysis`: rows and predictions without any training."""

from collections.abc import Sequence

import numpy as np

from repro.analysis.inside_results import InsideRow
from repro.analysis.results import CellRow, Outcome
from repro.analysis.statistics import Correctness
from repro.catalog import load_catalog
from repro.records import CellStatus
from repro.spec import Claim, Family, Measure, PairSpec, Role, Scope

FAMILIES: dict[str, Family] = {
    "vit": "vit",
    "vit_b": "vit",
    "vit_l": "vit",
    "vit_cifar": "vit",
    "cnn": "cnn",
    "cnn_b": "cnn",
    "cnn_l": "cnn",
    "resnet18_cifar": "cnn",
}
SMALL_UPSTREAM, LARGE_UPSTREAM = ("photos-1k", 1_281_167), ("photos-21k", 14_197_122)
"""Name and images of what made-up checkpoints were trained on."""
SCOPE_OF_MEASURE: dict[Measure, dict[str, str]] = {
    Measure.PRETRAINING_GAIN_GAP: {"init": "upstream"},
    Measure.UPSTREAM_TREND: {"init": "upstream"},
    Measure.UPSTREAM_TREND_GAP: {"init": "upstream"},
    Measure.RECIPE_GAIN: {"recipe": "strong", "baseline_recipe": "plain"},
    Measure.RECIPE_GAIN_GAP: {"recipe": "strong", "baseline_recipe": "plain"},
    Measure.CHECKPOINT_GAP: {"init": "pretrained", "model": "vit", "baseline_model": "vit_b"},
    Measure.UPSTREAM_GAIN_GAP: {"init": "pretrained", "pair": "large", "baseline_pair": "small"},
    Measure.ACCURACY: {"init": "pretrained", "model": "vit"},
    Measure.POSITION_SIMILARITY_GAP: {"init": "any"},
    Measure.ATTENTION_DISTANCE_RISE: {"init": "any"},
}
"""What a scope must say for each measure, where it is more than trained from scratch."""


def exact(num_correct: Sequence[int], num_images: int = 400) -> Correctness:
    """bool (S, I): seed s gets the first num_correct[s] images right, so accuracies are exact and seeds agree."""
    return np.arange(num_images)[None, :] < np.asarray(num_correct)[:, None]


class ToyStudy:
    """Collects outcomes and predictions of arms."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.predictions: dict[str, Correctness] = {}
        self.insides: list[InsideRow] = []

    def add(
        self,
        model: str,
        size: int,
        correct: Correctness | Sequence[int],
        *,
        dataset: str = "toy",
        init: str = "scratch",
        upstream: tuple[str, int] = ("", 0),
        recipe: str = "plain",
        is_regularised: bool = False,
        is_probe: bool = False,
        lr: float | None = None,
        dev_accuracy: float | None = None,
        steps: int = 400,
        num_parameters: int = 1000,
        forward_macs: int = 2000,
        train_accuracy: float = 1.0,
        role: Role = Role.STUDY,
        status: CellStatus = CellStatus.DONE,
        first_seed: int = 1,
    ) -> list[str]:
        """One cell for each row of `correct`; their ids. `upstream` is that of an init `pretrained`, where it is known."""
        matrix = correct if isinstance(correct, np.ndarray) else exact(correct)
        if init.startswith("upstream:"):
            name, _, images = init.removeprefix("upstream:").rpartition("@")
            upstream = name, int(images)
        is_tested = role is not Role.LR_SEARCH
        ids = []
        for seed, correct_I in enumerate(matrix, start=first_seed):
            done = status is CellStatus.DONE
            row = CellRow(
                id=f"{dataset}.n{size}.{model}.{init}.{recipe}.s{seed}",
                fingerprint="0" * 64,
                role=role,
                dataset=dataset,
                model=model,
                family=FAMILIES[model] if model in FAMILIES else load_catalog().checkpoints[model].family,
                init=init,
                upstream_dataset=upstream[0],
                num_upstream_images=upstream[1],
                recipe=recipe,
                is_regularised=is_regularised,
                is_probe=is_probe,
                num_train_images=size,
                seed=seed,
                status=status,
                reason="" if done else "not yet run",
                test_accuracy=float(correct_I.mean()) if done and is_tested else None,
                test_loss=0.5 if done and is_tested else None,
                train_accuracy=train_accuracy if done else None,
                train_loss=0.01 if done else None,
                dev_accuracy=dev_accuracy if done else None,
                lr=lr if done else None,
                selected_step=steps if done else None,
                num_parameters=num_parameters if done else None,
                forward_macs=forward_macs if done else None,
                train_flops=1e9 / 3 if done else None,
                wall_s=1.5 if done else None,
                total_s=2.5 if done else None,
                energy_j=None,
                peak_mem_bytes=10**8 if done else None,
                device="cpu" if done else None,
                device_shared=False if done else None,
            )
            self.outcomes.append(Outcome(row=row, record=None))
            if done and is_tested:
                self.predictions[row.id] = correct_I
            ids.append(row.id)
        return ids

    def look_into(
        self, ids: Sequence[str], *, similarity: Sequence[float] = (), rise: Sequence[float | None] = (), uniform: float = 4.0
    ) -> None:
        """What ViTs look like from within, one value a cell: similarity in line, rise in distances of uniform attention."""
        rows = {outcome.row.id: outcome.row for outcome in self.outcomes}
        for number, cell in enumerate(ids):
            row, slope = rows[cell], rise[number] if rise else 0.0
            self.insides.append(
                InsideRow(
                    cell=cell,
                    role=row.role,
                    **{name: getattr(row, name) for name in ("dataset", "model", "init", "recipe", "seed")},
                    num_train_images=row.num_train_images,
                    num_upstream_images=row.num_upstream_images,
                    patch_size=2,
                    num_images=32,
                    num_filter_components=4,
                    num_leading_components=3,
                    similarity_same_line=similarity[number] if similarity else 0.0,
                    similarity_elsewhere=0.0,
                    similarity_difference=similarity[number] if similarity else 0.0,
                    shuffle_share=0.5,
                    distances=((uniform,), (uniform,)),
                    distance_slope=None if slope is None else slope * uniform,
                    uniform_distance=uniform,
                    narrowest_lowest=uniform,
                    widest_lowest=uniform,
                    top_quarter=0.25,
                )
            )


def toy_claim(measure: Measure = Measure.FAMILY_GAP, **fields: object) -> Claim:
    """A claim with everything but the fields of interest filled in."""
    defaults: dict[str, object] = {
        "id": "toy-claim",
        "statement": "A is ahead of B.",
        "source": "Section 1",
        "published": "5 points",
        "scope": Scope.model_validate({"init": "scratch"} | SCOPE_OF_MEASURE.get(measure, {})),
        "measure": measure,
        "ahead": "cnn",
        "quantifier": "every",
        "both_scales": False,
        "reason": "for a test",
    }
    if measure is Measure.ACCURACY:
        defaults |= {"published_accuracy": 0.95, "tolerance": 0.01}
    elif measure.is_of_the_inside:
        defaults |= {"ahead": "vit", "smallest_effect": 0.05}
    else:
        defaults |= {"smallest_effect": 0.01, "smallest_effect_log_odds": 0.1}
    return Claim.model_validate(defaults | fields)


def toy_pair(name: str, vit: str | Sequence[str], cnn: str | Sequence[str]) -> PairSpec:
    """A declared pair, titled by its name with a capital."""
    vits, cnns = ((one,) if isinstance(one, str) else tuple(one) for one in (vit, cnn))
    return PairSpec(name=name, title=name.capitalize(), vit=vits, cnn=cnns)
