"""A made-up study whose errors are known: predictions by formula, images by formula, with and without a pack in the home.

As a script it writes the report of three data sets: `python tests/errors_study.py FOLDER`.
"""

import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from toy_study import ToyStudy

from repro.analysis.assemble import assemble
from repro.analysis.errors import Answers
from repro.analysis.results import Results
from repro.catalog import load_catalog
from repro.datasets.class_names import CIFAR10, CIFAR100
from repro.datasets.glimpses import Glimpse
from repro.rendering import write_report
from repro.spec import CellBlock, PairSpec, Profile
from repro.workspace import Workspace

NOW = "2026-01-31T12:34:56+00:00"
DEIT, OLD_RESNET = "timm/deit_tiny_patch16_224.fb_in1k", "torchvision/resnet18.IMAGENET1K_V1"
MODELS = ("vit_cifar", "resnet18_cifar")


class ErrorStudy:
    """Arms with all that their cells said."""

    def __init__(self) -> None:
        self.study = ToyStudy()
        self.answers: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, model: str, size: int, labels: np.ndarray, said_SI: np.ndarray, **options: object) -> list[str]:
        """One finished cell for each row of `said_SI`; their ids."""
        ids = self.study.add(model, size, said_SI == labels, **options)
        self.answers |= {cell: (labels, said) for cell, said in zip(ids, said_SI, strict=True)}
        return ids

    def results(
        self,
        class_names: Mapping[str, Sequence[str]] | None = None,
        pairs: Sequence[PairSpec] = (),
        *,
        profile: Profile | None = None,
    ) -> Results:
        """What the report says, without claims."""
        return assemble(
            profile or profile_of("toy", MODELS),
            self.study.outcomes,
            self.study.predictions,
            [],
            pairs=pairs,
            answers=self.answers,
            class_names=class_names,
            generated_at=NOW,
        )


def profile_of(*datasets_and_models: str | tuple[str, ...]) -> Profile:
    """A profile that names these; the last argument are the models."""
    *datasets, models = datasets_and_models
    assert isinstance(models, tuple)
    known = [name for name in datasets if name in load_catalog().datasets]
    block = CellBlock(dataset=tuple(known) or ("cifar10",), size=(1.0,), model=models, recipe="cifar-plain")
    return Profile(
        name="errors", description="A made-up study of errors", notes=("Made up: formulas, no measurement.",), cells=(block,)
    )


def drawn(arm: str, labels: np.ndarray, num_classes: int, *, accuracy: float, num_seeds: int) -> np.ndarray:
    """(S, I) answers: classes and images differ in difficulty alike for all arms; most errors go to a neighbouring class."""
    rng = np.random.default_rng(zlib.crc32(arm.encode()))
    hard_I = np.random.default_rng(1).normal(size=len(labels)) + 0.6 * np.random.default_rng(2).normal(size=num_classes)[labels]
    own_I = 0.5 * rng.normal(size=num_classes)[labels]
    ease_SI = hard_I + own_I + 0.5 * rng.normal(size=(num_seeds, len(labels)))
    right_SI = ease_SI < np.quantile(ease_SI, accuracy)
    near_SI = labels + np.where(
        rng.random(right_SI.shape) < 0.6, np.where(labels % 2, -1, 1), rng.integers(1, num_classes, right_SI.shape)
    )
    return np.where(
        right_SI, labels, np.where(near_SI % num_classes == labels, (labels + 1) % num_classes, near_SI % num_classes)
    )


def picture(place: int, *, side: int, num_channels: int) -> np.ndarray:
    """uint8 (side, side, C): a smooth made-up image."""
    rng = np.random.default_rng(place)
    y, x = np.mgrid[0:side, 0:side] / side
    channels = [
        np.sin(6 * (x * a + y * b) + c) + np.exp(-8 * ((x - 0.5) ** 2 + (y - 0.4) ** 2))
        for a, b, c in rng.normal(size=(num_channels, 3))
    ]
    grey = 90 + 60 * np.stack(channels, axis=-1) + rng.normal(size=(side, side, num_channels)) * 4
    return np.clip(grey, 0, 255).astype(np.uint8)


def shown_study(*, num_seeds: int = 3) -> tuple[Results, Answers, dict[str, Glimpse]]:
    """Three data sets (10 classes from scratch and from published weights, 100 classes, digits) with images for two of them."""
    study = ErrorStudy()
    names = {"cifar10": CIFAR10, "cifar100": CIFAR100, "digits": tuple("0123456789")}
    for dataset, num_images, accuracies in (
        ("cifar10", 4000, (0.78, 0.9)),
        ("cifar100", 6000, (0.5, 0.66)),
        ("digits", 600, (0.95, 0.97)),
    ):
        labels = np.arange(num_images) % len(names[dataset])
        for model, accuracy in zip(MODELS, accuracies, strict=True):
            said = drawn(f"{dataset} {model}", labels, len(names[dataset]), accuracy=accuracy, num_seeds=num_seeds)
            study.add(model, 50000, labels, said, dataset=dataset)
        if dataset == "cifar10":
            for model, accuracy in ((DEIT, 0.97), (OLD_RESNET, 0.95)):
                said = drawn(model, labels, 10, accuracy=accuracy, num_seeds=num_seeds)
                study.add(model, 50000, labels, said, dataset=dataset, init="pretrained", upstream=("imagenet-1k", 1281167))
    catalog = load_catalog()
    pair = PairSpec(name="mini", title="DeiT-Ti against ResNet-18", vit=(DEIT,), cnn=(OLD_RESNET,))
    results = study.results(names, [pair], profile=profile_of(*names, (*MODELS, DEIT, OLD_RESNET)))
    assert catalog.datasets.keys() >= names.keys()
    glimpses = {}
    for dataset, side, num_channels in (("cifar10", 32, 3), ("digits", 8, 1)):
        places = {
            seen.image for found in results.errors if found.dataset == dataset for seen in (*found.only_vit, *found.only_cnn)
        }
        glimpses[dataset] = Glimpse(images={place: picture(place, side=side, num_channels=num_channels) for place in places})
    return results, study.answers, glimpses


def write(folder: Path, *, num_seeds: int = 3) -> None:
    """The report of that study."""
    results, answers, glimpses = shown_study(num_seeds=num_seeds)
    paths = write_report(
        workspace=Workspace(home=folder),
        profile=profile_of("cifar10", "cifar100", "digits", MODELS),
        results=results,
        labels_and_predictions=answers,
        glimpses=glimpses,
        out=lambda line: sys.stderr.write(line + "\n"),
    )
    sys.stdout.write(f"{paths.html}\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
