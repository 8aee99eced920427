"""From a profile to its cells, in the order in which they run, each with its state.

Names are resolved here, and nowhere else; a wrong name, size or pair raises ProfileError before anything runs. Must not know
torch, nor how images are read: it is given the facts of the data sets that are there. Read `make_plan` first.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from repro.catalog import Catalog
from repro.errors import CorruptFile, ProfileError
from repro.records import CellStatus, Record, read_failure, read_record
from repro.spec import (
    CONVERGENCE_FACTOR,
    CONVERGENCE_SUFFIX,
    Cell,
    CellBlock,
    DatasetSpec,
    ModelSpec,
    Profile,
    Recipe,
    Role,
    UpstreamInit,
    slug,
)
from repro.workspace import Workspace

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What planning needs to know of a fetched data set."""

    content_sha256: str
    """Content digest."""
    num_train_images: int
    """Images in the training part."""
    image_size: int
    """Side in pixels."""
    num_channels: int
    """1 or 3."""
    num_classes: int
    """Number of classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """A cell with its place on disk and its state."""

    cell: Cell
    """What to run."""
    fingerprint: str | None
    """None while its data, or its upstream's, is not fetched."""
    upstream_fingerprint: str | None
    """Fingerprint of the upstream cell, if it has one."""
    status: CellStatus
    """Done, failed, pending, unfetched or blocked."""
    reason: str
    """Why it is not done; empty if it is or simply waits."""
    record: Record | None
    """The record of a finished cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The cells of a profile in the order in which they run, and what could not be resolved yet."""

    profile: Profile
    """The profile."""
    cells: tuple[PlannedCell, ...]
    """All cells, upstream ones before those that start from them."""
    unsized: tuple[str, ...]
    """Data sets that must be fetched before their cells can be listed: a fraction of an unknown number was asked for."""


def datasets_of(profile: Profile, catalog: Catalog) -> dict[str, DatasetSpec]:
    """The data sets that the profile's cells use, by name. Raises ProfileError for a name that nobody knows."""
    known = {**catalog.datasets, **{spec.name: spec for spec in profile.dataset}}
    _refuse_twins([spec.name for spec in profile.dataset], "data sets")
    for spec in profile.dataset:
        if spec.source is None and spec.path is None:
            raise ProfileError(f"Data set {spec.name!r} has no path.", remedy="Give path = an .npz file or a folder.")
    names: dict[str, None] = {}
    for block in profile.cells:
        names.update(dict.fromkeys(block.dataset))
        names.update({upstream.dataset: None for init in block.init if (upstream := parse_init(init))})
    return {name: _lookup(known, name, "data set") for name in names}


def parse_init(text: str) -> UpstreamInit | None:
    """`scratch` → None, `upstream:DATASET@NUM_IMAGES` → its parts. Raises ProfileError for anything else."""
    if text == "scratch":
        return None
    found = re.fullmatch(r"upstream:(.+)@([1-9][0-9_]*)", text)
    if not found:
        raise ProfileError(
            f"init {text!r} is not known.",
            remedy="Legal: 'scratch', or 'upstream:DATASET@NUM_IMAGES' as in upstream:glyphs@2000.",
        )
    return UpstreamInit(dataset=found[1], num_images=int(found[2]))


def resolve_recipes(profile: Profile, catalog: Catalog) -> dict[str, Recipe]:
    """All recipes by name, the profile's own with their bases filled in. Raises ProfileError for a missing or circular base."""
    resolved = dict(catalog.recipes)

    def resolve(name: str, trail: tuple[str, ...]) -> Recipe:
        if name in trail:
            circle = " → ".join((*trail, name))
            raise ProfileError(f"Recipes refer to each other in a circle: {circle}.", remedy="Break the circle.")
        if name not in profile.recipe:
            return _lookup(catalog.recipes, name, "recipe", own=profile.recipe)
        patch = profile.recipe[name]
        base = resolve(patch.base, (*trail, name)) if patch.base != name else _lookup(catalog.recipes, name, "recipe")
        changes = {key: value for key, value in patch.model_dump(exclude_unset=True).items() if key != "base"}
        try:
            return Recipe.model_validate({**base.model_dump(), **changes, "name": name})
        except ValueError as error:
            raise ProfileError(
                f"recipe.{name} on top of {patch.base!r} is not valid: {' '.join(str(error).split())}.",
                remedy="Change the fields that the message names.",
            ) from error

    for name in profile.recipe:
        resolved[name] = resolve(name, ())
    return resolved


