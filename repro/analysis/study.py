"""The cells of a profile, indexed so that arms, pairs of models and convergence checks are found without a search.

Must not know statistics or claims. Read `index_study` first.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from repro.analysis.arms import ArmKey, kind_of
from repro.analysis.inside_results import InsideRow
from repro.analysis.pairs import Pair, make_pairs
from repro.analysis.results import CellRow
from repro.analysis.statistics import Correctness
from repro.records import CellStatus
from repro.spec import CONVERGENCE_SUFFIX, Family, PairSpec, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The index. An arm's rows are all that are planned, finished or not; upstream cells and searches are in none of it."""

    arms: Mapping[ArmKey, Mapping[int, CellRow]]
    """Study cells by arm and seed."""
    checks: Mapping[ArmKey, Mapping[int, CellRow]]
    """Convergence-check cells by the arm that they check, and seed."""
    keys: Mapping[tuple[str, str, str], Sequence[ArmKey]]
    """Arms by (data set, recipe, model), in order of size."""
    scratch_keys: Mapping[tuple[str, str, int], Sequence[ArmKey]]
    """Arms trained from scratch by (data set, model, training images), in order of the recipe's name; probes are none."""
    pairs: Sequence[Pair]
    """Which of them are set against each other, sorted."""
    declared: Sequence[PairSpec]
    """The pairs that were declared, whether or not their models are there."""
    probes: frozenset[str]
    """Names of the recipes that fit a linear head only."""
    correct: Mapping[str, Correctness]
    """bool (I,) by cell id, of the cells that may be compared with the others of their data set."""
    insides: Mapping[str, InsideRow]
    """What ViTs look like from within, by cell id, of those cells that were looked into."""
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


def index_study(
    rows: Iterable[CellRow],
    correct: Mapping[str, Correctness],
    pairs: Iterable[PairSpec] = (),
    insides: Iterable[InsideRow] = (),
) -> Study:
    """Index `rows`; `correct` maps the id of each done cell to bool (I,), whether each test image was classified correctly.

    `pairs` are those that catalogue and profile declare; of two with one name the later counts. `insides` are of the cells that
    were looked into.
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
    probes = frozenset(row.recipe for row in ordered if row.is_probe)
    for key in sorted(key for key in arms if kind_of(key) == "scratch" and key.recipe not in probes):
        scratch_keys.setdefault((key.dataset, key.model, key.num_train_images), []).append(key)
    declared = tuple({spec.name: spec for spec in pairs}.values())
    return Study(
        arms=arms,
        checks=checks,
        keys=keys,
        scratch_keys=scratch_keys,
        pairs=make_pairs(arms, declared),
        declared=declared,
        probes=probes,
        correct=usable,
        insides={inside.cell: inside for inside in insides if inside.cell in usable},
        refused=refused,
    )


def row_order(row: CellRow) -> tuple[object, ...]:
    """Sort key of cells in every table: study, upstream, searches, checks; then data set, recipe, init, size, model, seed."""
    role = (Role.STUDY, Role.UPSTREAM, Role.LR_SEARCH, Role.CONVERGENCE_CHECK).index(row.role)
    size = (row.num_upstream_images, row.init, row.num_train_images)
    return role, row.dataset, row.recipe, *size, row.model, row.seed, row.id, row.fingerprint or ""


def study_arms(rows: Iterable[CellRow]) -> set[ArmKey]:
    """The arms that study cells belong to."""
    return {_arm_key(row, row.recipe) for row in rows if row.role is Role.STUDY}


def _arm_key(row: CellRow, recipe: str) -> ArmKey:
    return ArmKey(
        dataset=row.dataset,
        recipe=recipe,
        init=row.init,
        upstream_dataset=row.upstream_dataset,
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
    missing = [
        row.id for row in rows if row.status is CellStatus.DONE and row.role is not Role.LR_SEARCH and row.id not in correct
    ]
    if missing:
        refused.append(f"{len(missing)} finished cell(s) have no predictions and are left out, for instance {missing[0]}.")
    for dataset, counts in sizes.items():
        if len(counts) > 1:
            found = ", ".join(f"{size:,} images ({counts[size]} cells)" for size in sorted(counts))
            refused.append(
                f"The test sets of {dataset} differ in size: {found}. Only the cells with {common[dataset]:,} are compared."
            )
    return {row.id: correct[row.id] for row in done if len(correct[row.id]) == common[row.dataset] > 0}, tuple(refused)
