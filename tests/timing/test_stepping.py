"""In which way steps are taken: a pure decision."""

import pytest
import spine

from repro.choices import Choice, StepWay
from repro.records import read_record
from repro.timing.stepping import Candidate, Stepping, decide_stepping, recorded_stepping


def compiled(step_ms: float, ready_s: float, num_workers: int = 1) -> Candidate:
    return Candidate(way=StepWay.COMPILED, step_s=step_ms / 1000, ready_s=ready_s, times=num_workers)


def graphed(step_ms: float, ready_s: float, num_cells: int = 1) -> Candidate:
    return Candidate(way=StepWay.GRAPHED, step_s=step_ms / 1000, ready_s=ready_s, times=num_cells)


def decided(plain_ms: float, num_steps: int, *candidates: Candidate) -> Stepping:
    return decide_stepping(candidates, plain_step_s=plain_ms / 1000, num_steps=num_steps)


@pytest.mark.parametrize(
    ("plain_ms", "num_steps", "candidate", "pays", "reason"),
    [
        (
            180,
            9000,
            compiled(100, 24),
            True,
            "compiled steps are 1.80 times as fast, 24 s of compilation are earned back after 300 of 9,000 steps",
        ),
        (
            180,
            9000,
            compiled(100, 24, 4),
            True,
            "compiled steps are 1.80 times as fast, 24 s of compilation in each of 4 workers are earned back after "
            "1,200 of 9,000 steps",
        ),
        (
            180,
            9000,
            graphed(100, 2.4, 40),
            True,
            "steps through CUDA graphs are 1.80 times as fast, 2.4 s of recording in each of 40 cells are earned back after "
            "1,200 of 9,000 steps",
        ),
        (
            180,
            200,
            compiled(100, 24),
            False,
            "compiled steps would be 1.80 times as fast, but 24 s of compilation are earned back after 300 steps only, of 200",
        ),
        # Earned back, but with too little gain over it for what a short measurement is worth.
        (
            180,
            449,
            compiled(100, 24),
            False,
            "compiled steps would be 1.80 times as fast, but 24 s of compilation are earned back after 300 steps only, of 449",
        ),
        (180, 451, compiled(100, 24), True, None),
        (180, 1801, compiled(100, 24, 4), True, None),
        (180, 1799, compiled(100, 24, 4), False, None),
        (180, 1801, graphed(100, 2.4, 40), True, None),
        (180, 1799, graphed(100, 2.4, 40), False, None),
        (104, 10**9, compiled(100, 0.01), False, "compiled steps would be only 1.04 times as fast"),
        (105.1, 10**9, compiled(100, 1), True, None),
        (100, 10**9, compiled(100, 1), False, "compiled steps would be no faster"),
        (98, 10**9, graphed(100, 1), False, "steps through CUDA graphs would be no faster"),
    ],
)
def test_it_pays_where_what_is_saved_is_well_more_than_what_it_costs(
    plain_ms: float, num_steps: int, candidate: Candidate, pays: bool, reason: str | None
) -> None:
    found = decided(plain_ms, num_steps, candidate)
    assert (found.way, found.holds) == (candidate.way if pays else StepWay.PLAIN, True)
    assert reason is None or found.reason == reason


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_that_pay_the_one_that_ends_first_is_taken(turned: bool) -> None:
    pair = (graphed(120, 1.0, 10), compiled(100, 40.0, 2))
    candidates = pair[::-1] if turned else pair
    # 20 ms a step are worth the 70 s that compiling costs more from 3,500 steps on.
    few, many = decided(180, 3000, *candidates), decided(180, 4000, *candidates)
    assert (few.way, many.way) == (StepWay.GRAPHED, StepWay.COMPILED)
    assert few.reason == (
        "steps through CUDA graphs are 1.50 times as fast, 1.0 s of recording in each of 10 cells are earned back after 167 of "
        "3,000 steps; compiled steps would be 1.80 times as fast, and with 40 s of compilation in each of 2 workers not as "
        "soon done"
    )
    assert many.reason.startswith("compiled steps are 1.80 times as fast")
    assert "; steps through CUDA graphs would be 1.50 times as fast, and with 1.0 s of recording in each" in many.reason


def test_a_way_that_does_not_pay_never_stands_in_that_of_another() -> None:
    found = decided(180, 3000, graphed(179, 0.1), compiled(100, 40.0))
    assert found.way is StepWay.COMPILED
    assert found.reason.endswith("; steps through CUDA graphs would be only 1.01 times as fast")


def test_ways_that_were_not_measured_are_told() -> None:
    found = decide_stepping([], plain_step_s=1.0, num_steps=10, untried=("no compiler", "in parts"), holds=False)
    assert found == Stepping(way=StepWay.PLAIN, reason="no compiler; in parts", holds=False)
    found = decide_stepping([graphed(10, 1)], plain_step_s=1.0, num_steps=100, untried=("no compiler",))
    assert (found.way, found.reason.split("; ")[1]) == (StepWay.GRAPHED, "no compiler")


@pytest.mark.parametrize("way", list(StepWay))
@pytest.mark.parametrize("holds", [True, False])
def test_a_record_tells_what_was_decided(way: StepWay, holds: bool) -> None:
    record = read_record(next(iter(spine.cell_dirs(spine.finished() / "home").values())))
    assert record is not None
    made = Stepping(way=way, reason="so it is", holds=holds)
    told = record.model_copy(update={"choices": (Choice(what="device", value="x", reason=""), made.choice())})
    assert recorded_stepping(told) == made
    assert recorded_stepping(record) == Stepping(way=StepWay.PLAIN, reason="", holds=False)
