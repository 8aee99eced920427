"""The data set `digits`: the 1,797 handwritten digits that scikit-learn ships, 8x8, with a fixed split.

Must not know where a pack lies. Read `read_digits` first.

The split (1,197 train, 600 test) follows from the images alone: within each class the images are ordered by their digest, the
600 test places are handed out to the classes in proportion to their sizes (Webster; ties go to the smaller digit), and a class
fills its places with its first images. A digest has nothing to do with how a digit looks, so this is a random split that is the
same everywhere. The images come from 13 writers, who stand on both sides of it. No two of the 1,797 images are equal.
"""

import numpy as np
import numpy.typing as npt

from repro.datasets.arrays import SIXTEENTHS_TO_BYTE, ImageArrays, Part, canonical_order, image_digests
from repro.errors import DataError

NUM_CLASSES = 10
NUM_TEST = 600
VERSION = "split 1"
"""Raise it when scale or split change."""


def read_digits() -> ImageArrays:
    """All digits, grey values 0 … 16 brought to 0 … 255. Raises DataError if scikit-learn's file is not the known one."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return split_digits(np.asarray(bunch.images), np.asarray(bunch.target))


def split_digits(sixteenths: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]) -> ImageArrays:
    """The two parts from grey values 0 … 16, (N, 8, 8), and classes, (N,), in any order. Raises DataError on other values."""
    levels = sixteenths.astype(np.int64)
    if levels.shape[1:] != (8, 8) or not np.array_equal(levels, sixteenths) or levels.min() < 0 or levels.max() > 16:
        raise DataError(
            f"scikit-learn's digits have shape {sixteenths.shape} and values {sixteenths.min()} … {sixteenths.max()}, not 8x8 "
            "whole numbers 0 … 16.",
            remedy="Install an unmodified scikit-learn.",
        )
    whole = Part(images=SIXTEENTHS_TO_BYTE[levels][..., None], labels=targets.astype(np.int64))
    order = canonical_order(image_digests(whole))
    labels = whole.labels[order]
    counts = np.bincount(labels, minlength=NUM_CLASSES)
    rank = np.empty(len(order), dtype=np.int64)
    for label in range(NUM_CLASSES):
        rank[labels == label] = np.arange(counts[label])
    is_test = np.zeros(len(order), dtype=bool)
    is_test[np.lexsort((labels, (rank + 0.5) / counts[labels]))[:NUM_TEST]] = True
    return ImageArrays(
        train=Part(images=whole.images[order[~is_test]], labels=labels[~is_test]),
        test=Part(images=whole.images[order[is_test]], labels=labels[is_test]),
        class_names=tuple(str(digit) for digit in range(NUM_CLASSES)),
    )
