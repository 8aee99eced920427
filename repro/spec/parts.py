"""Data sets and models: what a cell is put together from, beside its recipe.

Must not know how images are read or models built. Read `DatasetSpec` first.
"""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import model_validator

from repro.spec.base import Family, Name, Positive, Spec
from repro.spec.checkpoints import LIBRARIES, library_of
from repro.spec.distributions import Distribution, Sha256


class DatasetSource(StrEnum):
    """Where the images of a data set come from."""

    DIGITS = "digits"
    GLYPHS = "glyphs"
    FETCHED = "fetched"
    NPZ = "npz"
    FOLDER = "folder"


class DatasetSpec(Spec):
    """One data set: train and test images of one resolution, `uint8 (N, H, W, C)`, labels `int64 (N,)`."""

    name: Name
    """The name that profiles use."""
    title: str = ""
    """How the report writes the name; empty means `name`."""
    source: DatasetSource | None = None
    """How the images are made or read; for a path of one's own it follows from the path."""
    path: Path | None = None
    """An `.npz` file or a folder `train/<class>/…`, `test/<class>/…`, for a data set of one's own."""
    distribution: tuple[Distribution, ...] = ()
    """The ways in which its files can be had, the preferred one first; all of them hold the same images."""
    image_size: Positive | None = None
    """Side in pixels; a folder's or a download's images are box-resized to it. A folder without it holds one size only."""
    num_channels: Positive | None = None
    """1 or 3, where known beforehand."""
    num_classes: Positive | None = None
    """Number of classes, where known beforehand."""
    flip_keeps_label: bool = True
    """Whether a mirrored image still shows its class; where False no recipe mirrors it."""
    num_train_images: Positive | None = None
    """Training images, where known beforehand; a procedural data set is made with so many."""
    content_sha256: Sha256 | None = None
    """Order-independent digest of images and labels, where the content is fixed; others are recorded at `fetch`."""
    train_sha256: Sha256 | None = None
    """Order-independent digest of the training part, as `repro.datasets.arrays.part_sha256` defines it, where it is known."""
    test_sha256: Sha256 | None = None
    """The same of the test part."""
    citation: str = ""
    """Whom to cite."""
    license: str = ""
    """Under which licence the images come."""

    @model_validator(mode="after")
    def _comes_from_one_place(self) -> Self:
        is_fetched = self.source is DatasetSource.FETCHED
        if is_fetched != bool(self.distribution) and (is_fetched or self.source is not None):
            raise ValueError('source = "fetched" and [[dataset.distribution]] go together')
        if self.distribution and self.path is not None:
            raise ValueError("a data set has a path or distributions, not both")
        return self


class ModelSpec(Spec):
    """An architecture, in-house or of a library; image size and number of classes come from the data set and the recipe."""

    name: Name
    """The name that profiles use; one that begins with `timm/` or `torchvision/` names that library's architecture."""
    architecture: Name | None = None
    """The library's architecture, where the model has a name of its own: `timm/vit_tiny_patch16_224`."""
    family: Family
    """`vit` or `cnn`: the side it stands on."""
    patch_size: Positive | None = None
    """ViT: side of a patch in pixels; the image side must be a multiple."""
    width: Positive | None = None
    """ViT: length of a token."""
    depth: Positive | None = None
    """ViT: number of blocks."""
    num_heads: Positive | None = None
    """ViT: attention heads per block; divides `width`."""
    stage_widths: tuple[Positive, ...] = ()
    """ResNet: channels of each stage; every stage after the first halves the resolution."""
    stage_depths: tuple[Positive, ...] = ()
    """ResNet: basic blocks (two 3x3 convolutions each) in each stage."""
    citation: str = ""
    """The paper or recipe that the architecture follows."""

    @property
    def library_name(self) -> str | None:
        """`timm/…` or `torchvision/…` where a library has the architecture; None for an in-house one."""
        name = self.architecture or self.name
        return name if library_of(name) else None

    @model_validator(mode="after")
    def _fields_fit_the_family(self) -> Self:
        vit = (self.patch_size, self.width, self.depth, self.num_heads)
        if self.architecture is not None and library_of(self.architecture) is None:
            raise ValueError(
                f"architecture {self.architecture!r} begins with none of {', '.join(f'{one}/' for one in LIBRARIES)}"
            )
        if self.library_name is not None:
            if any(vit) if self.family == "cnn" else self.stage_widths or self.stage_depths:
                raise ValueError(f"dimensions of the other family given for a {self.family}")
            if not self.library_name.startswith("timm/") and (any(vit) or self.stage_widths or self.stage_depths):
                raise ValueError("dimensions can be given for timm's architectures only")
            return self
        if self.family == "vit":
            if None in vit or self.stage_widths or self.stage_depths:
                raise ValueError("a vit needs patch_size, width, depth, num_heads and no stages")
            assert self.width is not None and self.num_heads is not None
            if self.width % self.num_heads:
                raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}")
        elif any(vit) or not self.stage_widths or len(self.stage_widths) != len(self.stage_depths):
            raise ValueError("a cnn needs stage_widths and stage_depths of one length, and no vit fields")
        return self
