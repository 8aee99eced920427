"""A made-up study of published checkpoints, judged by the real analysis: pairs of the catalogue, searches for a rate, probes.

Accuracies come from formulas, not from training. `costly_study` writes a report of it.
"""

import numpy as np
from full_study import draw
from toy_study import ToyStudy

from repro.analysis.assemble import assemble
from repro.analysis.results import Results
from repro.catalog import load_catalog
from repro.records import CellStatus
from repro.spec import CellBlock, CheckpointSpec, Profile, Role

SIZES = (500, 5000, 50000)
DATASETS = ("cifar10", "cifar100")
NUM_IMAGES = 2000
RATES = (0.001, 0.003, 0.01, 0.03)
DEIT, OLD_RESNET = "timm/deit_tiny_patch16_224.fb_in1k", "torchvision/resnet18.IMAGENET1K_V1"
NEW_RESNET, VIT_B16 = "timm/resnet18.a1_in1k", "timm/vit_base_patch16_224.orig_in21k"
MINI = (DEIT, OLD_RESNET, NEW_RESNET)
EQUAL_COMPUTE = (
    "timm/vit_base_patch32_224.orig_in21k",
    "timm/vit_base_patch32_224.augreg_in21k",
    "timm/resnetv2_50x1_bit.goog_in21k",
)
BASE = (
    "torchvision/vit_b_16.IMAGENET1K_V1",
    "torchvision/resnet50.IMAGENET1K_V1",
    "torchvision/resnet50.IMAGENET1K_V2",
    "torchvision/resnet152.IMAGENET1K_V2",
)
SCALE = ("timm/vit_base_patch16_224.augreg_in1k", "timm/vit_base_patch16_224.augreg_in21k")
LARGE = (
    "torchvision/vit_l_16.IMAGENET1K_V1",
    "timm/vit_large_patch16_224.orig_in21k",
    "timm/resnetv2_101x3_bit.goog_in21k",
)
SHORT = (*MINI, *BASE, *EQUAL_COMPUTE, VIT_B16, *SCALE, *LARGE)
LONG = (VIT_B16, SCALE[1], *EQUAL_COMPUTE, *LARGE[1:])
PROBED = (DEIT, OLD_RESNET, EQUAL_COMPUTE[0], EQUAL_COMPUTE[2])
PROFILE = Profile(
    name="published",
    description="A made-up study of published checkpoints",
    notes=("Made up: formulas, no measurement.",),
    cells=tuple(
        CellBlock(dataset=DATASETS, size=sizes, model=models, recipe=recipe, init=(init,))
        for sizes, models, recipe, init in (
            (SIZES, SHORT, "finetune-short", "pretrained"),
            ((50000,), LONG, "finetune-long-384", "pretrained"),
            (SIZES, PROBED, "linear-probe", "pretrained"),
            (SIZES, PROBED[:2], "few-shot", "pretrained"),
            (SIZES, MINI, "scratch-224", "scratch"),
        )
    ),
)


def published_study(*, num_seeds: int = 3, num_images: int = NUM_IMAGES, pending: str = "") -> ToyStudy:
    """All cells; those of the model `pending` are not finished from seed 2 on."""
    study = ToyStudy()
    for dataset in DATASETS:
        for block in PROFILE.cells:
            for model in block.model:
                for size in block.size:
                    _add(study, dataset, model, int(size), block, num_seeds, num_images, is_pending=model == pending)
                if load_catalog().recipes[block.recipe].lr_grid:
                    _search(study, dataset, model, block.recipe)
    return study


def accuracy_of(spec: CheckpointSpec, dataset: str, size: int, recipe: str, *, scratch: bool) -> float:
    """An artificial learning curve."""
    vit = spec.family == "vit"
    log_odds = (
        1.2 + 0.7 * np.log10(size / 500) - 1.6 * (dataset == "cifar100") + 0.25 * np.log10((spec.num_parameters or 1) / 1e7)
    )
    if scratch:
        return float(1 / (1 + np.exp(2.0 + 0.5 * vit - log_odds)))
    log_odds += (0.9 if vit else 0.55) * np.log10(spec.num_upstream_images / 2e5)
    log_odds += 0.2 * ("a1" in spec.name or "V2" in spec.name) + 0.25 * ("long" in recipe)
    log_odds -= 0.8 * (recipe in ("linear-probe", "few-shot"))
    return float(1 / (1 + np.exp(-log_odds)))


def rate_of(model: str, recipe: str) -> float | None:
    """The rate that the search finds best, for recipes that have one."""
    grid = load_catalog().recipes[recipe].lr_grid
    return grid[len(model) % len(grid)] if grid else None


def _add(
    study: ToyStudy, dataset: str, model: str, size: int, block: CellBlock, num_seeds: int, num_images: int, *, is_pending: bool
) -> None:
    spec, recipe, init = load_catalog().checkpoints[model], load_catalog().recipes[block.recipe], block.init[0]
    accuracy = accuracy_of(spec, dataset, size, recipe.name, scratch=init == "scratch")
    correct = draw(dataset, f"{model} {size} {recipe.name} {init}", accuracy, num_seeds, num_images)
    options = {
        "dataset": dataset,
        "init": init,
        "upstream": (spec.upstream, spec.num_upstream_images) if init == "pretrained" else ("", 0),
        "recipe": recipe.name,
        "is_probe": recipe.is_probe,
        "train_accuracy": 0.87 if recipe.is_probe else 0.996,
        "num_parameters": spec.num_parameters,
        "forward_macs": spec.forward_macs,
        "lr": rate_of(model, recipe.name) or recipe.lr,
    }
    study.add(model, size, correct[:1] if is_pending else correct, **options)
    if is_pending:
        study.add(model, size, correct[1:], status=CellStatus.PENDING, first_seed=2, **options)


def _search(study: ToyStudy, dataset: str, model: str, recipe: str) -> None:
    """One cell a rate; the smallest diverges where it is far from the best, to have such a case."""
    spec, best = load_catalog().checkpoints[model], rate_of(model, recipe)
    assert best is not None
    for rate in load_catalog().recipes[recipe].lr_grid:
        distance = abs(np.log10(rate / best))
        study.add(
            model,
            50000,
            [0],
            dataset=dataset,
            init="pretrained",
            upstream=(spec.upstream, spec.num_upstream_images),
            recipe=f"{recipe}+lr{rate:g}",
            role=Role.LR_SEARCH,
            is_probe=load_catalog().recipes[recipe].is_probe,
            num_parameters=spec.num_parameters or 1,
            forward_macs=spec.forward_macs or 1,
            lr=rate,
            dev_accuracy=None if rate > 9 * best else 0.93 - 0.05 * float(distance),
        )


def published_results(study: ToyStudy) -> Results:
    """What the report of the study says, by all claims of the catalogue."""
    catalog = load_catalog()
    return assemble(
        PROFILE,
        study.outcomes,
        study.predictions,
        tuple(catalog.claims.values()),
        pairs=catalog.pairs.values(),
        generated_at="2026-01-31T12:34:56+00:00",
    )
