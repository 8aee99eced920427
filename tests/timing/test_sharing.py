"""How many cells run at once: the decision, the time in which all took steps, and how long a run takes then."""

from fractions import Fraction

import pytest
from toy_cells import entry

from repro.choices import Choice
from repro.messages import Block
from repro.timing import step_key
from repro.timing.sharing import (
    GAIN,
    AtOnce,
    Limit,
    Sharing,
    by_cores,
    decide,
    memory_limit,
    next_number,
    rate_together,
    seconds_together,
)

FREE = Limit(number=8, reason="no more are tried")


@pytest.mark.parametrize(
    ("rates", "limit", "number"),
    [
        ({}, 8, 1),
        ({1: 10.0}, 8, 2),
        ({1: 10.0}, 2, 2),
        ({1: 10.0}, 1, None),
        ({1: 10.0, 2: 11.4}, 8, None),
        ({1: 10.0, 2: 11.5}, 8, 4),
        ({1: 10.0, 2: 11.5}, 3, None),
        ({1: 10.0, 2: 18.0, 4: 24.0}, 8, 8),
        ({1: 10.0, 2: 18.0, 4: 18.0}, 8, None),
        ({1: 10.0, 2: 18.0, 4: 24.0, 8: 40.0}, 8, None),
        ({1: 10.0, 2: 18.0, 4: 24.0, 8: 40.0}, 16, 16),
    ],
)
def test_twice_as_many_are_tried_as_long_as_the_last_were_worth_it(
    rates: dict[int, float], limit: int, number: int | None
) -> None:
    assert next_number(rates, Limit(number=limit, reason="")) == number


@pytest.mark.parametrize(
    ("rates", "number", "reason"),
    [
        ({1: 10.0}, 1, "one at a time, for no more are tried"),
        ({1: 10.0, 2: 9.0}, 1, "2 would be no faster"),
        ({1: 10.0, 2: 11.4}, 1, "2 would be only 1.14 times as fast"),
        ({1: 10.0, 2: 18.0, 4: 18.0}, 2, "2 at once are 1.8 times as fast as one, 4 would be no faster"),
        (
            {1: 10.0, 2: 18.0, 4: 24.0, 8: 24.0},
            4,
            "2 at once are 1.8 times as fast as one, 4 are 1.3 times as fast as 2, 8 would be no faster",
        ),
        (
            {1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0},
            8,
            "2 at once are 2.0 times as fast as one, 4 are 2.0 times as fast as 2, 8 are 2.0 times as fast as 4, "
            "no more, for no more are tried",
        ),
    ],
)
def test_the_most_that_were_worth_it_are_chosen_and_the_reason_is_in_words(
    rates: dict[int, float], number: int, reason: str
) -> None:
    assert decide(rates, FREE) == AtOnce(number=number, reason=reason)


@pytest.mark.parametrize("gains", [(a, b, c) for a in (1.0, 1.2) for b in (1.0, 1.2) for c in (1.0, 1.2)])
@pytest.mark.parametrize("limit", range(1, 10))
def test_measuring_and_deciding_agree_whatever_is_measured(gains: tuple[float, ...], limit: int) -> None:
    rates: dict[int, float] = {}
    bound = Limit(number=limit, reason="it is so", holds=False)
    while (number := next_number(rates, bound)) is not None:
        rates[number] = 10.0 if number == 1 else rates[number // 2] * gains[number.bit_length() - 2] if number <= 8 else 0.0
    chosen = decide(rates, bound)
    expected = 1
    for gain in gains:
        if gain < GAIN or 2 * expected > limit:
            break
        expected *= 2
    assert chosen.number == expected <= limit
    assert chosen.holds == ("no faster" in chosen.reason), "a bound may be another next time, what was measured is not"


@pytest.mark.parametrize(
    ("peak_gib", "images_gib", "free_gib", "number"),
    [
        (1.0, 0.5, 139, 59),
        (1.0, 0.5, 8, 3),
        (60.0, 0.5, 139, 1),
        (100.0, 0.0, 80, 1),
        (1.0, 500.0, 100, 1),
        (1.0, 16.0, 139, 6),
    ],
)
def test_cells_at_once_fit_the_free_memory_with_images_and_cudas_own(
    peak_gib: float, images_gib: float, free_gib: float, number: int
) -> None:
    gib = 2**30
    found = memory_limit(peak_bytes=int(peak_gib * gib), image_bytes=int(images_gib * gib), free_bytes=int(free_gib * gib))
    assert found.number == number
    assert f"of the {free_gib:.1f} GiB that are free" in found.reason


def blocks(*spans: tuple[float, float, float]) -> list[Block]:
    return [Block(began_s=began, ended_s=ended, num_steps=steps) for began, ended, steps in spans]


def test_only_steps_count_that_were_taken_while_all_took_steps() -> None:
    early, late = blocks((0, 1, 10), (1, 2, 10), (2, 3, 10)), blocks((1, 2, 4), (2, 3, 4), (3, 9, 60))
    assert rate_together([early, late]) == (10 + 10 + 4 + 4) / 2
    assert rate_together([early]) == 10
    assert rate_together([blocks((0, 4, 8)), blocks((1, 2, 3))]) == 2 + 3, "a block counts by the part that lies inside"


def test_who_never_took_steps_together_has_no_common_rate() -> None:
    assert rate_together([blocks((0, 1, 5)), blocks((1, 2, 5))]) == 0
    assert rate_together([blocks((0, 1, 5)), []]) == 0
    assert rate_together([blocks((1, 1, 5))]) == 0


def test_a_choice_says_whether_later_runs_take_it_over() -> None:
    assert AtOnce(number=4, reason="r").choice() == Choice(what="cells at once", value="4", reason="r")
    assert AtOnce(number=4, reason="r", holds=False).choice() == Choice(
        what="cells at once", value="4", reason="r", holds=False
    )


def test_parts_of_the_device_are_exact_and_by_kind() -> None:
    small, large = entry("small"), entry("large")
    sharing = Sharing(
        otherwise=AtOnce(number=1, reason=""), kinds={step_key(small.cell): AtOnce(number=3, reason="faster")}, on_gpu=True
    )
    assert 3 * sharing.share(small.cell) == 1 == sharing.share(large.cell)
    assert sharing.num_workers == 3
    alone = Sharing(otherwise=sharing.otherwise, kinds=sharing.kinds, on_gpu=True, alone=(small.cell.id,))
    assert alone.share(small.cell) == 1
    assert alone.of(small.cell).choice().reason == "it ran out of memory when it shared the GPU"
    assert by_cores(7).share(large.cell) == Fraction(1, 7)


@pytest.mark.parametrize(
    ("cells", "seconds"),
    [
        ([], 0),
        ([(5, 1), (5, 1)], 10),
        ([(5, 2), (5, 2)], 5),
        ([(5, 3), (5, 3), (5, 3)], 5),
        ([(9, 2), (3, 4), (3, 4), (6, 2)], 9),
        ([(4, 4), (10, 1), (4, 4)], 18),
        ([(4, 4), (4, 4), (10, 1)], 14),
        ([(8, 2), (2, 2), (2, 2), (2, 2), (2, 2)], 8),
    ],
    ids=str,
)
def test_cells_start_in_order_as_soon_as_there_is_room(cells: list[tuple[float, int]], seconds: float) -> None:
    assert seconds_together((length, Fraction(1, at_once)) for length, at_once in cells) == seconds
