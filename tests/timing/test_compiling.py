"""Whether compiling pays: a pure decision."""

import pytest
import spine

from repro.records import Choice, read_record
from repro.timing.compiling import Compiling, decide_compiling, recorded_as_compiled


def decided(eager_ms: float, compiled_ms: float, compile_s: float, num_steps: int, num_workers: int = 1) -> Compiling:
    return decide_compiling(
        eager_step_s=eager_ms / 1000,
        compiled_step_s=compiled_ms / 1000,
        compile_s=compile_s,
        num_steps=num_steps,
        num_workers=num_workers,
    )


@pytest.mark.parametrize(
    ("arguments", "compiled", "reason"),
    [
        (
            (180, 100, 24, 9000),
            True,
            "steps are 1.80 times as fast, 24 s of compilation are earned back after 300 of 9,000 steps",
        ),
        (
            (180, 100, 24, 9000, 4),
            True,
            "steps are 1.80 times as fast, 24 s of compilation in each of 4 workers are earned back after 1,200 of 9,000 steps",
        ),
        (
            (180, 100, 24, 200),
            False,
            "steps would be 1.80 times as fast, but 24 s of compilation are earned back after 300 steps only, of 200",
        ),
        # Earned back, but with too little gain over it for what a short measurement is worth.
        (
            (180, 100, 24, 449),
            False,
            "steps would be 1.80 times as fast, but 24 s of compilation are earned back after 300 steps only, of 449",
        ),
        ((180, 100, 24, 451), True, None),
        ((180, 100, 24, 1801, 4), True, None),
        ((180, 100, 24, 1799, 4), False, None),
        ((104, 100, 0.01, 10**9), False, "compiled steps would be only 1.04 times as fast"),
        ((105.1, 100, 1, 10**9), True, None),
        ((100, 100, 1, 10**9), False, "compiled steps would be no faster"),
        ((98, 100, 1, 10**9), False, "compiled steps would be no faster"),
    ],
)
def test_it_pays_where_what_is_saved_is_well_more_than_what_it_costs(
    arguments: tuple[float, float, float, int], compiled: bool, reason: str | None
) -> None:
    found = decided(*arguments)
    assert (found.compiled, found.holds) == (compiled, True)
    assert reason is None or found.reason == reason


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("holds", [True, False])
def test_a_record_tells_what_was_decided(compiled: bool, holds: bool) -> None:
    record = read_record(next(iter(spine.cell_dirs(spine.finished() / "home").values())))
    assert record is not None
    made = Compiling(compiled=compiled, reason="so it is", holds=holds)
    told = record.model_copy(update={"choices": (Choice(what="device", value="x", reason=""), made.choice())})
    assert recorded_as_compiled(told) == made
    assert recorded_as_compiled(record) == Compiling(compiled=False, reason="", holds=False)
