"""Flip and crop move pixels as they say, each image by its own draw."""

import torch
from torch.nn import functional

from repro.training.augmentation import augment, random_flip, reflect_pad_crop


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_flip_gives_the_image_or_its_mirror_image() -> None:
    x_BCHW = torch.randn(200, 2, 3, 5, generator=generator())
    flipped = random_flip(x_BCHW, generator=generator(1))
    is_same = (flipped == x_BCHW).flatten(1).all(1)
    is_mirrored = (flipped == x_BCHW.flip(-1)).flatten(1).all(1)
    assert (is_same ^ is_mirrored).all()
    assert 60 < int(is_mirrored.sum()) < 140


def test_a_crop_is_a_window_of_the_reflected_image() -> None:
    x_BCHW = torch.randn(300, 2, 6, 6, generator=generator())
    cropped = reflect_pad_crop(x_BCHW, 2, generator=generator(1))
    padded = functional.pad(x_BCHW, (2, 2, 2, 2), mode="reflect")
    windows = padded.unfold(2, 6, 1).unfold(3, 6, 1)  # (B, C, 5, 5, 6, 6)
    matches = (windows == cropped[:, :, None, None]).all(dim=(1, 4, 5))
    assert (matches.sum(dim=(1, 2)) == 1).all()
    assert (matches.sum(dim=0) > 0).all(), "every offset is drawn"


def test_nothing_asked_is_nothing_done() -> None:
    x_BCHW = torch.randn(4, 1, 8, 8, generator=generator())
    assert torch.equal(augment(x_BCHW, flip=False, crop_padding=0, generator=generator()), x_BCHW)


def test_draws_come_from_the_generator_alone() -> None:
    x_BCHW = torch.randn(16, 1, 8, 8, generator=generator())
    first = augment(x_BCHW, flip=True, crop_padding=1, generator=generator(5))
    torch.manual_seed(0)
    assert torch.equal(augment(x_BCHW, flip=True, crop_padding=1, generator=generator(5)), first)
    assert not torch.equal(augment(x_BCHW, flip=True, crop_padding=1, generator=generator(6)), first)
