"""Contrasts of accuracies with an interval that counts both sources of noise, seeds and test images; means over seeds alone.

A contrast is a weighted sum of arms; an arm is the correctness, seed by seed and image by image, of one model trained one way.
All arms of a contrast share seeds and test images, so everything here is paired. Shape letters: S seeds, I test images.
Must not know cells, claims or files. Read `estimate` first.

The noise model is two-way random effects without replication, `z[s, i] = mean + seed[s] + image[i] + rest[s, i]`, as in
Searle, Casella, McCulloch, "Variance Components" (1992), chapter 4, with degrees of freedom by Satterthwaite (1946).
Simulated coverage of the 95 % interval is 93 to 98 % with three seeds and 94 to 98 % with five; lowest where the seeds' noise
is nearly all there is.
"""

import math
import statistics as standard_statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from repro.analysis.results import Estimate

Correctness = npt.NDArray[np.bool_]
LEVEL = 0.95
"""Confidence level of `Estimate.ci95`."""


class Scale(StrEnum):
    """On which scale a statistic is told: accuracies are compared on two of them, a ViT's inside has one of its own."""

    ACCURACY = "accuracy"
    LOG_ODDS = "log-odds"
    SIMILARITY = "cosine similarity"
    DISTANCE = "share of the attention distance of uniform attention"

    @property
    def factor(self) -> float:
        """By which a value is multiplied where it is shown: shares are told in hundredths."""
        return 100.0 if self in (Scale.ACCURACY, Scale.DISTANCE) else 1.0


CONTRAST_SCALES = (Scale.ACCURACY, Scale.LOG_ODDS)
"""Those of a contrast of accuracies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One term of a contrast."""

    weight: float
    """Its factor: +1 and -1 for a difference, the least-squares weights for a slope."""
    correct: Correctness
    """bool (S, I): whether each seed's model classified each test image correctly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanSquares:
    """The balanced two-way analysis of variance of one matrix."""

    seeds: float
    """Mean square between seeds, S - 1 degrees of freedom."""
    images: float
    """Mean square between images, I - 1 degrees of freedom."""
    rest: float
    """Residual mean square, (S - 1)(I - 1) degrees of freedom."""


def estimate(arms: Sequence[Arm], scale: Scale) -> Estimate:
    """The contrast of `arms` with its standard error, degrees of freedom and 95 % interval.

    On the accuracy scale the value is the weighted sum of accuracies (fractions); on the log-odds scale that of their natural
    log-odds, with the variance by the delta method: (X - p) / (p (1 - p)). Accuracies are held half a test image away from 0
    and 1 there (Haldane 1955, Anscombe 1956), else their log-odds would be infinite.

    With one seed, or one image, there is a value and no interval. The standard error is never taken below what one test image
    more or less would change: where every seed gets every image right, the variance that can be seen is zero, but the accuracy
    of images not seen is not known to be 1. The degrees of freedom are then S - 1.
    """
    num_seeds, num_images = _shape(arms)
    value = contrast(arms, scale)
    if num_seeds < 2 or num_images < 2:
        return Estimate(
            value=value,
            ci95=None,
            standard_error=None,
            degrees_of_freedom=None,
            num_seeds=num_seeds,
            num_images=num_images,
        )
    factors = [arm.weight * (1.0 if scale is Scale.ACCURACY else _slope_of_log_odds(arm.correct)) for arm in arms]
    z_SI = np.zeros((num_seeds, num_images))
    for factor, arm in zip(factors, arms, strict=True):
        z_SI += factor * arm.correct
    variance, degrees_of_freedom = two_way_variance(z_SI)
    floor = (max(abs(factor) for factor in factors) / num_images) ** 2
    if variance < floor:
        variance, degrees_of_freedom = floor, float(num_seeds - 1)
    standard_error = math.sqrt(variance)
    return Estimate(
        value=value,
        ci95=_interval(value, standard_error, degrees_of_freedom, LEVEL),
        standard_error=standard_error,
        degrees_of_freedom=degrees_of_freedom,
        num_seeds=num_seeds,
        num_images=num_images,
    )


def mean_over_seeds(values: Sequence[float], *, num_images: int) -> Estimate:
    """The mean of a statistic that each seed's model has one of, with Student's interval over the seeds.

    For what is no mean over test images, or over so few that they are the same for every seed: only the seeds' noise is
    counted. With one seed there is a value and no interval; nor is there one where all seeds give the very same value, which
    tells nothing of their noise and would make an interval without width.
    """
    num_seeds = len(values)
    standard_error = standard_statistics.stdev(values) / math.sqrt(num_seeds) if num_seeds > 1 else 0.0
    value = math.fsum(values) / num_seeds
    is_known = standard_error > 0
    return Estimate(
        value=value,
        ci95=_interval(value, standard_error, num_seeds - 1, LEVEL) if is_known else None,
        standard_error=standard_error if is_known else None,
        degrees_of_freedom=float(num_seeds - 1) if is_known else None,
        num_seeds=num_seeds,
        num_images=num_images,
    )


def interval(estimated: Estimate, *, level: float) -> tuple[float, float] | None:
    """The interval at another confidence `level` in (0, 1), for instance Bonferroni's; None where there is none."""
    if estimated.standard_error is None or estimated.degrees_of_freedom is None:
        return None
    return _interval(estimated.value, estimated.standard_error, estimated.degrees_of_freedom, level)


