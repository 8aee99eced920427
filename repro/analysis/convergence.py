"""The rule that no verdict comes from undertrained models.

A point counts if all its cells end at 99 % training accuracy, or if training four times as long leaves its value inside its
interval. A recipe that mixes, recolours or erases images is not expected to bring its training images to 99 %; so there, and
only there, a point whose size has no check may lean on the check at a larger size (`_lean`). Must not know verdicts. Read
`judge_training` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from repro.analysis.arms import ArmKey
from repro.analysis.planned import PlannedPoint
from repro.analysis.results import CellRow, Estimate
from repro.analysis.statistics import Scale
from repro.analysis.study import Study
from repro.analysis.wording import bounds, listing, number, percent, unit
from repro.spec import Recipe

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
    expected: bool
    """Whether all of those are trained by recipes that are not expected to reach it."""
    outside: str
    """What four times the steps gave, if it lies outside the interval; else empty."""
    check_cells: tuple[str, ...]
    """Ids of the check cells that entered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    covered: tuple[ArmKey, ...]
    cells: tuple[str, ...]
    inside: bool
    outside: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lean:
    arms: tuple[ArmKey, ...]
    passes: bool
    outside: str
    words: str
    cells: tuple[str, ...]


def is_regularised(recipe: Recipe) -> bool:
    """Whether a recipe changes what is seen of the images so much that 99 % training accuracy is not to be expected.

    Mirroring, cropping and smoothed labels do not count: images that are only moved, and labels that keep their rank, can be
    learned by heart.
    """
    return recipe.mixes or recipe.trivial_augment or recipe.erase_probability > 0


def judge_training(
    planned: PlannedPoint,
    study: Study,
    seeds: list[int],
    estimates: dict[Scale, Estimate],
    *,
    scales: tuple[Scale, ...],
    per_tenfold: bool,
) -> Training:
    """Apply the rule to a point over available `seeds`; on all `scales` that the claim is judged on.

    A linear probe counts: nothing but its head is fitted, and that need not reach 99 %. In the check, every arm that has been
    trained four times as long takes the place of its ordinary cell of the same seed. An arm below 99 % counts only if it is
    among them, or leans on a check at a larger size. Families are never mixed: the longer runs of one size, init and recipe are
    used only if all of the point's arms there have them.
    """
    undertrained = [
        (key, row)
        for _, key in planned.terms
        for row in (study.arms[key][seed] for seed in seeds)
        if not row.is_probe and (row.train_accuracy is None or row.train_accuracy < TRAINED_ACCURACY)
    ]
    num_probes = sum(study.arms[key][seed].is_probe for _, key in planned.terms for seed in seeds)
    check, problem = _check(planned, study, seeds, estimates, scales=scales, per_tenfold=per_tenfold)
    notes = [
        "A linear probe: only the head is fitted." if num_probes else "",
        _ends_at(undertrained, len(planned.terms) * len(seeds) - num_probes),
        problem,
    ]
    spoken_for: set[ArmKey] = set()
    if check is not None:
        notes.append(f"At four times the steps: {check.words}.")
        spoken_for.update(check.covered if check.inside else ())
    leans = _leans(planned, study, [key for key, _ in undertrained], scales=scales, per_tenfold=per_tenfold)
    for lean in leans:
        notes.append(lean.words)
        spoken_for.update(lean.arms if lean.passes else ())
    silent = {key for key, _ in undertrained} - spoken_for
    if check is not None and silent - set(check.covered):
        notes.append("That check leaves out arms that end below 99 %.")
    return Training(
        trained_enough=not undertrained or (not silent and (check is None or check.inside)),
        note=" ".join(filter(None, notes)),
        undertrained=tuple(row.id for _, row in undertrained),
        expected=bool(undertrained) and all(row.is_regularised for _, row in undertrained),
        outside="; ".join(filter(None, (check.outside if check else "", *(lean.outside for lean in leans)))),
        check_cells=tuple(dict.fromkeys((*(check.cells if check else ()), *(cell for lean in leans for cell in lean.cells)))),
    )


def not_asked() -> Training:
    """Where the claim is about the very schedule: how far it trains is part of what is claimed."""
    note = "The claim is about this very schedule: the rule against undertrained models is not applied."
    return Training(trained_enough=True, note=note, undertrained=(), expected=False, outside="", check_cells=())


def _ends_at(undertrained: Sequence[tuple[ArmKey, CellRow]], num_cells: int) -> str:
    if not num_cells:
        return ""
    if not undertrained:
        return f"All {num_cells} cells end at 99 % training accuracy or more."
    lowest = min((row for _, row in undertrained), key=lambda row: (row.train_accuracy or 0.0, row.id))
    return (
        f"{len(undertrained)} of {num_cells} cells end below 99 % training accuracy, "
        f"the lowest at {percent(lowest.train_accuracy or 0.0)} ({lowest.id})."
    )


