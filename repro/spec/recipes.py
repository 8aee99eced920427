"""Recipes: how a model is trained.

Must not know how steps are made. Read `Recipe` first.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from repro.spec.base import Family, Name, Positive, Spec


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
    """`adamw`, or `sgd` with momentum."""
    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate, reached after the warm-up."""
    lr_grid: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Rates to choose from instead of `lr`: once per model, weights and data set, on 2 % of its full training part."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD: momentum. AdamW: the first beta."""
    nesterov: bool = True
    """SGD: whether the momentum is Nesterov's."""
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    """AdamW: the second beta."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled for AdamW, L2 for SGD; never on biases, norms, class token or position embedding."""
    batch_size: Positive
    """Images in one optimizer step."""
    micro_batch: Positive | None = None
    """Images that go through a model with BatchNorm at once and share its statistics; None: the whole batch. Other models take
    as many as memory allows, which changes nothing but rounding."""
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
    image_size: Positive | None = None
    """Side in pixels to which images are brought on the device, bicubically with antialiasing; None leaves them as they are."""
    crop_min_area: Annotated[float, Field(gt=0, le=1)] = 1.0
    """While training, cut a box of at least this share of the image (at most all, sides 3:4 to 4:3) and bring it to the image
    size (Inception crop, arXiv 1409.4842); 1 takes the whole image."""
    trains: Literal["all", "head"] = "all"
    """Whether everything is trained, or the linear head on frozen features (a linear probe)."""
    ridge_penalty: Annotated[float, Field(gt=0)] | None = None
    """Solve for the head in closed form on frozen, standardised features with targets -1 and 1 (paper, section 4.1, few-shot);
    the penalty of the regularised least squares. That is one full Newton step: `steps` is 1, and no rate counts."""
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
        if self.ridge_penalty is not None and (self.steps != 1 or self.trains != "head" or self.lr_grid or self.steps_at):
            raise ValueError("ridge_penalty needs trains = 'head', steps = 1, and no lr_grid or steps_at: it is one full step")
        if self.lr_grid and (len(self.lr_grid) < 2 or list(self.lr_grid) != sorted(set(self.lr_grid))):
            raise ValueError(
                f"lr_grid must name two or more rates in ascending order, each once; it names {list(self.lr_grid)}"
            )
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide batch_size {self.batch_size}")
        sizes = [entry.up_to_images for entry in self.steps_at]
        if sizes != sorted(set(sizes)):
            raise ValueError(f"steps_at must name sizes in ascending order, each once; it names {sizes}")
        return self

    @property
    def is_probe(self) -> bool:
        """Whether features stay frozen and only a linear head is fitted to them."""
        return self.trains == "head"

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
    lr_grid: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    nesterov: bool | None = None
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    batch_size: Positive | None = None
    micro_batch: Positive | None = None
    steps: Positive | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    steps_at: tuple[StepsAt, ...] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    image_size: Positive | None = None
    crop_min_area: Annotated[float, Field(gt=0, le=1)] | None = None
    trains: Literal["all", "head"] | None = None
    ridge_penalty: Annotated[float, Field(gt=0)] | None = None
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

        Steps of its own hold at every size: the base's `steps_at` is then left out unless it is given here too. So does a rate
        of its own: the base's `lr_grid` is then left out.
        """
        changes = self.model_dump(exclude_unset=True, exclude={"base"})
        if "steps" in changes:
            changes.setdefault("steps_at", ())
        if "lr" in changes:
            changes.setdefault("lr_grid", ())
        merged = base.model_dump() | changes | {"name": name}
        for family in ("vit", "cnn"):
            merged[family] = getattr(base, family).model_dump() | changes.get(family, {})
        return Recipe.model_validate(merged)
