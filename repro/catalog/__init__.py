"""The facts: data sets, hosts, models, recipes, claims, images and references that come with the kit, with sources.

They are TOML files beside this one. To add one, add an entry to `datasets.toml`, `hosts.toml`, `models.toml`,
`checkpoints.toml`, `recipes.toml`, `claims.toml`, `images.toml` or `references.toml`; shipped profiles lie in
`repro/profiles/`. Must not know how anything is computed. Read `load_catalog` first.
"""

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from repro.errors import ProfileError
from repro.spec import (
    FROM_FILE,
    CheckpointSpec,
    Claim,
    ContainerImage,
    DatasetSpec,
    FamilyPrefix,
    HostSpec,
    ModelSpec,
    PairSpec,
    Profile,
    PublishedResult,
    Recipe,
    ReferenceRun,
    WeightsInit,
    parse,
    parse_init,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything a profile may name."""

    datasets: dict[str, DatasetSpec]
    """By name."""
    hosts: dict[str, HostSpec]
    """By name."""
    models: dict[str, ModelSpec]
    """By name."""
    checkpoints: dict[str, CheckpointSpec]
    """Published weights by name."""
    pairs: dict[str, PairSpec]
    """Which of them are set against each other, by name."""
    families: tuple[FamilyPrefix, ...]
    """Which side a library's architectures stand on, for those that have no entry of their own."""
    published: tuple[PublishedResult, ...]
    """What others measured with these checkpoints."""
    recipes: dict[str, Recipe]
    """By name."""
    claims: dict[str, Claim]
    """By id."""
    images: tuple[ContainerImage, ...]
    """Variants of the container image, the preferred one first."""
    references: tuple[ReferenceRun, ...] = ()
    """What published runs of the shipped profiles measured."""


@cache
def load_catalog() -> Catalog:
    """Read and validate the catalogue files. Raises ProfileError for a bad entry, naming file and field."""
    folder = resources.files("repro.catalog")

    def entries(name: str, file: str = "") -> list[dict[str, object]]:
        text = (folder / f"{file or name}s.toml").read_text(encoding="utf-8")
        rows: list[dict[str, object]] = tomllib.loads(text)[name]
        return rows

    weights = "checkpoints.toml"
    return Catalog(
        datasets={spec.name: spec for spec in (parse(DatasetSpec, row, origin="datasets.toml") for row in entries("dataset"))},
        hosts={spec.name: spec for spec in (parse(HostSpec, row, origin="hosts.toml") for row in entries("host"))},
        models={spec.name: spec for spec in (parse(ModelSpec, row, origin="models.toml") for row in entries("model"))},
        checkpoints={spec.name: spec for spec in (parse(CheckpointSpec, row, origin=weights) for row in entries("checkpoint"))},
        pairs={spec.name: spec for spec in (parse(PairSpec, row, origin=weights) for row in entries("pair", "checkpoint"))},
        families=tuple(parse(FamilyPrefix, row, origin=weights) for row in entries("families", "checkpoint")),
        published=tuple(parse(PublishedResult, row, origin=weights) for row in entries("published", "checkpoint")),
        recipes={spec.name: spec for spec in (parse(Recipe, row, origin="recipes.toml") for row in entries("recipe"))},
        claims={spec.id: spec for spec in (parse(Claim, row, origin="claims.toml") for row in entries("claim"))},
        images=tuple(parse(ContainerImage, row, origin="images.toml") for row in entries("image")),
        references=tuple(parse(ReferenceRun, row, origin="references.toml") for row in entries("reference")),
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

    def absolute(path: Path) -> Path:
        return (folder / path.expanduser()).absolute()

    def absolute_init(init: str) -> str:
        found = parse_init(init)
        return f"{FROM_FILE}{absolute(found.path)}" if isinstance(found, WeightsInit) and found.path else init

    datasets = (spec.model_copy(update={"path": absolute(spec.path)}) if spec.path else spec for spec in profile.dataset)
    weights = (spec.model_copy(update={"path": absolute(spec.path)}) if spec.path else spec for spec in profile.checkpoint)
    blocks = (block.model_copy(update={"init": tuple(map(absolute_init, block.init))}) for block in profile.cells)
    return profile.model_copy(update={"dataset": tuple(datasets), "checkpoint": tuple(weights), "cells": tuple(blocks)})
