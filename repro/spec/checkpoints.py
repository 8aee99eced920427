"""Published weights: where their files lie, what they were trained on, and which of them are set against each other.

Must not know how files are fetched or models built. Read `CheckpointSpec` first.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from repro.spec.base import Family, Fraction, Name, Positive, Spec, slug
from repro.spec.distributions import DataFile

LIBRARIES = ("timm", "torchvision")
"""Libraries whose models a profile may name, as `timm/NAME.TAG` or `torchvision/NAME.TAG`."""

Channels = tuple[float, float, float]
"""One number for each of red, green and blue."""


def library_of(name: str) -> str | None:
    """`timm` or `torchvision` for a name that begins with it and a slash; None for any other."""
    library, slash, _ = name.partition("/")
    return library if slash and library in LIBRARIES else None


class InputSpec(Spec):
    """How weights want their images, as their own configuration says."""

    image_size: Positive
    """Side in pixels at which they were last trained."""
    mean: Channels
    """Mean of each channel that is subtracted, on a scale where white is 1."""
    std: Channels
    """What each channel is divided by."""
    interpolation: str
    """How their authors resize images; the kit always enlarges bicubically, and says so."""
    source: str
    """Where this is from: the file beside the weights, or the library and its version."""


class CheckpointSpec(Spec):
    """One set of weights for one architecture: published, or in a file of the user's."""

    name: Name
    """The model name whose `pretrained` means these weights."""
    architecture: Name = ""
    """Name of the architecture in its library; empty means `name`."""
    family: Family
    """`vit` or `cnn`."""
    title: str = ""
    """How the report writes it; empty means `name`."""
    upstream: str = ""
    """Name of the data set that it was trained on, as the field writes it; empty where it is not known."""
    num_upstream_images: Annotated[int, Field(ge=0)] = 0
    """Images of that data set; 0 where they are not known."""
    upstream_recipe: str = ""
    """How it was trained, in a few words."""
    num_parameters: Positive | None = None
    """Parameters with the head that it was published with."""
    forward_macs: Positive | None = None
    """Multiply-adds of one image at `image_size`, with that head."""
    image_size: Positive | None = None
    """Side in pixels for which `forward_macs` holds."""
    imagenet_top1: Fraction | None = None
    """Published ImageNet-1k validation accuracy of this very file; None for one that has no ImageNet-1k head."""
    imagenet_source: str = ""
    """Who published it."""
    file: tuple[DataFile, ...] = ()
    """Places of the same weights, the preferred one first; empty: the library is asked."""
    path: Path | None = None
    """A local file instead."""
    license: str = ""
    """Under which licence the weights come."""
    citation: str = ""
    """Whom to cite."""

    @model_validator(mode="after")
    def _comes_from_one_place(self) -> Self:
        if self.path is not None and self.file:
            raise ValueError("a checkpoint has a path or files to be fetched, not both")
        return self

    @property
    def model(self) -> str:
        """Name of the architecture."""
        return self.architecture or self.name

    @property
    def key(self) -> str:
        """Name of its folder in the home, and what its facts are filed under; a file's differs with path and architecture."""
        if self.path is None:
            return slug(self.name)
        return f"file-{slug(self.path.stem)}-{hashlib.sha256(f'{self.path} {self.model}'.encode()).hexdigest()[:8]}"


class PairSpec(Spec):
    """Models that are set against each other: every ViT against every CNN."""

    name: Name
    """Short name, used in claims' scopes."""
    title: str
    """How the report writes it."""
    vit: tuple[Name, ...] = Field(min_length=1)
    """Names of models on the ViT side."""
    cnn: tuple[Name, ...] = Field(min_length=1)
    """Names of models on the CNN side, of different recipes where there are any."""
    has_own_claims_only: bool = False
    """Whether it serves only claims that name it: claims that are made for every pair leave it out."""
    reason: str = ""
    """Why these: what they have in common and in what they differ."""


class FamilyPrefix(Spec):
    """Which side the architectures of a library stand on whose names begin alike."""

    family: Family
    """`vit` or `cnn`."""
    prefixes: tuple[Name, ...] = Field(min_length=1)
    """Beginnings of names without library; the longest that fits counts."""


class PublishedResult(Spec):
    """A number that somebody published for a checkpoint fine-tuned on a data set, to stand beside ours."""

    model: Name
    """Name of the model."""
    dataset: Name
    """Name of the data set."""
    recipe: Name | None = None
    """Name of the kit's recipe that follows that schedule; None where there is none."""
    accuracy: tuple[Fraction, ...] = Field(min_length=1, max_length=2)
    """The published accuracy, or lowest and highest of several runs."""
    setting: str
    """Schedule and resolution, in words."""
    source: str
    """Who published it, and where."""
