"""Looks up what a profile names: data sets, recipes with their bases, anything else in the catalogue or the profile itself.

Must not know cells or the disk. Read `lookup` first.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from repro.catalog import Catalog
from repro.errors import ProfileError
from repro.spec import (
    CheckpointSpec,
    DatasetSpec,
    Family,
    ModelSpec,
    Profile,
    Recipe,
    UpstreamInit,
    alternatives,
    library_of,
    parse_init,
    slug,
)

Entry = TypeVar("Entry")


def datasets_of(profile: Profile, catalog: Catalog) -> dict[str, DatasetSpec]:
    """The data sets that the profile's cells use, by name. Raises ProfileError for a name that nobody knows."""
    known = {**catalog.datasets, **{spec.name: spec for spec in profile.dataset}}
    refuse_twins([spec.name for spec in profile.dataset], catalog.datasets, "data set")
    for spec in profile.dataset:
        if spec.source is None and spec.path is None and not spec.distribution:
            raise ProfileError(
                f"Data set {spec.name!r} has no path.",
                remedy="Give path = an .npz file or a folder, or a [[dataset.distribution]] to be fetched.",
            )
    used: dict[str, str] = {}
    for number, block in enumerate(profile.cells):
        for name in block.dataset:
            used.setdefault(name, f"cells.{number}.dataset")
        for init in block.init:
            if isinstance(upstream := parse_init(init), UpstreamInit):
                used.setdefault(upstream.dataset, f"cells.{number}.init")
    return {name: lookup(known, name, "data set", where=where) for name, where in used.items()}


TAGS = {"in21k": ("ImageNet-21k", 14_197_122), "in1k": ("ImageNet-1k", 1_281_167)}
"""What timm's tags call the data sets that weights were trained on: `augreg_in21k_ft_in1k` is ImageNet-21k, fine-tuned."""


class Models:
    """The models that a profile may name: in-house, of the profile's own, published, or any of timm and torchvision."""

    def __init__(self, profile: Profile, catalog: Catalog) -> None:
        """Raises ProfileError where the profile's own bear the name of one that comes with the kit."""
        refuse_twins([spec.name for spec in profile.model], catalog.models, "model")
        self._families = catalog.families
        self._own = {**catalog.models, **{spec.name: spec for spec in profile.model}}
        # A profile's own checkpoint takes the place of a shipped one: that is how a mirror with other files is used.
        self._checkpoints = catalog.checkpoints | {spec.name: spec for spec in profile.checkpoint}
        self._cache: dict[str, ModelSpec] = {}

    def model(self, name: str, *, where: str) -> ModelSpec:
        """The model of this name. Raises ProfileError, naming the place in the profile, for one that nobody knows."""
        if name in self._own:
            return self._own[name]
        if name not in self._cache:
            self._cache[name] = self._published(name, where)
        return self._cache[name]

    def _published(self, name: str, where: str) -> ModelSpec:
        checkpoint = self._checkpoints.get(name)
        if checkpoint is not None:
            architecture = checkpoint.model
            if library_of(architecture) is None:
                return self.model(architecture, where=where).model_copy(update={"name": name})
            citation = checkpoint.citation
            return ModelSpec(
                name=name,
                architecture=None if architecture == name else architecture,
                family=checkpoint.family,
                citation=citation,
            )
        if library_of(name) is None:
            return lookup({}, name, "model", where=where, names=[*self._own, *self._checkpoints])
        return ModelSpec(name=name, family=self._family(name, where))

    def _family(self, name: str, where: str) -> Family:
        architecture = name.partition("/")[2]
        fitting = [
            (len(prefix), one.family) for one in self._families for prefix in one.prefixes if architecture.startswith(prefix)
        ]
        if not fitting:
            raise ProfileError(
                f"{where}: the kit cannot tell on which side {name!r} stands.",
                remedy=f'Say it in the profile: [[model]] with name = "{name}" and family = "vit" or "cnn". If the name is '
                "mistyped, correct it.",
            )
        return max(fitting)[1]

    def weights(self, model: ModelSpec, path: Path | None, *, where: str) -> CheckpointSpec:
        """What `pretrained`, or `file:PATH`, means for this model. Raises ProfileError where no weights are known for it."""
        known = self._checkpoints.get(model.name)
        architecture = model.library_name or model.name
        if path is not None:
            return CheckpointSpec(name=model.name, architecture=architecture, family=model.family, path=path)
        if known is not None:
            return known
        if model.architecture is not None or library_of(model.name) is None:
            raise ProfileError(
                f"{where}: no published weights are known for {model.name!r}.",
                remedy="Name a model of timm or torchvision with its weights (timm/NAME.TAG, torchvision/NAME.WEIGHTS), start "
                "from file:PATH, or describe the weights in a [[checkpoint]] of this name.",
            )
        upstream, num_images = _upstream_by_name(model.name)
        return CheckpointSpec(name=model.name, family=model.family, upstream=upstream, num_upstream_images=num_images)


