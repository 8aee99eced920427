"""Whether the training steps of a kind of cell run compiled, and why: decided by what was measured.

Pure: nothing is measured here. Must not know torch. Read `decide_compiling` first.
"""

from dataclasses import dataclass

from repro.formatting import count
from repro.records import COMPILE, Choice, Record

LEAST_GAIN = 1.05
"""Compiled steps must be so many times as fast: less is not worth that they round otherwise than others."""
MARGIN = 1.5
"""What is saved must be so many times what compiling costs: steps left are certain, seconds of a short measurement are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiling:
    """Whether steps of a kind run compiled."""

    compiled: bool
    """Whether they do."""
    reason: str
    """Why, in words."""
    holds: bool = True
    """Whether later runs on the same device take it over; else it was so for this run only."""

    def choice(self) -> Choice:
        """For the record; `recorded_as_compiled` reads it."""
        return Choice(what=COMPILE, value="yes" if self.compiled else "no", reason=self.reason, holds=self.holds)


def recorded_as_compiled(record: Record) -> Compiling:
    """What a finished cell's record tells; its steps ran as they are where that tells nothing."""
    for choice in record.choices:
        if choice.what == COMPILE:
            return Compiling(compiled=choice.value == "yes", reason=choice.reason, holds=choice.holds)
    return Compiling(compiled=False, reason="", holds=False)


def decide_compiling(
    *, eager_step_s: float, compiled_step_s: float, compile_s: float, num_steps: int, num_workers: int
) -> Compiling:
    """Whether what `num_steps` steps save by being compiled is well more than what it costs.

    Seconds of a step and of compiling are those of one worker beside the others; each of `num_workers` compiles once. All
    seconds are positive.
    """
    gain = eager_step_s / compiled_step_s
    if gain < LEAST_GAIN:
        how = "no faster" if gain < 1.005 else f"only {gain:.2f} times as fast"
        return Compiling(compiled=False, reason=f"compiled steps would be {how}")
    cost_s = compile_s * num_workers
    saved_s = num_steps * (eager_step_s - compiled_step_s)
    earned_back = count(max(1, round(cost_s / (eager_step_s - compiled_step_s))))
    compilation = f"{compile_s:.0f} s of compilation" + (f" in each of {num_workers} workers" if num_workers > 1 else "")
    if saved_s > MARGIN * cost_s:
        reason = f"steps are {gain:.2f} times as fast, {compilation} are earned back after {earned_back} of {count(num_steps)}"
        return Compiling(compiled=True, reason=f"{reason} steps")
    reason = f"steps would be {gain:.2f} times as fast, but {compilation} are earned back after {earned_back} steps only"
    return Compiling(compiled=False, reason=f"{reason}, of {count(num_steps)}")
