"""The content digest is defined byte by byte, and neither it nor the canonical order depends on the order of the images."""

import hashlib

import numpy as np
import pytest

from repro.datasets.arrays import (
    SIXTEENTHS_TO_BYTE,
    Part,
    canonical_order,
    content_sha256,
    count_test_images_in_train,
    image_digests,
)


def random_part(num_images: int, seed: int, *, side: int = 4, channels: int = 3) -> Part:
    rng = np.random.default_rng(seed)
    return Part(
        images=rng.integers(0, 256, (num_images, side, side, channels), dtype=np.uint8),
        labels=rng.integers(0, 3, num_images, dtype=np.int64),
    )


def test_content_digest_follows_its_written_definition() -> None:
    train, test = random_part(5, 1), random_part(3, 2)

    def part_digest(part: Part) -> bytes:
        each = [
            hashlib.sha256(int(label).to_bytes(8, "little") + image.tobytes()).digest()
            for label, image in zip(part.labels, part.images, strict=True)
        ]
        return hashlib.sha256(b"".join(sorted(each))).digest()

    expected = hashlib.sha256(b"5 3 4 4 3\n" + part_digest(train) + part_digest(test)).hexdigest()
    assert content_sha256(train, test) == expected


def test_content_digest_ignores_order_and_nothing_else() -> None:
    train, test = random_part(20, 1), random_part(10, 2)
    original = content_sha256(train, test)
    order = np.random.default_rng(0).permutation(20)
    assert content_sha256(Part(images=train.images[order], labels=train.labels[order]), test) == original
    other_labels = train.labels.copy()
    other_labels[3] += 1
    assert content_sha256(Part(images=train.images, labels=other_labels), test) != original
    other_images = train.images.copy()
    other_images[3, 1, 2, 0] ^= 1
    assert content_sha256(Part(images=other_images, labels=train.labels), test) != original
    assert content_sha256(test, train) != original
    flat = Part(images=train.images.reshape(20, 2, 8, 3), labels=train.labels)
    assert content_sha256(flat, Part(images=test.images.reshape(10, 2, 8, 3), labels=test.labels)) != original


def test_canonical_order_undoes_any_shuffle() -> None:
    part = random_part(50, 3)
    shuffle = np.random.default_rng(1).permutation(50)
    shuffled = Part(images=part.images[shuffle], labels=part.labels[shuffle])
    first, second = canonical_order(image_digests(part)), canonical_order(image_digests(shuffled))
    assert np.array_equal(part.images[first], shuffled.images[second])
    assert np.array_equal(part.labels[first], shuffled.labels[second])
    assert not np.array_equal(first, np.arange(50))


def test_leaks_are_counted_by_image_whatever_the_label() -> None:
    train = random_part(20, 1)
    images = np.concatenate([train.images[[4, 4, 9]], random_part(5, 2).images])
    assert count_test_images_in_train(train, Part(images=images, labels=np.full(8, 99, dtype=np.int64))) == 3


@pytest.mark.parametrize(("count", "byte"), [(0, 0), (1, 16), (8, 128), (15, 239), (16, 255)])
def test_sixteenths_are_spread_over_the_bytes(count: int, byte: int) -> None:
    assert SIXTEENTHS_TO_BYTE[count] == byte
    assert len(set(SIXTEENTHS_TO_BYTE.tolist())) == 17
