"""The rule that no verdict comes from undertrained models.

A point counts if all its cells end at 99 % training accuracy, or if training four times as long leaves its value inside its
interval. Must not know verdicts. Read `judge_training` first.
"""

from dataclasses import dataclass

from repro.analysis.points import PlannedPoint
from repro.analysis.results import Estimate
from repro.analysis.statistics import Arm, Scale, contrast
from repro.analysis.study import ArmKey, Study
from repro.analysis.wording import bounds, listing, number, percent, unit

TRAINED_ACCURACY = 0.99
"""Training accuracy from which a cell counts as trained to the end (the study's protocol)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What the convergence rule says of one point."""

    trained_enough: bool
    """Whether the point counts."""
    note: str
    """How the rule was met, or why it was not; always with the outcome of a check, if there was one."""
    undertrained: tuple[str, ...]
    """Ids of cells below 99 % training accuracy."""
    outside: str
    """What four times the steps gave, if it lies outside the interval; else empty."""
    check_cells: tuple[str, ...]
    """Ids of the check cells that entered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    seed: int
    covered: tuple[ArmKey, ...]
    cells: tuple[str, ...]
    inside: bool
    outside: str
    words: str


def judge_training(
    planned: PlannedPoint,
    study: Study,
    seeds: list[int],
    estimates: dict[Scale, Estimate],
    *,
    both_scales: bool,
    per_tenfold: bool,
) -> Training:
    """Apply the rule to a point over finished `seeds`; on both scales where the claim is judged on both.

    In the check, every arm that has been trained four times as long takes the place of its ordinary cell of the same seed. An
    arm below 99 % counts only if it is among them. Families are never mixed: the longer runs of one size, init and recipe are
    used only if all of the point's arms there have them.
    """
    undertrained = [
        (key, row)
        for _, key in planned.terms
        for row in (study.arms[key][seed] for seed in seeds)
        if row.train_accuracy is None or row.train_accuracy < TRAINED_ACCURACY
    ]
    num_cells = len(planned.terms) * len(seeds)
    if undertrained:
        lowest = min((row for _, row in undertrained), key=lambda row: (row.train_accuracy or 0.0, row.id))
        note = (
            f"{len(undertrained)} of {num_cells} cells end below 99 % training accuracy, "
            f"the lowest at {percent(lowest.train_accuracy or 0.0)} ({lowest.id})."
        )
    else:
        note = f"All {num_cells} cells end at 99 % training accuracy or more."
    check, problem = _check(planned, study, seeds, estimates, both_scales=both_scales, per_tenfold=per_tenfold)
    if check is None:
        return Training(
            trained_enough=not undertrained,
            note=" ".join(filter(None, (note, problem))),
            undertrained=tuple(row.id for _, row in undertrained),
            outside="",
            check_cells=(),
        )
    covered = all(key in check.covered for key, _ in undertrained)
    return Training(
        trained_enough=not undertrained or (covered and check.inside),
        note=f"{note} At four times the steps: {check.words}."
        + ("" if covered else " That check leaves out arms that end below 99 %."),
        undertrained=tuple(row.id for _, row in undertrained),
        outside=check.outside,
        check_cells=check.cells,
    )


def _check(
    planned: PlannedPoint,
    study: Study,
    seeds: list[int],
    estimates: dict[Scale, Estimate],
    *,
    both_scales: bool,
    per_tenfold: bool,
) -> tuple[_Check | None, str]:
    """The check, or None and why there is none (empty if none is planned)."""
    covered = _covered(planned, study)
    if not covered:
        return None, ""
    finished = set(seeds).intersection(*(study.finished(study.checks[key]) for key in covered))
    if not finished:
        return None, "The check at four times the steps is not finished."
    if estimates[Scale.ACCURACY].ci95 is None:
        return None, "There is no interval to hold the check at four times the steps against."
    seed = min(finished)
    ordinary = planned.contrast_arms(study, [seed])
    longer = [
        Arm(weight=arm.weight, correct=study.matrix(study.checks[key], [seed])) if key in covered else arm
        for arm, (_, key) in zip(ordinary, planned.terms, strict=True)
    ]
    words, outside = [], list[str]()
    for scale in (Scale.ACCURACY, Scale.LOG_ODDS) if both_scales else (Scale.ACCURACY,):
        ends = estimates[scale].ci95
        assert ends is not None, "both scales have an interval or neither"
        value = contrast(longer, scale)
        within = ends[0] <= value <= ends[1]
        changed = f"{number(value, scale)} instead of {number(contrast(ordinary, scale), scale)} "
        changed += unit(scale, per_tenfold=per_tenfold)
        words.append(f"{changed}, {'inside' if within else 'outside'} the interval {bounds(ends, scale)}")
        if not within:
            outside.append(changed)
    where = ""
    if len({(key.num_train_images, key.init) for _, key in planned.terms}) > 1:
        named = {f"{key.init} at {key.num_train_images:,} images": None for key in covered}
        where = f", longer only {listing(list(named))}" if len(covered) < len(planned.terms) else ""
    return (
        _Check(
            seed=seed,
            covered=covered,
            cells=tuple(study.checks[key][seed].id for key in covered),
            inside=not outside,
            outside=" and ".join(outside),
            words=f"{'; '.join(words)} (seed {seed}{where})",
        ),
        "",
    )


def _covered(planned: PlannedPoint, study: Study) -> tuple[ArmKey, ...]:
    """Arms with planned checks, where all arms of that size, init and recipe have one."""
    missing = {(key.num_train_images, key.init, key.recipe) for _, key in planned.terms if key not in study.checks}
    return tuple(key for _, key in planned.terms if (key.num_train_images, key.init, key.recipe) not in missing)
