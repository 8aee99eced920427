"""Where both families err: classes, confusions, agreement, and images that only one of them gets.

One comparison a data set from scratch, and one of published weights, each at the largest size; only the predictions of their
cells are looked at. Shape letters: S seeds, I test images. Must not know figures, pages or where images lie. Read
`compare_errors` first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.analysis.arms import PRETRAINED, ArmKey, contender
from repro.analysis.error_results import (
    Agreement,
    ClassAccuracy,
    Confusion,
    ErrorComparison,
    Exemplar,
    Measured,
    Shares,
)
from repro.analysis.pairs import Pair
from repro.analysis.statistics import Arm, Correctness, Scale, estimate
from repro.analysis.study import Study

Labels = npt.NDArray[np.integer[Any]]
"""(I,) true classes, or (S, I) predicted ones, from 0 on."""
Answers = Mapping[str, tuple[Labels, Labels]]
"""True and predicted classes of the test images, both (I,), by cell id."""

NUM_CONFUSIONS = 5
"""Shown of the most frequent ones of each family, and of those that differ most."""
LEAST_OFTEN = 2
"""Times that a confusion must occur, or the families differ by, to be shown: single ones are many and tell nothing."""
NUM_EXEMPLARS = 6
"""Images shown a side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """What is compared."""

    pair: Pair
    vit: ArmKey
    cnn: ArmKey
    seeds: tuple[int, ...]
    """That both have finished, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    """The answers of both sides to the same test images."""

    labels_I: Labels
    vit_SI: Labels
    cnn_SI: Labels

    @property
    def vit_right(self) -> Correctness:
        return np.equal(self.vit_SI, self.labels_I)

    @property
    def cnn_right(self) -> Correctness:
        return np.equal(self.cnn_SI, self.labels_I)


def compare_errors(study: Study, answers: Answers, class_names: Mapping[str, Sequence[str]]) -> tuple[ErrorComparison, ...]:
    """All comparisons, by data set: from scratch first, then of published weights. Where nothing is finished there is none.

    `class_names` holds those of the data sets whose names are known. Cells without answers, or with other labels than the rest,
    are left out.
    """
    found = []
    for dataset in sorted({pair.dataset for pair in study.pairs}):
        pairs = [pair for pair in study.pairs if pair.dataset == dataset]
        for match in (_from_scratch(study, pairs), _published(study, pairs)):
            answered = None if match is None else _answered(study, match, answers)
            if match is not None and answered is not None:
                found.append(_comparison(study, match, answered, class_names.get(dataset, ())))
    return tuple(found)


def _from_scratch(study: Study, pairs: Iterable[Pair]) -> _Match | None:
    return _best(study, [pair for pair in pairs if pair.kind == "scratch" and pair.recipe not in study.probes])


def _published(study: Study, pairs: Iterable[Pair]) -> _Match | None:
    """Of the first declared pair that has anything finished, models in its order; fine-tuned rather than probed."""
    published = [pair for pair in pairs if pair.kind == PRETRAINED]
    for name in (*(spec.name for spec in study.declared), ""):
        members = [pair for pair in published if pair.name == name]
        for is_probe in (False, True):
            if match := _best(study, [pair for pair in members if (pair.recipe in study.probes) == is_probe]):
                return match
    return None


def _best(study: Study, pairs: Iterable[Pair]) -> _Match | None:
    """The largest size, there the most seeds, and of several such the first."""
    matches = [
        _Match(pair=pair, vit=vit, cnn=cnn, seeds=tuple(sorted(seeds)))
        for pair in pairs
        for vit, cnn in pair.combinations
        if (seeds := study.finished(study.arms[vit]) & study.finished(study.arms[cnn]))
    ]
    return max(matches, key=lambda match: (match.vit.num_train_images, len(match.seeds)), default=None)


def _answered(study: Study, match: _Match, answers: Answers) -> _Answered | None:
    ids = [[study.arms[key][seed].id for seed in match.seeds] for key in (match.vit, match.cnn)]
    given = [[answers[cell] for cell in side if cell in answers] for side in ids]
    if any(len(side) < len(match.seeds) for side in given):
        return None
    labels_I = given[0][0][0]
    if any(not np.array_equal(labels, labels_I) for side in given for labels, _ in side):
        return None
    vit_SI, cnn_SI = (np.stack([predicted for _, predicted in side]) for side in given)
    return _Answered(labels_I=labels_I, vit_SI=vit_SI, cnn_SI=cnn_SI)


def _comparison(study: Study, match: _Match, answered: _Answered, names: Sequence[str]) -> ErrorComparison:
    num_classes = 1 + max(int(classes.max()) for classes in (answered.labels_I, answered.vit_SI, answered.cnn_SI))
    vits, cnns = study.arms[match.vit], study.arms[match.cnn]
    only_vit = _only_first(answered.vit_right, answered.cnn_right)
    only_cnn = _only_first(answered.cnn_right, answered.vit_right)
    models = {match.vit.model, match.cnn.model}
    return ErrorComparison(
        dataset=match.vit.dataset,
        num_train_images=match.vit.num_train_images,
        init=match.vit.beginning,
        recipe=match.vit.recipe,
        pair=match.pair.title,
        vit=contender(match.vit.model, match.vit.init),
        cnn=contender(match.cnn.model, match.cnn.init),
        num_seeds=len(match.seeds),
        num_planned_seeds=len(vits.keys() & cnns.keys()),
        largest_planned=max(vit.num_train_images for vit, cnn in match.pair.combinations if {vit.model, cnn.model} == models),
        num_test_images=len(answered.labels_I),
        class_names=tuple(names) if len(names) >= num_classes else tuple(str(label) for label in range(num_classes)),
        classes=_classes(answered),
        confusions=_confusions(answered, num_classes),
        agreement=_agreement(answered),
        num_only_vit=len(only_vit),
        num_only_cnn=len(only_cnn),
        only_vit=tuple(_exemplar(answered, image) for image in only_vit[:NUM_EXEMPLARS]),
        only_cnn=tuple(_exemplar(answered, image) for image in only_cnn[:NUM_EXEMPLARS]),
        cells=tuple(rows[seed].id for rows in (cnns, vits) for seed in match.seeds),
    )


def _classes(answered: _Answered) -> tuple[ClassAccuracy, ...]:
    rows = []
    for label in np.unique(answered.labels_I):
        images = np.flatnonzero(answered.labels_I == label)
        vit, cnn, difference = _both_ways(answered.vit_right[:, images], answered.cnn_right[:, images])
        rows.append(ClassAccuracy(label=int(label), num_images=len(images), vit=vit, cnn=cnn, difference=difference))
    return tuple(sorted(rows, key=lambda row: (-row.difference.value, row.label)))


def _confusions(answered: _Answered, num_classes: int) -> tuple[Confusion, ...]:
    vit, cnn = (_counts(answered.labels_I, said_SI, num_classes) for said_SI in (answered.vit_SI, answered.cnn_SI))
    num_of_class = np.bincount(answered.labels_I, minlength=num_classes)

    every = sorted(vit.keys() | cnn.keys())
    apart = {place: abs(cnn.get(place, 0) - vit.get(place, 0)) for place in every}
    leading_vit, leading_cnn = _leading(vit, by=vit.__getitem__), _leading(cnn, by=cnn.__getitem__)
    leading_apart = _leading(apart, by=lambda place: apart[place] / int(num_of_class[place // num_classes]))
    rows = []
    for place in {*leading_vit, *leading_cnn, *leading_apart}:
        true, predicted = divmod(place, num_classes)
        images = np.flatnonzero(answered.labels_I == true)
        vit_share, cnn_share, difference = _both_ways(
            answered.vit_SI[:, images] == predicted, answered.cnn_SI[:, images] == predicted
        )
        rows.append(
            Confusion(
                true=true,
                predicted=predicted,
                num_images=len(images),
                num_vit=vit.get(place, 0),
                num_cnn=cnn.get(place, 0),
                vit=vit_share,
                cnn=cnn_share,
                difference=difference,
                leads_vit=place in leading_vit,
                leads_cnn=place in leading_cnn,
                leads_difference=place in leading_apart,
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.num_vit - row.num_cnn, row.true, row.predicted)))


def _leading(counts: Mapping[int, int], *, by: Callable[[int], float]) -> list[int]:
    """The first places by a measure, of those that are counted often enough."""
    return sorted((place for place, count in counts.items() if count >= LEAST_OFTEN), key=lambda place: (-by(place), place))[
        :NUM_CONFUSIONS
    ]


def _counts(labels_I: Labels, said_SI: Labels, num_classes: int) -> dict[int, int]:
    """How often each wrong answer was given, by true x num_classes + predicted."""
    places_SI = labels_I.astype(np.int64) * num_classes + said_SI
    places, counts = np.unique(places_SI[said_SI != labels_I], return_counts=True)
    return dict(zip(places.tolist(), counts.tolist(), strict=True))


def _agreement(answered: _Answered) -> Agreement:
    vit_SI, cnn_SI = answered.vit_right, answered.cnn_right
    vit_S, cnn_S = vit_SI.mean(axis=1), cnn_SI.mean(axis=1)
    return Agreement(
        both=_measured(vit_SI & cnn_SI),
        only_vit=_measured(vit_SI & ~cnn_SI),
        only_cnn=_measured(cnn_SI & ~vit_SI),
        neither=_measured(~vit_SI & ~cnn_SI),
        independent=Shares(
            both=float((vit_S * cnn_S).mean()),
            only_vit=float((vit_S * (1 - cnn_S)).mean()),
            only_cnn=float((cnn_S * (1 - vit_S)).mean()),
            neither=float(((1 - vit_S) * (1 - cnn_S)).mean()),
        ),
        consistency=_kappa(zip(vit_SI, cnn_SI, strict=True)),
        consistency_vit=_kappa(combinations(vit_SI, 2)),
        consistency_cnn=_kappa(combinations(cnn_SI, 2)),
    )


def _kappa(pairs_I: Iterable[tuple[Correctness, Correctness]]) -> float | None:
    """Mean of Cohen's kappa: the agreement beyond chance, as a share of what is possible (of errors: Geirhos et al. 2020).

    Where both are right, or wrong, on every image it is not defined; None where it never is.
    """
    found = []
    for one_I, other_I in pairs_I:
        alike, p, q = float((one_I == other_I).mean()), float(one_I.mean()), float(other_I.mean())
        by_chance = p * q + (1 - p) * (1 - q)
        if by_chance < 1:
            found.append((alike - by_chance) / (1 - by_chance))
    return sum(found) / len(found) if found else None


def _only_first(right_SI: Correctness, other_SI: Correctness) -> list[int]:
    """Images right in most seeds of one side and wrong in most of the other: those in most seeds first, then in their order."""
    num_seeds = len(right_SI)
    right_I, others_I = right_SI.sum(axis=0), other_SI.sum(axis=0)
    images = np.flatnonzero((2 * right_I > num_seeds) & (2 * others_I < num_seeds))
    order = np.argsort(others_I[images] - right_I[images], kind="stable")
    return [int(image) for image in images[order]]


def _exemplar(answered: _Answered, image: int) -> Exemplar:
    true = int(answered.labels_I[image])
    (vit_said, vit_votes), (cnn_said, cnn_votes) = (
        _said(said_SI[:, image], true) for said_SI in (answered.vit_SI, answered.cnn_SI)
    )
    return Exemplar(image=image, true=true, vit_said=vit_said, vit_votes=vit_votes, cnn_said=cnn_said, cnn_votes=cnn_votes)


def _said(said_S: Labels, true: int) -> tuple[int, int]:
    """What is said most often, and in how many seeds; where most seeds are wrong, the most frequent wrong answer."""
    votes = np.bincount(said_S, minlength=true + 1)
    if 2 * votes[true] < len(said_S):
        votes[true] = 0
    return int(votes.argmax()), int(votes.max())


def _both_ways(vit_SI: Correctness, cnn_SI: Correctness) -> tuple[Measured, Measured, Measured]:
    """Share of the ViT, of the CNN, and CNN minus ViT."""
    paired = estimate([Arm(weight=1.0, correct=cnn_SI), Arm(weight=-1.0, correct=vit_SI)], Scale.ACCURACY)
    return _measured(vit_SI), _measured(cnn_SI), Measured(value=paired.value, ci95=paired.ci95)


def _measured(share_SI: Correctness) -> Measured:
    """A share with its interval, cut off at 0 and 1."""
    found = estimate([Arm(weight=1.0, correct=share_SI)], Scale.ACCURACY)
    ends = None if found.ci95 is None else (max(0.0, found.ci95[0]), min(1.0, found.ci95[1]))
    return Measured(value=found.value, ci95=ends)
