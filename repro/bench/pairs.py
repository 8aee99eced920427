"""The training loop and the bare step in turn, block by block, so that a drift of the device meets both.

The loop is `training.loop.train` itself, with log and state as a cell has them: after each of its logging intervals it calls
`Alternation.progress`, and there the bare step gets its block. Must not know how either works. Read `measure_pairs` first.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repro.bench.ceiling import Ceiling
from repro.bench.clock import LEAST_BLOCKS, MOST_BLOCKS, now_s
from repro.bench.setting import Setting
from repro.cell.files import Log, StateKeeper, follower
from repro.hardware import EnergyMeter
from repro.records import LAST, LOG, EpochRow
from repro.training.loop import INTERVALS_PER_RUN, logging_interval, train

STEPS_TO_LEARN = (1, 3, 10)
"""Steps of short runs before the blocks, each only if the one before took no time to speak of: a warm-up, and about how long
a step takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One block of each, of equally many images."""

    num_images: int
    """Images of either block."""
    ceiling_s: float
    """Seconds of the bare steps."""
    loop_s: float
    """Seconds of the loop."""
    joules: float | None
    """Joules of the loop's block; None without a counter."""


class Enough(Exception):
    """All blocks are measured; ends the training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How long a block is."""

    interval: int
    """Steps from one log row to the next: a cell's, or fewer where steps are slow."""
    num_intervals: int
    """Intervals in a block."""


class Runs:
    """Trainings of one setting; each begins anew, with a log and a state in the same folder."""

    def __init__(self, setting: Setting, folder: Path, told: Callable[[int], None]) -> None:
        self.setting = setting
        self.follow = follower(Log(folder / LOG), told)
        self._state_path = folder / LAST

    def keeper(self) -> StateKeeper:
        """What keeps the state of one training."""
        return StateKeeper(self._state_path, "bench", self.setting.start.model)

    def run(
        self,
        *,
        steps: int,
        most_images: int,
        save: Callable[[Callable[[], dict[str, Any]]], None],
        progress: Callable[[int, EpochRow], None],
    ) -> None:
        """Train for so many steps on the first `most_images` images of the subset."""
        setting = self.setting
        train(
            setting.start.model,
            replace(setting.data, train_positions=setting.data.train_positions[:most_images]),
            setting.recipe.model_copy(update={"steps": steps, "warmup_steps": min(setting.recipe.warmup_steps, steps - 1)}),
            precision=setting.precision,
            order_seed=1,
            augmentation_seed=2,
            state=None,
            save=save,
            progress=progress,
            head=setting.head,
            micro_batch=setting.micro_batch,
        )

    def steps_s(self, num_steps: int) -> float:
        """Seconds of a training of so many steps, its start and its end included."""
        started_s = now_s(self.setting.device)
        images = len(self.setting.data.train_positions)
        self.run(steps=num_steps, most_images=images, save=self.keeper(), progress=self.follow)
        return now_s(self.setting.device) - started_s


def measure_pairs(runs: Runs, ceiling: Ceiling, meter: EnergyMeter, *, step_s: float, seconds: float) -> list[Pair]:
    """Pairs of blocks until the loop's have taken `seconds`, and a few in any case; `step_s` is about what a step takes."""
    recipe, num_images = runs.setting.recipe, len(runs.setting.data.train_positions)
    affordable = max(1, int(seconds / MOST_BLOCKS / step_s))
    interval = min(logging_interval(recipe, num_images=num_images), affordable)
    # The first interval of a training is its warm-up, and no block.
    rhythm = Rhythm(interval=interval, num_intervals=min(affordable // interval, INTERVALS_PER_RUN - 1))
    pairs: list[Pair] = []
    with contextlib.suppress(Enough):
        while True:
            turn = Alternation(runs, ceiling, meter, rhythm, pairs, seconds=seconds)
            # So many steps, on no more images than these, are logged every `interval` steps.
            steps, images = INTERVALS_PER_RUN * interval, interval * recipe.batch_size
            runs.run(steps=steps, most_images=images, save=runs.keeper(), progress=turn.progress)
    return pairs


class Alternation:
    """What one training calls at the end of its intervals."""

    def __init__(
        self, runs: Runs, ceiling: Ceiling, meter: EnergyMeter, rhythm: Rhythm, pairs: list[Pair], *, seconds: float
    ) -> None:
        self._setting = runs.setting
        self._follow = runs.follow
        self._ceiling = ceiling
        self._meter = meter
        self._rhythm = rhythm
        self._pairs = pairs
        self._seconds = seconds
        self._is_warm = False
        self._begin_block()

    def _begin_block(self) -> None:
        """Give the bare step its block, then start the clock of the loop's."""
        self._num_intervals = 0
        self._ceiling_s = self._ceiling.run(self._rhythm.interval * self._rhythm.num_intervals) if self._is_warm else 0.0
        self._joules = self._meter.joules()
        self._started_s = now_s(self._setting.device)

    def progress(self, step: int, row: EpochRow) -> None:
        """As the loop wants it: an interval ends, and with enough intervals the block. Raises Enough."""
        self._follow(step, row)
        stopped_s = now_s(self._setting.device)
        self._num_intervals += 1
        if self._is_warm and self._num_intervals < self._rhythm.num_intervals:
            return
        if self._is_warm:
            self._end_block(stopped_s)
        self._is_warm = True
        self._begin_block()

    def _end_block(self, stopped_s: float) -> None:
        joules = self._meter.joules()
        pair = Pair(
            num_images=self._rhythm.interval * self._rhythm.num_intervals * self._setting.recipe.batch_size,
            ceiling_s=self._ceiling_s,
            loop_s=stopped_s - self._started_s,
            joules=joules - self._joules if joules is not None and self._joules is not None else None,
        )
        self._pairs.append(pair)
        if len(self._pairs) >= LEAST_BLOCKS and sum(one.loop_s for one in self._pairs) >= self._seconds:
            raise Enough
