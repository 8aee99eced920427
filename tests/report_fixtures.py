"""Results for tests of figures and page, shaped like a real study's, with artificial values: formulas, not measurements."""

import itertools
import math

import numpy as np

from repro.analysis.results import CellRow, ClaimResult, Estimate, Gap, Group, Point, Results, Verdict
from repro.catalog import load_catalog
from repro.records import CellStatus, Environment
from repro.spec import Cell, CellBlock, DatasetSource, DatasetSpec, Family, ModelSpec, Profile, Recipe, Role, UpstreamInit

SIZES = (50, 150, 400, 1197)
UPSTREAM_SIZES = (2000, 64000)
NUM_IMAGES = 600
LABELS = np.arange(NUM_IMAGES) % 10
HOSTILE = "<script>alert('x')</script> \"quoted\" & $\\alpha$ \u202eevil\u202c " + "very_long_name_without_a_break"
MODELS: dict[Family, ModelSpec] = {
    "vit": ModelSpec(name="vit_micro", family="vit", patch_size=2, width=48, depth=4, num_heads=4, citation="A 2020"),
    "cnn": ModelSpec(name="resnet_micro", family="cnn", stage_widths=(24, 48), stage_depths=(1, 1), citation="B 2016"),
}
RECIPES = {
    "scratch": Recipe(name="micro-scratch", lr=0.002, batch_size=64, steps=400, warmup_steps=40, reason="as in the test"),
    "upstream": Recipe(name="micro-upstream", lr=0.002, batch_size=128, steps=1000, dev_fraction=0.05, select="best_dev"),
    "finetune": Recipe(name="micro-finetune", lr=0.001, batch_size=64, steps=200),
    "check": Recipe(name="micro-scratch+4x", lr=0.002, batch_size=64, steps=1600, warmup_steps=40),
}
ENVIRONMENT = Environment(
    vitrepro="0.0.0-test",
    commit="0123456789abcdef0123456789abcdef01234567",
    python="3.11.7",
    packages={"numpy": "2.0.0", "torch": "2.13.0"},
    platform="Linux x86_64",
    processor="Artificial CPU",
    num_cores=2,
    device="cpu",
    driver=None,
    command="vitrepro all --profile demo",
)


def estimate(value: float, half_width: float | None, *, num_seeds: int = 5) -> Estimate:
    """An estimate with a symmetric interval, or none."""
    if half_width is None or num_seeds < 2:
        return Estimate(
            value=value, ci95=None, standard_error=None, degrees_of_freedom=None, num_seeds=num_seeds, num_images=NUM_IMAGES
        )
    return Estimate(
        value=value,
        ci95=(value - half_width, value + half_width),
        standard_error=half_width / 2.2,
        degrees_of_freedom=9.5,
        num_seeds=num_seeds,
        num_images=NUM_IMAGES,
    )


def accuracy_of(family: Family, size: int, upstream: int, seed: int) -> float:
    """An artificial learning curve."""
    start = 0.62 if family == "vit" else 0.84
    value = start + (0.985 - start) * (1 - math.exp(-math.log10(size / 20) * 0.9))
    if upstream:
        value += (1 - value) * (0.18 if family == "vit" else 0.1) * math.log10(upstream / 300)
    return min(value + 0.006 * math.sin(7 * seed + size), 1.0)


def make_cell(
    *, dataset: str, family: Family, model: str, size: int, upstream: int, seed: int, role: Role, recipe: Recipe
) -> Cell:
    """A resolved cell of the artificial study."""
    return Cell(
        dataset=DatasetSpec(
            name=dataset,
            title="Digits & co",
            source=DatasetSource.DIGITS,
            citation="Nobody, Nowhere, 1998",
            license="CC BY 4.0",
        ),
        num_train_images=size,
        model=MODELS[family].model_copy(update={"name": model}),
        upstream=UpstreamInit(dataset="glyphs", num_images=upstream) if upstream else None,
        upstream_recipe=RECIPES["upstream"] if upstream else None,
        recipe=recipe,
        seed=seed,
        role=role,
    )


