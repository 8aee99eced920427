"""From measured points to a verdict, or to the reason why there is none: thresholds, quantifiers, both scales.

The rules are those of the study's protocol. Must not know arms, recipes or how a point is measured. Read `judge` first.
"""

from dataclasses import dataclass

from repro.analysis.arms import ArmKey, kind_of
from repro.analysis.convergence import Training
from repro.analysis.planned import PlannedPoint
from repro.analysis.results import Estimate, Point, Verdict
from repro.analysis.rules import fails, judged_scales, own_scale, passes, strength
from repro.analysis.statistics import LEVEL, Scale, interval
from repro.analysis.wording import listing, number, numbers_in_words, scope_in_words, verdict_sentence
from repro.spec import Claim

MIN_SEEDS = 3
"""Fewer seeds give no verdict (the study's protocol)."""
_UNSEEN = (
    "left nothing to look at (run by an earlier version, built otherwise than the paper's ViT, or their inside.npz is damaged)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A planned point, and its numbers as far as there are any."""

    planned: PlannedPoint
    """Which arms, inside the scope or not."""
    point: Point | None
    """None where no seed is finished in all arms."""
    training: Training | None
    """None with `point`."""
    num_cells: int
    """Cells that are planned."""
    num_done: int
    """Cells that are finished and comparable."""
    unseen: tuple[str, ...]
    """Ids of those among them that should have been looked into, and were not."""

    def ends(self, scale: Scale, level: float = LEVEL) -> tuple[float, float]:
        """The interval on one scale; only where there are two seeds."""
        ends = interval(self.estimated(scale), level=level)
        assert ends is not None, "a verdict is asked of points with intervals only"
        return ends

    def estimated(self, scale: Scale) -> Estimate:
        """The estimate on one scale."""
        assert self.point is not None
        found = self.point.log_odds if scale is Scale.LOG_ODDS else self.point.estimate
        assert found is not None, "a claim on one scale is not asked for the other"
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict with its reason and the point that decided."""

    verdict: Verdict | None
    """None for an observation."""
    reason: str
    """One line for a reader."""
    decisive: Measured | None
    """The weakest point for `every`, the strongest for `somewhere`."""


def judge(claim: Claim, points: list[Measured]) -> Judgement:
    """The verdict over points inside the scope: first whether there may be one, then which."""
    own = own_scale(claim)
    shown = _decisive(claim, points, own, None)
    num_cells, num_done = sum(one.num_cells for one in points), sum(one.num_done for one in points)
    if num_done < num_cells:
        return _inconclusive(f"unfinished): {num_done} of {num_cells} cells are done.", shown)
    if unseen := [cell for one in points for cell in one.unseen]:
        return _inconclusive(f"not looked into): {len(unseen)} of {num_cells} cells {_UNSEEN}: {listing(unseen)}.", shown)
    num_seeds = min(one.point.estimate.num_seeds for one in points if one.point)
    if num_seeds < MIN_SEEDS:
        return _inconclusive(f"too few seeds): {num_seeds} of at least {MIN_SEEDS}.", shown)
    if any(one.point is None or one.point.estimate.ci95 is None for one in points):
        why = "all seeds give the same value" if claim.measure.is_of_the_inside else "the test set has too few images"
        return _inconclusive(f"no interval): {why}.", shown)
    counting = [one for one in points if one.training and one.training.trained_enough]
    if len(counting) < len(points) and (claim.quantifier == "every" or not counting):
        return _undertrained(points, shown)
    scales = judged_scales(claim)
    verdicts = {scale: _verdict(claim, points, counting, scale) for scale in scales}
    verdict = verdicts[own]
    if len(counting) < len(points) and verdict is not Verdict.SUPPORTED:
        return _undertrained(points, shown)
    shown = _decisive(claim, counting, own, verdict, _deciding_level(claim, len(points), verdict))
    sentences = {scale: _sentence(claim, len(points), counting, scale, verdicts[scale]) for scale in scales}
    longer = _outside_at_four_times(counting)
    if not claim.both_scales:
        return Judgement(verdict=verdict, reason=f"{_capital(sentences[own])}.{longer}", decisive=shown)
    if verdicts[Scale.LOG_ODDS] is verdict:
        both = f"{_capital(sentences[own])}. So in log-odds: {sentences[Scale.LOG_ODDS]}.{longer}"
        return Judgement(verdict=verdict, reason=both, decisive=shown)
    named = f"{verdict} in accuracy ({sentences[own]}), {verdicts[Scale.LOG_ODDS]} in log-odds ({sentences[Scale.LOG_ODDS]})"
    return _inconclusive(f"depends on scale): {named}.{longer}", shown)


def _verdict(claim: Claim, points: list[Measured], counting: list[Measured], scale: Scale) -> Verdict:
    """What the intervals of all points together say on one scale.

    `every` is an intersection-union test: each point at 95 %, no correction. What needs only one point of many is held to
    Bonferroni's level over all of them.
    """
    alone = [one.ends(scale) for one in counting]
    together = [one.ends(scale, _bonferroni(len(points))) for one in counting]
    all_count = len(counting) == len(points)
    if claim.quantifier == "every":
        supported = all_count and all(passes(claim, ends, scale) for ends in alone)
        contradicted = any(fails(claim, ends) for ends in together)
    else:
        supported = any(passes(claim, ends, scale) for ends in together)
        contradicted = all_count and all(fails(claim, ends) for ends in alone)
    return Verdict.SUPPORTED if supported else Verdict.CONTRADICTED if contradicted else Verdict.INCONCLUSIVE


def _decisive(
    claim: Claim, points: list[Measured], scale: Scale, verdict: Verdict | None, level: float = LEVEL
) -> Measured | None:
    """The weakest point for `every`, the strongest for `somewhere`, by the end of the interval that the verdict looks at."""
    candidates = [one for one in points if one.point is not None]
    if not candidates:
        return None

    def order(one: Measured) -> float:
        estimated = one.estimated(scale)
        ends = interval(estimated, level=level) or (estimated.value, estimated.value)
        return strength(claim, ends, verdict)

    return (min if claim.quantifier == "every" else max)(candidates, key=order)


def _sentence(claim: Claim, num_points: int, counting: list[Measured], scale: Scale, verdict: Verdict) -> str:
    """What one scale says, with the decisive point's numbers at the level that decided."""
    level = _deciding_level(claim, num_points, verdict)
    decisive = _decisive(claim, counting, scale, verdict, level)
    assert decisive is not None, "there is a verdict only where points count"
    estimated = decisive.estimated(scale)
    numbers = numbers_in_words(claim, estimated.value, decisive.ends(scale, level), scale)
    return verdict_sentence(
        claim,
        verdict,
        num_points,
        interval=f"{100 * level:.4g} % interval" + (" (Bonferroni)" if level != LEVEL else ""),
        scale=scale,
        detail=f"{decisive.planned.label}, {numbers}, {estimated.num_seeds} seeds",
    )


def _undertrained(points: list[Measured], shown: Measured | None) -> Judgement:
    short = [one for one in points if one.training and not one.training.trained_enough]
    cells = list(dict.fromkeys(cell for one in short if one.training for cell in one.training.undertrained))
    expected = ", as is expected of their recipe" if all(one.training.expected for one in short if one.training) else ""
    checked = "" if any(one.training and one.training.check_cells for one in short) else ", and there is no finished check"
    reason = (
        f"undertrained): {len(cells)} cell(s) end below 99 % training accuracy{expected}{checked}: {listing(cells)}."
        f"{_outside_at_four_times(short)}"
    )
    return _inconclusive(reason, shown)


def _outside_at_four_times(points: list[Measured]) -> str:
    """What the checks say where longer training leaves the interval; empty if none does."""
    found = [f"{one.planned.label}: {one.training.outside}" for one in points if one.training and one.training.outside]
    return f" At four times the steps it leaves its interval: {'; '.join(found)}." if found else ""


def observe(claim: Claim, points: list[Measured]) -> Judgement:
    """What is measured outside the claim's scope, without verdict."""
    own = own_scale(claim)
    shown = _decisive(claim, points, own, None)
    keys = [key for one in points for _, key in one.planned.terms]
    reason = f"Outside the claim's scope ({scope_in_words(claim)}); here {_here(keys)}. An observation, without verdict."
    num_cells, num_done = sum(one.num_cells for one in points), sum(one.num_done for one in points)
    if num_done < num_cells:
        reason += f" Unfinished: {num_done} of {num_cells} cells are done."
    if shown is not None and shown.point is not None:
        value, log_odds = shown.point.estimate, shown.point.log_odds
        in_log_odds = ""
        if log_odds is not None and claim.tolerance is None:
            in_log_odds = f"{number(log_odds.value, Scale.LOG_ODDS)} in log-odds, "
        reason += (
            f" {'Weakest' if claim.quantifier == 'every' else 'Strongest'} point, {shown.point.label}: "
            f"{numbers_in_words(claim, value.value, value.ci95, own)}, {in_log_odds}{value.num_seeds} seeds."
        )
    return Judgement(verdict=None, reason=reason, decisive=shown)


def _here(keys: list[ArmKey]) -> str:
    """How much data there is, in words."""
    training = f"at most {max(key.num_train_images for key in keys):,} training images"
    if all(kind_of(key) == "scratch" for key in keys):
        return f"{training} from scratch"
    if most := max(key.num_upstream_images for key in keys):
        return f"{training} and {most:,} upstream images"
    return f"{training}, from weights of unknown upstream images"


def _inconclusive(why: str, shown: Measured | None) -> Judgement:
    return Judgement(verdict=Verdict.INCONCLUSIVE, reason=f"Inconclusive ({why}", decisive=shown)


def _bonferroni(num_points: int) -> float:
    return 1 - (1 - LEVEL) / num_points if num_points > 1 else LEVEL


def _deciding_level(claim: Claim, num_points: int, verdict: Verdict) -> float:
    """Bonferroni's level where one point of many is enough for the verdict, or would have been."""
    one_is_enough = (claim.quantifier == "every") == (verdict is Verdict.CONTRADICTED)
    return _bonferroni(num_points) if one_is_enough else LEVEL


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
