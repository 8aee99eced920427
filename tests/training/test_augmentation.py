"""Flip and crop move pixels as they say, each image by its own draw; the parts of `augment` come in their order."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from training_toy import RECIPE, STRONG

from repro.spec import Recipe
from repro.training.augmentation import augment, random_flip, reflect_pad_crop
from repro.training.enlargement import crop_and_enlarge, enlarge
from repro.training.mixing import erase
from repro.training.trivial_augment import trivial_augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def greys(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=generator()).float()


def normalise(x_BCHW: Tensor) -> Tensor:
    return (x_BCHW - 100) / 50


def augmented(x_BCHW: Tensor, *, seed: int = 5, flip: bool = False, **changes: object) -> Tensor:
    recipe = Recipe.model_validate(RECIPE.model_dump() | {"flip": flip} | changes)
    return augment(x_BCHW, recipe, flip=flip, normalise=normalise, seed=seed)


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


def test_nothing_asked_is_nothing_done_but_normalised() -> None:
    x_BCHW = greys(4, 1, 8, 8)
    assert torch.equal(augmented(x_BCHW), normalise(x_BCHW))


def test_a_recipes_flip_needs_the_data_sets_permission() -> None:
    x_BCHW = greys(16, 1, 8, 8)
    recipe = RECIPE.model_copy(update={"flip": True})
    assert torch.equal(augment(x_BCHW, recipe, flip=False, normalise=normalise, seed=5), normalise(x_BCHW))


@pytest.mark.parametrize("shape", [(16, 1, 8, 8), (16, 3, 7, 5), (5, 3, 2, 3)], ids=str)
def test_draws_come_from_the_seed_alone(shape: tuple[int, ...]) -> None:
    x_BCHW = greys(*shape)

    def strong(seed: int) -> Tensor:
        return augment(x_BCHW, STRONG, flip=True, normalise=normalise, seed=seed)

    first = strong(5)
    assert first.shape == x_BCHW.shape
    torch.manual_seed(0)
    assert torch.equal(strong(5), first)
    assert not torch.equal(strong(6), first)


def test_grey_values_are_changed_before_they_are_normalised_and_noise_comes_after() -> None:
    x_BCHW = greys(32, 3, 8, 8)
    moved = reflect_pad_crop(x_BCHW, 2, generator=(draws := generator(5)))
    moved = random_flip(moved, generator=draws)
    expected = erase(normalise(trivial_augment(moved, seed=5)), probability=0.5, seed=5)
    got = augmented(x_BCHW, flip=True, crop_padding=2, trivial_augment=True, erase_probability=0.5)
    assert torch.equal(got, expected)


def test_one_change_does_not_alter_the_draws_of_another() -> None:
    x_BCHW = greys(32, 3, 8, 8)
    is_erased = augmented(x_BCHW, erase_probability=0.5) != normalise(x_BCHW)
    changed = augmented(x_BCHW, trivial_augment=True)
    both = augmented(x_BCHW, trivial_augment=True, erase_probability=0.5)
    assert torch.equal(both[~is_erased], changed[~is_erased])


def test_the_batch_given_stays_as_it_was() -> None:
    x_BCHW = greys(32, 3, 8, 8)
    kept = x_BCHW.clone()
    augment(x_BCHW, STRONG, flip=True, normalise=normalise, seed=1)
    assert torch.equal(x_BCHW, kept)


def test_images_are_cropped_at_their_own_size_then_enlarged_then_mirrored() -> None:
    x_BCHW = greys(32, 3, 8, 8)
    moved = reflect_pad_crop(x_BCHW, 2, generator=(draws := generator(5)))
    cut = crop_and_enlarge(moved, 12, min_area=0.3, seed=5)
    expected = normalise(random_flip(cut, generator=draws))
    assert torch.equal(augmented(x_BCHW, flip=True, crop_padding=2, crop_min_area=0.3, image_size=12), expected)


def test_a_size_alone_takes_the_whole_image_and_a_share_alone_keeps_the_size() -> None:
    x_BCHW = greys(16, 3, 8, 8)
    assert torch.equal(augmented(x_BCHW, image_size=12), normalise(enlarge(x_BCHW, 12)))
    cut = crop_and_enlarge(x_BCHW, 8, min_area=0.3, seed=5)
    assert torch.equal(augmented(x_BCHW, crop_min_area=0.3), normalise(cut))
    assert torch.equal(augmented(x_BCHW, image_size=8), normalise(x_BCHW))


@pytest.mark.parametrize(
    "changes", [{"image_size": 20}, {"crop_min_area": 0.2}, {"image_size": 5, "crop_min_area": 0.2}], ids=str
)
def test_trivial_augment_is_given_whole_grey_values_of_enlarged_images(changes: dict[str, object]) -> None:
    # Black beside white overshoots on both sides; equalising would look for a grey value of -20.
    x_BCHW = 255 * (torch.arange(8) // 4).float().expand(200, 3, 8, 8)
    got = augmented(x_BCHW, trivial_augment=True, **changes) * 50 + 100
    torch.testing.assert_close(got, got.round().clamp(0, 255), rtol=0, atol=1e-3)


def test_enlarging_and_cropping_do_not_alter_other_draws() -> None:
    x_BCHW = torch.arange(8.0).expand(64, 3, 8, 8)
    is_mirrored = augmented(x_BCHW, flip=True).diff(dim=3).mean(dim=(1, 2, 3)) < 0
    is_mirrored_too = augmented(x_BCHW, flip=True, image_size=16, crop_min_area=0.5).diff(dim=3).mean(dim=(1, 2, 3)) < 0
    assert 0 < is_mirrored.sum() < 64
    assert torch.equal(is_mirrored, is_mirrored_too)


def test_the_enlarged_batch_given_stays_as_it_was() -> None:
    x_BCHW = greys(32, 3, 8, 8)
    kept = x_BCHW.clone()
    for size in (8, 12):
        augmented(x_BCHW, flip=True, image_size=size, crop_min_area=0.5, trivial_augment=True, erase_probability=0.5)
        augmented(x_BCHW, image_size=size, trivial_augment=True)
    assert torch.equal(x_BCHW, kept)
