"""Claims: statements with a source, a scope, one statistic and a threshold. Data, not code.

Must not know how a statistic is computed (`repro.analysis`). Read `Claim` first.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from repro.spec.base import Family, Name, Spec


class Measure(StrEnum):
    """What a claim measures; `repro.analysis.claims` turns each into contrasts of accuracies."""

    FAMILY_GAP = "family-gap"
    """Accuracy of the family named `ahead` minus that of the other, at each training-set size."""
    FAMILY_GAP_TREND = "family-gap-trend"
    """Slope of that gap per tenfold of training images."""
    PRETRAINING_GAIN_GAP = "pretraining-gain-gap"
    """(pre-trained minus scratch) of `ahead` minus the same of the other, at each size, largest upstream set."""
    UPSTREAM_TREND = "upstream-trend"
    """Slope of a family's accuracy per tenfold of upstream images, for each family and size."""


class Scope(Spec):
    """The scale for which a claim is made; outside it a measurement is an observation without verdict."""

    init: Literal["scratch", "upstream"]
    """Trained from random weights, or fine-tuned from an upstream run."""
    min_upstream_images: int = 0
    """Upstream images from which the claim is made."""
    max_images: int | None = None
    """Images (upstream plus training) up to which the claim is made."""


class Claim(Spec):
    """A statement that the study tests, with the one statistic that tests it. Data, not code."""

    id: Name
    """Short name, used in profiles and results."""
    statement: str
    """The claim in plain words."""
    short: str = ""
    """The same in a few words that can follow "that", for the page's first sentence; empty means the statement."""
    source: str
    """Where the paper says it."""
    published: str
    """The published value, in words with its unit."""
    scope: Scope
    """For which scale it is made."""
    measure: Measure
    """The statistic."""
    ahead: Family
    """The family that the claim puts ahead (for trends: whose advantage grows)."""
    quantifier: Literal["every", "somewhere"]
    """Over the points of the measure: all intervals pass, or at least one does (Bonferroni)."""
    both_scales: bool
    """Whether accuracy and log-odds must agree before there is a verdict."""
    smallest_effect: Annotated[float, Field(ge=0)]
    """Smallest effect of interest as a fraction of accuracy (per tenfold for trends)."""
    smallest_effect_log_odds: Annotated[float, Field(ge=0)]
    """The same in log-odds (per tenfold for trends)."""
    reason: str
    """Why this statistic and these thresholds; says so if they were chosen after a pilot."""
