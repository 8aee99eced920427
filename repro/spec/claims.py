"""Claims: statements with a source, a scope, one statistic and a threshold. Data, not code.

Must not know how a statistic is computed (`repro.analysis`). Read `Claim` first.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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
    UPSTREAM_TREND_GAP = "upstream-trend-gap"
    """That slope of `ahead` minus that of the other, at each size."""
    RECIPE_GAIN = "recipe-gain"
    """Accuracy under the scope's recipe minus accuracy under its baseline recipe, for each family and size."""
    RECIPE_GAIN_GAP = "recipe-gain-gap"
    """That gain of `ahead` minus that of the other, at each size."""

    @property
    def slope_over(self) -> Literal["training", "upstream", ""]:
        """Over which images the measure is a slope (per tenfold of them); empty for a difference."""
        if self is Measure.FAMILY_GAP_TREND:
            return "training"
        return "upstream" if self in (Measure.UPSTREAM_TREND, Measure.UPSTREAM_TREND_GAP) else ""

    @property
    def compares_recipes(self) -> bool:
        """Whether it sets the scope's two recipes against each other."""
        return self in (Measure.RECIPE_GAIN, Measure.RECIPE_GAIN_GAP)


class Scope(Spec):
    """The scale for which a claim is made; outside it a measurement is an observation without verdict."""

    init: Literal["scratch", "upstream"]
    """Trained from random weights, or fine-tuned from an upstream run."""
    min_upstream_images: int = 0
    """Upstream images from which the claim is made."""
    max_images: int | None = None
    """Images (upstream plus training) up to which the claim is made."""
    datasets: tuple[Name, ...] = ()
    """Data sets for which it is made; on others it gives no entry at all. Empty: any."""
    recipe: Name | None = None
    """For a comparison of recipes: the recipe whose gain is measured."""
    baseline_recipe: Name | None = None
    """For a comparison of recipes: the recipe that the gain is measured from."""

    @model_validator(mode="after")
    def _recipes_make_a_pair(self) -> Self:
        if (self.recipe is None) != (self.baseline_recipe is None):
            raise ValueError("recipe and baseline_recipe are given both or not at all")
        if self.recipe is not None and self.recipe == self.baseline_recipe:
            raise ValueError(f"recipe and baseline_recipe are both {self.recipe!r}")
        return self


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
    instead_of: Name | None = None
    """Id of a more general claim whose entry this one replaces on its own data sets, where both are tested."""

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.measure.compares_recipes != (self.scope.recipe is not None):
            needed = "needs" if self.measure.compares_recipes else "takes no"
            raise ValueError(f"measure {self.measure.value!r} {needed} scope.recipe and scope.baseline_recipe")
        if self.instead_of is not None and (self.instead_of == self.id or not self.scope.datasets):
            raise ValueError("instead_of names another claim, and needs scope.datasets: it replaces that claim there")
        return self
