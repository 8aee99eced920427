"""The part of `results.json` on ViTs from within: numbers of every model that was looked into, and their means over seeds.

Must not know how a number is computed or drawn. Read `InsideRow` first.
"""

from repro.inside import InsideNumbers
from repro.spec import Role, Spec


class InsideRow(InsideNumbers):
    """The numbers of one trained ViT, and which it is."""

    cell: str
    role: Role
    """Of the study, or a longer run of the convergence check."""
    dataset: str
    model: str
    init: str
    recipe: str
    num_train_images: int
    num_upstream_images: int
    seed: int


class InsideArm(Spec):
    """Means over the seeds of one arm's ViTs that were looked into. Distances are in pixels, as in `InsideRow`."""

    dataset: str
    model: str
    init: str
    recipe: str
    num_train_images: int
    num_upstream_images: int
    num_seeds: int
    similarity_difference: float
    shuffle_share: float | None
    distance_slope: float | None
    uniform_distance: float
    narrowest_lowest: float
    widest_lowest: float
    top_quarter: float | None
    num_leading_components: float
    num_filter_components: int
    cells: tuple[str, ...]
