"""One pass over the images finds what the definitions say, however the images are cut into pieces."""

import numpy as np
import pytest

from repro.datasets import chunks
from repro.datasets.arrays import (
    Part,
    canonical_order,
    content_sha256,
    content_sha256_of,
    count_shared,
    count_test_images_in_train,
    image_digests,
    pixel_digests,
)
from repro.datasets.contents import channel_statistics, examine


def random_part(num_images: int, seed: int, *, channels: int = 3) -> Part:
    rng = np.random.default_rng(seed)
    return Part(
        images=rng.integers(0, 256, (num_images, 4, 4, channels), dtype=np.uint8),
        labels=rng.integers(0, 3, num_images, dtype=np.int64),
    )


@pytest.mark.parametrize("piece_bytes", [1, 500, 2**20])
def test_digests_and_counts_do_not_depend_on_the_pieces(piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PIECE_BYTES", piece_bytes)
    train, test = random_part(101, 1), random_part(30, 2)
    test.images[:7] = train.images[[5, 5, 9, 40, 41, 42, 100]]
    told: list[int] = []
    in_train, in_test = examine(train, tell=told.append), examine(test, tell=lambda num_done: None)
    assert [row.tobytes() for row in in_train.image_digests] == image_digests(train)
    assert [row.tobytes() for row in in_train.pixel_digests] == pixel_digests(train.images)
    assert told == sorted(told)
    assert told[-1] == 101
    digests = (in_train.image_digests, in_test.image_digests)
    assert content_sha256_of(*digests, image_shape=(4, 4, 3)) == content_sha256(train, test)
    assert count_shared(in_train.pixel_digests, in_test.pixel_digests) == 7 == count_test_images_in_train(train, test)
    mean, std = channel_statistics(in_train.grey_counts)
    assert np.allclose(mean, (train.images / 255).mean(axis=(0, 1, 2)), atol=1e-12)
    assert np.allclose(std, (train.images / 255).std(axis=(0, 1, 2)), atol=1e-12)


def test_the_order_of_digests_is_that_of_their_bytes_and_equal_ones_keep_theirs() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (300, 32), dtype=np.uint8)
    rows[:150, :20] = 0
    rows[150:200, :31] = 255
    rows[250:] = rows[:50]
    digests = [row.tobytes() for row in rows]
    expected = sorted(range(300), key=digests.__getitem__)
    assert canonical_order(rows).tolist() == expected == canonical_order(digests).tolist()
