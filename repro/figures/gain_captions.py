"""What the figures of pre-training say of themselves: titles with the finding, names of lines, the same data in words.

Must not know how anything is drawn, nor judge: verdicts are the ledger's. Read `gains_title` first.
"""

from collections.abc import Mapping, Sequence

from repro.analysis.arms import contender, kind_of_init
from repro.analysis.results import FamilyGain, Gain, Group
from repro.figures.captions import grouped, without_library
from repro.formatting import FAMILY_NAMES, MINUS, count, percent, points, points_interval, shortened
from repro.spec import Family

Rung = tuple[int, str]
"""Upstream images and the name of the upstream data set; (0, "") from scratch."""
Side = tuple[Family, str, str]
"""A family, and the models that its line starts and ends with."""


def gains_title(gains: Sequence[Gain]) -> str:
    """What the last rung gives either family, and by how much more the ViT; of several combinations, in how many more."""
    last = max(rung_of(gain) for gain in gains)
    measured = [gain for gain in gains if rung_of(gain) == last and gain.accuracy is not None and gain.vit and gain.cnn]
    if not measured:
        family = next((FAMILY_NAMES[side[0]] for gain in gains for side, _ in sides_of(gain)), "")
        return f"Only the {family} has finished cells at both ends: no gain to compare with"
    accuracies = [gain.accuracy for gain in measured if gain.accuracy is not None]
    if len(measured) == 1:
        vit, cnn, difference = measured[0].vit, measured[0].cnn, accuracies[0]
        assert vit is not None and cnn is not None, "only such gains are measured"
        interval = f"95 % interval {points_interval(difference.ci95)}" if difference.ci95 else "a single seed, no interval"
        return (
            f"The ViT gains {points(vit.accuracy.value, vit.accuracy.ci95)} points, the CNN "
            f"{points(cnn.accuracy.value, cnn.accuracy.ci95)}: ViT {MINUS} CNN "
            f"{points(difference.value, difference.ci95)} ({interval})"
        )
    more = sum(one.value > 0 for one in accuracies)
    clear = sum(one.ci95 is not None and not one.ci95[0] <= 0 <= one.ci95[1] for one in accuracies)
    least, most = (end(accuracies, key=lambda one: one.value) for end in (min, max))
    return (
        f"The ViT gains more than the CNN in {more} of {len(measured)} combinations (by {points(least.value, least.ci95)} to "
        f"{points(most.value, most.ci95)} points); the 95 % interval excludes zero in {clear}"
    )


def slopes_title(gains: Sequence[Gain], ends: Mapping[Side, tuple[Group, Group]], *, first: str, last: str) -> str:
    """Accuracy of each family at both ends; of several models the span of the ends."""
    parts = []
    for family, members in grouped(lambda side: side[0], ends).items():
        starts, stops = ([ends[side][end] for side in members] for end in (0, 1))
        parts.append(f"{FAMILY_NAMES[family]} {_span(starts)} → {_span(stops)}")
    start = flat(first)
    return (
        f"{start[0].upper()}{start[1:]} → {flat(last)}, {count(gains[0].num_train_images)} training images: {', '.join(parts)}"
    )


def _span(groups: Sequence[Group]) -> str:
    low, high = (end(groups, key=lambda group: group.accuracy.value) for end in (min, max))
    words = [percent(group.accuracy.value, group.accuracy.ci95) for group in (low, high)]
    return words[0] if words[0] == words[1] else f"{words[0]} to {words[1]}"


def gain_in_words(gain: Gain, label: str) -> str:
    """A gain of both families for a screen reader."""
    parts = [
        f"{FAMILY_NAMES[side[0]]} ({one.model}) {points(one.accuracy.value, one.accuracy.ci95)} points"
        for side, one in sides_of(gain)
    ]
    if gain.accuracy is not None:
        parts.append(f"difference {points(gain.accuracy.value, gain.accuracy.ci95)} {points_interval(gain.accuracy.ci95)}")
    return f"{flat(label)}: {', '.join(parts)}."


def side_name(side: Side) -> str:
    """A line of the slopes: its family, and the model or the two that it joins."""
    family, start, end = side
    names = [without_library(name) for name in dict.fromkeys((start, end))]
    return f"{FAMILY_NAMES[family]} {' → '.join(shortened(name, 44 // len(names)) for name in names)}"


def difference_name(gain: Gain, *, several: bool) -> str:
    """A difference of gains in the legend: by its models where there are several."""
    if not several or gain.vit is None or gain.cnn is None:
        return f"ViT {MINUS} CNN"
    names = (shortened(without_library(side.model), 20) for side in (gain.vit, gain.cnn))
    return f"ViT {MINUS} CNN: " + f" {MINUS} ".join(names)


def rung_of(gain: Gain) -> Rung:
    """What the later arms of a gain start from."""
    return gain.num_upstream_images, gain.upstream_dataset


def sides_of(gain: Gain) -> list[tuple[Side, FamilyGain]]:
    """What of a gain is measured, family by family."""
    found: list[tuple[Side, FamilyGain]] = []
    families: tuple[tuple[Family, FamilyGain | None], ...] = (("vit", gain.vit), ("cnn", gain.cnn))
    for family, side in families:
        if side is not None:
            init = "" if kind_of_init(side.init) == "upstream" else side.init
            found.append(((family, side.start_model, contender(side.model, init)), side))
    return found


def flat(label: str) -> str:
    """A label of an axis in one line."""
    return label.replace("\n", " ")
