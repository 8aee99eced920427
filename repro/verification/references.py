"""A run's mean accuracies held against those of published runs of the profile, within what two sets of seeds may differ by.

Must not know where references stand. Read `hold_references` first, then `tolerance_of`.
"""

import math
from collections.abc import Iterable

from scipy import stats

from repro.analysis.results import Group, Results
from repro.spec import ReferenceArm, ReferenceRun
from repro.verification.comparisons import Part

MIN_SEEDS = 2
"""One seed says nothing of a mean."""


def hold_references(references: Iterable[ReferenceRun], results: Results) -> Part:
    """Compare every published arm that the run has with two seeds or more; the others are named, and are no difference."""
    part = Part(name="references", is_listed=True)
    runs = [run for run in references if run.profile == results.profile]
    if not runs:
        part.notes.append(f"there are no reference values for profile {results.profile}")
    for run in runs:
        missing = []
        for arm in run.arm:
            group = next((group for group in results.groups if _is_of(group, arm)), None)
            name = f"{arm.dataset}, {arm.num_train_images:,} images, {arm.model}, {arm.init}, {arm.recipe}"
            if group is None or len(group.seeds) < MIN_SEEDS:
                missing.append(name)
                continue
            num_seeds = len(group.seeds)
            part.compare(
                f"mean test accuracy, {name} ({num_seeds} seeds)",
                arm.mean,
                sum(group.seeds) / num_seeds,
                tolerance=tolerance_of(run, arm, num_seeds=num_seeds),
            )
        part.notes += [f"not compared, for want of {MIN_SEEDS} finished seeds: {name}" for name in missing]
        part.notes.append(f"reference: {run.source}")
    return part


def tolerance_of(run: ReferenceRun, arm: ReferenceArm, *, num_seeds: int) -> float:
    """Half-width of the interval for the difference of the published mean and one of `num_seeds`, at least a test image.

    All published standard deviations of the arm are pooled; the run's own does not enter.
    """
    degrees_of_freedom = len(arm.sd) * (run.num_seeds - 1)
    quantile = float(stats.t.ppf((1 + run.confidence) / 2, degrees_of_freedom))
    sd = math.sqrt(sum(value**2 for value in arm.sd) / len(arm.sd))
    return max(quantile * sd * math.sqrt(1 / run.num_seeds + 1 / num_seeds), 1 / run.num_test_images)


def _is_of(group: Group, arm: ReferenceArm) -> bool:
    ours = (group.dataset, group.num_train_images, group.model, group.init, group.recipe)
    return ours == (arm.dataset, arm.num_train_images, arm.model, arm.init, arm.recipe)