def _check(
    planned: PlannedPoint,
    study: Study,
    seeds: list[int],
    estimates: dict[Scale, Estimate],
    *,
    scales: tuple[Scale, ...],
    per_tenfold: bool,
) -> tuple[_Check | None, str]:
    """The check, or None and why there is none (empty if none is planned)."""
    covered = _covered(planned, study)
    if not covered:
        return None, ""
    finished = set(seeds).intersection(*(study.finished(study.checks[key]) for key in covered))
    available = finished.intersection(*(planned.available(study, study.checks[key]) for key in covered))
    if not available:
        state = "left nothing to look at" if finished else "is not finished"
        return None, f"The check at four times the steps {state}."
    if estimates[scales[0]].ci95 is None:
        return None, "There is no interval to hold the check at four times the steps against."
    seed = min(available)
    words, outside = [], list[str]()
    for scale in scales:
        ends = estimates[scale].ci95
        assert ends is not None, "both scales have an interval or neither"
        value, before = planned.value(study, seed, scale, longer=covered), planned.value(study, seed, scale)
        within = ends[0] <= value <= ends[1]
        changed = f"{number(value, scale)} instead of {number(before, scale)} "
        changed += unit(scale, per_tenfold=per_tenfold)
        words.append(f"{changed}, {'inside' if within else 'outside'} the interval {bounds(ends, scale)}")
        if not within:
            outside.append(changed)
    where = ""
    if len({(key.num_train_images, key.beginning) for _, key in planned.terms}) > 1:
        named = {f"{key.init} at {key.num_train_images:,} images": None for key in covered}
        where = f", longer only {listing(list(named))}" if len(covered) < len(planned.terms) else ""
    return (
        _Check(
            covered=covered,
            cells=tuple(study.checks[key][seed].id for key in covered),
            inside=not outside,
            outside=f"{' and '.join(outside)} (seed {seed})" if outside else "",
            words=f"{'; '.join(words)} (seed {seed}{where})",
        ),
        "",
    )


def _covered(planned: PlannedPoint, study: Study) -> tuple[ArmKey, ...]:
    """Arms with planned checks, where all arms of that size, init and recipe have one."""
    missing = {(key.num_train_images, key.beginning, key.recipe) for _, key in planned.terms if key not in study.checks}
    return tuple(key for _, key in planned.terms if (key.num_train_images, key.beginning, key.recipe) not in missing)


def _leans(
    planned: PlannedPoint, study: Study, undertrained: Sequence[ArmKey], *, scales: tuple[Scale, ...], per_tenfold: bool
) -> list[_Lean]:
    """For each size of the point with arms that may lean on a larger size's check, what that check says."""
    found = []
    for size in sorted({key.num_train_images for key in undertrained}):
        arms = tuple(key for key in dict.fromkeys(undertrained) if key.num_train_images == size)
        places = {(key.beginning, key.recipe) for key in arms}
        own_check = any(
            key in study.checks
            for _, key in planned.terms
            if key.num_train_images == size and (key.beginning, key.recipe) in places
        )
        leaning = tuple(key for key in arms if all(row.is_regularised for row in study.arms[key].values()))
        if leaning and not own_check:
            lean = _lean(planned, study, leaning, scales=scales, per_tenfold=per_tenfold)
            found += [lean] if lean else []
    return found


def _lean(
    planned: PlannedPoint, study: Study, arms: tuple[ArmKey, ...], *, scales: tuple[Scale, ...], per_tenfold: bool
) -> _Lean | None:
    """What the check of the same contrast says at the nearest larger size that has one; None where none has.

    Conservative in four ways: data set, recipe, models and initial weights are the same; the larger size saw each image no more
    often, so that it is the one in greater need of steps; only the nearest such size is asked, not any that passes; and what
    must stay inside its interval is the whole contrast at that size. Of a slope over training sizes it is the difference at
    that one size.
    """
    size = arms[0].num_train_images
    terms = [(weight, key) for weight, key in planned.terms if key.num_train_images == size]
    if len(terms) < len(planned.terms):
        terms = [(weight / terms[0][0], key) for weight, key in terms]
        per_tenfold = False
    same = (arms[0].dataset, arms[0].recipe)
    sizes = {key.num_train_images for key in study.checks if (key.dataset, key.recipe) == same}
    for other in sorted(larger for larger in sizes if larger > size):
        moved = replace(planned, terms=tuple((weight, replace(key, num_train_images=other)) for weight, key in terms))
        moved_arms = [replace(key, num_train_images=other) for key in arms]
        if not (
            all(key in study.arms for _, key in moved.terms)
            and set(moved_arms) <= set(_covered(moved, study))
            and all(
                _steps_per_image(study, here) >= _steps_per_image(study, there)
                for here, there in zip(arms, moved_arms, strict=True)
            )
        ):
            continue
        seeds = moved.available_seeds(study)
        check, problem = None, "The cells there are not finished."
        if seeds:
            estimates = moved.estimates(study, seeds)
            check, problem = _check(moved, study, seeds, estimates, scales=scales, per_tenfold=per_tenfold)
        passes = check is not None and check.inside
        said = f"at four times the steps, {check.words}" if check else problem.rstrip(".").lower()
        speaks = "speaks" if passes else "does not speak"
        return _Lean(
            arms=arms,
            passes=passes,
            outside=f"at {other:,} images {check.outside}" if check and check.outside else "",
            words=f"No check at {size:,} images; that at {other:,} images of the same recipe {speaks} for it: {said}.",
            cells=check.cells if check else (),
        )
    return None


def _steps_per_image(study: Study, key: ArmKey) -> float:
    """Steps to the weights that count, for each training image; 0 where nothing is finished."""
    steps = [row.selected_step for row in study.arms[key].values() if row.selected_step is not None]
    return min(steps, default=0) / key.num_train_images
