"""What the figures of costs say of themselves: names of arms, and titles with the finding.

Must not know how anything is drawn. Read `compute_title` first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from repro.analysis.arms import PRETRAINED, contender
from repro.analysis.costs import ArmCost
from repro.analysis.results import Group
from repro.figures.captions import without_library
from repro.formatting import FAMILY_NAMES, count, percent
from repro.spec import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedArm:
    """An arm with the most training images of its figure."""

    number: int
    """What marks it in the figure where there is no room for names."""
    name: str
    """What tells it from the other arms of its family."""
    cost: ArmCost


def compute_title(shown: Sequence[tuple[NamedArm, float]], words: Callable[[float], str]) -> str:
    """The most accurate arm of each family, the better one first, with its cost; and how their costs compare."""
    best: dict[Family, tuple[NamedArm, float]] = {}
    for one, cost in sorted(shown, key=lambda pair: (-pair[0].cost.group.accuracy.value, pair[1])):
        best.setdefault(one.cost.group.family, (one, cost))
    parts = [f"{arm_in_words(one)} {accuracy_of(one.cost.group)} for {words(cost)}" for one, cost in best.values()]
    images = count(shown[0][0].cost.group.num_train_images)
    if len(parts) == 1:
        return f"Most accurate at {images} training images: {parts[0]}"
    (_, first), (_, second) = best.values()
    ratio = first / second
    compared = "the same cost" if 0.98 < ratio < 1.02 else f"{ratio:.3g} times the cost"
    return f"Most accurate at {images} training images: {parts[0]}, against {parts[1]} ({compared})"


def named_arms(arms: Sequence[ArmCost]) -> tuple[NamedArm, ...]:
    """The arms with names that say no more than what differs among those of their family."""
    by_family: dict[Family, list[Group]] = {}
    for arm in arms:
        by_family.setdefault(arm.group.family, []).append(arm.group)
    ordered = sorted(arms, key=lambda arm: (arm.group.family != "vit", arm.train_flops or 0.0, arm.group.accuracy.value))
    return tuple(
        NamedArm(number=number, name=_name(arm.group, by_family[arm.group.family]), cost=arm)
        for number, arm in enumerate(ordered, 1)
    )


def _name(group: Group, others: Sequence[Group]) -> str:
    parts = []
    if len({(other.model, other.init) for other in others if other.init == group.init}) > 1:
        parts.append(without_library(contender(group.model, group.init)))
    if group.init != PRETRAINED and len({other.init for other in others}) > 1:
        parts.append(f"{count(group.num_upstream_images)} upstream" if group.num_upstream_images else "scratch")
    same = [other for other in others if (other.model, other.init) == (group.model, group.init)]
    if len({other.recipe for other in same}) > 1:
        parts.append(group.recipe)
    return ", ".join(parts) or FAMILY_NAMES[group.family]


def arm_in_words(one: NamedArm) -> str:
    """Family and name."""
    family = FAMILY_NAMES[one.cost.group.family]
    return family if one.name == family else f"{family} ({one.name})"


def accuracy_of(group: Group) -> str:
    """The mean in per cent."""
    return percent(group.accuracy.value, group.accuracy.ci95)
