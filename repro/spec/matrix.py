"""Cells, and the profiles that name a matrix of them.

Must not know the catalogue or the disk: names are resolved in `repro.plan`. Read `Profile` first, then `Cell`.
"""

import hashlib
import json
from enum import StrEnum

from pydantic import Field

from repro.spec.base import Fraction, Name, Positive, Spec, slug
from repro.spec.parts import DatasetSpec, ModelSpec, Recipe, RecipePatch

TRAINING_SEMANTICS = 1
"""Part of every fingerprint. Raise it when the same cell would train to other numbers than before."""

CONVERGENCE_FACTOR = 4
"""How many times the steps a convergence check trains (the protocol's undertraining rule)."""
CONVERGENCE_SUFFIX = f"+{CONVERGENCE_FACTOR}x"
"""What a convergence check's recipe name ends with."""


class UpstreamInit(Spec):
    """Weights pre-trained here: by an upstream cell of the same model and seed."""

    dataset: Name
    """Upstream data set."""
    num_images: Positive
    """How many of its training images."""


class CellBlock(Spec):
    """The product of its lists, one cell each."""

    dataset: tuple[Name, ...] = Field(min_length=1)
    """Names of data sets."""
    size: tuple[Fraction | Positive, ...] = Field(min_length=1)
    """Training-set sizes: a fraction (1.0 is all) or a number of images (100)."""
    model: tuple[Name, ...] = Field(min_length=1)
    """Names of models."""
    init: tuple[str, ...] = ("scratch",)
    """`scratch` or `upstream:DATASET@NUM_IMAGES`."""
    recipe: Name
    """Name of a recipe."""
    upstream_recipe: Name | None = None
    """Name of the recipe of the upstream cells; needed where an init says `upstream:`."""
    seeds: Positive | None = None
    """Number of seeds, where it differs from the profile's."""
    convergence_check_at: tuple[Fraction | Positive, ...] = ()
    """Sizes at which seed 1 is trained once more with four times the steps, as recipe `NAME+4x`."""


class Profile(Spec):
    """A named matrix of cells: one TOML file."""

    name: Name
    """The profile's name, by which its report folder is called."""
    description: str = ""
    """One sentence for `list profiles`."""
    seeds: Positive = 3
    """Seeds 1 … n for every block that does not say otherwise."""
    miniature: bool = False
    """Whether the verdicts are marked as a miniature of the study rather than the study."""
    claims: tuple[Name, ...] = ()
    """Which claims of the catalogue to test; empty means all."""
    notes: tuple[str, ...] = ()
    """Remarks that the report prints with the protocol (why these sizes, what is a pilot)."""
    dataset: tuple[DatasetSpec, ...] = ()
    """Data sets of one's own."""
    model: tuple[ModelSpec, ...] = ()
    """In-house architectures with dimensions of one's own."""
    recipe: dict[Name, RecipePatch] = {}
    """Recipes of one's own."""
    cells: tuple[CellBlock, ...] = Field(min_length=1)
    """The blocks of the matrix."""


class Role(StrEnum):
    """Why a cell is trained."""

    STUDY = "study"
    UPSTREAM = "upstream"
    CONVERGENCE_CHECK = "convergence-check"


class Cell(Spec):
    """One training run, fully resolved: nothing in it refers to a name that must be looked up."""

    dataset: DatasetSpec
    """The data set."""
    num_train_images: Positive
    """Size of the training subset in images (the dev split is taken from inside it)."""
    model: ModelSpec
    """The architecture."""
    upstream: UpstreamInit | None
    """The upstream pre-training, or None for random initial weights."""
    upstream_recipe: Recipe | None
    """How the upstream cell is trained, for this family; None with `upstream`."""
    recipe: Recipe
    """How this cell is trained, for this family."""
    seed: Positive
    """Seed number; subset, batches and initial weights derive from it."""
    role: Role
    """Study, upstream or convergence check."""

    @property
    def init(self) -> str:
        """`scratch` or `upstream:DATASET@NUM_IMAGES`, as a profile writes it."""
        return "scratch" if self.upstream is None else f"upstream:{self.upstream.dataset}@{self.upstream.num_images}"

    @property
    def id(self) -> str:
        """Readable name, fit for a folder: dataset.size.model.init.recipe.seed."""
        init = "scratch" if self.upstream is None else f"{self.upstream.dataset}{self.upstream.num_images}"
        parts = (self.dataset.name, f"n{self.num_train_images}", self.model.name, init, self.recipe.name, f"s{self.seed}")
        return ".".join(slug(part) for part in parts)

    def fingerprint(self, *, data_sha256: str, upstream_fingerprint: str | None) -> str:
        """64 hex digits over everything that decides the numbers; names, titles and reasons do not count.

        `data_sha256` is the content digest of the data set; `upstream_fingerprint` that of the upstream cell, if any.
        """
        words = {"name", "title", "citation", "license", "reason", "path"}
        resolved = {
            "semantics": TRAINING_SEMANTICS,
            "data": data_sha256,
            "flip_keeps_label": self.dataset.flip_keeps_label,
            "num_train_images": self.num_train_images,
            "model": self.model.model_dump(mode="json", exclude=words),
            "upstream": upstream_fingerprint,
            "recipe": self.recipe.model_dump(mode="json", exclude=words),
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()
