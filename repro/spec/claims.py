"""Claims: statements with a source, a scope, one statistic and a threshold. Data, not code.

Must not know how a statistic is computed (`repro.analysis`). Read `Claim` first.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from repro.spec.base import Family, Fraction, Name, Spec


class Measure(StrEnum):
    """What a claim measures; `repro.analysis.points` turns each into contrasts of accuracies, or looks into single models."""

    FAMILY_GAP = "family-gap"
    """Accuracy of the family named `ahead` minus that of the other, at each training-set size."""
    FAMILY_GAP_TREND = "family-gap-trend"
    """Slope of that gap per tenfold of training images."""
    PRETRAINING_GAIN_GAP = "pretraining-gain-gap"
    """(pre-trained minus scratch) of `ahead` minus the same of the other, at each size; of upstream runs the largest set."""
    UPSTREAM_TREND = "upstream-trend"
    """Slope of a family's accuracy per tenfold of upstream images, for each family and size."""
    UPSTREAM_TREND_GAP = "upstream-trend-gap"
    """That slope of `ahead` minus that of the other, at each size."""
    RECIPE_GAIN = "recipe-gain"
    """Accuracy under the scope's recipe minus accuracy under its baseline recipe, for each family and size."""
    RECIPE_GAIN_GAP = "recipe-gain-gap"
    """That gain of `ahead` minus that of the other, at each size."""
    CHECKPOINT_GAP = "checkpoint-gap"
    """Accuracy of the scope's model minus that of its baseline model, at each size: two checkpoints of one family."""
    UPSTREAM_GAIN_GAP = "upstream-gain-gap"
    """Gain of `ahead` from the scope's baseline pair to its pair (more upstream data) minus that of the other, at each size."""
    ACCURACY = "accuracy"
    """Accuracy of the scope's model minus the published accuracy, at each size; judged by a tolerance."""

    POSITION_SIMILARITY_GAP = "position-similarity-gap"
    """Mean cosine similarity of a ViT's position embeddings in one row or column minus that of all other pairs of patches."""
    ATTENTION_DISTANCE_RISE = "attention-distance-rise"
    """Rise of a ViT's mean attention distance from its lowest to its highest layer, in distances of uniform attention."""

    @property
    def is_of_the_inside(self) -> bool:
        """Whether it is a statistic of one trained ViT's inside, and no contrast of accuracies."""
        return self in (Measure.POSITION_SIMILARITY_GAP, Measure.ATTENTION_DISTANCE_RISE)

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

    @property
    def inits(self) -> tuple[Literal["scratch", "upstream", "pretrained", "any"], ...]:
        """How the weights may begin that it speaks of: a slope over upstream images needs upstream runs of several sizes."""
        if self.is_of_the_inside:
            return ("any",)
        if self.slope_over == "upstream":
            return ("upstream",)
        if self is Measure.PRETRAINING_GAIN_GAP:
            return "upstream", "pretrained"
        return ("pretrained",) if self is Measure.UPSTREAM_GAIN_GAP else ("scratch", "upstream", "pretrained")

    @property
    def scope_fields(self) -> tuple[str, ...]:
        """The fields of the scope that it needs and no other measure takes; `pair` may stand beside those of two families."""
        if self.compares_recipes:
            return ("recipe", "baseline_recipe")
        return {
            Measure.CHECKPOINT_GAP: ("model", "baseline_model"),
            Measure.UPSTREAM_GAIN_GAP: ("pair", "baseline_pair"),
            Measure.ACCURACY: ("model",),
        }.get(self, ())


class Scope(Spec):
    """The scale for which a claim is made; outside it a measurement is an observation without verdict."""

    init: Literal["scratch", "upstream", "pretrained", "any"]
    """Trained from random weights, fine-tuned from an upstream run, from published weights (or a file's), or however begun."""
    min_upstream_images: int = 0
    """Upstream images from which the claim is made."""
    max_images: int | None = None
    """Images (upstream plus training) up to which the claim is made."""
    min_train_images: int = 0
    """Training images from which the claim is made."""
    datasets: tuple[Name, ...] = ()
    """Data sets for which it is made; on others it gives no entry at all. Empty: any."""
    recipe: Name | None = None
    """For a comparison of recipes: the recipe whose gain is measured."""
    baseline_recipe: Name | None = None
    """For a comparison of recipes: the recipe that the gain is measured from."""
    recipes: tuple[Name, ...] = ()
    """Recipes under which it is made; under others it gives no entry at all. Empty: any but linear probes."""
    pair: Name | None = None
    """Declared pair for which it is made; None: every pair."""
    baseline_pair: Name | None = None
    """For a gain between pairs: the one that the gain is measured from."""
    model: Name | None = None
    """For a claim about one model, or a comparison of two: the model."""
    baseline_model: Name | None = None
    """For a comparison of two models: the one that the gain is measured from."""

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        if (self.recipe is None) != (self.baseline_recipe is None):
            raise ValueError("recipe and baseline_recipe are given both or not at all")
        for name in ("recipe", "pair", "model"):
            own, baseline = getattr(self, name), getattr(self, f"baseline_{name}")
            if own is not None and own == baseline:
                raise ValueError(f"{name} and baseline_{name} are both {own!r}")
        if self.pair is not None and self.init != "pretrained":
            raise ValueError(f"a pair is one of published weights, and needs init 'pretrained', not {self.init!r}")
        return self