def make_study(
    *,
    sizes: tuple[int, ...] = SIZES,
    upstream_sizes: tuple[int, ...] = UPSTREAM_SIZES,
    num_seeds: int = 5,
    dataset: str = "digits",
    vit: str = "vit_micro",
    cnn: str = "resnet_micro",
) -> list[Cell]:
    """Every cell of the artificial study."""
    names: dict[Family, str] = {"vit": vit, "cnn": cnn}
    cells = []
    for seed, (family, model) in itertools.product(range(1, num_seeds + 1), names.items()):

        def add(name: str, size: int, upstream: int, role: Role, recipe: str) -> None:
            own = {"family": family, "model": model, "seed": seed}  # noqa: B023 (called within the turn)
            cells.append(make_cell(dataset=name, size=size, upstream=upstream, role=role, recipe=RECIPES[recipe], **own))

        for upstream in upstream_sizes:
            add("glyphs", upstream, 0, Role.UPSTREAM, "upstream")
            for size in (sizes[0], sizes[-1]):
                add(dataset, size, upstream, Role.STUDY, "finetune")
        for size in sizes:
            add(dataset, size, 0, Role.STUDY, "scratch")
        if seed == 1:
            add(dataset, sizes[-1], 0, Role.CONVERGENCE_CHECK, "check")
    return cells


def make_row(cell: Cell, *, status: CellStatus = CellStatus.DONE, reason: str = "") -> CellRow:
    """The table row of a cell."""
    done = status is CellStatus.DONE
    upstream = cell.num_upstream_images
    accuracy = accuracy_of(cell.model.family, cell.num_train_images, upstream, cell.seed)
    numbers: dict[str, object] = {
        "test_accuracy": accuracy,
        "test_loss": 1 - accuracy,
        "train_accuracy": 1.0 if cell.model.family == "cnn" else 0.9975,
        "train_loss": 0.0031,
        "dev_accuracy": None,
        "lr": cell.recipe.lr,
        "selected_step": cell.recipe.steps,
        "num_parameters": 115_000,
        "forward_macs": 2_000_000,
        "train_flops": 3.07e11,
        "wall_s": 8.4,
        "total_s": 9.1,
        "energy_j": None,
        "peak_mem_bytes": 500_000_000,
        "device": "cpu",
        "device_shared": True,
    }
    return CellRow(
        id=cell.id,
        fingerprint="ab" * 32 if done else None,
        role=cell.role,
        dataset=cell.dataset.name,
        model=cell.model.name,
        family=cell.model.family,
        init=cell.init,
        upstream_dataset=cell.upstream_dataset,
        num_upstream_images=upstream,
        recipe=cell.recipe.name,
        is_regularised=False,
        is_probe=cell.recipe.is_probe,
        num_train_images=cell.num_train_images,
        seed=cell.seed,
        status=status,
        reason=reason,
        **(numbers if done else dict.fromkeys(numbers)),
    )


def make_groups(rows: list[CellRow], *, half_width: float = 0.02) -> list[Group]:
    """Means over seeds of the finished study cells."""
    groups = []
    keys = ("dataset", "num_train_images", "model", "family", "init", "num_upstream_images", "recipe")
    study = [row for row in rows if row.role is Role.STUDY and row.status is CellStatus.DONE]
    for key in dict.fromkeys(tuple(getattr(row, name) for name in keys) for row in study):
        members = [row for row in study if tuple(getattr(row, name) for name in keys) == key]
        seeds = tuple(row.test_accuracy or 0.0 for row in members)
        groups.append(
            Group(
                **dict(zip(keys, key, strict=True)),
                accuracy=estimate(sum(seeds) / len(seeds), half_width, num_seeds=len(seeds)),
                sd=float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None,
                seeds=seeds,
                cells=tuple(row.id for row in members),
            )
        )
    return groups


def make_gaps(groups: list[Group]) -> list[Gap]:
    """CNN minus ViT wherever both stand."""
    gaps = []
    for vit, cnn in itertools.product(groups, groups):
        same = ("dataset", "num_train_images", "init", "recipe")
        if (vit.family, cnn.family) != ("vit", "cnn") or any(getattr(vit, name) != getattr(cnn, name) for name in same):
            continue
        number = len(vit.seeds)
        gaps.append(
            Gap(
                **{name: getattr(vit, name) for name in (*same, "num_upstream_images")},
                vit=vit.model,
                cnn=cnn.model,
                accuracy=estimate(cnn.accuracy.value - vit.accuracy.value, 0.024, num_seeds=number),
                log_odds=estimate(_logit(cnn.accuracy.value) - _logit(vit.accuracy.value), 0.4, num_seeds=number),
                cells=(*vit.cells, *cnn.cells),
            )
        )
    return gaps


