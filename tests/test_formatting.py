import pytest

from repro import formatting as show


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, 1),
        (0.0, 1),
        (float("nan"), 1),
        (0.12, 2),
        (0.354, 2),
        (0.36, 1),
        (0.94, 1),
        (0.96, 1),
        (1.2, 1),
        (4.0, 0),
        (12.0, 0),
    ],
)
def test_the_uncertainty_decides_the_decimals(error: float | None, expected: int) -> None:
    assert show.decimals(error, default=1) == expected


def test_value_and_interval_show_the_same_digits() -> None:
    ci95 = (0.9312, 0.9798)
    assert show.percent(0.9555, ci95) == "95.5\u00a0%"
    assert show.percent_interval(ci95) == "[93.1, 98.0]"
    narrow = (0.95500, 0.95588)
    assert show.percent(0.95544, narrow) == "95.544\u00a0%"
    assert show.percent_interval(narrow) == "[95.500, 95.588]"


def test_differences_carry_a_true_sign_and_zero_none() -> None:
    assert show.points(0.031) == "+3.1"
    assert show.points(-0.031) == "\u22123.1"
    assert show.points(-0.0001) == "0.0"
    assert show.log_odds(-0.5, (-0.9, -0.1)) == "\u22120.50"
    assert show.points_interval((-0.02, 0.04)) == "[\u22122.0, +4.0]"
    assert show.log_odds_interval(None) == "no interval"


def test_thresholds_are_shown_as_they_were_set() -> None:
    assert (show.threshold(0.0025, 100), show.threshold(0.05), show.threshold(0.01, 100)) == ("0.25", "0.05", "1")


def test_absent_numbers_are_shown_as_absent_not_as_zero() -> None:
    absent = [show.percent(None), show.points(None), show.count(None), show.seconds(None), show.loss(None), show.spread(None)]
    absent += [show.quantity(None, "J"), show.size_bytes(None), show.log_odds(None)]
    assert set(absent) == {show.ABSENT}


@pytest.mark.parametrize(("number", "expected"), [(3.44, "3.4 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (4021, "1 h 07 min")])
def test_durations_round_into_the_right_unit(number: float, expected: str) -> None:
    assert show.seconds(number).replace("\u00a0", " ") == expected


def test_magnitudes_times_and_counts_read_naturally() -> None:
    assert show.quantity(3.07e11, "FLOP") == "307\u00a0GFLOP"
    assert show.size_bytes(3 * 2**30) == "3\u00a0GiB"
    assert show.utc("2026-01-31T13:34:56+01:00") == "2026-01-31 12:34 UTC"
    assert show.utc("yesterday") == "yesterday"
    assert show.plural(1, "seed") == "1\u00a0seed"
    assert show.plural(64000, "image") == "64,000\u00a0images"
    assert show.enumeration(["a", "b", "c"]) == "a, b and c"


def test_long_names_keep_both_ends_and_forbidden_characters_go() -> None:
    short = show.shortened("resnet_very_long_name_v1", 13)
    assert len(short) == 13 and short.startswith("resnet_") and short.endswith("_v1")
    assert show.printable("a\x00b\u202ec\u05d0") == "a\ufffdb\ufffdc\u05d0"


def test_a_similarity_with_an_interval_has_two_or_three_decimals() -> None:
    assert show.similarity(0.3141, (0.28, 0.35)) == "+0.314" and show.similarity_interval((0.28, 0.35)) == "[+0.280, +0.350]"
    assert show.similarity(0.3141, (0.0, 0.62)) == "+0.31" and show.similarity_interval((-0.1, 0.62)) == "[\u22120.10, +0.62]"
    assert show.similarity(0.3141, (0.31409, 0.31411)) == "+0.314"
    assert show.similarity_interval(None) == "no interval" and show.similarity(None) == show.ABSENT
