"""Cells, and the profiles that name a matrix of them.

Must not know the catalogue or the disk: names are resolved in `repro.plan`. Read `Profile` first, then `Cell`.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from repro.spec.base import Fraction, Name, Positive, Spec, slug
from repro.spec.checkpoints import CheckpointSpec, PairSpec
from repro.spec.parts import DatasetSpec, ModelSpec
from repro.spec.recipes import Recipe, RecipePatch

TRAINING_SEMANTICS = 1
"""Part of every fingerprint. Raise it when the same cell would train to other numbers than before."""

CONVERGENCE_FACTOR = 4
"""How many times the steps a convergence check trains (the protocol's undertraining rule)."""
CONVERGENCE_SUFFIX = f"+{CONVERGENCE_FACTOR}x"
"""What a convergence check's recipe name ends with."""


SEARCH_FRACTION = 0.02
"""Share of the full training part on which a learning rate is chosen (paper, appendix B.1.1: 2 % of CIFAR)."""
FROM_FILE = "file:"
"""How an init begins that names a file of weights."""


class UpstreamInit(Spec):
    """Weights pre-trained here: by an upstream cell of the same model and seed."""

    dataset: Name
    """Upstream data set."""
    num_images: Positive
    """How many of its training images."""


class WeightsInit(Spec):
    """Weights that are there: those that the model's name pins, or a file's."""

    path: Path | None
    """The file, or None for what the name pins."""


def parse_init(text: str) -> UpstreamInit | WeightsInit | None:
    """`scratch` → None, `pretrained`, `file:PATH`, `upstream:DATASET@NUM_IMAGES` → its parts. Raises ValueError for another."""
    if text == "scratch":
        return None
    if text == "pretrained":
        return WeightsInit(path=None)
    if text.startswith(FROM_FILE) and len(text) > len(FROM_FILE):
        return WeightsInit(path=Path(text.removeprefix(FROM_FILE)))
    found = re.fullmatch(r"upstream:(.{1,100})@([1-9][0-9]{0,11})", text)
    if not found:
        raise ValueError(
            "Input should be 'scratch', 'pretrained', 'file:PATH' as in 'file:weights.safetensors', or "
            "'upstream:DATASET@NUM_IMAGES' as in 'upstream:glyphs@2000'"
        )
    return UpstreamInit(dataset=found[1], num_images=int(found[2]))


def _legal_init(text: str) -> str:
    parse_init(text)
    return text


def _one_message(value: Any, handler: ValidatorFunctionWrapHandler) -> float | int:
    try:
        size: float | int = handler(value)
    except ValidationError as error:
        raise ValueError("Input should be a fraction above 0 and up to 1.0, or a whole number of images from 1") from error
    return size


Init = Annotated[str, AfterValidator(_legal_init)]
"""How a cell's weights begin, as a profile writes it."""
Size = Annotated[Fraction | Positive, WrapValidator(_one_message)]
"""A training-set size: 0.5 is half of the training part, 1.0 all of it, 50 and 1 are numbers of images."""


class CellBlock(Spec):
    """The product of its lists, one cell each."""

    dataset: tuple[Name, ...] = Field(min_length=1)
    """Names of data sets."""
    size: tuple[Size, ...] = Field(min_length=1)
    """Training-set sizes: a fraction (1.0 is all) or a number of images (100)."""
    model: tuple[Name, ...] = Field(min_length=1)
    """Names of models."""
    init: tuple[Init, ...] = Field(default=("scratch",), min_length=1)
    """`scratch`, `pretrained`, `file:PATH` (from the profile's folder) or `upstream:DATASET@NUM_IMAGES`."""
    recipe: Name
    """Name of a recipe."""
    upstream_recipe: Name | None = None
    """Name of the recipe of the upstream cells; needed where an init says `upstream:`."""
    seeds: Positive | None = None
    """Number of seeds, where it differs from the profile's."""
    convergence_check_at: tuple[Size, ...] = ()
    """Sizes at which the first seed is trained once more with four times the steps, as recipe `NAME+4x`."""

    @model_validator(mode="after")
    def _upstream_has_a_recipe(self) -> Self:
        if self.upstream_recipe is None and any(isinstance(parse_init(init), UpstreamInit) for init in self.init):
            raise ValueError("a block with an upstream init needs an upstream_recipe")
        return self


class Profile(Spec):
    """A named matrix of cells: one TOML file."""

    name: Name
    """The profile's name, by which its report folder is called."""
    description: str = ""
    """One sentence for `list profiles`."""
    seeds: Positive = 3
    """Number of seeds for every block that does not say otherwise."""
    first_seed: Positive = 1
    """The first of them; the others follow by one. Dev-split tuning uses seeds that no study uses, from 101."""
    smaller: Name | None = None
    """A shipped profile that takes less time, named where the forecast is long."""
    gpu_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """GPU memory that the profile was made for, in GiB; None where it needs no GPU, or nobody has said."""
    miniature: bool = False
    """Whether the verdicts are marked as a miniature of the study rather than the study."""
    claims: tuple[Name, ...] = ()
    """Which claims of the catalogue to test; empty means all."""
    notes: tuple[str, ...] = ()
    """Remarks that the report prints with the protocol (why these sizes, what is a pilot)."""
    dataset: tuple[DatasetSpec, ...] = ()
    """Data sets of one's own."""
    model: tuple[ModelSpec, ...] = ()
    """Architectures with dimensions of one's own, or of a library whose family the kit cannot tell."""
    checkpoint: tuple[CheckpointSpec, ...] = ()
    """Weights of one's own on a server; one that has a shipped checkpoint's name takes its place."""
    pair: tuple[PairSpec, ...] = ()
    """Models of one's own that are set against each other."""
    recipe: dict[Name, RecipePatch] = {}
    """Recipes of one's own."""
    cells: tuple[CellBlock, ...] = Field(min_length=1)
    """The blocks of the matrix."""


class Role(StrEnum):
    """Why a cell is trained."""

    STUDY = "study"
    UPSTREAM = "upstream"
    LR_SEARCH = "learning-rate-search"
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
    """The upstream pre-training, if the weights come from one."""
    weights: CheckpointSpec | None = None
    """The weights that it starts from, if they are published or lie in a file. Without both, weights are random."""
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
        """`scratch`, `pretrained`, `file:PATH` or `upstream:DATASET@NUM_IMAGES`, as a profile writes it."""
        if self.weights is not None:
            return "pretrained" if self.weights.path is None else f"{FROM_FILE}{self.weights.path}"
        return "scratch" if self.upstream is None else f"upstream:{self.upstream.dataset}@{self.upstream.num_images}"

    @property
    def upstream_dataset(self) -> str:
        """Name of the data set that the weights come from; empty from scratch, and where it is not known."""
        if self.weights is not None:
            return self.weights.upstream
        return self.upstream.dataset if self.upstream else ""

    @property
    def num_upstream_images(self) -> int:
        """Images of that data set; 0 from scratch, and where they are not known."""
        if self.weights is not None:
            return self.weights.num_upstream_images
        return self.upstream.num_images if self.upstream else 0

    @property
    def id(self) -> str:
        """Readable name, fit for a folder: dataset.size.model.init.recipe.seed."""
        if self.weights is not None:
            init = "pretrained" if self.weights.path is None else f"file-{slug(self.weights.path.stem)}"
        else:
            init = "scratch" if self.upstream is None else f"{slug(self.upstream.dataset)}-{self.upstream.num_images}"
        model, recipe = slug(self.model.name), slug(self.recipe.name)
        return f"{slug(self.dataset.name)}.n{self.num_train_images}.{model}.{init}.{recipe}.s{self.seed}"

    def fingerprint(
        self,
        *,
        data_sha256: str,
        upstream_fingerprint: str | None,
        weights_sha256: str | None = None,
        search_fingerprints: Sequence[str] = (),
    ) -> str:
        """64 hex digits over everything that decides the numbers; names, titles and reasons do not count.

        `data_sha256` is the content digest of the data set; `upstream_fingerprint` that of the upstream cell, if any;
        `weights_sha256` the digest of published weights and of how they want their images; `search_fingerprints` those of the
        cells by which the learning rate is chosen.
        """
        resolved = {
            "semantics": TRAINING_SEMANTICS,
            "data": data_sha256,
            "flip_keeps_label": self.dataset.flip_keeps_label,
            "num_train_images": self.num_train_images,
            "model": _decisive(self.model),
            "upstream": upstream_fingerprint,
            "recipe": _decisive(self.recipe),
            "seed": self.seed,
        }
        if weights_sha256 is not None:
            resolved["weights"] = weights_sha256
        if search_fingerprints:
            resolved["lr_search"] = sorted(search_fingerprints)
        if self.model.library_name is not None:
            # The name of an in-house model is a word; that of a library's is the architecture itself.
            resolved["architecture"] = self.model.library_name
        return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1024)
def _decisive(spec: ModelSpec | Recipe) -> dict[str, Any]:
    """The fields that decide the numbers: all but names, words and what is left at its default.

    So a field that is new to the kit, and off where it is not named, leaves earlier cells what they were; a default that
    changes its meaning needs another TRAINING_SEMANTICS.
    """
    return spec.model_dump(mode="json", exclude={"name", "citation", "reason"}, exclude_defaults=True)
