"""What the page tells of published weights: what they are, and which numbers others had with them.

It sets facts of catalogue and profile beside what `Results` holds. Must not know claims or figures. Read `checkpoints_of`
first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from repro.analysis.arms import PRETRAINED, contender, kind_of_init
from repro.analysis.results import CellRow, Group, Results
from repro.catalog import Catalog
from repro.page.protocol import known_checkpoints
from repro.plan import datasets_of
from repro.spec import CheckpointSpec, Family, Profile, PublishedResult, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """One model that starts from given weights, as published and as measured here."""

    name: str
    """The model, with its file where its weights come from one."""
    family: Family
    spec: CheckpointSpec | None
    """None where neither catalogue nor profile describes the weights."""
    upstream: str
    """Name of the upstream data set; empty where it is not known."""
    num_upstream_images: int
    """0 where they are not known."""
    num_parameters: tuple[int, ...]
    """As measured here, with the heads of the data sets."""
    forward_macs: tuple[int, ...]
    """Of one image as measured here, at every image size."""
    place: str
    """Where its file is to be had first, in words; empty where that is the library's affair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTable:
    """The models of one declared pair, or all that stand in none."""

    title: str
    """Empty for models that stand in no pair."""
    reason: str
    rows: tuple[CheckpointRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """A published accuracy beside ours."""

    published: PublishedResult
    ours: Group
    follows: bool
    """Whether our recipe is the one that follows the published schedule."""
    difference: float
    """Ours minus the published value, as a fraction; from the nearer end of a range, and 0 inside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """Everything that the page tells of published weights."""

    pairs: tuple[PairTable, ...]
    published: tuple[PublishedRow, ...]


def checkpoints_of(profile: Profile, results: Results, catalog: Catalog) -> Checkpoints | None:
    """The section's content; None where no cell starts from given weights."""
    given = [row for row in results.cells if kind_of_init(row.init) == PRETRAINED]
    if not given:
        return None
    return Checkpoints(
        pairs=_pair_tables(results, given, known_checkpoints(profile, catalog)),
        published=_published_rows(profile, results, catalog),
    )


def _pair_tables(results: Results, given: Sequence[CellRow], known: Mapping[str, CheckpointSpec]) -> tuple[PairTable, ...]:
    rows: dict[str, list[CellRow]] = {}
    for row in given:
        rows.setdefault(contender(row.model, row.init), []).append(row)
    models = {name: members[0].model for name, members in rows.items()}
    tables, in_pairs = [], set[str]()
    for pair in results.pairs:
        names = [name for model in (*pair.vit, *pair.cnn) for name in rows if models[name] == model]
        in_pairs.update(names)
        tables.append((pair.title, pair.reason, names))
    if rest := [name for name in rows if name not in in_pairs]:
        tables.append(("", "", rest))
    return tuple(
        PairTable(title=title, reason=reason, rows=tuple(_checkpoint_row(name, rows[name], known) for name in names))
        for title, reason, names in tables
    )


def _checkpoint_row(name: str, cells: Sequence[CellRow], known: Mapping[str, CheckpointSpec]) -> CheckpointRow:
    first = cells[0]
    # The catalogue describes the weights that the name pins, not a file of the user's for the same architecture.
    spec = known.get(first.model)
    if spec is not None and (first.init == PRETRAINED) != (spec.path is None):
        spec = None
    place = f"{spec.file[0].name}, {spec.file[0].host}" if spec and spec.file else ""
    return CheckpointRow(
        name=name,
        family=first.family,
        spec=spec,
        upstream=first.upstream_dataset,
        num_upstream_images=first.num_upstream_images,
        num_parameters=tuple(sorted({row.num_parameters for row in cells if row.num_parameters is not None})),
        forward_macs=tuple(sorted({row.forward_macs for row in cells if row.forward_macs is not None})),
        place=place,
    )


def _published_rows(profile: Profile, results: Results, catalog: Catalog) -> tuple[PublishedRow, ...]:
    """Every published number whose model was fine-tuned here on the whole training part of that data set."""
    sizes = {name: spec.num_train_images for name, spec in datasets_of(profile, catalog).items()}
    study = [row for row in results.cells if row.role is Role.STUDY]
    probes = {row.recipe for row in study if row.is_probe}
    found = []
    for published in catalog.published:
        full = sizes.get(published.dataset) or max(
            (row.num_train_images for row in study if row.dataset == published.dataset), default=0
        )
        for ours in results.groups:
            is_its = (ours.model, ours.dataset, ours.init) == (published.model, published.dataset, PRETRAINED)
            recipe_fits = ours.recipe not in probes if published.recipe is None else ours.recipe == published.recipe
            if is_its and recipe_fits and ours.num_train_images == full:
                low, high = min(published.accuracy), max(published.accuracy)
                value = ours.accuracy.value
                difference = min(value - low, 0.0) + max(value - high, 0.0)
                follows = published.recipe is not None
                found.append(PublishedRow(published=published, ours=ours, follows=follows, difference=difference))
    models = list(dict.fromkeys(row.ours.model for row in found))
    return tuple(sorted(found, key=lambda row: (models.index(row.ours.model), row.ours.dataset)))
