"""Which contrasts a claim is held against: one planned point a size, a slope or a difference of gains.

A planned point knows the arms and their weights, whether or not their cells are finished. Must not know verdicts.
Read `planned_points` first; what each measure means is said in `repro.spec.Measure`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from repro.analysis.results import CellRow
from repro.analysis.statistics import Arm, slope_weights
from repro.analysis.study import ArmKey, Pair, Study
from repro.spec import Claim, Family, Measure, Scope

FAMILY_TITLES: dict[Family, str] = {"vit": "ViT", "cnn": "CNN"}
"""How a sentence writes a family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPoint:
    """One contrast of a claim before its cells are looked at."""

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


def planned_points(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    """The points of `claim` for one pair of models, in order of size; empty where the cells make none.

    A slope goes over the sizes inside the claim's scope where there are two of them, else over all.
    """
    points = {
        Measure.FAMILY_GAP: _family_gaps,
        Measure.FAMILY_GAP_TREND: _family_gap_trends,
        Measure.PRETRAINING_GAIN_GAP: _pretraining_gain_gaps,
        Measure.UPSTREAM_TREND: _upstream_trends,
    }[claim.measure](claim, study, pair)
    return [point for point in points if point.seeds(study)]


def has_arms(claim: Claim, study: Study, pair: Pair) -> bool:
    """Whether the pair has arms of the kind and scope that the claim speaks of, even if too few for a slope."""
    kind = "upstream" if claim.measure in (Measure.UPSTREAM_TREND, Measure.PRETRAINING_GAIN_GAP) else claim.scope.init
    return any(in_scope(claim.scope, vit) for vit, _ in _gap_keys(study, pair, kind))


def in_scope(scope: Scope, key: ArmKey) -> bool:
    """Whether the claim is made for this kind of initial weights and this many images."""
    kind = "upstream" if key.num_upstream_images else "scratch"
    total = key.num_upstream_images + key.num_train_images
    return (
        kind == scope.init
        and key.num_upstream_images >= scope.min_upstream_images
        and (scope.max_images is None or total <= scope.max_images)
    )


def _gap_keys(study: Study, pair: Pair, kind: str) -> list[tuple[ArmKey, ArmKey]]:
    """(ViT, CNN) arms that differ in the model only, in order of size; `kind` is scratch or upstream."""
    found = []
    for vit in study.keys.get((pair.dataset, pair.recipe, pair.vit), ()):
        cnn = study.counterpart(vit, pair.cnn, "cnn")
        if cnn is not None and (vit.num_upstream_images > 0) == (kind == "upstream"):
            found.append((vit, cnn))
    return found


def _gap_terms(claim: Claim, vit: ArmKey, cnn: ArmKey, weight: float = 1.0) -> tuple[tuple[float, ArmKey], ...]:
    ahead, behind = (vit, cnn) if claim.ahead == "vit" else (cnn, vit)
    return (weight, ahead), (-weight, behind)


def _family_gaps(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    return [
        PlannedPoint(
            label=_size_label(vit),
            family=None,
            num_train_images=vit.num_train_images,
            num_upstream_images=vit.num_upstream_images,
            terms=_gap_terms(claim, vit, cnn),
            inside=in_scope(claim.scope, vit),
        )
        for vit, cnn in _gap_keys(study, pair, claim.scope.init)
    ]


def _family_gap_trends(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    by_init: dict[str, list[tuple[ArmKey, ArmKey]]] = {}
    for vit, cnn in _gap_keys(study, pair, claim.scope.init):
        by_init.setdefault(vit.init, []).append((vit, cnn))
    points = []
    for arms in by_init.values():
        chosen = _two_inside(claim.scope, arms)
        if len(chosen) < 2:
            continue
        sizes = [vit.num_train_images for vit, _ in chosen]
        first = chosen[0][0]
        points.append(
            PlannedPoint(
                label=f"slope from {sizes[0]:,} to {sizes[-1]:,} training images{_upstream_label(first)}",
                family=None,
                num_train_images=None,
                num_upstream_images=first.num_upstream_images,
                terms=tuple(
                    term
                    for weight, (vit, cnn) in zip(slope_weights(sizes), chosen, strict=True)
                    for term in _gap_terms(claim, vit, cnn, weight)
                ),
                inside=all(in_scope(claim.scope, vit) for vit, _ in chosen),
            )
        )
    return points


def _pretraining_gain_gaps(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    largest: dict[tuple[str, int], tuple[ArmKey, ArmKey]] = {}
    for vit, cnn in _gap_keys(study, pair, "upstream"):
        largest[vit.upstream_dataset, vit.num_train_images] = (vit, cnn)
    points = []
    for vit, cnn in largest.values():
        scratch = _scratch_arms(study, vit, cnn)
        if scratch is None:
            continue
        points.append(
            PlannedPoint(
                label=_size_label(vit),
                family=None,
                num_train_images=vit.num_train_images,
                num_upstream_images=vit.num_upstream_images,
                terms=_gap_terms(claim, vit, cnn) + _gap_terms(claim, *scratch, -1.0),
                inside=in_scope(claim.scope, vit),
            )
        )
    return points


def _scratch_arms(study: Study, vit: ArmKey, cnn: ArmKey) -> tuple[ArmKey, ArmKey] | None:
    """The scratch arms of the same data set, size and models: of the recipe that shares most seeds, then by its name."""
    candidates = []
    for scratch_vit in study.scratch_keys.get((vit.dataset, vit.model, vit.num_train_images), ()):
        scratch_cnn = study.counterpart(scratch_vit, cnn.model, "cnn")
        if scratch_cnn is not None:
            arms = (scratch_vit, scratch_cnn)
            common = set.intersection(*(set(study.arms[key]) for key in (vit, cnn, *arms)))
            candidates.append((-len(common), scratch_vit.recipe, arms))
    return min(candidates)[2] if candidates else None


def _upstream_trends(claim: Claim, study: Study, pair: Pair) -> list[PlannedPoint]:
    series: dict[tuple[str, int, Family], list[ArmKey]] = {}
    for model in (pair.vit, pair.cnn):
        for key in study.keys.get((pair.dataset, pair.recipe, model), ()):
            if key.num_upstream_images:
                series.setdefault((key.upstream_dataset, key.num_train_images, key.family), []).append(key)
    points = []
    for (upstream, num_train_images, family), keys in sorted(
        series.items(), key=lambda item: (*item[0][:2], item[0][2] == "cnn")
    ):
        inside = [key for key in keys if in_scope(claim.scope, key)]
        chosen = inside if len(inside) >= 2 else keys
        if len(chosen) < 2:
            continue
        sizes = [key.num_upstream_images for key in chosen]
        points.append(
            PlannedPoint(
                label=f"{FAMILY_TITLES[family]}, {num_train_images:,} training images, "
                f"slope from {sizes[0]:,} to {sizes[-1]:,} upstream images ({upstream})",
                family=family,
                num_train_images=num_train_images,
                num_upstream_images=None,
                terms=tuple(zip(slope_weights(sizes), chosen, strict=True)),
                inside=len(inside) >= 2,
            )
        )
    return points


def _two_inside(scope: Scope, arms: list[tuple[ArmKey, ArmKey]]) -> list[tuple[ArmKey, ArmKey]]:
    inside = [pair for pair in arms if in_scope(scope, pair[0])]
    return inside if len(inside) >= 2 else arms


def _size_label(key: ArmKey) -> str:
    return f"{key.num_train_images:,} training images{_upstream_label(key)}"


def _upstream_label(key: ArmKey) -> str:
    return f" after {key.num_upstream_images:,} upstream images ({key.upstream_dataset})" if key.num_upstream_images else ""