def make_plan(profile: Profile, catalog: Catalog, facts: Mapping[str, DataFacts], workspace: Workspace) -> Plan:
    """Expand the profile and say of every cell how far it is.

    `facts` holds the data sets that are fetched. Raises ProfileError for anything in the profile that cannot be resolved.
    """
    for claim in profile.claims:
        _lookup(catalog.claims, claim, "claim")
    expansion = _Expansion(profile, catalog, facts)
    cells = sorted(expansion.cells(), key=_run_order)
    planned: dict[str, PlannedCell] = {}
    by_fingerprint: dict[str, PlannedCell] = {}
    for cell in cells:
        entry = _state(cell, expansion.datasets, facts, workspace, by_fingerprint)
        if entry.fingerprint is not None:
            by_fingerprint.setdefault(entry.fingerprint, entry)
        planned.setdefault(entry.cell.id, entry)
    return Plan(profile=profile, cells=tuple(planned.values()), unsized=tuple(expansion.unsized))


class _Expansion:
    """Turns the blocks of one profile into cells."""

    def __init__(self, profile: Profile, catalog: Catalog, facts: Mapping[str, DataFacts]) -> None:
        self.profile = profile
        self.facts = facts
        self.datasets = datasets_of(profile, catalog)
        _refuse_twins([spec.name for spec in profile.model], "models")
        self.models = {**catalog.models, **{spec.name: spec for spec in profile.model}}
        self.recipes = resolve_recipes(profile, catalog)
        self.unsized: dict[str, None] = {}

    def cells(self) -> Iterator[Cell]:
        """Every cell once per block that asks for it, upstream cells included."""
        for block in self.profile.cells:
            for dataset in block.dataset:
                for model in block.model:
                    for init in block.init:
                        yield from self._product(block, self.datasets[dataset], self._model(model), parse_init(init))

    def _product(
        self, block: CellBlock, dataset: DatasetSpec, model: ModelSpec, upstream: UpstreamInit | None
    ) -> Iterator[Cell]:
        recipe = _lookup(self.recipes, block.recipe, "recipe").for_family(model.family)
        upstream_recipe = self._upstream_recipe(block, model) if upstream else None
        self._check_fit(dataset, model, upstream)
        seeds = range(1, (block.seeds or self.profile.seeds) + 1)
        checked = {self._num_images(dataset, size) for size in block.convergence_check_at}
        sizes = [number for size in block.size if (number := self._num_images(dataset, size)) is not None]
        if missing := sorted(number for number in checked if number is not None and number not in sizes):
            raise ProfileError(
                f"convergence_check_at names {missing}, which are no sizes of that block ({sizes}).",
                remedy="Name only sizes that stand in `size`.",
            )
        for number in dict.fromkeys(sizes):
            study = Cell(
                dataset=dataset,
                num_train_images=number,
                model=model,
                upstream=upstream,
                upstream_recipe=upstream_recipe,
                recipe=recipe,
                seed=1,
                role=Role.STUDY,
            )
            for seed in seeds:
                cell = study.model_copy(update={"seed": seed})
                if upstream is not None:
                    yield upstream_cell(cell, self.datasets[upstream.dataset])
                yield cell
            if number in checked:
                yield study.model_copy(update={"recipe": fourfold(recipe), "role": Role.CONVERGENCE_CHECK})

    def _model(self, name: str) -> ModelSpec:
        return _lookup(self.models, name, "model")

    def _upstream_recipe(self, block: CellBlock, model: ModelSpec) -> Recipe:
        if block.upstream_recipe is None:
            raise ProfileError(
                "A block with an upstream init has no upstream_recipe.",
                remedy=f"Name one of: {', '.join(self.recipes)}.",
            )
        return _lookup(self.recipes, block.upstream_recipe, "recipe").for_family(model.family)

    def _num_images(self, dataset: DatasetSpec, size: float | int) -> int | None:
        known = self.facts.get(dataset.name)
        total = known.num_train_images if known else dataset.num_train_images
        if total is None and isinstance(size, float):
            self.unsized[dataset.name] = None
            return None
        number = round(size * total) if isinstance(size, float) and total is not None else int(size)
        least = known.num_classes if known else 1
        if number < least or (total is not None and number > total):
            raise ProfileError(
                f"Size {size} of data set {dataset.name!r} means {number} images.",
                remedy=f"Legal are {least} (one per class) to {total or 'all'} images, or a fraction up to 1.0.",
            )
        return number

    def _check_fit(self, dataset: DatasetSpec, model: ModelSpec, upstream: UpstreamInit | None) -> None:
        facts = self.facts.get(dataset.name)
        if facts and model.patch_size and facts.image_size % model.patch_size:
            raise ProfileError(
                f"{model.name} cuts patches of {model.patch_size} px, which do not fit the {facts.image_size} px images of "
                f"{dataset.name!r}.",
                remedy=f"Use a model whose patch_size divides {facts.image_size}, or give the data set another image_size.",
            )
        if upstream is None:
            return
        source = self.datasets[upstream.dataset]
        self._num_images(source, upstream.num_images)
        above = self.facts.get(upstream.dataset)
        if facts and above and (facts.image_size, facts.num_channels) != (above.image_size, above.num_channels):
            raise ProfileError(
                f"Upstream {upstream.dataset!r} has {above.image_size} px images of {above.num_channels} channels, "
                f"{dataset.name!r} has {facts.image_size} px and {facts.num_channels}.",
                remedy="Pair data sets of the same image size and number of channels.",
            )