_FIELDS_OF_MEASURES = ("recipe", "baseline_recipe", "model", "baseline_model", "pair", "baseline_pair")


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
    smallest_effect: Annotated[float, Field(ge=0)] = 0.0
    """Smallest effect of interest: a fraction of accuracy (per tenfold for trends), or in the unit of a ViT's inside."""
    smallest_effect_log_odds: Annotated[float, Field(ge=0)] = 0.0
    """The same in log-odds (per tenfold for trends)."""
    published_accuracy: Fraction | None = None
    """For a tolerance claim: the published accuracy that ours is held against."""
    tolerance: Fraction | None = None
    """For a tolerance claim: supported where the difference's interval lies inside plus or minus this, contradicted outside."""
    needs_convergence: bool = True
    """Whether the rule against undertrained models applies; not where the claim is about this very schedule."""
    reason: str
    """Why this statistic and these thresholds; says so if they were chosen after a pilot."""
    instead_of: Name | None = None
    """Id of a more general claim whose entry this one replaces on its own data sets and pair, where both are tested."""

    @model_validator(mode="after")
    def _measure_fits_the_scope(self) -> Self:
        measure, needed = self.measure, self.measure.scope_fields
        given = [name for name in _FIELDS_OF_MEASURES if getattr(self.scope, name) is not None]
        if missing := [name for name in needed if name not in given]:
            raise ValueError(f"measure {measure.value!r} needs {_in_scope(missing)}")
        # A pair may stand beside every measure of two families.
        taken = {*needed, *(() if "model" in needed or measure.is_of_the_inside else ("pair",))}
        if extra := [name for name in given if name not in taken]:
            raise ValueError(f"measure {measure.value!r} takes no {_in_scope(extra)}")
        if self.scope.init not in (inits := measure.inits):
            raise ValueError(f"measure {measure.value!r} takes scope.init {' or '.join(map(repr, inits))}")
        return self

    @model_validator(mode="after")
    def _thresholds_fit_the_measure(self) -> Self:
        if self.measure is Measure.ACCURACY:
            if self.published_accuracy is None or self.tolerance is None:
                raise ValueError("measure 'accuracy' needs published_accuracy and tolerance")
            if self.smallest_effect or self.smallest_effect_log_odds or self.both_scales:
                raise ValueError("a tolerance is one of accuracy alone: no smallest effect, and both_scales = false")
        elif self.published_accuracy is not None or self.tolerance is not None:
            raise ValueError(f"only measure 'accuracy' takes published_accuracy and tolerance, not {self.measure.value!r}")
        elif "smallest_effect" not in self.model_fields_set:
            raise ValueError(f"measure {self.measure.value!r} needs a smallest_effect, if only 0.0")
        return self

    @model_validator(mode="after")
    def _one_inside_has_one_scale(self) -> Self:
        if not self.measure.is_of_the_inside:
            return self
        if self.both_scales or self.smallest_effect_log_odds:
            raise ValueError(
                f"measure {self.measure.value!r} has no log-odds: no smallest effect there, and both_scales = false"
            )
        if self.ahead != "vit":
            raise ValueError(f"measure {self.measure.value!r} speaks of ViTs: ahead = 'vit'")
        return self

    @model_validator(mode="after")
    def _replaces_another_claim_somewhere(self) -> Self:
        if self.instead_of is not None and (self.instead_of == self.id or not (self.scope.datasets or self.scope.pair)):
            raise ValueError(
                "instead_of names another claim, and needs scope.datasets or scope.pair: it replaces that claim there"
            )
        return self


def _in_scope(names: Sequence[str]) -> str:
    return " and ".join(f"scope.{name}" for name in names)
