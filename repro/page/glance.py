"""What was measured, in a few lines below the first sentence: who is ahead at the most and at the fewest training images.

These are the gaps of `Results`, picked and not judged: "ahead" says that an interval excludes zero, and nothing of a claim.
Must not know claims or templates. Read `glances` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from repro.analysis.results import Gap, Results
from repro.spec import Family

MOST_DATASETS = 2
"""Data sets that the head of the page speaks of; the sections speak of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One gap, and who is ahead there."""

    gap: Gap
    ahead: Family | None
    """The family whose favour the whole interval lies in; None where it holds zero, or there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One line: a data set, and how the weights began."""

    dataset: str
    init: str
    """Of all gaps in it, as cells have it."""
    most: Standing | None
    """At the most training images; None where several pairs of models stand beside each other, which are counted instead."""
    fewest: Standing | None
    """At the fewest, where that is another size."""
    num_train_images: int
    """The most training images."""
    num_ahead: dict[Family | None, int]
    """There, of the pairs of models, how many have either family ahead, or (None) neither."""


def glances(results: Results) -> tuple[Glance, ...]:
    """From scratch, after the largest upstream set and from published weights: one line each, for the first data sets.

    Of several recipes the one that most sizes were trained by is taken, or the first by name.
    """
    datasets = list(dict.fromkeys(gap.dataset for gap in results.gaps))
    found = []
    for dataset in datasets[:MOST_DATASETS]:
        here = [gap for gap in results.gaps if gap.dataset == dataset]
        by_init: dict[str, list[Gap]] = {}
        for gap in here:
            by_init.setdefault(gap.init, []).append(gap)
        upstream = [init for init in by_init if init.startswith("upstream:")]
        largest = max(upstream, key=lambda init: (by_init[init][0].num_upstream_images, init), default=None)
        for init in ("scratch", largest, "pretrained"):
            if init in by_init:
                found.append(_glance(dataset, init, _of_one_recipe(by_init[init])))
    return tuple(found)


def _of_one_recipe(gaps: Sequence[Gap]) -> list[Gap]:
    sizes: dict[str, set[int]] = {}
    for gap in gaps:
        sizes.setdefault(gap.recipe, set()).add(gap.num_train_images)
    recipe = min(sizes, key=lambda name: (-len(sizes[name]), name))
    return [gap for gap in gaps if gap.recipe == recipe]


def _glance(dataset: str, init: str, gaps: Sequence[Gap]) -> Glance:
    most, fewest = (end(gap.num_train_images for gap in gaps) for end in (max, min))
    at_most = [_standing(gap) for gap in gaps if gap.num_train_images == most]
    at_fewest = [_standing(gap) for gap in gaps if gap.num_train_images == fewest]
    is_one_pair = len({(gap.vit, gap.cnn) for gap in gaps}) == 1
    return Glance(
        dataset=dataset,
        init=init,
        most=at_most[0] if is_one_pair else None,
        fewest=at_fewest[0] if is_one_pair and fewest < most else None,
        num_train_images=most,
        num_ahead={family: sum(one.ahead == family for one in at_most) for family in ("vit", "cnn", None)},
    )


def _standing(gap: Gap) -> Standing:
    """A gap is CNN minus ViT."""
    low, high = gap.accuracy.ci95 or (0.0, 0.0)
    return Standing(gap=gap, ahead="cnn" if low > 0 else "vit" if high < 0 else None)
