"""Which models are set against each other under one recipe on one data set.

Models trained here are matched by design: each ViT stands against each CNN. Published weights cannot be, so there it takes a
declared pair whose members are all there; a model in none of those stands against each of the other family that saw the same
upstream data. Must not know statistics or claims. Read `make_pairs` first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from repro.analysis.arms import PRETRAINED, ArmKey, Kind, contender, kind_of
from repro.spec import Family, PairSpec

Contenders = Mapping[str, Sequence[ArmKey]]
"""The arms of one family by contender, in order of size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """ViTs and CNNs that were trained by one recipe on one data set, and are set against each other."""

    dataset: str
    recipe: str
    kind: Kind | Literal["any"]
    """How the weights of all its arms begin."""
    vits: tuple[str, ...]
    """Names on the ViT side: one, unless the pair is declared."""
    cnns: tuple[str, ...]
    """Names on the CNN side."""
    name: str = ""
    """Name of the declared pair; empty where none was declared."""
    title: str = ""
    """Its title."""
    has_own_claims_only: bool = False
    """Whether claims that are made for every pair leave it out."""
    vit_arms: tuple[ArmKey, ...]
    """All arms of the ViTs, model by model, in order of size."""
    cnn_arms: tuple[ArmKey, ...]
    """The same of the CNNs."""
    combinations: tuple[tuple[ArmKey, ArmKey], ...]
    """(ViT, CNN) arms that differ in the model (and its published weights) only, in order of size."""

    @property
    def order(self) -> tuple[str, str, tuple[str, ...], tuple[str, ...], str]:
        """Sort key, and what tells it from every other pair of its kind."""
        return self.dataset, self.recipe, self.vits, self.cnns, self.name

    def which(self, vit: ArmKey, cnn: ArmKey) -> str:
        """What tells this combination from the others of the pair: the models that differ; empty where there is one."""
        named = contender(vit.model, vit.init) if len(self.vits) > 1 else ""
        against = f"against {contender(cnn.model, cnn.init)}" if len(self.cnns) > 1 else ""
        return " ".join(filter(None, (named, against)))


def make_pairs(arms: Iterable[ArmKey], declared: Sequence[PairSpec]) -> tuple[Pair, ...]:
    """Every pair among `arms`, sorted by data set, recipe and names."""
    places: dict[tuple[str, str, Kind], dict[Family, dict[str, list[ArmKey]]]] = {}
    for key in sorted(arms, key=lambda key: key.by_size):
        sides = places.setdefault((key.dataset, key.recipe, kind_of(key)), {"vit": {}, "cnn": {}})
        sides[key.family].setdefault(contender(key.model, key.init), []).append(key)
    found = []
    for (_, _, kind), sides in places.items():
        vits, cnns = sides["vit"], sides["cnn"]
        if kind == PRETRAINED:
            found += _published_pairs(vits, cnns, declared)
        else:
            found += [_pair({vit: vits[vit]}, {cnn: cnns[cnn]}) for vit, cnn in product(vits, cnns)]
    return tuple(sorted(found, key=lambda pair: (pair.order, pair.kind)))


def pinned(arms: Iterable[ArmKey]) -> list[ArmKey]:
    """Of one model's arms those from the weights that its name pins, if there are any, else all: a name means those weights."""
    every = list(arms)
    return [key for key in every if key.init == PRETRAINED] or every


def _published_pairs(vits: Contenders, cnns: Contenders, declared: Sequence[PairSpec]) -> list[Pair]:
    found, in_a_pair = [], set[str]()
    for spec in declared:
        vit_side, cnn_side = _members(spec.vit, vits), _members(spec.cnn, cnns)
        if vit_side and cnn_side:
            found.append(_pair(vit_side, cnn_side, spec))
            in_a_pair.update(vit_side, cnn_side)
    for vit, cnn in product(vits, cnns):
        upstream = vits[vit][0].upstream_dataset
        if upstream and upstream == cnns[cnn][0].upstream_dataset and not {vit, cnn} <= in_a_pair:
            found.append(_pair({vit: vits[vit]}, {cnn: cnns[cnn]}))
    return found


def _members(names: Sequence[str], side: Contenders) -> Contenders:
    """The contenders that a declared pair means, in its order; none unless all of its models are there."""
    found: dict[str, list[ArmKey]] = {}
    for name in names:
        arms = pinned(key for keys in side.values() for key in keys if key.model == name)
        if not arms:
            return {}
        for key in arms:
            found.setdefault(contender(key.model, key.init), []).append(key)
    return found


def _pair(vits: Contenders, cnns: Contenders, spec: PairSpec | None = None) -> Pair:
    vit_arms, cnn_arms = (tuple(key for keys in side.values() for key in keys) for side in (vits, cnns))
    alike = [
        (vit, cnn)
        for vit, cnn in product(vit_arms, cnn_arms)
        if (vit.beginning, vit.num_train_images) == (cnn.beginning, cnn.num_train_images)
    ]
    if spec is not None:
        alike.sort(key=lambda arms: arms[0].num_train_images)  # stable: within a size, models as they were declared
    first = vit_arms[0]
    return Pair(
        dataset=first.dataset,
        recipe=first.recipe,
        kind=kind_of(first),
        vits=tuple(vits),
        cnns=tuple(cnns),
        name=spec.name if spec else "",
        title=spec.title if spec else "",
        has_own_claims_only=spec is not None and spec.has_own_claims_only,
        vit_arms=vit_arms,
        cnn_arms=cnn_arms,
        combinations=tuple(alike),
    )
