"""The arithmetic of blocks: which intervals count, and beside what."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from repro.bench.ceiling import Ceiling
from repro.bench.pairs import Alternation, Enough, Pair, Rhythm, Runs
from repro.hardware import EnergyMeter
from repro.records import EpochRow

ROW = EpochRow(step=1, epoch=1.0, lr=0.1, train_loss=1.0, train_accuracy=0.5, dev_loss=None, dev_accuracy=None, elapsed_s=1.0)


class Clock:
    """A clock that a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("repro.bench.pairs.now_s", lambda device: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    yield Clock(monkeypatch)


def turns(clock: Clock, rhythm: Rhythm, joules: list[float]) -> tuple[list[Pair], list[int]]:
    """Blocks of a loop whose interval takes 12 s, beside bare steps of 0.5 s."""
    bare: list[int] = []

    def ceiling(num_steps: int) -> float:
        bare.append(num_steps)
        clock.now += 0.5 * num_steps
        return 0.5 * num_steps

    setting = SimpleNamespace(device="cpu", recipe=SimpleNamespace(batch_size=8))
    runs = SimpleNamespace(setting=setting, follow=lambda step, row: None)
    meter = SimpleNamespace(joules=lambda: joules.pop(0) if joules else None)
    pairs: list[Pair] = []
    turn = Alternation(
        cast(Runs, runs),
        cast(Ceiling, SimpleNamespace(run=ceiling)),
        cast(EnergyMeter, meter),
        rhythm,
        pairs,
        seconds=1.0,
    )
    with pytest.raises(Enough):
        for step in range(100):
            clock.now += 12.0
            turn.progress(step, ROW)
    return pairs, bare


def test_the_first_interval_warms_up_and_each_block_of_the_loop_follows_one_of_bare_steps(clock: Clock) -> None:
    pairs, bare = turns(clock, Rhythm(interval=5, num_intervals=2), [])
    assert bare == [10, 10, 10]
    assert [(pair.ceiling_s, pair.loop_s, pair.num_images) for pair in pairs] == [(5.0, 24.0, 80)] * 3
    assert {pair.joules for pair in pairs} == {None}


def test_joules_are_those_of_the_loops_blocks(clock: Clock) -> None:
    readings = [0.0, 100.0, 103.0, 200.0, 204.0, 300.0, 305.0]
    pairs, _ = turns(clock, Rhythm(interval=5, num_intervals=1), readings)
    assert [pair.joules for pair in pairs] == [3.0, 4.0, 5.0]


def test_the_state_lies_in_the_trials_folder(tmp_path: Path) -> None:
    runs = Runs(cast(Any, None), tmp_path, lambda step: None)
    runs.follow(3, ROW)
    assert "step 3 loss" in (tmp_path / "log.txt").read_text()
