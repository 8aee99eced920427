"""A made-up run of a whole shipped profile: its real plan, every cell finished, and everything that a report can show of it.

Cells come from the plan and the catalogue; what they say comes from formulas, not from training. As a script it writes the
report of `full`: `python tests/whole_study.py FOLDER`. Read `whole_study` first.
"""

import sys
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import full_study
import numpy as np
import published_study
from costly_study import MACS, made_up_histories
from errors_study import NOW, drawn, picture
from inside_fixtures import made_up_inside
from report_fixtures import ENVIRONMENT

from repro.analysis.assemble import assemble, outcome_row
from repro.analysis.curves import Histories
from repro.analysis.inside import numbers_of
from repro.analysis.results import CellRow, Outcome, Results
from repro.catalog import load_catalog, load_profile
from repro.datasets.class_names import CIFAR10, CIFAR100
from repro.datasets.glimpses import Glimpse
from repro.evidence import Predictions
from repro.inside import Inside, is_looked_into
from repro.plan import DataFacts, PlannedCell, WeightsState, make_plan
from repro.records import CellStatus, Record
from repro.rendering import ReportPaths, write_report
from repro.spec import CONVERGENCE_SUFFIX, Cell, Profile, Role
from repro.workspace import Workspace

CLASS_NAMES = {"cifar10": CIFAR10, "cifar100": CIFAR100}
FACTS = {
    name: DataFacts(content_sha256=digit * 64, num_train_images=num, image_size=32, num_channels=3, num_classes=classes)
    for name, digit, num, classes in (
        ("cifar10", "a", 50000, 10),
        ("cifar100", "b", 50000, 100),
        ("tinyimagenet32", "c", 100000, 200),
    )
}
NUM_IMAGES = 2000
"""Test images; the real data sets have 10,000, and hardly a byte of the page depends on it."""
NUM_PARAMETERS = {"vit_cifar": 6_270_000, "resnet18_cifar": 11_170_000}
GPU = ENVIRONMENT.model_copy(
    update={
        "device": "Made-up GPU 141 GB",
        "driver": "580.65",
        "processor": "Made-up processor with a name of usual length",
        "command": "vitrepro all --profile full",
        "packages": dict.fromkeys(("numpy", "nvidia-cudnn", "scipy", "timm", "torch", "torchvision"), "1.2.3"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeStudy:
    """What `write_report` is given."""

    profile: Profile
    results: Results
    answers: Predictions
    glimpses: Mapping[str, Glimpse]
    histories: Histories
    insides: Mapping[str, Inside]


def whole_study(name: str = "full", *, num_images: int = NUM_IMAGES) -> WholeStudy:
    """Every cell that the shipped profile plans, done: answers, costs, learning curves, looks inside, images."""
    profile, catalog = load_profile(name), load_catalog()
    entries = planned_cells(profile)
    outcomes, answers, insides = [], Predictions(), dict[str, Inside]()
    for entry in entries:
        said_I = answers_of(entry.cell, num_images)
        labels_I = labels_of(entry.cell.dataset.name, num_images)
        record = record_of(entry, None if said_I is None else float((said_I == labels_I).mean()))
        row = outcome_row(entry.cell, entry.fingerprint, CellStatus.DONE, "", record)
        if _is_looked_into(row):
            insides[row.id] = inside_of(row)
            record = record.model_copy(update={"inside": numbers_of(insides[row.id])})
        outcomes.append(Outcome(row=row, record=record))
        if said_I is not None:
            answers[entry.cell.id] = labels_I, said_I
    results = assemble(
        profile,
        outcomes,
        {cell: labels == said for cell, (labels, said) in answers.items()},
        [catalog.claims[claim] for claim in profile.claims or catalog.claims],
        pairs=catalog.pairs.values(),
        answers=answers,
        class_names=CLASS_NAMES,
        generated_at=NOW,
    )
    return WholeStudy(
        profile=profile,
        results=results,
        answers=answers,
        glimpses=glimpses_of(results),
        histories=made_up_histories(results),
        insides=insides,
    )


def planned_cells(profile: Profile) -> tuple[PlannedCell, ...]:
    """The real plan in an empty home, its data and weights known."""
    with tempfile.TemporaryDirectory() as folder:
        weights = WeightsState(digest="d" * 64, problem="")
        return make_plan(profile, load_catalog(), FACTS, Workspace(home=Path(folder)), lambda _: weights).cells


def accuracy_of(cell: Cell) -> float:
    """An artificial learning curve; a fourfold run hardly differs from the normal one."""
    name, dataset = cell.recipe.name.removesuffix(CONVERGENCE_SUFFIX), cell.dataset.name
    longer = 0.001 * (name != cell.recipe.name)
    if spec := load_catalog().checkpoints.get(cell.model.name):
        return longer + published_study.accuracy_of(spec, dataset, cell.num_train_images, name, scratch=cell.weights is None)
    upstream = cell.num_upstream_images
    return longer + full_study.accuracy_of(dataset, cell.model.name, cell.num_train_images, name, upstream)


def labels_of(dataset: str, num_images: int) -> np.ndarray:
    """As many of each class, integer (I,)."""
    return (np.arange(num_images) % FACTS[dataset].num_classes).astype(np.int32)


def answers_of(cell: Cell, num_images: int) -> np.ndarray | None:
    """Predicted classes (I,); seeds of an arm share its difficulties and have errors of their own. None in a search."""
    if cell.role is Role.LR_SEARCH:
        return None
    dataset, accuracy = cell.dataset.name, accuracy_of(cell)
    num_classes, arm = FACTS[dataset].num_classes, cell.id.rpartition(".s")[0]
    said_SI = drawn(arm, labels_of(dataset, num_images), num_classes, accuracy=accuracy, num_seeds=cell.seed)
    return said_SI[-1].astype(np.int32)


def record_of(entry: PlannedCell, test_accuracy: float | None) -> Record:
    """What the cell leaves; costs follow from its steps."""
    cell, catalog = entry.cell, load_catalog()
    assert entry.fingerprint is not None
    spec, recipe, is_search = catalog.checkpoints.get(cell.model.name), cell.recipe, test_accuracy is None
    macs = int(MACS[cell.model.name]) if spec is None else spec.forward_macs or 1
    flops = 6.0 * macs * recipe.steps * recipe.batch_size
    wall_s = flops / (1.6e14 if cell.model.family == "vit" else 1.2e14) * (1 + 0.02 * cell.seed)
    best = published_study.rate_of(cell.model.name, recipe.name.partition("+")[0]) if spec else None
    lr = recipe.lr if is_search or best is None else best
    is_strong = "strong" in recipe.name
    return Record(
        cell=cell,
        fingerprint=entry.fingerprint,
        upstream_fingerprint=entry.upstream_fingerprint,
        weights_sha256="d" * 64 if cell.weights else None,
        data_sha256=FACTS[cell.dataset.name].content_sha256,
        subset_sha256="0" * 64,
        num_classes=FACTS[cell.dataset.name].num_classes,
        num_test_images=NUM_IMAGES,
        test_accuracy=test_accuracy,
        test_loss=None if test_accuracy is None else 2.2 * (1 - test_accuracy),
        train_accuracy=None if is_search else 0.93 if is_strong else 0.9987,
        train_loss=None if is_search else 0.21 if is_strong else 0.0043,
        dev_accuracy=0.93 - 0.05 * float(abs(np.log10(lr / best))) if is_search and best else None,
        selected_step=recipe.steps,
        lr=lr,
        num_parameters=NUM_PARAMETERS[cell.model.name] if spec is None else spec.num_parameters or 1,
        forward_macs=macs,
        train_flops=flops,
        wall_s=wall_s,
        total_s=wall_s + 4.5,
        energy_j=520 * wall_s,
        peak_mem_bytes=6 * 10**9 if spec else 2 * 10**9,
        device_shared=False,
        resumed_from_step=None,
        seeds={},
        choices=(),
        environment=GPU,
        started_at=NOW,
        finished_at=NOW,
        files_sha256={},
    )


def inside_of(row: CellRow) -> Inside:
    """A look of true size: filters like waves, pictures like photographs."""
    rng = np.random.default_rng(zlib.crc32(row.id.encode()))
    small = row.model == "vit_cifar"
    patch = 4 if small else 32 if "patch32" in row.model else 16
    heads = {"vit_cifar": 6, "timm/deit_tiny_patch16_224.fb_in1k": 3}.get(row.model, 12)
    inside = made_up_inside(
        side=(32 if small else 224) // patch,
        num_pictures=6,
        picture=32,
        channels=3,
        layers=8 if small else 12,
        heads=heads,
        patch=patch,
        rise=(6.0 if small else 60.0) + rng.normal() * 0.5,
        structure=0.3 + 0.02 * rng.normal(),
    )
    y, x = np.mgrid[0:patch, 0:patch] / patch
    waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.normal(size=(len(inside.filters_FHWC), 3)) * (2, 2, 3)]
    tints_F3 = 0.6 + 0.4 * rng.normal(size=(len(waves), 3)).clip(-1, 1)
    filters = (
        128 + 90 * np.stack(waves)[..., None] * tints_F3[:, None, None, :] + 4 * rng.normal(size=inside.filters_FHWC.shape)
    )
    return replace(
        inside,
        filters_FHWC=filters.clip(0, 255).astype(np.uint8),
        images_IHWC=np.stack([picture(place, side=32, num_channels=3) for place in range(6)]),
        uniform_distance=16.6 if small else 116.5,
    )


def glimpses_of(results: Results) -> dict[str, Glimpse]:
    """A made-up image for every one that the errors section names."""
    places: dict[str, set[int]] = {}
    for found in results.errors:
        shown = (seen.image for seen in (*found.only_vit, *found.only_cnn))
        places.setdefault(found.dataset, set()).update(shown)
    return {
        name: Glimpse(images={place: picture(place, side=32, num_channels=3) for place in sorted(wanted)})
        for name, wanted in places.items()
    }


def _is_looked_into(row: CellRow) -> bool:
    return is_looked_into(role=row.role, family=row.family, is_probe=row.is_probe)


def write(folder: Path, study: WholeStudy, *, with_pdf: bool = True) -> ReportPaths:
    """The report of the study."""
    return write_report(
        workspace=Workspace(home=folder),
        profile=study.profile,
        results=study.results,
        labels_and_predictions=study.answers,
        glimpses=study.glimpses,
        histories=study.histories,
        insides=study.insides,
        with_pdf=with_pdf,
        out=lambda line: sys.stderr.write(line + "\n"),
    )


if __name__ == "__main__":
    sys.stdout.write(f"{write(Path(sys.argv[1]), whole_study()).html}\n")