def make_claim(claim_id: str, verdict: Verdict | None, gaps: list[Gap], *, reason: str = "a reason") -> ClaimResult:
    """A claim of the catalogue with one point a gap."""
    claim = load_catalog().claims[claim_id]
    points = tuple(
        Point(
            label=f"{gap.num_train_images} training images",
            family=None,
            num_train_images=gap.num_train_images,
            num_upstream_images=gap.num_upstream_images,
            estimate=gap.accuracy,
            log_odds=gap.log_odds,
            trained_enough=gap.num_train_images != 50,
            training_note="both families end at 99 % training accuracy or more",
            cells=gap.cells,
        )
        for gap in gaps
    )
    weakest = min(gaps, key=lambda gap: gap.accuracy.value, default=None)
    return ClaimResult(
        id=claim.id,
        claim=claim,
        statement=claim.statement,
        source=claim.source,
        scope="at most 1,300,000 images, from scratch",
        published=claim.published,
        dataset=gaps[0].dataset if gaps else "digits",
        vit=gaps[0].vit if gaps else "vit_micro",
        cnn=gaps[0].cnn if gaps else "resnet_micro",
        recipe=gaps[0].recipe if gaps else "micro-scratch",
        measured=weakest.accuracy.value if weakest else None,
        ci95=weakest.accuracy.ci95 if weakest else None,
        n=weakest.accuracy.num_seeds if weakest else 0,
        verdict=verdict,
        miniature=True,
        reason=reason,
        points=points,
        cells=tuple(cell for gap in gaps for cell in gap.cells),
    )


def make_profile(*, name: str = "demo", claims: tuple[str, ...] = (), seeds: int = 5) -> Profile:
    """A profile that fits the artificial study."""
    block = CellBlock(dataset=("digits",), size=(50, 1.0), model=("vit_micro", "resnet_micro"), recipe="micro-scratch")
    return Profile(
        name=name,
        description="An artificial study",
        seeds=seeds,
        miniature=True,
        claims=claims,
        notes=("A note.",),
        cells=(block,),
    )


def make_results(
    cells: list[Cell],
    *,
    profile: str = "demo",
    unfinished: dict[str, CellStatus] | None = None,
    verdicts: bool = True,
    warnings: tuple[str, ...] = (),
) -> Results:
    """Results of the artificial study; `unfinished` maps ids of cells that are not done to their status."""
    unfinished = unfinished or {}
    states = [(cell, unfinished.get(cell.id, CellStatus.DONE)) for cell in cells]
    reasons = {status: "" if status is CellStatus.DONE else f"because of {status.value}" for status in CellStatus}
    rows = [make_row(cell, status=status, reason=reasons[status]) for cell, status in states]
    groups = make_groups(rows)
    gaps = make_gaps(groups)
    scratch = [gap for gap in gaps if gap.init == "scratch"]
    transfer = [gap for gap in gaps if gap.init != "scratch"]
    claims: tuple[ClaimResult, ...] = ()
    observations: tuple[ClaimResult, ...] = ()
    if verdicts:
        on_scale = "depends on scale: accuracy and log-odds disagree"
        below_zero = "the interval lies below 0 on both scales"
        claims = (
            make_claim("scratch-cnn-ahead", Verdict.SUPPORTED, scratch, reason="every interval lies above 1 point"),
            make_claim("gap-narrows-with-data", Verdict.INCONCLUSIVE, scratch[:1], reason=on_scale),
            make_claim("pretraining-helps-vit-more", Verdict.CONTRADICTED, transfer[:2], reason=below_zero),
        )
        observations = (make_claim("vit-overtakes-at-scale", None, transfer, reason="made for 14,000,000 upstream images"),)
    return Results(
        profile=profile,
        description="An artificial study",
        miniature=True,
        notes=("A note on the sizes.",),
        vitrepro="0.0.0-test",
        generated_at="2026-01-31T12:34:56+00:00",
        environment=ENVIRONMENT if any(row.status is CellStatus.DONE for row in rows) else None,
        warnings=warnings,
        claims=claims,
        observations=observations,
        groups=tuple(groups),
        gaps=tuple(gaps),
        cells=tuple(rows),
    )


def _logit(accuracy: float) -> float:
    return math.log(accuracy / (1 - accuracy))
