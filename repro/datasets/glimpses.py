"""A few test images of a pack, for people to look at. Needs neither torch nor the training part.

Must not know why they are wanted. Read `glimpse` first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repro.datasets.arrays import Images
from repro.datasets.files import check_files, map_array
from repro.datasets.pack import read_manifest
from repro.errors import CorruptFile
from repro.spec import DatasetSpec, slug
from repro.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """Images of one data set, or why there are none."""

    images: Mapping[int, Images]
    """uint8 (H, W, C) by place in the test part."""
    problem: str = ""
    """Why there are none, a clause; empty if there are."""


def glimpse(workspace: Workspace, spec: DatasetSpec, *, places: Iterable[int], labels: npt.NDArray[np.integer]) -> Glimpse:
    """The test images at `places`, as far as the pack lies in this home and is the one that has these `labels`, integer (N,).

    Held to the manifest are the sizes of both files and the digest of the small one: that of the images would take as long as
    reading them all. Nothing that is wrong with a pack raises.
    """
    folder = workspace.dataset_dir(slug(spec.name))
    try:
        manifest = read_manifest(workspace, spec, trusts_source=True)
        if manifest is None:
            return Glimpse(images={}, problem="the data set is not in this home")
        files = {entry.name: entry for entry in manifest.files}
        if {"x_test.npy", "y_test.npy"} <= files.keys():
            check_files(folder, (files["x_test.npy"],), digests=False)
            check_files(folder, (files["y_test.npy"],), digests=True)
        known = map_array(folder / "y_test.npy", np.int64, (manifest.num_test,))
        images = map_array(folder / "x_test.npy", np.uint8, (manifest.num_test, *manifest.image_shape))
    except CorruptFile:
        return Glimpse(images={}, problem="the data set in this home is incomplete or damaged (`vitrepro fetch` makes it anew)")
    if not np.array_equal(known, labels):
        return Glimpse(images={}, problem="the data set in this home is not the one that these cells were tested on")
    return Glimpse(images={place: np.array(images[place]) for place in places})