def shifted(estimated: Estimate, by: float) -> Estimate:
    """The estimate with a constant added."""
    if not by:
        return estimated
    ends = estimated.ci95
    moved = None if ends is None else (ends[0] + by, ends[1] + by)
    return estimated.model_copy(update={"value": estimated.value + by, "ci95": moved})


def contrast(arms: Sequence[Arm], scale: Scale) -> float:
    """The value alone: the weighted sum of accuracies, or of log-odds held half a test image away from infinity."""
    _shape(arms)
    if scale is Scale.ACCURACY:
        return float(sum(arm.weight * float(arm.correct.mean()) for arm in arms))
    return float(sum(arm.weight * _log_odds(_guarded(arm.correct)) for arm in arms))


def mean_squares(z_SI: npt.NDArray[np.float64]) -> MeanSquares:
    """Mean squares of a balanced two-way layout with one value a cell; S and I at least 2."""
    num_seeds, num_images = z_SI.shape
    seed_S = z_SI.mean(axis=1)
    image_I = z_SI.mean(axis=0)
    grand = z_SI.mean()
    rest_SI = z_SI - seed_S[:, None] - image_I[None, :] + grand
    return MeanSquares(
        seeds=float(num_images * np.sum((seed_S - grand) ** 2) / (num_seeds - 1)),
        images=float(num_seeds * np.sum((image_I - grand) ** 2) / (num_images - 1)),
        rest=float(np.sum(rest_SI**2) / ((num_seeds - 1) * (num_images - 1))),
    )


def two_way_variance(z_SI: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the grand mean over fresh seeds and fresh images, and its Satterthwaite degrees of freedom.

    The variance is (MS seeds + MS images - MS rest) / (S I). An estimated component of variance can come out negative; it is
    then taken as zero, which leaves the one-way variance of the other factor. So the result is never below either one-way
    variance, which errs to the wide side. The degrees of freedom are those of the formula with all three mean squares, but not
    below min(S, I) - 1, the least that a sum of non-negative components can have.
    """
    num_seeds, num_images = z_SI.shape
    squares = mean_squares(z_SI)
    total = max(squares.seeds + squares.images - squares.rest, squares.seeds, squares.images)
    spread = (
        squares.seeds**2 / (num_seeds - 1)
        + squares.images**2 / (num_images - 1)
        + squares.rest**2 / ((num_seeds - 1) * (num_images - 1))
    )
    least = float(min(num_seeds, num_images) - 1)
    degrees_of_freedom = max(total**2 / spread, least) if spread > 0 else least
    return total / (num_seeds * num_images), degrees_of_freedom


def slope_weights(sizes: Sequence[int]) -> list[float]:
    """Least-squares weights that turn a value at each size into the slope per tenfold; at least two different sizes."""
    x = np.log10(np.asarray(sizes, dtype=np.float64))
    centred = x - x.mean()
    assert len(set(sizes)) >= 2, "a slope needs two sizes"
    return [float(weight) for weight in centred / np.sum(centred**2)]


def _shape(arms: Sequence[Arm]) -> tuple[int, int]:
    shapes = {arm.correct.shape for arm in arms}
    assert len(shapes) == 1, f"arms are not paired: {shapes}"
    assert all(arm.correct.dtype == np.bool_ and arm.correct.ndim == 2 and arm.correct.size for arm in arms)
    num_seeds, num_images = shapes.pop()
    return num_seeds, num_images


def _guarded(correct_SI: Correctness) -> float:
    half_an_image = 0.5 / (correct_SI.shape[1] + 1)
    return float(np.clip(correct_SI.mean(), half_an_image, 1 - half_an_image))


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _slope_of_log_odds(correct_SI: Correctness) -> float:
    probability = _guarded(correct_SI)
    return 1 / (probability * (1 - probability))


def _interval(value: float, standard_error: float, degrees_of_freedom: float, level: float) -> tuple[float, float]:
    half_width = float(stdtrit(degrees_of_freedom, (1 + level) / 2)) * standard_error
    return value - half_width, value + half_width
