"""What a finished ViT cell tells of its inside: numbers in its record, pictures and what they come from in `inside.npz`.

The one place that reads and writes the file. It is an extra: a cell without one is done all the same. Must not know how
anything in it is found out (`models.inside`) or shown. Read `Inside` first.

Shape letters: F filters, H height, W width, C channels, K positions along a side, G patches along a side, L layers, A heads of
attention, I images, S shuffles.
"""

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.errors import CorruptFile
from repro.spec import Family, Role, Spec
from repro.workspace import replacing

INSIDE = "inside.npz"
LARGEST_SIDE = 64
"""Pixels a side of the pictures that are kept, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What one trained ViT looks like from within (Dosovitskiy et al. 2020, figures 6 and 7)."""

    patch_size: int
    """Side of a patch in pixels of what the model is given."""
    has_class_token: bool
    """Whether rollout tells what the class token attends to; else the mean over all patches."""
    num_images: int
    """Test images over which attention distances are averaged."""
    filters_FHWC: npt.NDArray[np.uint8]
    """Leading principal components of the patch embedding's filters, each scaled to 0 … 255 with 128 as zero."""
    variances_N: npt.NDArray[np.float32]
    """Each principal component's share of the filters' variance, all of them, falling."""
    similarities_KKGG: npt.NDArray[np.float16]
    """Cosine similarity of a patch's position embedding to those of all patches, for K x K patches spread over the image."""
    places_K: npt.NDArray[np.int32]
    """Which rows, and which columns, these patches stand in."""
    similarity_same_line: float
    """Mean similarity of two patches in one row or one column."""
    similarity_elsewhere: float
    """Mean similarity of all other pairs of patches."""
    shuffled_S: npt.NDArray[np.float32]
    """The first minus the second where the same embeddings are dealt out to the patches at random, S times."""
    distances_LA: npt.NDArray[np.float32]
    """Mean attention distance in pixels, of each layer's heads."""
    uniform_distance: float
    """What a head would have that attends to all patches alike, in pixels."""
    rollouts_IGG: npt.NDArray[np.float16]
    """Attention rollout to every patch, for each picture."""
    images_IHWC: npt.NDArray[np.uint8]
    """The pictures, at most `LARGEST_SIDE` pixels a side."""
    indices_I: npt.NDArray[np.int32]
    """Their places in the test set."""


class InsideNumbers(Spec):
    """What one trained ViT looks like from within, in numbers; one model, so without intervals. Distances are in pixels.

    It stands in the cell's record, so that a report of thousands of cells opens the files of those alone that it shows.
    """

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


def is_looked_into(*, role: Role, family: Family, is_probe: bool) -> bool:
    """Whether a cell has such a file: every ViT that was trained whole, at every size and from every init, and its checks."""
    # Every seed, since a claim's interval is one over seeds; the convergence check's longer runs, since the rule holds their
    # statistic against that interval; every size and not only the largest, since then nothing need know the matrix, and a look
    # costs less than 0.1 s of a small model. A probe's backbone is not its own.
    return role in (Role.STUDY, Role.CONVERGENCE_CHECK) and family == "vit" and not is_probe


def write_inside(folder: Path, inside: Inside) -> None:
    """Write the file, compressed and without pickles. Raises ValueError where something is not finite or does not fit."""
    _check(inside)
    arrays = {field.name: np.asarray(getattr(inside, field.name)) for field in fields(inside)}
    with replacing(folder / INSIDE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_inside(folder: Path) -> Inside:
    """What the file holds. Raises CorruptFile where it is not there or not as `write_inside` leaves it."""
    path = folder / INSIDE
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = {field.name for field in fields(Inside)}
            if set(archive.files) != names:
                raise ValueError(f"it holds {', '.join(sorted(archive.files))}")
            found = {name: archive[name] for name in names}
        values: dict[str, Any] = {name: array.item() if array.ndim == 0 else array for name, array in found.items()}
        inside = Inside(**values)
        _check(inside)
    except (OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptFile(
            f"{path} cannot be read: {error}.", remedy="Its cell counts all the same; `vitrepro run --force` makes it anew."
        ) from error
    return inside


def _check(inside: Inside) -> None:
    """Raises ValueError where shapes, kinds or values are not what the fields say."""
    kinds = {"uint8": np.uint8, "float16": np.float16, "float32": np.float32, "int32": np.int32}
    for name, value in ((field.name, getattr(inside, field.name)) for field in fields(inside)):
        wanted = next(kind for part, kind in _KINDS.items() if name in part)
        is_right = value.dtype == kinds[wanted] if wanted in kinds else type(value).__name__ == wanted
        if not is_right:
            raise ValueError(f"{name} is not of kind {wanted}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} is not finite")
    side, num = inside.rollouts_IGG.shape[-1], len(inside.indices_I)
    fits = {
        "filters_FHWC": inside.filters_FHWC.ndim == 4 and inside.filters_FHWC.shape[-1] in (1, 3),
        "similarities_KKGG": inside.similarities_KKGG.shape == (len(inside.places_K),) * 2 + (side,) * 2,
        "variances_N": inside.variances_N.ndim == 1 and len(inside.filters_FHWC) <= len(inside.variances_N),
        "shuffled_S": inside.shuffled_S.ndim == 1,
        "distances_LA": inside.distances_LA.ndim == 2 and inside.distances_LA.size > 0,
        "rollouts_IGG": inside.rollouts_IGG.shape == (num, side, side),
        "images_IHWC": inside.images_IHWC.ndim == 4
        and len(inside.images_IHWC) == num
        and inside.images_IHWC.shape[-1] in (1, 3)
        and max(inside.images_IHWC.shape[1:3]) <= LARGEST_SIDE,
    }
    if misfits := [name for name, is_right in fits.items() if not is_right]:
        raise ValueError(f"{', '.join(misfits)} does not have the shape that it should")


_KINDS = {
    ("patch_size", "num_images"): "int",
    ("has_class_token",): "bool",
    ("similarity_same_line", "similarity_elsewhere", "uniform_distance"): "float",
    ("filters_FHWC", "images_IHWC"): "uint8",
    ("similarities_KKGG", "rollouts_IGG"): "float16",
    ("variances_N", "distances_LA", "shuffled_S"): "float32",
    ("places_K", "indices_I"): "int32",
}
"""What kind each field has."""
