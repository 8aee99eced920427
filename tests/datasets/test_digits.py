"""The digits are the same 1,197 + 600 images everywhere."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from repro.catalog import load_catalog
from repro.datasets.arrays import content_sha256, count_test_images_in_train
from repro.datasets.digits import read_digits, split_digits
from repro.errors import DataError

SHA256 = "6e6cfc53256b3227bf1152e1f21bf15bebff41146b3cfdb3cdeaa0e210dee640"


def test_content_is_the_pinned_one() -> None:
    digits = read_digits()
    assert content_sha256(digits.train, digits.test) == SHA256
    assert load_catalog().datasets["digits"].content_sha256 == SHA256
    assert digits.train.images.shape == (1197, 8, 8, 1)
    assert digits.test.images.shape == (600, 8, 8, 1)
    assert set(np.unique(digits.train.images)) == {(value * 255 + 8) // 16 for value in range(17)}


def test_split_does_not_depend_on_the_row_order() -> None:
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    shuffled = split_digits(bunch.images[order], bunch.target[order])
    assert content_sha256(shuffled.train, shuffled.test) == SHA256


def test_every_image_stands_in_one_part_and_none_twice() -> None:
    digits = read_digits()
    everything = np.concatenate([digits.train.images, digits.test.images]).reshape(1797, -1)
    assert len(np.unique(everything, axis=0)) == 1797
    assert count_test_images_in_train(digits.train, digits.test) == 0


def test_split_is_stratified() -> None:
    digits = read_digits()
    whole = np.bincount(np.concatenate([digits.train.labels, digits.test.labels]), minlength=10)
    assert np.abs(np.bincount(digits.test.labels, minlength=10) - whole * 600 / 1797).max() < 1


def test_other_values_are_refused() -> None:
    bunch = load_digits()
    with pytest.raises(DataError, match=r"0\.0 … 17\.0"):
        split_digits(np.where(bunch.images == 16, 17, bunch.images), bunch.target)
    with pytest.raises(DataError, match="whole numbers"):
        split_digits(bunch.images / 2, bunch.target)
