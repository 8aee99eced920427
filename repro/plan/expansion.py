"""Multiplies the blocks of a profile out into cells, and refuses what does not fit together.

Must not know the disk. Read `Expansion.cells_by_id` first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from repro.catalog import Catalog
from repro.errors import ProfileError
from repro.plan.names import Models, datasets_of, lookup, resolve_recipes
from repro.spec import (
    CONVERGENCE_FACTOR,
    CONVERGENCE_SUFFIX,
    SEARCH_FRACTION,
    Cell,
    CellBlock,
    CheckpointSpec,
    DatasetSpec,
    ModelSpec,
    Profile,
    Recipe,
    Role,
    UpstreamInit,
    WeightsInit,
    parse_init,
)


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
    num_test_images: int = 0
    """Images in the test part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsState:
    """What planning needs to know of published weights, or a file's, that were fetched or tried."""

    digest: str | None
    """Digest of the weights and of how they want their images; None where they were never there."""
    problem: str
    """Empty, or why they cannot be used now."""


class Expansion:
    """Turns the blocks of one profile into cells."""

    def __init__(self, profile: Profile, catalog: Catalog, facts: Mapping[str, DataFacts]) -> None:
        self.profile = profile
        self.facts = facts
        self.datasets = datasets_of(profile, catalog)
        self.models = Models(profile, catalog)
        self.recipes = resolve_recipes(profile, catalog)
        self.unsized: dict[str, None] = {}
        self.upstream_of: dict[str, str] = {}
        self.searches_of: dict[str, tuple[str, ...]] = {}

    def cells_by_id(self) -> dict[str, Cell]:
        """Every cell of the profile once, with those that others need; fills `upstream_of` and `searches_of`.

        Raises ProfileError for a shared id.
        """
        found: dict[str, Cell] = {}
        for number, block in enumerate(self.profile.cells):
            for cell in self._block(block, where=f"cells.{number}"):
                twin = found.setdefault(cell.id, cell)
                if twin is cell:
                    continue
                differing = [name for name in Cell.model_fields if getattr(twin, name) != getattr(cell, name)]
                if differing == ["role"]:
                    found[cell.id] = min(twin, cell, key=lambda cell: list(Role).index(cell.role))
                elif differing:
                    raise ProfileError(
                        f"cells.{number}: two different cells share the id {cell.id}: they differ in {', '.join(differing)}.",
                        remedy="Give their recipes (or files) names of their own, or put the blocks into two profiles.",
                    )
        return found

    def _block(self, block: CellBlock, *, where: str) -> Iterator[Cell]:
        for dataset in block.dataset:
            for name in block.model:
                model = self.models.model(name, where=f"{where}.model")
                for init in block.init:
                    start = self._start(block, self.datasets[dataset], model, init, where)
                    yield from self._product(block, self.datasets[dataset], model, start, where)

    def _start(self, block: CellBlock, dataset: DatasetSpec, model: ModelSpec, init: str, where: str) -> "_Start":
        """Where the weights of a block's cells come from."""
        parsed = parse_init(init)
        if isinstance(parsed, WeightsInit):
            return _Start(weights=self.models.weights(model, parsed.path, where=f"{where}.init"))
        if parsed is None:
            return _Start()
        assert block.upstream_recipe is not None
        recipe = self._recipe(block.upstream_recipe, model, f"{where}.upstream_recipe").for_size(parsed.num_images)
        if recipe.lr_grid or recipe.is_probe:
            raise ProfileError(
                f"{where}.upstream_recipe: {recipe.name!r} is no recipe to pre-train by: it "
                + ("trains the head only." if recipe.is_probe else "has a grid of rates."),
                remedy="Name a recipe that trains everything at one lr (lr = … on top of it takes the grid away).",
            )
        self._check_pair(dataset, parsed, recipe, self._recipe(block.recipe, model, f"{where}.recipe"), where)
        above = Cell(
            dataset=self.datasets[parsed.dataset],
            num_train_images=parsed.num_images,
            model=model,
            upstream=None,
            upstream_recipe=None,
            recipe=recipe,
            seed=self.profile.first_seed,
            role=Role.UPSTREAM,
        )
        return _Start(upstream=parsed, above=above)

    def _product(self, block: CellBlock, dataset: DatasetSpec, model: ModelSpec, start: "_Start", where: str) -> Iterator[Cell]:
        recipe = self._recipe(block.recipe, model, f"{where}.recipe")
        self._check_fit(dataset, model, recipe, where)
        checked = {self._num_images(dataset, size, f"{where}.convergence_check_at") for size in block.convergence_check_at}
        found = [self._num_images(dataset, size, f"{where}.size") for size in block.size]
        sizes = list(dict.fromkeys(number for number in found if number is not None))
        if missing := sorted(number for number in checked if number is not None and number not in sizes):
            raise ProfileError(
                f"{where}.convergence_check_at names {missing} images, which are no sizes of that block ({sizes}).",
                remedy="Name only sizes that stand in `size`.",
            )
        if checked and recipe.is_probe:
            raise ProfileError(
                f"{where}.convergence_check_at: {recipe.name!r} fits a head to frozen features; nothing trains longer.",
                remedy="Leave convergence_check_at out of that block.",
            )
        if not sizes or (recipe.lr_grid and self._num_images(dataset, 1.0, where) is None):
            # The cells of a search are on the whole training part, whose size is not known yet: noted in `unsized`.
            return
        searches = self._searches(dataset, model, recipe, start, where)
        for number in sizes:
            study = Cell(
                dataset=dataset,
                num_train_images=number,
                model=model,
                upstream=start.upstream,
                upstream_recipe=start.above.recipe if start.above else None,
                weights=start.weights,
                recipe=recipe.for_size(number),
                seed=self.profile.first_seed,
                role=Role.STUDY,
            )
            for offset in range(block.seeds or self.profile.seeds):
                yield from self._with_needs(
                    study.model_copy(update={"seed": self.profile.first_seed + offset}), start, searches
                )
            if number in checked:
                check = {"recipe": fourfold(study.recipe), "role": Role.CONVERGENCE_CHECK}
                yield from self._with_needs(study.model_copy(update=check), start, searches)

    def _searches(
        self, dataset: DatasetSpec, model: ModelSpec, recipe: Recipe, start: "_Start", where: str
    ) -> tuple[Cell, ...]:
        """One cell for each rate of the recipe's grid, on the full training part with a dev split held out; else none."""
        if not recipe.lr_grid:
            return ()
        number = self._num_images(dataset, 1.0, where)
        assert number is not None, "asked before"
        whole = recipe.for_size(number)
        return tuple(
            Cell(
                dataset=dataset,
                num_train_images=number,
                model=model,
                upstream=start.upstream,
                upstream_recipe=start.above.recipe if start.above else None,
                weights=start.weights,
                recipe=at_rate(whole, rate),
                seed=self.profile.first_seed,
                role=Role.LR_SEARCH,
            )
            for rate in recipe.lr_grid
        )

    def _with_needs(self, cell: Cell, start: "_Start", searches: tuple[Cell, ...] = ()) -> Iterator[Cell]:
        """The upstream cell of the same seed and the search for the rate, if there are any, then the cell."""
        for search in searches:
            yield from self._with_needs(search, start)
        if searches:
            self.searches_of[cell.id] = tuple(search.id for search in searches)
        if start.above is not None:
            source = start.above.model_copy(update={"seed": cell.seed})
            self.upstream_of[cell.id] = source.id
            yield source
        yield cell

    def _recipe(self, name: str, model: ModelSpec, where: str) -> Recipe:
        return lookup(self.recipes, name, "recipe", where=where).for_family(model.family)

    def _num_images(self, dataset: DatasetSpec, size: float | int, where: str) -> int | None:
        known = self.facts.get(dataset.name)
        total = known.num_train_images if known else dataset.num_train_images
        if isinstance(size, int):
            number = size
        elif total is not None:
            number = round(size * total)
        else:
            self.unsized[dataset.name] = None
            return None
        least = (known.num_classes if known else dataset.num_classes) or 1
        if number < least or (total is not None and number > total):
            raise ProfileError(
                f"{where}: size {size} of data set {dataset.name!r} means {number} images.",
                remedy=f"Legal are {least} (one per class) to {total or 'all'} images, or a fraction up to 1.0 (1 is one).",
            )
        return number

    def _check_fit(self, dataset: DatasetSpec, model: ModelSpec, recipe: Recipe, where: str) -> None:
        facts = self.facts.get(dataset.name)
        side = recipe.image_size or (facts.image_size if facts else dataset.image_size)
        if side and model.patch_size and side % model.patch_size:
            raise ProfileError(
                f"{where}: {model.name} cuts patches of {model.patch_size} px, which do not fit the {side} px images of "
                f"{dataset.name!r}.",
                remedy=f"Use a model whose patch_size divides {side}, or give the data set (or the recipe) another image_size.",
            )

    def _check_pair(self, dataset: DatasetSpec, upstream: UpstreamInit, above: Recipe, below: Recipe, where: str) -> None:
        source = self.datasets[upstream.dataset]
        self._num_images(source, upstream.num_images, f"{where}.init")
        for name in ("image_size", "num_channels"):
            here = getattr(self.facts.get(dataset.name, dataset), name)
            there = getattr(self.facts.get(source.name, source), name)
            if name == "image_size":
                here, there = below.image_size or here, above.image_size or there
            if here and there and here != there:
                raise ProfileError(
                    f"{where}: upstream {source.name!r} has {name} {there}, {dataset.name!r} has {name} {here}.",
                    remedy="Pair data sets of the same image size and number of channels, or bring both to one image_size by "
                    "their recipes.",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """Where the weights of some cells come from; nothing in it: they are random."""

    upstream: UpstreamInit | None = None
    above: Cell | None = None
    weights: CheckpointSpec | None = None


def at_rate(recipe: Recipe, lr: float) -> Recipe:
    """The recipe of one cell of a search: that rate, and a dev split held out."""
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}+lr{lr:g}",
            "lr": lr,
            "lr_grid": (),
            "dev_fraction": recipe.dev_fraction or SEARCH_FRACTION,
        }
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
