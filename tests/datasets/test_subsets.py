"""Subsets are nested, stratified and depend on content and seed alone; the dev split comes from inside them."""

import numpy as np
import pytest

from repro.datasets import dev_split, training_subset
from repro.datasets.subsets import bit_source, stratified_order
from repro.errors import DataError

BALANCED = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 120))
SKEWED = np.random.default_rng(1).permutation(np.repeat(np.arange(6), [400, 200, 97, 31, 5, 1]))


@pytest.mark.parametrize("labels", [BALANCED, SKEWED])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_size_lies_inside_every_larger_one(labels: np.ndarray, seed: int) -> None:
    smaller: set[int] = set()
    for num_images in range(10, len(labels) + 1, 7):
        subset = training_subset(labels, num_images, seed=seed, dataset_sha256="a")
        assert len(subset) == len(set(subset.tolist())) == num_images
        assert smaller < set(subset.tolist())
        smaller = set(subset.tolist())
    assert training_subset(labels, len(labels), seed=seed, dataset_sha256="a").tolist() == list(range(len(labels)))


@pytest.mark.parametrize("labels", [BALANCED, SKEWED])
def test_proportions_hold_at_every_size_and_no_class_is_missing(labels: np.ndarray) -> None:
    share = np.bincount(labels) / len(labels)
    order = stratified_order(labels, bit_source("x"))
    for num_images in range(len(share), len(labels) + 1):
        counts = np.bincount(labels[order[:num_images]], minlength=len(share))
        assert counts.min() >= 1
        kept_up = int((share * num_images < 1).sum())  # classes that the rule of one image each favours
        assert np.abs(counts - share * num_images).max() <= 1 + kept_up


def test_balanced_classes_never_differ_by_more_than_one_image() -> None:
    for num_images in range(10, 1200, 13):
        counts = np.bincount(BALANCED[training_subset(BALANCED, num_images, seed=3, dataset_sha256="a")], minlength=10)
        assert counts.max() - counts.min() <= 1


def test_a_subset_is_pinned_and_moves_with_seed_and_content_only() -> None:
    labels = np.arange(40) % 4
    subset = training_subset(labels, 8, seed=1, dataset_sha256="abc")
    assert subset.dtype == np.int64
    assert subset.tolist() == PINNED
    assert training_subset(labels, 8, seed=2, dataset_sha256="abc").tolist() != PINNED
    assert training_subset(labels, 8, seed=1, dataset_sha256="abd").tolist() != PINNED


PINNED = [8, 17, 18, 19, 24, 26, 27, 29]
"""Raw PCG64 bits are the same in every version of numpy: this list must never change."""


def test_images_of_a_class_are_drawn_evenly() -> None:
    labels = np.repeat([0, 1], 10)
    times = np.zeros(20)
    for seed in range(400):
        times[training_subset(labels, 4, seed=seed, dataset_sha256="a")] += 1
    assert times.sum() == 1600
    assert np.abs(times - 80).max() < 5 * np.sqrt(80 * 0.8)


@pytest.mark.parametrize("num_images", [9, 0, 1201])
def test_impossible_sizes_are_refused_with_the_legal_range(num_images: int) -> None:
    with pytest.raises(DataError, match=str(num_images)) as caught:
        training_subset(BALANCED, num_images, seed=1, dataset_sha256="a")
    assert "10" in caught.value.remedy
    assert "1200" in caught.value.remedy


@pytest.mark.parametrize("labels", [BALANCED, SKEWED])
def test_dev_split_is_a_stratified_partition_of_the_subset(labels: np.ndarray) -> None:
    subset = training_subset(labels, 300, seed=1, dataset_sha256="a")
    train, dev = dev_split(subset, labels, 0.2, 1)
    assert len(dev) == 60
    assert sorted([*train, *dev]) == subset.tolist()
    assert train.tolist() == sorted(train)
    assert dev.tolist() == sorted(dev)
    counts = np.bincount(labels[subset])
    assert np.abs(np.bincount(labels[dev], minlength=len(counts)) - counts * 0.2).max() <= 1.5
    assert (np.bincount(labels[train], minlength=len(counts)) >= 1).all()
    assert dev_split(subset, labels, 0.2, 2)[1].tolist() != dev.tolist()
    assert dev_split(subset, labels, 0.2, 1)[1].tolist() == dev.tolist()


def test_without_a_fraction_all_images_are_trained_on() -> None:
    subset = training_subset(BALANCED, 50, seed=1, dataset_sha256="a")
    train, dev = dev_split(subset, BALANCED, 0.0, 1)
    assert train.tolist() == subset.tolist()
    assert dev.shape == (0,)
    assert dev.dtype == np.int64


def test_a_subset_of_one_image_a_class_gives_no_dev_split() -> None:
    subset = training_subset(BALANCED, 10, seed=1, dataset_sha256="a")
    with pytest.raises(DataError, match="without a training image"):
        dev_split(subset, BALANCED, 0.1, 1)
    subset = training_subset(BALANCED, 11, seed=1, dataset_sha256="a")
    train, dev = dev_split(subset, BALANCED, 0.01, 1)
    assert (len(train), len(dev)) == (10, 1)
    assert set(BALANCED[train]) == set(range(10))
