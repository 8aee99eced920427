"""What `results.json` holds of the errors: on which classes, by which confusions, how far alike, and on which images.

Shares are fractions in [0, 1]. Must not know how they are computed or drawn. Read `ErrorComparison` first.
"""

from repro.spec import Spec


class Measured(Spec):
    """A share, or a difference of two, with its two-way (seeds x test images) interval."""

    value: float
    """The mean over seeds."""
    ci95: tuple[float, float] | None
    """95 % confidence interval; None where a single seed, or a single image, leaves none."""


class ClassAccuracy(Spec):
    """How both families do on the test images of one class."""

    label: int
    """The class: place of its name in `ErrorComparison.class_names`."""
    num_images: int
    """Its test images."""
    vit: Measured
    """Accuracy of the ViT on them."""
    cnn: Measured
    """The same of the CNN."""
    difference: Measured
    """CNN minus ViT, paired by seed and image."""


class Confusion(Spec):
    """How often images of one class are taken for another."""

    true: int
    """Class of the images."""
    predicted: int
    """Class that was predicted."""
    num_images: int
    """Test images of the true class."""
    num_vit: int
    """Times that the ViT confused them so, all seeds together."""
    num_cnn: int
    """The same of the CNN."""
    vit: Measured
    """`num_vit` as a share of the class' images."""
    cnn: Measured
    """The same of the CNN."""
    difference: Measured
    """CNN minus ViT."""
    leads_vit: bool
    """Whether it is among the ViT's most frequent confusions."""
    leads_cnn: bool
    """The same of the CNN."""
    leads_difference: bool
    """Whether it is among those in which the families differ most."""


class Shares(Spec):
    """Mean shares of the test images by who gets them, as they would be if both families erred independently."""

    both: float
    only_vit: float
    only_cnn: float
    neither: float


class Agreement(Spec):
    """Who gets which test images, seed by seed."""

    both: Measured
    """Share of the test images that both families get."""
    only_vit: Measured
    """Share that only the ViT gets."""
    only_cnn: Measured
    """Share that only the CNN gets."""
    neither: Measured
    """Share that neither gets."""
    independent: Shares
    """What the accuracies of each seed would give if errors fell independently."""
    consistency: float | None
    """Cohen's kappa of ViT and CNN being right, mean over seeds: 0 as by chance, 1 always alike; None if undefined."""
    consistency_vit: float | None
    """The same of two seeds of the ViT, mean over pairs of seeds; None with one seed."""
    consistency_cnn: float | None
    """The same of the CNN."""


class Exemplar(Spec):
    """A test image that one family gets and the other does not, each in most seeds."""

    image: int
    """Its place in the test part."""
    true: int
    """Its class."""
    vit_said: int
    """What the ViT says most often, if it is wrong in most seeds of the wrong answers; of several the smallest."""
    vit_votes: int
    """In how many seeds."""
    cnn_said: int
    """The same of the CNN."""
    cnn_votes: int
    """In how many seeds."""


class ErrorComparison(Spec):
    """One ViT against one CNN on the test images of one data set, over the seeds that both have finished."""

    dataset: str
    num_train_images: int
    init: str
    """Of both; `pretrained` where either comes from a file of its own."""
    recipe: str
    pair: str
    """Title of the declared pair; empty without one."""
    vit: str
    """Name of the model, with its file where its weights come from one."""
    cnn: str
    """The same of the CNN."""
    num_seeds: int
    """Seeds that both have finished."""
    num_planned_seeds: int
    """Seeds that both are planned with."""
    largest_planned: int
    """Largest number of training images that the same models are planned with; more than `num_train_images` if none is done."""
    num_test_images: int
    class_names: tuple[str, ...]
    """Name of class k at place k; numbers where the data set's own are not known."""
    classes: tuple[ClassAccuracy, ...]
    """Classes that have test images, from the one on which the CNN is furthest ahead to the one on which the ViT is."""
    confusions: tuple[Confusion, ...]
    """The most frequent of either family and those that differ most, each once, from the most frequent on."""
    agreement: Agreement
    num_only_vit: int
    """Images that the ViT gets in most seeds and the CNN does not."""
    num_only_cnn: int
    """Images that the CNN gets in most seeds and the ViT does not."""
    only_vit: tuple[Exemplar, ...]
    """The first of `num_only_vit`: most seeds first, then in the order of the pack."""
    only_cnn: tuple[Exemplar, ...]
    """The first of `num_only_cnn`, in the same order."""
    cells: tuple[str, ...]
    """Ids of the cells that entered."""

    @property
    def num_apart(self) -> int:
        """Classes whose difference has an interval that excludes zero."""
        return sum(ends is not None and not ends[0] <= 0 <= ends[1] for ends in (row.difference.ci95 for row in self.classes))
