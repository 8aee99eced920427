"""A made-up study in the shape of the profile `full`, judged by the real analysis: two data sets, recipes and upstream sizes.

Accuracies come from formulas, not from training. `costly_study` writes a report of it, `whole_study` of all that `full` plans.
"""

import zlib

import numpy as np
from toy_study import ToyStudy

from repro.analysis.assemble import assemble
from repro.analysis.results import Results
from repro.analysis.statistics import Correctness
from repro.catalog import load_catalog
from repro.records import CellStatus
from repro.spec import CellBlock, Profile, Role

SIZES = (500, 2500, 5000, 12500, 25000, 50000)
STRONG_SIZES = (5000, 50000)
UPSTREAM_SIZES = (1000, 10000, 100000)
MODELS = ("vit_cifar", "resnet18_cifar")
DATASETS = ("cifar10", "cifar100")
NUM_IMAGES = 2000
PROFILE = Profile(
    name="full",
    description="A made-up study of full shape",
    notes=("Made up: formulas, no measurement.",),
    cells=tuple(
        CellBlock(dataset=DATASETS, size=sizes, model=MODELS, recipe=recipe, init=init, upstream_recipe=above)
        for sizes, recipe, init, above in (
            (SIZES, "cifar-plain", ("scratch",), None),
            (STRONG_SIZES, "cifar-strong", ("scratch",), None),
            (
                STRONG_SIZES,
                "cifar-finetune",
                tuple(f"upstream:tinyimagenet32@{size}" for size in UPSTREAM_SIZES),
                "tiny-upstream",
            ),
        )
    ),
)


def full_study(*, num_seeds: int = 3, unfinished: str = "", num_images: int = NUM_IMAGES) -> ToyStudy:
    """All cells; those whose recipe is `unfinished` are pending from seed 2 on."""
    study = ToyStudy()

    def add(dataset: str, model: str, size: int, recipe: str, *, upstream: int = 0, check: bool = False) -> None:
        name = f"{recipe}+4x" if check else recipe
        init = f"upstream:tinyimagenet32@{upstream}" if upstream else "scratch"
        accuracy = accuracy_of(dataset, model, size, recipe, upstream) + 0.001 * check
        correct = draw(dataset, f"{model} {size} {recipe} {upstream}", accuracy, 1 if check else num_seeds, num_images)
        strong = recipe == "cifar-strong"
        options = {
            "dataset": dataset,
            "init": init,
            "recipe": name,
            "is_regularised": strong,
            "train_accuracy": 0.93 if strong else 0.998,
            "role": Role.CONVERGENCE_CHECK if check else Role.STUDY,
        }
        if recipe == unfinished and not check:
            study.add(model, size, correct[:1], **options)
            study.add(model, size, correct[1:], status=CellStatus.PENDING, first_seed=2, **options)
        else:
            study.add(model, size, correct, **options)

    for dataset in DATASETS:
        for model in MODELS:
            for size in SIZES:
                add(dataset, model, size, "cifar-plain")
            for size in STRONG_SIZES:
                add(dataset, model, size, "cifar-strong")
                for upstream in UPSTREAM_SIZES:
                    add(dataset, model, size, "cifar-finetune", upstream=upstream)
            add(dataset, model, 50000, "cifar-strong", check=True)
            add(dataset, model, 50000, "cifar-plain", check=True)
    return study


def accuracy_of(dataset: str, model: str, size: int, recipe: str, upstream: int) -> float:
    """An artificial learning curve."""
    vit = model == "vit_cifar"
    log_odds = (-0.6 if vit else 0.3) + (0.85 if vit else 1.05) * np.log10(size / 500) - 1.3 * (dataset == "cifar100")
    log_odds += (0.9 if vit else 0.25) * (recipe == "cifar-strong")
    if upstream:
        log_odds += (0.35 if vit else 0.15) * np.log10(upstream / 100)
    return float(1 / (1 + np.exp(-log_odds)))


def draw(dataset: str, arm: str, accuracy: float, num_seeds: int, num_images: int) -> Correctness:
    """bool (S, I): images differ in difficulty alike for all arms of a data set; each seed has its own errors besides."""
    hard_I = np.random.default_rng(zlib.crc32(dataset.encode())).normal(size=num_images)
    rng = np.random.default_rng(zlib.crc32(f"{dataset} {arm}".encode()))
    ease_SI = 0.9 * hard_I + 0.45 * rng.normal(size=(num_seeds, num_images))
    return ease_SI < np.quantile(ease_SI, accuracy)


def full_results(study: ToyStudy) -> Results:
    """What the report of the study says, by all claims of the catalogue."""
    claims = tuple(load_catalog().claims.values())
    results = assemble(PROFILE, study.outcomes, study.predictions, claims, generated_at="2026-01-31T12:34:56+00:00")
    return results
