"""Looks up what a profile names: data sets, recipes with their bases, anything else in the catalogue or the profile itself.

Must not know cells or the disk. Read `lookup` first.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import ValidationError

from repro.catalog import Catalog
from repro.errors import ProfileError
from repro.spec import DatasetSpec, Profile, Recipe, alternatives, parse_init, slug

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
            if upstream := parse_init(init):
                used.setdefault(upstream.dataset, f"cells.{number}.init")
    return {name: lookup(known, name, "data set", where=where) for name, where in used.items()}


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
