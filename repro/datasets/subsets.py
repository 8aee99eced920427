"""Which images of the training part a cell trains on: nested, stratified subsets and the dev split taken from inside them.

A subset depends on the content of the data set, its size and a seed, never on the model, the source's row order or the version
of numpy. Must not know what is trained. Read `training_subset` first.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from repro.errors import DataError

Indices = npt.NDArray[np.int64]
"""int64 (n,), places in the training part, ascending."""


def training_subset(labels: npt.NDArray[np.int64], num_images: int, *, seed: int, dataset_sha256: str) -> Indices:
    """Places of `num_images` images of the training part, ascending; `labels` is (N,), in the pack's order.

    Nested: for one seed a smaller subset lies wholly inside a larger one. Stratified: every class is present, and the class
    proportions follow those of the whole part as closely as whole images allow. Raises DataError when there are fewer images
    than classes, or more than the part holds.
    """
    num_classes = len(np.unique(labels))
    if not num_classes <= num_images <= len(labels):
        raise DataError(
            f"A training subset of {num_images} images cannot be taken from {len(labels)} images of {num_classes} classes.",
            remedy=f"Choose a size from {num_classes} (one image a class) to {len(labels)} (all).",
        )
    order = stratified_order(labels, bit_source("training subset", dataset_sha256, seed))
    return np.sort(order[:num_images]).astype(np.int64)


def dev_split(indices: Indices, labels: npt.NDArray[np.int64], fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split a training subset into (train, dev), both ascending; stratified, and every class keeps an image to train on.

    `labels` is (N,) of the whole training part; `indices` are places in it. The dev part holds `fraction` of the subset,
    rounded, and at least one image; a fraction of 0 leaves it empty. Raises DataError when the subset is too small for that.
    """
    if fraction == 0:
        return indices, indices[:0]
    order = stratified_order(labels[indices], bit_source("dev split", seed))
    own = labels[indices][order]
    last_of_class = len(own) - 1 - np.unique(own[::-1], return_index=True)[1]
    spare = np.delete(order, last_of_class)
    num_dev = max(1, round(fraction * len(indices)))
    if num_dev > len(spare):
        raise DataError(
            f"A dev split of {num_dev} images ({fraction:g} of {len(indices)}) would leave a class without a training image.",
            remedy="Choose a larger training subset, or a smaller dev_fraction in the recipe.",
        )
    dev = np.zeros(len(indices), dtype=bool)
    dev[spare[:num_dev]] = True
    return indices[~dev], indices[dev]


def stratified_order(labels: npt.NDArray[np.int64], bits: np.random.PCG64) -> npt.NDArray[np.intp]:
    """An order of all images, (N,), each prefix of which is a random stratified sample of its length.

    First one image of every class, then image r (from 0) of a class of n images at place (r + 1/2) / n: the apportionment of
    Webster and Sainte-Laguë, which gives every prefix proportional numbers and never takes an image back when it grows.
    """
    shuffled = _permutation(len(labels), bits)
    classes, class_of = np.unique(labels[shuffled], return_inverse=True)
    counts = np.bincount(class_of)
    by_class = np.argsort(class_of, kind="stable")
    rank = np.empty(len(labels), dtype=np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    place = np.where(rank == 0, 0.0, (rank + 0.5) / counts[class_of])
    turn = _permutation(len(classes), bits)[class_of]
    return shuffled[np.lexsort((turn, place))]


def bit_source(*words: str | int) -> np.random.PCG64:
    """A PCG64 whose seed is the sha256 of the words: other words, other stream."""
    text = "\x1f".join(str(word) for word in words)
    return np.random.PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big"))


def _permutation(length: int, bits: np.random.PCG64) -> npt.NDArray[np.intp]:
    """A random order of `length` things from raw bits: numpy promises those for ever, `Generator.permutation` it does not."""
    return np.argsort(np.asarray(bits.random_raw(length)), kind="stable")
