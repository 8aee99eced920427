"""What the protocol section tells of recipes and models, in words.

Must not know results beyond the measured sizes of models. Read `recipe_columns` first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from repro.analysis.results import CellRow
from repro.catalog import Catalog
from repro.formatting import count
from repro.plan import resolve_recipes
from repro.spec import CheckpointSpec, Family, ModelSpec, Profile, Recipe, library_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeColumn:
    """A recipe as either family trains by it; they differ in optimizer, learning rate and weight decay at most."""

    name: str
    vit: Recipe
    cnn: Recipe
    steps: str
    """Optimizer steps and, in brackets, those of warm-up; at every size that has its own."""
    augmentation: str
    """What is done to the images, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A model with its measured size."""

    name: str
    family: Family
    shape: str
    """Its dimensions, or whose architecture it is."""
    citation: str
    num_parameters: int | None
    forward_macs: int | None


def recipe_columns(profile: Profile, catalog: Catalog) -> tuple[RecipeColumn, ...]:
    """Every recipe that the profile's blocks name, once. Raises ProfileError for one that nobody knows."""
    recipes = resolve_recipes(profile, catalog)
    names = [name for block in profile.cells for name in (block.recipe, block.upstream_recipe) if name is not None]
    return tuple(_recipe_column(recipes[name]) for name in dict.fromkeys(names))


def model_rows(profile: Profile, catalog: Catalog, cells: Sequence[CellRow]) -> tuple[ModelRow, ...]:
    """Each model once for each size that it took (the head depends on the data set's classes, all else on the image size)."""
    specs = {**catalog.models, **{spec.name: spec for spec in profile.model}}
    checkpoints = known_checkpoints(profile, catalog)
    measured = {(row.model, row.family, row.num_parameters, row.forward_macs) for row in cells}
    known = {model for model, _, num_parameters, _ in measured if num_parameters is not None}
    return tuple(
        ModelRow(
            name=name,
            family=family,
            shape=_shape(name, specs.get(name), checkpoints.get(name)),
            citation=_citation(specs.get(name), checkpoints.get(name)),
            num_parameters=num_parameters,
            forward_macs=forward_macs,
        )
        for name, family, num_parameters, forward_macs in sorted(measured, key=str)
        if num_parameters is not None or name not in known
    )


def known_checkpoints(profile: Profile, catalog: Catalog) -> dict[str, CheckpointSpec]:
    """Published weights by the model's name; the profile's own take the place of shipped ones."""
    return catalog.checkpoints | {spec.name: spec for spec in profile.checkpoint}


def _recipe_column(recipe: Recipe) -> RecipeColumn:
    steps = [f"up to {count(at.up_to_images)} images {count(at.steps)} ({count(at.warmup_steps)})" for at in recipe.steps_at]
    steps.append(f"{'else ' if steps else ''}{count(recipe.steps)} ({count(recipe.warmup_steps)})")
    mixing = [
        f"{name} (alpha {alpha:g})" for name, alpha in (("mixup", recipe.mixup_alpha), ("CutMix", recipe.cutmix_alpha)) if alpha
    ]
    augmentation = [
        f"Inception crop of {100 * recipe.crop_min_area:g} to 100 % of the image" if recipe.crop_min_area < 1 else "",
        "mirror" if recipe.flip else "",
        f"crop after padding by {recipe.crop_padding}" if recipe.crop_padding else "",
        "TrivialAugment" if recipe.trivial_augment else "",
        f"{' or '.join(mixing)} for {100 * recipe.mix_probability:g} % of the images" if mixing else "",
        f"erasing for {100 * recipe.erase_probability:g} % of the images" if recipe.erase_probability else "",
    ]
    return RecipeColumn(
        name=recipe.name,
        vit=recipe.for_family("vit"),
        cnn=recipe.for_family("cnn"),
        steps="; ".join(steps),
        augmentation=", ".join(filter(None, augmentation)) or "none",
    )


def _shape(name: str, spec: ModelSpec | None, checkpoint: CheckpointSpec | None) -> str:
    if spec is not None and spec.patch_size is not None:
        return f"patch {spec.patch_size}, width {spec.width}, depth {spec.depth}, {spec.num_heads} heads"
    if spec is not None and spec.stage_widths:
        return f"widths {'-'.join(map(str, spec.stage_widths))}, blocks {'-'.join(map(str, spec.stage_depths))}"
    architecture = (spec.library_name if spec else None) or (checkpoint.model if checkpoint else name)
    library = library_of(architecture)
    if library is None:
        return ""
    return f"as in {library}" if architecture == name else f"{architecture.removeprefix(f'{library}/')} of {library}"


def _citation(spec: ModelSpec | None, checkpoint: CheckpointSpec | None) -> str:
    return (spec.citation if spec else "") or (checkpoint.citation if checkpoint else "")
