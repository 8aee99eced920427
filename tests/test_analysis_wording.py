"""Numbers inside sentences."""

import pytest

from repro.analysis.statistics import Scale
from repro.analysis.wording import bounds, listing, number, percent, threshold, with_interval


@pytest.mark.parametrize(
    ("value", "written"), [(0.041, "+4.1"), (-0.25, "−25.0"), (0.0025, "+0.2"), (0.0, "0.0"), (-1e-9, "0.0")]
)
def test_accuracy_is_written_in_points(value: float, written: str) -> None:
    assert number(value, Scale.ACCURACY) == written


def test_log_odds_are_written_as_they_are() -> None:
    assert (
        with_interval(0.321, (-0.1, 0.74), Scale.LOG_ODDS, per_tenfold=True) == "+0.32 in log-odds per tenfold [−0.10, +0.74]"
    )


def test_a_missing_interval_is_said_to_be_missing() -> None:
    assert bounds(None, Scale.ACCURACY) == "[no interval]"


@pytest.mark.parametrize(("value", "written"), [(0.01, "1.0 points"), (0.0025, "0.25 points"), (0.005, "0.5 points")])
def test_thresholds_keep_all_their_digits(value: float, written: str) -> None:
    assert threshold(value, Scale.ACCURACY, per_tenfold=False) == written


def test_a_percentage_is_never_rounded_up_to_the_rule() -> None:
    assert (percent(0.98999), percent(0.99), percent(1.0)) == ("98.9 %", "99.0 %", "100.0 %")


def test_a_long_list_says_how_many_more() -> None:
    assert listing(["a", "b", "c"]) == "a, b, c"
    assert listing(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_what_is_of_the_inside_is_told_in_its_own_unit() -> None:
    assert (
        with_interval(0.31, (0.25, 0.37), Scale.SIMILARITY, per_tenfold=False) == "+0.310 in cosine similarity [+0.250, +0.370]"
    )
    told = with_interval(0.123, (0.081, 0.165), Scale.DISTANCE, per_tenfold=False)
    assert told == "+12.3 % of uniform attention's distance [+8.1, +16.5]"
    assert threshold(0.05, Scale.SIMILARITY, per_tenfold=False) == "0.05 in cosine similarity"
    assert threshold(0.05, Scale.DISTANCE, per_tenfold=False) == "5.0 % of uniform attention's distance"
