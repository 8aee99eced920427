"""The part of `results.json` on ViTs from within: numbers of every model that was looked into, and their means over seeds.

Must not know how a number is computed or drawn. Read `InsideRow` first.
"""

from repro.spec import Role, Spec


class InsideRow(Spec):
    """What one trained ViT looks like from within, in numbers; one model, so without intervals. Distances are in pixels."""

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
    patch_size: int
    """Side of a patch, in pixels of what the model is given."""
    num_images: int
    """Test images that attention distances are means over."""
    num_filter_components: int
    """Principal components of the patch embedding's filters."""
    num_leading_components: int
    """How few of them hold 90 % of the variance."""
    similarity_same_line: float
    """Mean cosine similarity of the position embeddings of two patches in one row or column."""
    similarity_elsewhere: float
    """The same of all other pairs."""
    similarity_difference: float
    """The first minus the second."""
    shuffle_share: float | None
    """How often embeddings dealt out to the patches at random reach it, the true order counted; None without shuffles."""
    distances: tuple[tuple[float, ...], ...]
    """Mean attention distance of every head, layer by layer from the lowest."""
    distance_slope: float | None
    """Rise of the layers' mean from the lowest to the highest, by least squares; None for a single layer."""
    uniform_distance: float
    """What a head has that attends to all patches alike."""
    narrowest_lowest: float
    """Of the lowest layer's heads."""
    widest_lowest: float
    """Of the lowest layer's heads."""
    top_quarter: float | None
    """Share of rollout that the most attended quarter of the patches gets, mean over the pictures shown."""


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
