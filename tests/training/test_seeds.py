"""Batches use every image equally often, depend on the seed and step only, and are the same for both families."""

import torch

from repro.training.seeds import BatchStream, derive_seed


def test_every_image_is_used_equally_often() -> None:
    stream = BatchStream(10, 4, seed=3)
    counts = torch.bincount(torch.cat([stream.indices(step) for step in range(5)]), minlength=10)
    assert counts.tolist() == [2] * 10


def test_a_batch_larger_than_the_set_is_full() -> None:
    stream = BatchStream(3, 8, seed=3)
    batch = stream.indices(0)
    assert len(batch) == 8
    assert torch.bincount(batch, minlength=3).min() >= 2


def test_batches_do_not_depend_on_what_was_asked_before() -> None:
    forward = BatchStream(7, 3, seed=1)
    wanted = [forward.indices(step) for step in range(9)]
    backward = BatchStream(7, 3, seed=1)
    for step in reversed(range(9)):
        assert torch.equal(backward.indices(step), wanted[step])
    other = BatchStream(7, 3, seed=2)
    assert any(not torch.equal(other.indices(step), wanted[step]) for step in range(9))


def test_seeds_differ_by_purpose_and_words() -> None:
    seeds = [
        derive_seed("order", "a", 1),
        derive_seed("order", "a", 2),
        derive_seed("weights", "a", 1),
        derive_seed("order", "a1"),
    ]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed("order", "a", 1) == seeds[0]
