"""The contrasts that are slopes on the logarithm of a number of images, training or upstream.

A slope goes over the sizes inside the claim's scope where there are two of them, else over all. Must not know verdicts.
Read `upstream_trends` first.
"""

from repro.analysis.arms import ArmKey
from repro.analysis.pairs import Pair
from repro.analysis.planned import FAMILY_TITLES, PlannedPoint, gap_terms, in_scope, upstream_label
from repro.analysis.statistics import slope_weights
from repro.spec import Claim, Family, Scope


def family_gap_trends(claim: Claim, pair: Pair) -> list[PlannedPoint]:
    """Slope of the gap over the training sizes, one for each kind of initial weights and combination of models."""
    series: dict[tuple[str, str, str, str], list[tuple[ArmKey, ArmKey]]] = {}
    for vit, cnn in pair.combinations:
        series.setdefault((vit.init, vit.model, cnn.init, cnn.model), []).append((vit, cnn))
    points = []
    for members in series.values():
        chosen, inside = _two_inside(claim.scope, members)
        if len(chosen) < 2:
            continue
        sizes = [vit.num_train_images for vit, _ in chosen]
        vit, cnn = chosen[0]
        models = pair.which(vit, cnn)
        label = f"slope from {sizes[0]:,} to {sizes[-1]:,} training images{upstream_label(vit, cnn)}"
        points.append(
            PlannedPoint(
                label=label + (f", {models}" if models else ""),
                family=None,
                num_train_images=None,
                num_upstream_images=min(vit.num_upstream_images, cnn.num_upstream_images),
                terms=_gap_slope(claim, sizes, chosen),
                inside=inside,
                models=models,
            )
        )
    return points


def upstream_trends(claim: Claim, pair: Pair) -> list[PlannedPoint]:
    """Slope of each family's accuracy over the upstream sizes of one upstream data set, at each training size."""
    series: dict[tuple[str, int, Family], list[ArmKey]] = {}
    for key in (*pair.vit_arms, *pair.cnn_arms):
        series.setdefault((key.upstream_dataset, key.num_train_images, key.family), []).append(key)
    points = []
    for (upstream, num_train_images, family), keys in sorted(
        series.items(), key=lambda item: (*item[0][:2], item[0][2] == "cnn")
    ):
        chosen, inside = _two_inside(claim.scope, [(key, key) for key in keys])
        if len(chosen) < 2:
            continue
        sizes = [key.num_upstream_images for key, _ in chosen]
        points.append(
            PlannedPoint(
                label=f"{FAMILY_TITLES[family]}, {_upstream_slope_label(num_train_images, sizes, upstream)}",
                family=family,
                num_train_images=num_train_images,
                num_upstream_images=None,
                terms=tuple(zip(slope_weights(sizes), (key for key, _ in chosen), strict=True)),
                inside=inside,
            )
        )
    return points


def upstream_trend_gaps(claim: Claim, pair: Pair) -> list[PlannedPoint]:
    """Difference of the families' slopes over the upstream sizes that both have, at each training size."""
    series: dict[tuple[str, int], list[tuple[ArmKey, ArmKey]]] = {}
    for vit, cnn in pair.combinations:
        series.setdefault((vit.upstream_dataset, vit.num_train_images), []).append((vit, cnn))
    points = []
    for (upstream, num_train_images), members in sorted(series.items()):
        chosen, inside = _two_inside(claim.scope, members)
        if len(chosen) < 2:
            continue
        sizes = [vit.num_upstream_images for vit, _ in chosen]
        points.append(
            PlannedPoint(
                label=_upstream_slope_label(num_train_images, sizes, upstream),
                family=None,
                num_train_images=num_train_images,
                num_upstream_images=None,
                terms=_gap_slope(claim, sizes, chosen),
                inside=inside,
            )
        )
    return points


def _gap_slope(claim: Claim, sizes: list[int], arms: list[tuple[ArmKey, ArmKey]]) -> tuple[tuple[float, ArmKey], ...]:
    return tuple(
        term
        for weight, (vit, cnn) in zip(slope_weights(sizes), arms, strict=True)
        for term in gap_terms(claim, vit, cnn, weight)
    )


def _two_inside(scope: Scope, arms: list[tuple[ArmKey, ArmKey]]) -> tuple[list[tuple[ArmKey, ArmKey]], bool]:
    """The arms inside the scope where there are two sizes of them, else all; and which of the two it is."""
    inside = [pair for pair in arms if in_scope(scope, *pair)]
    return (inside, True) if len(inside) >= 2 else (arms, False)


def _upstream_slope_label(num_train_images: int, sizes: list[int], upstream: str) -> str:
    return f"{num_train_images:,} training images, slope from {sizes[0]:,} to {sizes[-1]:,} upstream images ({upstream})"
