"""References: what published runs of a shipped profile measured, for `verify` to hold other runs against.

Must not know how a run is compared (`repro.verification`). Read `ReferenceRun` first.
"""

from typing import Annotated

from pydantic import Field

from repro.spec.base import Fraction, Name, Positive, Spec


class ReferenceArm(Spec):
    """The seeds of one (data set, size, model, init, recipe)."""

    dataset: Name
    """Data set."""
    num_train_images: Positive
    """Training images."""
    model: Name
    """Name of the model."""
    init: Name
    """How its weights begin, as a profile writes it."""
    recipe: Name
    """Name of the recipe."""
    mean: Fraction
    """Mean test accuracy over the seeds, a fraction."""
    sd: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=1)
    """Standard deviation over the seeds, a fraction: of this run, then of published runs of the same cells elsewhere."""


class ReferenceRun(Spec):
    """One published run of a profile."""

    profile: Name
    """The shipped profile that was run."""
    source: Annotated[str, Field(min_length=1)]
    """Where the numbers stand, with hardware, versions and commit."""
    reason: Annotated[str, Field(min_length=1)]
    """Why a run may differ from it by as much as the tolerance allows, and no more."""
    num_seeds: Annotated[int, Field(ge=2)]
    """Seeds of each arm."""
    num_test_images: Positive
    """Test images; the tolerance is never less than one of them."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    """Two-sided level of the interval for the difference of two means that is the tolerance."""
    arm: tuple[ReferenceArm, ...] = Field(min_length=1)
    """What was measured."""
