"""The glyphs are letters, reproducible, nested, and look like the digits in what can be counted."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from repro.catalog import load_catalog
from repro.datasets import glyphs
from repro.datasets.arrays import SIXTEENTHS_TO_BYTE, Part
from repro.datasets.digits import read_digits


@pytest.fixture(scope="module")
def part() -> Part:
    return glyphs.draw_part("train", 4500, seed=0)


def test_classes_are_letters_and_the_catalogue_knows_their_number() -> None:
    assert sorted("".join(glyphs.CLASS_NAMES)) == sorted(glyphs.LETTERS)
    assert all(name.isalpha() for name in glyphs.CLASS_NAMES)
    spec = load_catalog().datasets["glyphs"]
    assert (spec.num_classes, spec.num_train_images) == (len(glyphs.CLASS_NAMES), glyphs.NUM_TRAIN)


def test_format_is_that_of_the_digits(part: Part) -> None:
    assert part.images.shape == (4500, 8, 8, 1)
    assert part.images.dtype == np.uint8
    assert set(np.unique(part.images)) == set(SIXTEENTHS_TO_BYTE)
    assert np.bincount(part.labels).tolist() == [100] * 45


def test_fewer_images_are_a_prefix_across_batches(part: Part) -> None:
    for num_images in (glyphs.BATCH - 1, glyphs.BATCH, glyphs.BATCH + 7):
        fewer = glyphs.draw_part("train", num_images, seed=0)
        assert np.array_equal(fewer.images, part.images[:num_images])
        assert np.array_equal(fewer.labels, part.labels[:num_images])


def test_parts_and_seeds_differ(part: Part) -> None:
    for other in (glyphs.draw_part("test", 90, seed=0), glyphs.draw_part("train", 90, seed=1)):
        assert (other.images != part.images[:90]).any(axis=(1, 2, 3)).mean() > 0.98


def test_another_process_draws_the_same_bytes(part: Part) -> None:
    code = (
        "import hashlib; from repro.datasets import glyphs; "
        "print(hashlib.sha256(glyphs.draw_part('train', 200, seed=0).images.tobytes()).hexdigest())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == hashlib.sha256(part.images[:200].tobytes()).hexdigest()


def test_letters_fill_the_box_with_as_much_ink_as_digits(part: Part) -> None:
    digits = read_digits().train.images[..., 0] / 255
    letters = part.images[..., 0] / 255
    assert abs(letters.mean() - digits.mean()) < 0.03
    assert abs((letters == 0).mean() - (digits == 0).mean()) < 0.05
    assert (letters > 0).any(axis=2)[:, [0, 7]].mean() > 0.98, "top and bottom rows hold ink"
    empty_columns = [8 - (images > 0).any(axis=1).sum(axis=1).mean() for images in (letters, digits)]
    assert abs(empty_columns[0] - empty_columns[1]) < 0.5


def test_classes_can_be_told_apart(part: Part) -> None:
    other = glyphs.draw_part("test", 450, seed=0)
    neighbours = KNeighborsClassifier(1).fit(part.images.reshape(4500, -1).astype(float), part.labels)
    accuracy = (neighbours.predict(other.images.reshape(450, -1).astype(float)) == other.labels).mean()
    assert accuracy > 0.7, "guessing gives 1 in 45"


def test_images_of_a_class_vary(part: Part) -> None:
    assert len(np.unique(part.images.reshape(4500, -1), axis=0)) > 4490
