"""What the figures say of themselves: titles that state the finding in numbers, and the same data in words for screen readers.

Must not know how anything is drawn, nor judge: verdicts are the ledger's. Read `scaling_title` first.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from repro.analysis.arms import contender
from repro.analysis.results import Estimate, Gap, Group, Point
from repro.analysis.statistics import Scale
from repro.analysis.wording import number, unit
from repro.formatting import FAMILY_NAMES, MINUS, count, percent, points, shortened

HOW_TO_READ = "Line: mean over seeds; band or bar: 95 % interval over seeds and test images; faint dots: single seeds."

Row = TypeVar("Row")
KeyType = TypeVar("KeyType")


def grouped(key: Callable[[Row], KeyType], rows: Iterable[Row]) -> dict[KeyType, list[Row]]:
    """Rows by key, in order of first appearance."""
    parts: dict[KeyType, list[Row]] = defaultdict(list)
    for row in rows:
        parts[key(row)].append(row)
    return dict(parts)


def scaling_title(groups: Sequence[Group], gaps: Sequence[Gap]) -> str:
    """Which mean is higher, at how many sizes, and by how much at both ends."""
    if not gaps:
        families = sorted({FAMILY_NAMES[group.family] for group in groups})
        return f"Mean test accuracy of the {' and '.join(families)} by number of training images"
    ahead = sum(gap.accuracy.value > 0 for gap in gaps)
    leader, other, number = ("CNN", "ViT", ahead) if 2 * ahead >= len(gaps) else ("ViT", "CNN", len(gaps) - ahead)
    if len({(gap.cnn, gap.vit) for gap in gaps}) > 1:
        least, most = (end(gaps, key=lambda gap: gap.accuracy.value).accuracy for end in (min, max))
        span = f"from {points(least.value, least.ci95)} to {points(most.value, most.ci95)} points"
        return f"{leader} mean above {other} mean in {number} of {len(gaps)} comparisons (CNN {MINUS} ViT {span})"
    ordered = sorted(gaps, key=lambda gap: gap.num_train_images)
    ends = ordered if len(ordered) == 1 else [ordered[0], ordered[-1]]
    difference = ", ".join(
        f"{points(gap.accuracy.value, gap.accuracy.ci95)} points at {count(gap.num_train_images)} images" for gap in ends
    )
    return f"{leader} mean above {other} mean at {number} of {len(gaps)} training-set sizes (CNN {MINUS} ViT: {difference})"


def gap_title(gaps: Sequence[Gap]) -> str:
    """At how many sizes the interval of the paired difference excludes zero, on both scales."""
    measured = [gap for gap in gaps if gap.accuracy.ci95 is not None and gap.log_odds.ci95 is not None]
    if not measured:
        return "Paired difference from a single seed: no interval can be given"
    in_accuracy = sum(_excludes_zero(gap.accuracy) for gap in measured)
    in_log_odds = sum(_excludes_zero(gap.log_odds) for gap in measured)
    several = len({(gap.cnn, gap.vit) for gap in measured}) > 1
    at, places = ("in", "comparisons") if several else ("at", "sizes")
    return (
        f"The 95 % interval of the paired difference excludes zero {at} {in_accuracy} of {len(measured)} {places} in accuracy "
        f"and {at} {in_log_odds} of {len(measured)} in log-odds"
    )


def upstream_title(groups: Sequence[Group], scratch: Sequence[Group]) -> str:
    """Accuracy of each family from scratch, and with the most upstream images."""
    parts = []
    for (family, model), members in grouped(lambda group: (group.family, group.model), groups).items():
        best = max(members, key=lambda group: group.num_upstream_images)
        reference = [group for group in scratch if group.model == model]
        start = f"{percent(reference[0].accuracy.value, reference[0].accuracy.ci95)} → " if len(reference) == 1 else ""
        parts.append(f"{FAMILY_NAMES[family]} {start}{percent(best.accuracy.value, best.accuracy.ci95)}")
    most = count(max(group.num_upstream_images for group in groups))
    origin = f"From scratch to {most}" if scratch else f"With {most}"
    return f"{origin} upstream images, {count(groups[0].num_train_images)} training images: {', '.join(parts)}"


def _excludes_zero(estimate: Estimate) -> bool:
    return estimate.ci95 is not None and not estimate.ci95[0] <= 0 <= estimate.ci95[1]


def point_in_words(point: Point, scale: Scale) -> str:
    """A claim's point on its measure's own scale, for instance `50 training images +15.4 points`."""
    return f"{point.label} {number(point.estimate.value, scale, point.estimate.ci95)} {unit(scale, per_tenfold=False)}"


LABEL_LENGTH = 24
"""Letters of one line beside a strip, at most."""


def row_label(point: Point) -> str:
    """A claim's point in a few short lines, for an axis: family and training images, then models or upstream images."""
    family = f"{FAMILY_NAMES[point.family]}, " if point.family else ""
    first = "slope over training" if point.num_train_images is None else f"{count(point.num_train_images)} training"
    if point.models:
        names = re.split(" against |, ", point.models.removeprefix("against "))
        return "\n".join((f"{family}{first}", *(line for name in names for line in _in_lines(name, 21))))
    if point.num_upstream_images is None:
        return f"{family}{first}\nslope over upstream"
    if point.num_upstream_images:
        return f"{family}{first}\n{count(point.num_upstream_images)} upstream"
    whole = f"{family}{first} images"
    return whole if len(whole) <= LABEL_LENGTH else whole.replace(" training", "\ntraining")


def _in_lines(name: str, length: int) -> list[str]:
    """A model's name, its tag in a line of its own where both do not fit into one: the tag is what tells weights apart."""
    architecture, dot, tag = without_library(name).rpartition(".")
    whole = f"{architecture}{dot}{tag}"
    return [shortened(part, length) for part in ((architecture, tag) if dot and len(whole) > length else (whole,))]


def without_library(name: str) -> str:
    """A model's name as its library has it."""
    return name.removeprefix("timm/").removeprefix("torchvision/")


def series_in_words(groups: Sequence[Group], *, upstream: bool = False) -> str:
    """A curve's means, by training images or by upstream images."""

    def size(group: Group) -> int:
        return group.num_upstream_images if upstream else group.num_train_images

    values = ", ".join(
        f"{percent(group.accuracy.value, group.accuracy.ci95)} at {count(size(group))}" for group in sorted(groups, key=size)
    )
    return f"{FAMILY_NAMES[groups[0].family]} ({contender(groups[0].model, groups[0].init)}): {values}"
