"""A contrast that a claim is held against, before its cells are looked at, and what all measures build it from.

Must not know the measures (`repro.analysis.points`) or verdicts. Read `PlannedPoint` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from repro.analysis.results import CellRow
from repro.analysis.statistics import Arm
from repro.analysis.study import ArmKey, Pair, Study
from repro.spec import Claim, Family, Scope

FAMILY_TITLES: dict[Family, str] = {"vit": "ViT", "cnn": "CNN"}
"""How a sentence writes a family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPoint:
    """One contrast of a claim: its arms and their weights, whether or not the cells are finished."""

    label: str
    """What it is, for a reader."""
    family: Family | None
    """The family, where the statistic is one family's alone."""
    num_train_images: int | None
    """None for a slope over them."""
    num_upstream_images: int | None
    """None for a slope over them; 0 from scratch."""
    terms: tuple[tuple[float, ArmKey], ...]
    """Weights and arms; positive in the claim's direction."""
    inside: bool
    """Whether every arm that the claim's scope speaks of lies inside it."""

    def seeds(self, study: Study) -> list[int]:
        """Seeds that are planned in every arm, sorted."""
        return sorted(set.intersection(*(set(study.arms[key]) for _, key in self.terms)))

    def finished_seeds(self, study: Study) -> list[int]:
        """Seeds that are finished in every arm, sorted."""
        return sorted(set.intersection(*(study.finished(study.arms[key]) for _, key in self.terms)))

    def rows(self, study: Study, seeds: Sequence[int]) -> list[CellRow]:
        """The cells of `seeds`, arm by arm."""
        return [study.arms[key][seed] for _, key in self.terms for seed in seeds]

    def contrast_arms(self, study: Study, seeds: Sequence[int]) -> list[Arm]:
        """The arms with their correctness, for `seeds` that are finished in all of them."""
        return [Arm(weight=weight, correct=study.matrix(study.arms[key], seeds)) for weight, key in self.terms]


def in_scope(scope: Scope, key: ArmKey) -> bool:
    """Whether the claim is made for this kind of initial weights and this many images."""
    total = key.num_upstream_images + key.num_train_images
    return (
        kind_of(key) == scope.init
        and key.num_upstream_images >= scope.min_upstream_images
        and (scope.max_images is None or total <= scope.max_images)
    )


def kind_of(key: ArmKey) -> str:
    """`scratch` or `upstream`, as a scope names it."""
    return "upstream" if key.num_upstream_images else "scratch"


def gap_keys(study: Study, pair: Pair, kind: str) -> list[tuple[ArmKey, ArmKey]]:
    """(ViT, CNN) arms that differ in the model only, in order of size; `kind` is scratch or upstream."""
    found = []
    for vit in study.keys.get((pair.dataset, pair.recipe, pair.vit), ()):
        cnn = study.counterpart(vit, pair.cnn, "cnn")
        if cnn is not None and kind_of(vit) == kind:
            found.append((vit, cnn))
    return found


def gap_terms(claim: Claim, vit: ArmKey, cnn: ArmKey, weight: float = 1.0) -> tuple[tuple[float, ArmKey], ...]:
    """`weight` times (the family that the claim puts ahead minus the other)."""
    ahead, behind = (vit, cnn) if claim.ahead == "vit" else (cnn, vit)
    return (weight, ahead), (-weight, behind)


def size_label(key: ArmKey) -> str:
    """For instance `100 training images after 2,000 upstream images (glyphs)`."""
    return f"{key.num_train_images:,} training images{upstream_label(key)}"


def upstream_label(key: ArmKey) -> str:
    """The part of a label that names the upstream images; empty from scratch."""
    return f" after {key.num_upstream_images:,} upstream images ({key.upstream_dataset})" if key.num_upstream_images else ""
