"""What pre-training gives a ViT and a CNN: from scratch to each upstream set, or from a smaller upstream set to a larger one.

A line leads from the first weights that a pair of models starts from to the last: scratch, then upstream sets by size. What
was trained here has one model a side; for published weights a claim about what a larger upstream set adds says which two
declared pairs belong together. Every gain is measured from the line's first weights, by the paired two-way intervals of
`repro.analysis.statistics`. Must not know verdicts. Read `gains` first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from repro.analysis.arms import PRETRAINED, ArmKey, contender
from repro.analysis.pairs import Pair
from repro.analysis.points import scratch_arms
from repro.analysis.results import Estimate, FamilyGain, Gain
from repro.analysis.statistics import Arm, Scale, estimate
from repro.analysis.study import Study
from repro.spec import Claim, Measure

Rung = tuple[ArmKey, ArmKey]
"""A ViT's and a CNN's arm that start from comparable weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A pair of models by what their weights start from."""

    title: str
    """Of the declared pair that it ends at; empty without one."""
    rungs: tuple[Rung, ...]
    """At least two, all on the same training images."""


def gains(study: Study, claims: Iterable[Claim]) -> tuple[Gain, ...]:
    """Every gain that finished cells give, line by line and rung by rung; linear probes are left out, as in the claims."""
    found = []
    for number, line in enumerate(lines(study, claims), 1):
        start, *later = line.rungs
        for rung in later:
            gain = _gain(study, line, start, rung, name=f"line-{number}")
            if gain.vit is not None or gain.cnn is not None:
                found.append(gain)
    return tuple(found)


def lines(study: Study, claims: Iterable[Claim]) -> list[Line]:
    """All lines with at least two rungs, in the order of the pairs and then of the training images, none twice."""
    pairs = [pair for pair in study.pairs if pair.kind != "scratch" and pair.recipe not in study.probes]
    smaller = _smaller_pairs(claims)
    found, known = [], set[tuple[Rung, ...]]()
    for pair in pairs:
        here = {other.name: other for other in pairs if (other.dataset, other.recipe) == (pair.dataset, pair.recipe)}
        below = next((here[name] for name in smaller.get(pair.name, ()) if name in here), None) if pair.name else None
        for rungs in _rungs(pair, below):
            scratch = scratch_arms(study, *rungs[-1] if below is None else rungs[0])
            whole = (scratch, *rungs) if scratch is not None else tuple(rungs)
            # A declared pair may hold a combination of another one.
            if len(whole) > 1 and whole not in known:
                known.add(whole)
                found.append(Line(title=pair.title, rungs=whole))
    return found


def _rungs(pair: Pair, below: Pair | None) -> list[list[Rung]]:
    """The pair's combinations, those of one line together in order of upstream images; `below` is of a smaller upstream set."""
    together: dict[tuple[str, str, str, int], list[Rung]] = {}
    for vit, cnn in pair.combinations:
        # Published weights each stand for themselves; of one's own runs, those on one upstream data set make a line.
        upstream = "" if pair.kind == PRETRAINED else vit.upstream_dataset
        key = (upstream, contender(vit.model, vit.init if pair.kind == PRETRAINED else ""), cnn.model, vit.num_train_images)
        together.setdefault(key, []).append((vit, cnn))
    if below is not None and all(len(side) == 1 for side in (pair.vits, pair.cnns, below.vits, below.cnns)):
        first = {vit.num_train_images: (vit, cnn) for vit, cnn in below.combinations}
        for (*_, size), rungs in together.items():
            if size in first:
                rungs.insert(0, first[size])

    def by_upstream(rung: Rung) -> tuple[int, int]:
        return rung[0].num_upstream_images, rung[1].num_upstream_images

    return [sorted(rungs, key=by_upstream) for rungs in together.values()]


def _smaller_pairs(claims: Iterable[Claim]) -> Mapping[str, Sequence[str]]:
    """By name of a declared pair those pairs that a claim measures its upstream set against."""
    found: dict[str, list[str]] = {}
    for claim in claims:
        if claim.measure is Measure.UPSTREAM_GAIN_GAP and claim.scope.pair and claim.scope.baseline_pair:
            found.setdefault(claim.scope.pair, []).append(claim.scope.baseline_pair)
    return found


def _gain(study: Study, line: Line, start: Rung, rung: Rung, *, name: str) -> Gain:
    vit, cnn = rung
    terms = ((1.0, vit), (-1.0, start[0]), (-1.0, cnn), (1.0, start[1]))
    difference = _estimates(study, terms)
    return Gain(
        dataset=vit.dataset,
        num_train_images=vit.num_train_images,
        recipe=vit.recipe,
        pair=line.title,
        line=name,
        upstream_dataset=vit.upstream_dataset if vit.upstream_dataset == cnn.upstream_dataset else "",
        num_upstream_images=min(vit.num_upstream_images, cnn.num_upstream_images),
        start_upstream_dataset=start[0].upstream_dataset if start[0].upstream_dataset == start[1].upstream_dataset else "",
        start_num_upstream_images=min(key.num_upstream_images for key in start),
        vit=_family_gain(study, start[0], vit),
        cnn=_family_gain(study, start[1], cnn),
        accuracy=difference[Scale.ACCURACY] if difference else None,
        log_odds=difference[Scale.LOG_ODDS] if difference else None,
    )


def _family_gain(study: Study, start: ArmKey, key: ArmKey) -> FamilyGain | None:
    terms = ((1.0, key), (-1.0, start))
    found = _estimates(study, terms)
    if found is None:
        return None
    return FamilyGain(
        model=key.model,
        init=key.init,
        recipe=key.recipe,
        start_model=start.model,
        start_init=start.init,
        start_recipe=start.recipe,
        accuracy=found[Scale.ACCURACY],
        log_odds=found[Scale.LOG_ODDS],
        cells=tuple(study.arms[arm][seed].id for _, arm in terms for seed in _seeds(study, terms)),
    )


def _estimates(study: Study, terms: Sequence[tuple[float, ArmKey]]) -> dict[Scale, Estimate] | None:
    """The contrast on both scales, over the seeds that all arms have finished; None without any."""
    seeds = _seeds(study, terms)
    if not seeds:
        return None
    arms = [Arm(weight=weight, correct=study.matrix(study.arms[key], seeds)) for weight, key in terms]
    return {scale: estimate(arms, scale) for scale in Scale}


def _seeds(study: Study, terms: Sequence[tuple[float, ArmKey]]) -> list[int]:
    return sorted(set.intersection(*(study.finished(study.arms[key]) for _, key in terms)))
