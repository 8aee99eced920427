"""Data sets, models and recipes: what a cell is put together from.

Must not know how images are read, models built or steps made. Read `Recipe` first.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from repro.spec.base import Family, Name, Positive, Spec
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
    """An in-house architecture; the image size and the number of classes come from the data set."""

    name: Name
    """The name that profiles use."""
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

    @model_validator(mode="after")
    def _fields_fit_the_family(self) -> Self:
        vit = (self.patch_size, self.width, self.depth, self.num_heads)
        if self.family == "vit":
            if None in vit or self.stage_widths or self.stage_depths:
                raise ValueError("a vit needs patch_size, width, depth, num_heads and no stages")
            assert self.width is not None and self.num_heads is not None
            if self.width % self.num_heads:
                raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}")
        elif any(vit) or not self.stage_widths or len(self.stage_widths) != len(self.stage_depths):
            raise ValueError("a cnn needs stage_widths and stage_depths of one length, and no vit fields")
        return self


class FamilyTuning(Spec):
    """What one family may set for itself within a recipe; steps, batch, data and augmentation stay common to both."""

    optimizer: Literal["adamw", "sgd"] | None = None
    """Overrides the recipe's optimizer."""
    lr: Annotated[float, Field(gt=0)] | None = None
    """Overrides the recipe's peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Overrides the recipe's weight decay."""


class StepsAt(Spec):
    """How long training takes at training sets up to a size."""

    up_to_images: Positive
    """Largest training subset that this is for."""
    steps: Positive
    """Optimizer steps."""
    warmup_steps: Annotated[int, Field(ge=0)]
    """Steps of warm-up, among them."""

    @model_validator(mode="after")
    def _warmup_fits(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must be fewer than steps {self.steps}")
        return self


class Recipe(Spec):
    """How a model is trained. Same for both families except what `vit` and `cnn` set."""

    name: Name
    """The name that profiles use."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """`adamw`, or `sgd` with Nesterov momentum."""
    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate, reached after the warm-up."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD: momentum. AdamW: the first beta."""
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """AdamW: the second beta."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled for AdamW, L2 for SGD; never on biases, norms, class token or position embedding."""
    batch_size: Positive
    """Images in one optimizer step."""
    steps: Positive
    """Optimizer steps, at every training-set size that `steps_at` does not speak of."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up from 0; cosine decay to 0 follows."""
    steps_at: tuple[StepsAt, ...] = ()
    """Steps at smaller training sets, in order of size; the first entry that a size does not exceed counts."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability mass that is spread over all classes."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest global gradient norm; None does not clip."""
    flip: bool = False
    """Mirror each image with probability one half, where the data set allows it."""
    crop_padding: Annotated[int, Field(ge=0)] = 0
    """Reflect-pad by so many pixels and crop back at a random place; 0 does neither."""
    trivial_augment: bool = False
    """One random colour or geometric change an image, of random strength (TrivialAugment, wide; arXiv 2103.10158)."""
    mixup_alpha: Annotated[float, Field(ge=0)] = 0.0
    """Blend each image with another, by a share from Beta(alpha, alpha) (arXiv 1710.09412); 0 does not."""
    cutmix_alpha: Annotated[float, Field(ge=0)] = 0.0
    """Paste a box of another image, of an area from Beta(alpha, alpha) (arXiv 1905.04899); 0 does not."""
    mix_probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the images that are mixed, where an alpha is above 0; with both, either has an even chance."""
    erase_probability: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the images of which a box is replaced by noise (random erasing, arXiv 1708.04896)."""
    dev_fraction: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of the training subset held out to watch, and to choose the checkpoint where `select` says so."""
    select: Literal["last", "best_dev"] = "last"
    """Which weights count: those of the last step, or those with the best dev accuracy."""
    divergence_factor: Annotated[float, Field(gt=1)] = 20.0
    """Training has diverged when a mean loss exceeds this many times ln(number of classes)."""
    vit: FamilyTuning = FamilyTuning()
    """What the ViT family sets for itself."""
    cnn: FamilyTuning = FamilyTuning()
    """What the CNN family sets for itself."""
    reason: str = ""
    """Why these values: where they were tuned, or whose recipe it is."""

    @model_validator(mode="after")
    def _choices_fit(self) -> Self:
        if self.select == "best_dev" and self.dev_fraction == 0:
            raise ValueError("select = 'best_dev' needs dev_fraction > 0")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must be fewer than steps {self.steps}")
        sizes = [entry.up_to_images for entry in self.steps_at]
        if sizes != sorted(set(sizes)):
            raise ValueError(f"steps_at must name sizes in ascending order, each once; it names {sizes}")
        return self

    @property
    def mixes(self) -> bool:
        """Whether images are blended with, or cut into, one another."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def for_size(self, num_images: int) -> "Recipe":
        """The recipe as it is used on a training subset of `num_images`: steps settled, no `steps_at` left."""
        for entry in self.steps_at:
            if num_images <= entry.up_to_images:
                chosen = {"steps": entry.steps, "warmup_steps": entry.warmup_steps}
                return self.model_copy(update={**chosen, "steps_at": ()})
        return self.model_copy(update={"steps_at": ()})

    def for_family(self, family: Family) -> "Recipe":
        """The recipe as this family trains by it: overrides applied, none left."""
        tuning = self.vit if family == "vit" else self.cnn
        return self.model_copy(update={**tuning.model_dump(exclude_none=True), "vit": FamilyTuning(), "cnn": FamilyTuning()})


class RecipePatch(Spec):
    """A recipe written inside a profile: a base and the fields that differ from it."""

    base: Name
    """Name of the recipe, in the catalogue or in the same profile, that the rest comes from."""
    optimizer: Literal["adamw", "sgd"] | None = None
    lr: Annotated[float, Field(gt=0)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    batch_size: Positive | None = None
    steps: Positive | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    steps_at: tuple[StepsAt, ...] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    flip: bool | None = None
    crop_padding: Annotated[int, Field(ge=0)] | None = None
    trivial_augment: bool | None = None
    mixup_alpha: Annotated[float, Field(ge=0)] | None = None
    cutmix_alpha: Annotated[float, Field(ge=0)] | None = None
    mix_probability: Annotated[float, Field(gt=0, le=1)] | None = None
    erase_probability: Annotated[float, Field(ge=0, le=1)] | None = None
    dev_fraction: Annotated[float, Field(ge=0, lt=0.5)] | None = None
    select: Literal["last", "best_dev"] | None = None
    divergence_factor: Annotated[float, Field(gt=1)] | None = None
    vit: FamilyTuning | None = None
    """Changes single fields of the base's own table."""
    cnn: FamilyTuning | None = None
    """The same for the CNN family."""
    reason: str | None = None

    def on_top_of(self, base: Recipe, *, name: str) -> Recipe:
        """The recipe `name`: `base` with the fields that are set here. Raises ValidationError if they do not fit.

        Steps of its own hold at every size: the base's `steps_at` is then left out unless it is given here too.
        """
        changes = self.model_dump(exclude_unset=True, exclude={"base"})
        if "steps" in changes:
            changes.setdefault("steps_at", ())
        merged = base.model_dump() | changes | {"name": name}
        for family in ("vit", "cnn"):
            merged[family] = getattr(base, family).model_dump() | changes.get(family, {})
        return Recipe.model_validate(merged)
