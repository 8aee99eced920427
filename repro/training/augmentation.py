"""Augmentation of a whole batch at once, on the device that holds it.

Grey values are cropped, brought to the model's size, mirrored and changed, then normalised, then partly erased; mixing with one
another (`mixing.mix`) comes after that. Shape letters: B batch, C channels, H height, W width. Must not know recipes' names or
models. Read `augment` first.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from repro.spec import Recipe
from repro.training.enlargement import crop_and_enlarge, enlarge
from repro.training.mixing import erase
from repro.training.seeds import generator_for
from repro.training.trivial_augment import WHITE, trivial_augment


def augment(x_BCHW: Tensor, recipe: Recipe, *, flip: bool, normalise: Callable[[Tensor], Tensor], seed: int) -> Tensor:
    """Float images (B, C, H, W) of grey values 0 … 255 → normalised images of the recipe's size, each changed by its own draws.

    All draws follow from `seed`, whatever the device; only those of flip, padded crop and noise differ between a CPU and a GPU.
    `crop_padding` counts pixels of the images as they come. `flip` is the recipe's where the data set allows it.
    """
    if recipe.crop_padding or flip:
        generator = generator_for(seed, device=x_BCHW.device.type)
    if recipe.crop_padding:
        x_BCHW = reflect_pad_crop(x_BCHW, recipe.crop_padding, generator=generator)
    if recipe.crop_min_area < 1:
        x_BCHW = crop_and_enlarge(x_BCHW, recipe.image_size, min_area=recipe.crop_min_area, seed=seed)
    elif recipe.image_size is not None:
        x_BCHW = enlarge(x_BCHW, recipe.image_size)
    if flip:
        x_BCHW = random_flip(x_BCHW, generator=generator)
    if recipe.trivial_augment:
        if recipe.image_size is not None or recipe.crop_min_area < 1:
            # It counts whole grey values and looks them up, such as Pillow leaves them.
            x_BCHW = x_BCHW.round().clamp_(0, WHITE)
        x_BCHW = trivial_augment(x_BCHW, seed=seed)
    x_BCHW = normalise(x_BCHW)
    if recipe.erase_probability:
        x_BCHW = erase(x_BCHW, probability=recipe.erase_probability, seed=seed)
    return x_BCHW


def draws(recipe: Recipe, *, flip: bool) -> bool:
    """Whether `augment` draws anything for such a recipe, and so needs a seed."""
    changes = recipe.crop_padding or recipe.crop_min_area < 1 or recipe.trivial_augment or recipe.erase_probability
    return flip or bool(changes)


def random_flip(x_BCHW: Tensor, *, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half. The generator must live on the images' device."""
    is_flipped_B = torch.rand(len(x_BCHW), device=x_BCHW.device, generator=generator) < 0.5
    return torch.where(is_flipped_B.view(-1, 1, 1, 1), x_BCHW.flip(-1), x_BCHW)


def reflect_pad_crop(x_BCHW: Tensor, padding: int, *, generator: torch.Generator) -> Tensor:
    """Pad by reflection and crop each image back to its size at its own random offset in 0 … 2 * padding.

    The generator must live on the images' device.
    """
    B, C, H, W = x_BCHW.shape
    padded = functional.pad(x_BCHW, (padding,) * 4, mode="reflect")
    offsets_2B = torch.randint(0, 2 * padding + 1, (2, B), device=x_BCHW.device, generator=generator)
    rows_BH = offsets_2B[0].unsqueeze(1) + torch.arange(H, device=x_BCHW.device)
    columns_BW = offsets_2B[1].unsqueeze(1) + torch.arange(W, device=x_BCHW.device)
    padded = padded.gather(2, rows_BH.view(B, 1, H, 1).expand(B, C, H, W + 2 * padding))
    return padded.gather(3, columns_BW.view(B, 1, 1, W).expand(B, C, H, W))
