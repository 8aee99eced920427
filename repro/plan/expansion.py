"""Multiplies the blocks of a profile out into cells, and refuses what does not fit together.

Must not know the disk. Read `Expansion.cells_by_id` first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from repro.catalog import Catalog
from repro.errors import ProfileError
from repro.plan.names import datasets_of, lookup, refuse_twins, resolve_recipes
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


class Expansion:
    """Turns the blocks of one profile into cells."""

    def __init__(self, profile: Profile, catalog: Catalog, facts: Mapping[str, DataFacts]) -> None:
        self.profile = profile
        self.facts = facts
        self.datasets = datasets_of(profile, catalog)
        refuse_twins([spec.name for spec in profile.model], catalog.models, "model")
        self.models = {**catalog.models, **{spec.name: spec for spec in profile.model}}
        self.recipes = resolve_recipes(profile, catalog)
        self.unsized: dict[str, None] = {}
        self.upstream_of: dict[str, str] = {}

    def cells_by_id(self) -> dict[str, Cell]:
        """Every cell of the profile once, upstream cells included; fills `upstream_of`. Raises ProfileError for a shared id."""
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
                        remedy="Give their recipes names of their own, or put the blocks into two profiles.",
                    )
        return found

    def _block(self, block: CellBlock, *, where: str) -> Iterator[Cell]:
        for dataset in block.dataset:
            for name in block.model:
                model = lookup(self.models, name, "model", where=f"{where}.model")
                for init in block.init:
                    yield from self._product(block, self.datasets[dataset], model, parse_init(init), where)

    def _product(
        self, block: CellBlock, dataset: DatasetSpec, model: ModelSpec, upstream: UpstreamInit | None, where: str
    ) -> Iterator[Cell]:
        recipe = self._recipe(block.recipe, model, f"{where}.recipe")
        self._check_fit(dataset, model, where)
        above = None
        if upstream is not None:
            assert block.upstream_recipe is not None
            above = Cell(
                dataset=self.datasets[upstream.dataset],
                num_train_images=upstream.num_images,
                model=model,
                upstream=None,
                upstream_recipe=None,
                recipe=self._recipe(block.upstream_recipe, model, f"{where}.upstream_recipe").for_size(upstream.num_images),
                seed=self.profile.first_seed,
                role=Role.UPSTREAM,
            )
            self._check_pair(dataset, upstream, where)
        checked = {self._num_images(dataset, size, f"{where}.convergence_check_at") for size in block.convergence_check_at}
        found = [self._num_images(dataset, size, f"{where}.size") for size in block.size]
        sizes = list(dict.fromkeys(number for number in found if number is not None))
        if missing := sorted(number for number in checked if number is not None and number not in sizes):
            raise ProfileError(
                f"{where}.convergence_check_at names {missing} images, which are no sizes of that block ({sizes}).",
                remedy="Name only sizes that stand in `size`.",
            )
        for number in sizes:
            study = Cell(
                dataset=dataset,
                num_train_images=number,
                model=model,
                upstream=upstream,
                upstream_recipe=above.recipe if above else None,
                recipe=recipe.for_size(number),
                seed=self.profile.first_seed,
                role=Role.STUDY,
            )
            for offset in range(block.seeds or self.profile.seeds):
                yield from self._pair(study.model_copy(update={"seed": self.profile.first_seed + offset}), above)
            if number in checked:
                check = {"recipe": fourfold(study.recipe), "role": Role.CONVERGENCE_CHECK}
                yield from self._pair(study.model_copy(update=check), above)

    def _pair(self, cell: Cell, above: Cell | None) -> Iterator[Cell]:
        """The upstream cell of the same seed, if there is one, then the cell."""
        if above is not None:
            source = above.model_copy(update={"seed": cell.seed})
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

    def _check_fit(self, dataset: DatasetSpec, model: ModelSpec, where: str) -> None:
        facts = self.facts.get(dataset.name)
        side = facts.image_size if facts else dataset.image_size
        if side and model.patch_size and side % model.patch_size:
            raise ProfileError(
                f"{where}: {model.name} cuts patches of {model.patch_size} px, which do not fit the {side} px images of "
                f"{dataset.name!r}.",
                remedy=f"Use a model whose patch_size divides {side}, or give the data set another image_size.",
            )

    def _check_pair(self, dataset: DatasetSpec, upstream: UpstreamInit, where: str) -> None:
        source = self.datasets[upstream.dataset]
        self._num_images(source, upstream.num_images, f"{where}.init")
        for name in ("image_size", "num_channels"):
            here = getattr(self.facts.get(dataset.name, dataset), name)
            above = getattr(self.facts.get(source.name, source), name)
            if here and above and here != above:
                raise ProfileError(
                    f"{where}: upstream {source.name!r} has {name} {above}, {dataset.name!r} has {name} {here}.",
                    remedy="Pair data sets of the same image size and number of channels.",
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
