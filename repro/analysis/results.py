"""What `results.json` holds: every number of the report, each with the cells it comes from.

The report, the CSV and the figures render these objects and compute nothing. Accuracies are fractions in [0, 1], log-odds are
natural. Must not know how a number is computed or drawn. Read `Results` first.
"""

from enum import StrEnum
from typing import Literal

from repro.analysis.error_results import ErrorComparison
from repro.analysis.inside_results import InsideArm, InsideRow
from repro.records import CellStatus, Environment, Record
from repro.spec import Claim, Family, PairSpec, Role, Spec


class Verdict(StrEnum):
    """What the evidence says of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"


class Estimate(Spec):
    """A statistic with its interval: two-way (seeds x test images), or of a ViT's inside over seeds alone."""

    value: float
    """The point estimate."""
    ci95: tuple[float, float] | None
    """95 % confidence interval, None where fewer than two seeds, or seeds all alike, leave no estimate of their noise."""
    standard_error: float | None
    """Standard error, None with `ci95`."""
    degrees_of_freedom: float | None
    """Of the two-way interval Satterthwaite's, else seeds less one."""
    num_seeds: int
    """Seeds that entered."""
    num_images: int
    """Test images that entered; 0 where none did."""


class Point(Spec):
    """One measured statistic of a claim: a gap at one size, a slope, a difference of gains, a mean over ViTs' insides."""

    label: str
    """What it is, for instance `100 training images`."""
    family: Family | None
    """The family, where the statistic is one family's alone."""
    num_train_images: int | None
    """Training images; None for a slope over them."""
    num_upstream_images: int | None
    """Upstream images, of two models the fewer; None for a slope over them; 0 from scratch, and where they are not known."""
    models: str = ""
    """Which models it compares, where the result has points for several."""
    estimate: Estimate
    """In the measure's own unit, positive in the claim's direction: of a contrast fractions of accuracy."""
    log_odds: Estimate | None
    """On the log-odds scale, positive in the claim's direction; None where the measure is no contrast of accuracies."""
    in_scope: bool = True
    """Whether the claim is made for it; where some points are inside, those outside are shown and do not count."""
    trained_enough: bool
    """Whether the convergence rule of the protocol holds for every cell that entered."""
    training_note: str
    """How the convergence rule was met, or why it was not."""
    cells: tuple[str, ...]
    """Ids of the cells that entered."""
    check_cells: tuple[str, ...] = ()
    """Ids of the cells with four times the steps that `training_note` speaks of."""


class ClaimResult(Spec):
    """A claim (or, out of its scope, an observation) held against one pair of models, or one model, on one data set."""

    id: str
    """The claim's id."""
    claim: Claim
    """The claim as it was before the run."""
    statement: str
    """The claim in plain words."""
    source: str
    """Where the paper says it."""
    scope: str
    """The scale for which it is made, in words."""
    published: str
    """The published value."""
    dataset: str
    """Data set tested on."""
    vit: str
    """Model on the ViT side; several are joined by "and"; empty where the claim is about a CNN alone."""
    cnn: str
    """The same of the CNN side."""
    pair: str = ""
    """Title of the declared pair, empty without one; of a gain between pairs both, with a minus sign between them."""
    recipe: str
    """Recipe of the cells; of a comparison of recipes both, with a minus sign between them."""
    measured: float | None
    """The decisive point's value in the measure's own unit (the weakest point for `every`, the strongest for `somewhere`)."""
    ci95: tuple[float, float] | None
    """Its 95 % interval."""
    n: int
    """Seeds."""
    verdict: Verdict | None
    """None for an observation."""
    miniature: bool
    """Whether the profile is a miniature of the study."""
    reason: str
    """Why this verdict, in one line."""
    survival: str = ""
    """Whether the verdict under a plainer recipe survives this one; empty where the claim has no verdict under both."""
    points: tuple[Point, ...]
    """All points, in order of size."""
    cells: tuple[str, ...]
    """Ids of all cells that entered."""


class Group(Spec):
    """Mean accuracy over seeds of one (data set, size, model, init, recipe)."""

    dataset: str
    num_train_images: int
    model: str
    family: Family
    init: str
    num_upstream_images: int
    recipe: str
    accuracy: Estimate
    """Test accuracy with its two-way interval."""
    sd: float | None
    """Standard deviation over seeds."""
    seeds: tuple[float, ...]
    """Test accuracy of each seed, in order of seed."""
    cells: tuple[str, ...]


