"""The cells of a profile, indexed so that arms, pairs of models and convergence checks are found without a search.

Must not know statistics or claims. Read `index_study` first.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from repro.analysis.results import CellRow
from repro.analysis.statistics import Correctness
from repro.records import CellStatus
from repro.spec import CONVERGENCE_SUFFIX, Family, Role


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ArmKey:
    """What the seeds of one arm have in common."""

    dataset: str
    """Data set trained and tested on."""
    recipe: str
    """Name of the recipe."""
    init: str
    """`scratch` or `upstream:DATASET@NUM_IMAGES`."""
    num_upstream_images: int
    """Upstream images, 0 from scratch."""
    num_train_images: int
    """Training images."""
    model: str
    """Name of the model."""
    family: Family
    """Its family."""

    @property
    def upstream_dataset(self) -> str:
        """Name of the upstream data set, empty from scratch."""
        return self.init.removeprefix("upstream:").rpartition("@")[0] if self.init.startswith("upstream:") else ""

    @property
    def by_size(self) -> tuple[str, int, int, str]:
        """Sort key: upstream data set, upstream size, training size, model."""
        return self.upstream_dataset, self.num_upstream_images, self.num_train_images, self.model


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Pair:
    """A ViT and a CNN that were trained by one recipe on one data set."""

    dataset: str
    recipe: str
    vit: str
    cnn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The index. An arm's rows are all that are planned, finished or not; upstream cells are in none of it."""

    arms: Mapping[ArmKey, Mapping[int, CellRow]]
    """Study cells by arm and seed."""
    checks: Mapping[ArmKey, Mapping[int, CellRow]]
    """Convergence-check cells by the arm that they check, and seed."""
    keys: Mapping[tuple[str, str, str], Sequence[ArmKey]]
    """Arms by (data set, recipe, model), in order of size."""
    scratch_keys: Mapping[tuple[str, str, int], Sequence[ArmKey]]
    """Arms from scratch by (data set, model, training images), in order of the recipe's name."""
    correct: Mapping[str, Correctness]
    """bool (I,) by cell id, of the cells that may be compared with the others of their data set."""
    refused: tuple[str, ...]
    """Why predictions of some finished cells are left out, one line a reason."""

    def finished(self, rows: Mapping[int, CellRow]) -> set[int]:
        """The seeds whose cells are done and comparable."""
        return {seed for seed, row in rows.items() if row.id in self.correct}

    def matrix(self, rows: Mapping[int, CellRow], seeds: Sequence[int]) -> Correctness:
        """Correctness of finished `seeds`, bool (S, I), in the order given."""
        return np.stack([self.correct[rows[seed].id] for seed in seeds])

    def counterpart(self, key: ArmKey, model: str, family: Family) -> ArmKey | None:
        """The arm of another model that is otherwise the same, if it is planned."""
        other = replace(key, model=model, family=family)
        return other if other in self.arms else None

    def pairs(self) -> list[Pair]:
        """Every ViT with every CNN of the same data set and recipe, sorted."""
        models: dict[tuple[str, str], dict[Family, set[str]]] = {}
        for key in self.arms:
            models.setdefault((key.dataset, key.recipe), {"vit": set(), "cnn": set()})[key.family].add(key.model)
        return sorted(
            Pair(dataset=dataset, recipe=recipe, vit=vit, cnn=cnn)
            for (dataset, recipe), families in models.items()
            for vit in families["vit"]
            for cnn in families["cnn"]
        )


def index_study(rows: Iterable[CellRow], correct: Mapping[str, Correctness]) -> Study:
    """Index `rows`; `correct` maps the id of each done cell to bool (I,), whether each test image was classified correctly.

    Predictions are left out, with a line in `refused`, where the cell is not done, where several cells share one id (names that
    differ only in characters that a folder name cannot hold), and where the test set differs in size from that of most cells of
    the data set: such cells cannot be paired image by image.
    """
    ordered = sorted(rows, key=row_order)
    usable, refused = _comparable(ordered, correct)
    arms: dict[ArmKey, dict[int, CellRow]] = {}
    checks: dict[ArmKey, dict[int, CellRow]] = {}
    for row in ordered:
        if row.role is Role.STUDY:
            arms.setdefault(_arm_key(row, row.recipe), {})[row.seed] = row
        elif row.role is Role.CONVERGENCE_CHECK and row.recipe.endswith(CONVERGENCE_SUFFIX):
            checks.setdefault(_arm_key(row, row.recipe.removesuffix(CONVERGENCE_SUFFIX)), {})[row.seed] = row
    keys: dict[tuple[str, str, str], list[ArmKey]] = {}
    for key in sorted(arms, key=lambda key: key.by_size):
        keys.setdefault((key.dataset, key.recipe, key.model), []).append(key)
    scratch_keys: dict[tuple[str, str, int], list[ArmKey]] = {}
    for key in sorted(key for key in arms if not key.num_upstream_images):
        scratch_keys.setdefault((key.dataset, key.model, key.num_train_images), []).append(key)
    return Study(arms=arms, checks=checks, keys=keys, scratch_keys=scratch_keys, correct=usable, refused=refused)


def row_order(row: CellRow) -> tuple[object, ...]:
    """Sort key of cells in every table: study, upstream, checks; then data set, recipe, init, size, model, seed."""
    role = (Role.STUDY, Role.UPSTREAM, Role.CONVERGENCE_CHECK).index(row.role)
    size = (row.num_upstream_images, row.init, row.num_train_images)
    return role, row.dataset, row.recipe, *size, row.model, row.seed, row.id, row.fingerprint or ""


def _arm_key(row: CellRow, recipe: str) -> ArmKey:
    return ArmKey(
        dataset=row.dataset,
        recipe=recipe,
        init=row.init,
        num_upstream_images=row.num_upstream_images,
        num_train_images=row.num_train_images,
        model=row.model,
        family=row.family,
    )


def _comparable(rows: Sequence[CellRow], correct: Mapping[str, Correctness]) -> tuple[dict[str, Correctness], tuple[str, ...]]:
    occurrences = Counter(row.id for row in rows)
    done = [row for row in rows if row.status is CellStatus.DONE and row.id in correct and occurrences[row.id] == 1]
    sizes: dict[str, Counter[int]] = {}
    for row in done:
        sizes.setdefault(row.dataset, Counter())[len(correct[row.id])] += 1
    common = {dataset: max(counts, key=lambda size: (counts[size], size)) for dataset, counts in sizes.items()}
    refused = [
        f"{count} cells share the id {name}: their names differ only in characters that a folder cannot hold. They are left "
        "out; rename one of them."
        for name, count in occurrences.items()
        if count > 1
    ]
    missing = [row.id for row in rows if row.status is CellStatus.DONE and row.id not in correct]
    if missing:
        refused.append(f"{len(missing)} finished cell(s) have no predictions and are left out, for instance {missing[0]}.")
    for dataset, counts in sizes.items():
        if len(counts) > 1:
            found = ", ".join(f"{size:,} images ({counts[size]} cells)" for size in sorted(counts))
            refused.append(
                f"The test sets of {dataset} differ in size: {found}. Only the cells with {common[dataset]:,} are compared."
            )
    return {row.id: correct[row.id] for row in done if len(correct[row.id]) == common[row.dataset] > 0}, tuple(refused)
