"""In which way the training steps of a kind of cell are taken, and why: decided by what was measured.

Pure: nothing is measured here. Must not know torch. Read `decide_stepping` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from repro.choices import STEPS, Choice, StepWay, chosen
from repro.formatting import count
from repro.records import Record

LEAST_GAIN = 1.05
"""Steps must be so many times as fast as plain ones: less is not worth that they round otherwise than others."""
MARGIN = 1.5
"""What is saved must be so many times what it costs: steps left are certain, seconds of a short measurement are not."""
SUBJECTS = {StepWay.COMPILED: "compiled steps", StepWay.GRAPHED: "steps through CUDA graphs"}
PREPARATIONS = {StepWay.COMPILED: ("compilation", "workers"), StepWay.GRAPHED: ("recording", "cells")}
"""What a way costs, and what each pays it once: code serves all cells of a worker, a graph belongs to one cell's model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepping:
    """In which way steps of a kind are taken."""

    way: StepWay
    """That way."""
    reason: str
    """Why, in words."""
    holds: bool = True
    """Whether later runs on the same device take it over; else it was so for this run only."""

    def choice(self) -> Choice:
        """For the record; `recorded_stepping` reads it."""
        return Choice(what=STEPS, value=self.way, reason=self.reason, holds=self.holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A way that was measured. Seconds are those of one worker beside the others, all positive."""

    way: StepWay
    """Not plain."""
    step_s: float
    """Seconds of a step."""
    ready_s: float
    """Seconds until steps can be taken so."""
    times: int
    """How often that is paid: once in each worker, or in each cell."""

    @property
    def cost_s(self) -> float:
        """Seconds that all of that takes."""
        return self.ready_s * self.times


def recorded_stepping(record: Record) -> Stepping:
    """What a finished cell's record tells; its steps were plain where that tells nothing."""
    if (choice := chosen(record.choices, STEPS)) is None:
        return Stepping(way=StepWay.PLAIN, reason="", holds=False)
    return Stepping(way=StepWay(choice.value), reason=choice.reason, holds=choice.holds)


def decide_stepping(
    candidates: Sequence[Candidate], *, plain_step_s: float, num_steps: int, untried: Sequence[str] = (), holds: bool = True
) -> Stepping:
    """The way in which `num_steps` steps end first, what it costs included; plain unless what is saved is well more than that.

    `untried` are the reasons why other ways are no candidates.
    """
    chosen = min(
        (one for one in candidates if _pays(one, plain_step_s, num_steps)),
        key=lambda one: one.step_s * num_steps + one.cost_s,
        default=None,
    )
    told = [
        _told(one, plain_step_s, num_steps, is_chosen=one is chosen)
        for one in sorted(candidates, key=lambda one: one is not chosen)
    ]
    way = chosen.way if chosen is not None else StepWay.PLAIN
    return Stepping(way=way, reason="; ".join([*told, *untried]), holds=holds)


def _pays(one: Candidate, plain_step_s: float, num_steps: int) -> bool:
    saved_s = num_steps * (plain_step_s - one.step_s)
    return plain_step_s / one.step_s >= LEAST_GAIN and saved_s > MARGIN * one.cost_s


def _told(one: Candidate, plain_step_s: float, num_steps: int, *, is_chosen: bool) -> str:
    """What was found of a way, in words."""
    subject, gain = SUBJECTS[one.way], plain_step_s / one.step_s
    if gain < LEAST_GAIN:
        return f"{subject} would be {'no faster' if gain < 1.005 else f'only {gain:.2f} times as fast'}"
    preparation, each = PREPARATIONS[one.way]
    cost = f"{one.ready_s:.{0 if one.ready_s >= 10 else 1}f} s of {preparation}"
    if one.times > 1:
        cost += f" in each of {count(one.times)} {each}"
    earned_back = count(max(1, round(one.cost_s / (plain_step_s - one.step_s))))
    if is_chosen:
        return f"{subject} are {gain:.2f} times as fast, {cost} are earned back after {earned_back} of {count(num_steps)} steps"
    if _pays(one, plain_step_s, num_steps):
        return f"{subject} would be {gain:.2f} times as fast, and with {cost} not as soon done"
    return (
        f"{subject} would be {gain:.2f} times as fast, but {cost} are earned back after {earned_back} steps only, "
        f"of {count(num_steps)}"
    )
