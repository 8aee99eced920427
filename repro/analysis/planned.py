"""A statistic that a claim is held against, before its cells are looked at, and what all measures build it from.

Must not know the measures (`repro.analysis.points`) or verdicts. Read `PlannedPoint` first.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from repro.analysis.arms import PRETRAINED, ArmKey, contender, kind_of
from repro.analysis.inside import inside_statistic
from repro.analysis.pairs import Pair
from repro.analysis.results import CellRow, Estimate
from repro.analysis.statistics import CONTRAST_SCALES, Arm, Scale, contrast, estimate, mean_over_seeds, shifted
from repro.analysis.study import Study
from repro.spec import Claim, Family, Scope

FAMILY_TITLES: dict[Family, str] = {"vit": "ViT", "cnn": "CNN"}
"""How a sentence writes a family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPoint:
    """One statistic of a claim: its arms and their weights, whether or not the cells are finished."""

    label: str
    """What it is, for a reader."""
    family: Family | None
    """The family, where the statistic is one family's alone."""
    num_train_images: int | None
    """None for a slope over them."""
    num_upstream_images: int | None
    """Of two models the fewer. None for a slope over them; 0 from scratch, and where they are not known."""
    terms: tuple[tuple[float, ArmKey], ...]
    """Weights and arms; positive in the claim's direction."""
    inside: bool
    """Whether every arm that the claim's scope speaks of lies inside it."""
    models: str = ""
    """What tells it from points of other models at the same size; empty where there are none."""
    published: float | None = None
    """A published accuracy that is taken off."""
    scale: Scale = Scale.ACCURACY
    """Of a contrast of accuracies `ACCURACY`; else that of the statistic which each model of its one arm has by itself."""

    @property
    def looks_inside(self) -> bool:
        """Whether it is a mean over models that were looked into, and no contrast of accuracies."""
        return self.scale not in CONTRAST_SCALES

    def estimates(self, study: Study, seeds: Sequence[int]) -> dict[Scale, Estimate]:
        """The statistic on each of its scales, its own first, for `seeds` that are available in all arms."""
        if self.looks_inside:
            rows = self.rows(study, seeds)
            # Similarities of position embeddings are found without any image.
            num_images = 0 if self.scale is Scale.SIMILARITY else min(study.insides[row.id].num_images for row in rows)
            return {self.scale: mean_over_seeds([self._look(study, row) for row in rows], num_images=num_images)}
        arms = [Arm(weight=weight, correct=study.matrix(study.arms[key], seeds)) for weight, key in self.terms]
        return {scale: shifted(estimate(arms, scale), -self.offset(scale)) for scale in CONTRAST_SCALES}

    def value(self, study: Study, seed: int, scale: Scale, *, longer: Collection[ArmKey] = ()) -> float:
        """The statistic of one seed, with the cells of four times the steps in the arms that are in `longer`."""
        rows = [(weight, (study.checks if key in longer else study.arms)[key][seed]) for weight, key in self.terms]
        if self.looks_inside:
            return sum(weight * self._look(study, row) for weight, row in rows)
        arms = [Arm(weight=weight, correct=study.correct[row.id][None]) for weight, row in rows]
        return contrast(arms, scale) - self.offset(scale)

    def offset(self, scale: Scale) -> float:
        """What is taken off the contrast of the arms."""
        if self.published is None:
            return 0.0
        return self.published if scale is Scale.ACCURACY else math.log(self.published / (1 - self.published))

    def seeds(self, study: Study) -> list[int]:
        """Seeds that are planned in every arm, sorted."""
        return sorted(set.intersection(*(set(study.arms[key]) for _, key in self.terms)))

    def available_seeds(self, study: Study) -> list[int]:
        """Seeds that are available in every arm, sorted."""
        return sorted(set.intersection(*(self.available(study, study.arms[key]) for _, key in self.terms)))

    def available(self, study: Study, rows: Mapping[int, CellRow]) -> set[int]:
        """The seeds whose cells are finished and comparable, and have been looked into where that is what counts."""
        return {seed for seed in study.finished(rows) if not self.looks_inside or rows[seed].id in study.insides}

    def rows(self, study: Study, seeds: Sequence[int]) -> list[CellRow]:
        """The cells of `seeds`, arm by arm."""
        return [study.arms[key][seed] for _, key in self.terms for seed in seeds]

    def _look(self, study: Study, row: CellRow) -> float:
        value = inside_statistic(study.insides[row.id], self.scale)
        assert value is not None, "an architecture without the statistic makes no point"
        return value


def in_scope(scope: Scope, *keys: ArmKey) -> bool:
    """Whether the claim is made for these initial weights and this many images; what is not known lies outside a limit."""

    def fits(key: ArmKey) -> bool:
        total = key.num_upstream_images + key.num_train_images
        is_unknown = kind_of(key) == PRETRAINED and not key.num_upstream_images
        return (
            scope.init in (kind_of(key), "any")
            and key.num_upstream_images >= scope.min_upstream_images
            and key.num_train_images >= scope.min_train_images
            and (scope.max_images is None or (total <= scope.max_images and not is_unknown))
        )

    return all(map(fits, keys))


def gap_terms(claim: Claim, vit: ArmKey, cnn: ArmKey, weight: float = 1.0) -> tuple[tuple[float, ArmKey], ...]:
    """`weight` times (the family that the claim puts ahead minus the other)."""
    ahead, behind = (vit, cnn) if claim.ahead == "vit" else (cnn, vit)
    return (weight, ahead), (-weight, behind)


def gap_point(claim: Claim, pair: Pair, vit: ArmKey, cnn: ArmKey, minus: tuple[ArmKey, ArmKey] | None = None) -> PlannedPoint:
    """The gap of one combination at one size; with `minus`, a (ViT, CNN) to measure from, the change of the gap."""
    models = pair.which(vit, cnn)
    return PlannedPoint(
        label=size_label(vit, cnn) + (f", {models}" if models else ""),
        family=None,
        num_train_images=vit.num_train_images,
        num_upstream_images=min(vit.num_upstream_images, cnn.num_upstream_images),
        terms=gap_terms(claim, vit, cnn) + (gap_terms(claim, *minus, -1.0) if minus else ()),
        inside=in_scope(claim.scope, vit, cnn),
        models=models,
    )


def size_label(*keys: ArmKey) -> str:
    """For instance `100 training images after 2,000 upstream images (glyphs)`; of arms of one training size."""
    return f"{keys[0].num_train_images:,} training images{upstream_label(*keys)}"


def upstream_label(*keys: ArmKey) -> str:
    """The part of a label that names the upstream images; empty from scratch."""
    first = keys[0]
    if kind_of(first) == "scratch":
        return ""
    sources = {(key.upstream_dataset, key.num_upstream_images) for key in keys}
    if not all(num_images for _, num_images in sources):
        names = {name for name, _ in sources if name}
        return f" after {names.pop()}" if len(names) == len(sources) == 1 else " from weights of unknown upstream images"
    if len(sources) > 1:
        return f" after at least {min(key.num_upstream_images for key in keys):,} upstream images"
    return f" after {first.num_upstream_images:,} upstream images ({first.upstream_dataset})"


def several(arms: Sequence[ArmKey], key: ArmKey) -> str:
    """The arm's model where `arms` hold several of its family; else empty."""
    names = {contender(other.model, other.init) for other in arms if other.family == key.family}
    return contender(key.model, key.init) if len(names) > 1 else ""