def upstream_cell(cell: Cell, dataset: DatasetSpec) -> Cell:
    """The cell whose weights `cell` starts from: same model and seed, on the upstream data."""
    assert cell.upstream is not None and cell.upstream_recipe is not None
    return Cell(
        dataset=dataset,
        num_train_images=cell.upstream.num_images,
        model=cell.model,
        upstream=None,
        upstream_recipe=None,
        recipe=cell.upstream_recipe,
        seed=cell.seed,
        role=Role.UPSTREAM,
    )


def fourfold(recipe: Recipe) -> Recipe:
    """The recipe of a convergence check: the whole schedule stretched."""
    return recipe.model_copy(
        update={
            "name": recipe.name + CONVERGENCE_SUFFIX,
            "steps": recipe.steps * CONVERGENCE_FACTOR,
            "warmup_steps": recipe.warmup_steps * CONVERGENCE_FACTOR,
        }
    )


def _run_order(cell: Cell) -> tuple[int, bool, int, str]:
    # Seed by seed, so that an interrupted day still yields a page; then longest first, so that workers end together.
    return (cell.seed, cell.role is not Role.UPSTREAM, -cell.recipe.steps * cell.recipe.batch_size, cell.id)


def _state(
    cell: Cell,
    datasets: Mapping[str, DatasetSpec],
    facts: Mapping[str, DataFacts],
    workspace: Workspace,
    earlier: Mapping[str, PlannedCell],
) -> PlannedCell:
    entry = PlannedCell(
        cell=cell,
        fingerprint=None,
        upstream_fingerprint=None,
        status=CellStatus.UNFETCHED,
        reason="",
        record=None,
    )
    needed = [cell.dataset.name] + ([cell.upstream.dataset] if cell.upstream else [])
    if missing := [name for name in needed if name not in facts]:
        return replace(entry, reason=f"data set {', '.join(missing)} is not fetched")
    above = None
    if cell.upstream is not None:
        source = upstream_cell(cell, datasets[cell.upstream.dataset])
        above = source.fingerprint(data_sha256=facts[cell.upstream.dataset].content_sha256, upstream_fingerprint=None)
    fingerprint = cell.fingerprint(data_sha256=facts[cell.dataset.name].content_sha256, upstream_fingerprint=above)
    entry = replace(entry, fingerprint=fingerprint, upstream_fingerprint=above, status=CellStatus.PENDING)
    return read_state(entry, workspace, upstream=earlier.get(above) if above else None)


def read_state(entry: PlannedCell, workspace: Workspace, *, upstream: PlannedCell | None) -> PlannedCell:
    """The entry with status, reason and record as they now stand on disk."""
    assert entry.fingerprint is not None
    folder = workspace.run_dir(entry.cell.id, entry.fingerprint)
    try:
        record, failure = read_record(folder), read_failure(folder)
    except CorruptFile as error:
        return replace(entry, status=CellStatus.PENDING, reason=error.message, record=None)
    if record is not None and record.fingerprint == entry.fingerprint:
        return replace(entry, status=CellStatus.DONE, reason="", record=record)
    if upstream is not None and upstream.status in (CellStatus.FAILED, CellStatus.BLOCKED):
        return replace(entry, status=CellStatus.BLOCKED, reason=f"its upstream cell {upstream.cell.id} {upstream.status}")
    if failure is not None:
        return replace(entry, status=CellStatus.FAILED, reason=failure.message)
    return replace(entry, status=CellStatus.PENDING, reason="")


def _lookup(known: Mapping[str, Entry], name: str, kind: str, own: Mapping[str, object] | None = None) -> Entry:
    if name in known:
        return known[name]
    legal = ", ".join([*known, *(own or {})])
    raise ProfileError(f"There is no {kind} {name!r}.", remedy=f"Known are: {legal}; or define it in the profile.")


def _refuse_twins(names: list[str], kind: str) -> None:
    slugs = [slug(name) for name in names]
    if twins := sorted({name for name in slugs if slugs.count(name) > 1}):
        message = f"Two {kind} of the profile share the name {twins[0]!r} on disk."
        raise ProfileError(message, remedy="Give them names that differ in letters or digits.")