class Gap(Spec):
    """Paired difference CNN minus ViT of one (data set, size, init, recipe)."""

    dataset: str
    num_train_images: int
    init: str
    """Of both; `pretrained` where either comes from a file of its own."""
    num_upstream_images: int
    """Of both, or the fewer."""
    recipe: str
    vit: str
    """Name of the model, with its file where its weights come from one."""
    cnn: str
    """The same of the CNN."""
    accuracy: Estimate
    log_odds: Estimate
    cells: tuple[str, ...]


class FamilyGain(Spec):
    """What other weights to start from give one family: accuracy of the later arm minus accuracy of the earlier one."""

    model: str
    """The later arm's model."""
    init: str
    recipe: str
    start_model: str
    """The earlier arm's model; the same but where published weights of two upstream sets are set beside each other."""
    start_init: str
    start_recipe: str
    accuracy: Estimate
    """Paired over the seeds that both arms have finished."""
    log_odds: Estimate
    cells: tuple[str, ...]


class Gain(Spec):
    """What pre-training gives a ViT and a CNN that are set against each other, at one number of training images."""

    dataset: str
    num_train_images: int
    recipe: str
    """Of the later arms."""
    pair: str
    """Title of the declared pair; empty where none was declared."""
    line: str
    """What all gains of one pair of lines share, from the first weights to the last: unique among those of a report."""
    upstream_dataset: str
    """Of the later arms; empty where it is not known."""
    num_upstream_images: int
    """Of the later arms, the fewer; 0 where they are not known."""
    start_upstream_dataset: str
    """Of the earlier arms; empty from scratch."""
    start_num_upstream_images: int
    """0 from scratch."""
    vit: FamilyGain | None
    """None where its two arms share no finished seed."""
    cnn: FamilyGain | None
    accuracy: Estimate | None
    """The ViT's gain minus the CNN's, paired over the seeds that all four arms have finished; None without any."""
    log_odds: Estimate | None


class CellRow(Spec):
    """One cell; also one row of `results.csv`, with the same columns. Empty where the cell is not done."""

    id: str
    fingerprint: str | None
    role: Role
    dataset: str
    model: str
    family: Family
    init: str
    upstream_dataset: str
    """Empty from scratch, and where it is not known."""
    num_upstream_images: int
    """0 from scratch, and where they are not known."""
    recipe: str
    is_regularised: bool
    """Whether the recipe mixes, recolours or erases images, so that 99 % training accuracy is not to be expected."""
    is_probe: bool
    """Whether the recipe fits a linear head to frozen features."""
    num_train_images: int
    seed: int
    status: CellStatus
    reason: str
    """Why it is not done; empty if it is."""
    test_accuracy: float | None
    test_loss: float | None
    train_accuracy: float | None
    train_loss: float | None
    dev_accuracy: float | None
    """Empty, too, for a search for a learning rate that diverged."""
    lr: float | None
    """Peak learning rate."""
    selected_step: int | None
    num_parameters: int | None
    forward_macs: int | None
    train_flops: float | None
    wall_s: float | None
    total_s: float | None
    energy_j: float | None
    peak_mem_bytes: int | None
    device: str | None
    device_shared: bool | None


class Results(Spec):
    """All that a report says."""

    schema_version: Literal[1] = 1
    profile: str
    description: str
    miniature: bool
    notes: tuple[str, ...]
    vitrepro: str
    """Version that made the report."""
    generated_at: str
    """UTC time, ISO 8601."""
    environment: Environment | None
    """Of the newest record; None while there is none."""
    precision: str | None = None
    """The precision of the newest record, and why; None where it tells none."""
    warnings: tuple[str, ...]
    """What a reader must know: mixed devices or versions, an unfinished matrix."""
    claims: tuple[ClaimResult, ...]
    """Inside their scope: with a verdict."""
    observations: tuple[ClaimResult, ...]
    """Outside their scope: without."""
    groups: tuple[Group, ...]
    gaps: tuple[Gap, ...]
    gains: tuple[Gain, ...] = ()
    """What pre-training gives either family, and by how much more the one."""
    pairs: tuple[PairSpec, ...] = ()
    """The declared pairs whose models all have cells under one recipe on one data set."""
    errors: tuple[ErrorComparison, ...] = ()
    """Where both families err, at the largest sizes."""
    inside: tuple[InsideRow, ...] = ()
    """Every cell that was looked into."""
    inside_arms: tuple[InsideArm, ...] = ()
    """Means over the seeds of each arm of the study among them."""
    cells: tuple[CellRow, ...]
    """Every cell of the profile, finished or not."""


class Outcome(Spec):
    """What the analysis is given of one planned cell."""

    row: CellRow
    """Identity, state and numbers."""
    record: Record | None
    """The record, if it is done."""