def _upstream_by_name(name: str) -> tuple[str, int]:
    """Upstream data set and its images as the name of library weights tells them; empty and 0 where it does not."""
    tag = name.rpartition(".")[2].lower()
    if tag.startswith("imagenet1k"):
        return TAGS["in1k"]
    words = tag.partition("_ft_")[0].split("_")
    return next((found for word, found in TAGS.items() if word in words), ("", 0))


def resolve_recipes(profile: Profile, catalog: Catalog) -> dict[str, Recipe]:
    """All recipes by name, the profile's own with their bases filled in. Raises ProfileError for a missing or circular base.

    A recipe of the profile may bear the name of one of the catalogue, and then takes its place; as its own base it means that.
    """
    names = list(catalog.recipes | profile.recipe)
    refuse_twins(profile.recipe, [name for name in catalog.recipes if name not in profile.recipe], "recipe")
    resolved: dict[str, Recipe] = {}

    def resolve(name: str, trail: tuple[str, ...]) -> Recipe:
        if name in trail and not (trail[-1] == name and name in catalog.recipes):
            circle = " → ".join((*trail, name))
            raise ProfileError(f"Recipes refer to each other in a circle: {circle}.", remedy="Break the circle.")
        if name not in profile.recipe or name in trail:
            return lookup(catalog.recipes, name, "recipe", where=f"recipe.{trail[-1]}.base", names=names)
        if name not in resolved:
            patch = profile.recipe[name]
            base = resolve(patch.base, (*trail, name))
            try:
                resolved[name] = patch.on_top_of(base, name=name)
            except ValidationError as error:
                wrong = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
                raise ProfileError(
                    f"recipe.{name} on top of {patch.base!r} is not valid: {wrong}.",
                    remedy="Change the fields that the message names.",
                ) from error
        return resolved[name]

    for name in profile.recipe:
        resolve(name, ())
    return catalog.recipes | resolved


def lookup(known: Mapping[str, Entry], name: str, kind: str, *, where: str, names: Iterable[str] | None = None) -> Entry:
    """What `known` holds under `name`. Raises ProfileError, naming the place in the profile, where it holds nothing."""
    if name in known:
        return known[name]
    raise ProfileError(
        f"{where}: there is no {kind} {name!r}.",
        remedy=f"Correct the name ({alternatives(name, list(names or known))}), or define it in the profile.",
    )


def refuse_twins(own: Iterable[str], catalogue: Iterable[str], kind: str) -> None:
    """Raise ProfileError where a name of the profile's own is, on disk, that of another or of one in the catalogue."""
    owners = {slug(name): name for name in catalogue}
    for name in own:
        if (other := owners.get(slug(name))) is not None:
            raise ProfileError(
                f"The {kind} {name!r} of the profile has the same name on disk as {other!r}.",
                remedy="Names must differ in letters or digits, from each other and from those that come with the kit.",
            )
        owners[slug(name)] = name
