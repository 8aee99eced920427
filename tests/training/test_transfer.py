"""Decisions are the same wherever they are needed."""

import numpy as np
import torch

from repro.training.transfer import host_generator, to_device


def test_each_purpose_has_decisions_of_its_own() -> None:
    first = host_generator("mix", 1).random(4)
    assert np.array_equal(host_generator("mix", 1).random(4), first)
    assert not np.array_equal(host_generator("mix", 2).random(4), first)
    assert not np.array_equal(host_generator("erase", 1).random(4), first)


def test_values_arrive_as_they_are() -> None:
    values = np.arange(6, dtype=np.int64).reshape(2, 3)
    arrived = to_device(values, torch.device("cpu"))
    assert arrived.dtype == torch.int64
    assert arrived.tolist() == values.tolist()
