"""The facts: data sets, hosts, models, recipes and claims that come with the kit, with their sources.

They are TOML files beside this one. To add one, add an entry to `datasets.toml`, `hosts.toml`, `models.toml`, `recipes.toml` or
`claims.toml`; shipped profiles lie in `repro/profiles/`. Must not know how anything is computed. Read `load_catalog` first.
"""

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from repro.errors import ProfileError
from repro.spec import Claim, DatasetSpec, HostSpec, ModelSpec, Profile, Recipe, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything a profile may name."""

    datasets: dict[str, DatasetSpec]
    """By name."""
    hosts: dict[str, HostSpec]
    """By name."""
    models: dict[str, ModelSpec]
    """By name."""
    recipes: dict[str, Recipe]
    """By name."""
    claims: dict[str, Claim]
    """By id."""


@cache
def load_catalog() -> Catalog:
    """Read and validate the catalogue files. Raises ProfileError for a bad entry, naming file and field."""
    folder = resources.files("repro.catalog")

    def entries(name: str) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = tomllib.loads((folder / f"{name}s.toml").read_text(encoding="utf-8"))[name]
        return rows

    return Catalog(
        datasets={spec.name: spec for spec in (parse(DatasetSpec, row, origin="datasets.toml") for row in entries("dataset"))},
        hosts={spec.name: spec for spec in (parse(HostSpec, row, origin="hosts.toml") for row in entries("host"))},
        models={spec.name: spec for spec in (parse(ModelSpec, row, origin="models.toml") for row in entries("model"))},
        recipes={spec.name: spec for spec in (parse(Recipe, row, origin="recipes.toml") for row in entries("recipe"))},
        claims={spec.id: spec for spec in (parse(Claim, row, origin="claims.toml") for row in entries("claim"))},
    )


def shipped_profiles() -> list[str]:
    """Names of the profiles that come with the kit, sorted."""
    return sorted(
        Path(entry.name).stem for entry in resources.files("repro.profiles").iterdir() if entry.name.endswith(".toml")
    )


def load_profile(name_or_path: str) -> Profile:
    """Read a shipped profile by name, or a file by path; paths inside it are made absolute, from the file's folder.

    Raises ProfileError when there is none, when it is not TOML, or when a field is wrong.
    """
    if name_or_path in shipped_profiles():
        text = (resources.files("repro.profiles") / f"{name_or_path}.toml").read_text(encoding="utf-8")
        return _parse_profile(text, origin=f"profile {name_or_path}", folder=Path.cwd())
    path = Path(os.path.expanduser(name_or_path))  # noqa: PTH111 - Path raises for an unknown ~user
    if not os.path.isfile(path):  # noqa: PTH113 - Path raises for a name that is too long
        raise ProfileError(
            f"There is no profile {name_or_path!r}.",
            remedy=f"Shipped profiles are: {', '.join(shipped_profiles())}; or give the path of a .toml file.",
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"The profile {path} cannot be read: {error}.", remedy="Give a readable UTF-8 TOML file.") from error
    return _parse_profile(text, origin=str(path), folder=path.absolute().parent)


def _parse_profile(text: str, *, origin: str, folder: Path) -> Profile:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{origin} is not valid TOML: {error}.", remedy="Correct the line it names.") from error
    profile = parse(Profile, document, origin=origin)
    datasets = tuple(
        spec.model_copy(update={"path": (folder / spec.path.expanduser()).absolute()}) if spec.path else spec
        for spec in profile.dataset
    )
    return profile.model_copy(update={"dataset": datasets})
