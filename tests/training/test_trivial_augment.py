"""Each operation does what torchvision's does to the same image with the same strength; operations are drawn evenly."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from repro.models.libraries import import_torchvision
from repro.training.trivial_augment import (
    KINDS,
    NUM_STRENGTHS,
    SIGNED,
    Operation,
    apply_operations,
    draw_operations,
    strength_table,
    trivial_augment,
)

torchvision = import_torchvision()
F = torchvision.transforms.functional
NEAREST = torchvision.transforms.InterpolationMode.NEAREST

SHAPES = [(3, 32, 32), (1, 8, 8), (3, 7, 5), (1, 9, 12), (3, 2, 2), (3, 64, 64)]


def greys(num_images: int, *shape: int, seed: int = 0) -> Tensor:
    """Random images uint8 (N, C, H, W), of contrasts that differ; the first is flat, the second black but for one pixel."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (num_images, *shape), generator=generator)
    lowest = torch.randint(0, 100, (num_images, shape[0], 1, 1), generator=generator)
    images = torch.maximum(torch.minimum(images, 255 - lowest), lowest)
    images[0] = 77
    images[1] = 0
    images[1, 0, 0, 0] = 200
    return images.to(torch.uint8)


def shear(image: Tensor, across: float, down: float) -> Tensor:
    angles = [float(np.degrees(np.arctan(value))) for value in (across, down)]
    return F.affine(image, 0.0, [0, 0], 1.0, angles, interpolation=NEAREST, center=[0, 0])


def translate(image: Tensor, across: float, down: float) -> Tensor:
    return F.affine(image, 0.0, [int(across), int(down)], 1.0, [0.0, 0.0], interpolation=NEAREST)


REFERENCE: dict[Operation, Callable[[Tensor, float], Tensor]] = {
    Operation.IDENTITY: lambda image, _: image,
    Operation.SHEAR_X: lambda image, strength: shear(image, strength, 0.0),
    Operation.SHEAR_Y: lambda image, strength: shear(image, 0.0, strength),
    Operation.TRANSLATE_X: lambda image, strength: translate(image, strength, 0),
    Operation.TRANSLATE_Y: lambda image, strength: translate(image, 0, strength),
    Operation.ROTATE: lambda image, strength: F.rotate(image, strength, interpolation=NEAREST),
    Operation.BRIGHTNESS: lambda image, strength: F.adjust_brightness(image, 1 + strength),
    Operation.COLOR: lambda image, strength: F.adjust_saturation(image, 1 + strength),
    Operation.CONTRAST: lambda image, strength: F.adjust_contrast(image, 1 + strength),
    Operation.SHARPNESS: lambda image, strength: F.adjust_sharpness(image, 1 + strength),
    Operation.POSTERIZE: lambda image, strength: F.posterize(image, int(strength)),
    Operation.SOLARIZE: lambda image, strength: F.solarize(image, strength),
    Operation.AUTOCONTRAST: lambda image, _: F.autocontrast(image),
    Operation.EQUALIZE: lambda image, _: F.equalize(image),
}
MAY_DIFFER_BY_ONE = {
    # Its mean is a sum of many floats, whose order differs; all others compute each pixel as torchvision does.
    Operation.CONTRAST,
}


def strengths_of(operation: Operation, height: int, width: int) -> np.ndarray:
    table = strength_table(height=height, width=width)[operation]
    return np.concatenate([table, -table]) if operation in SIGNED else table


@pytest.mark.parametrize("operation", Operation, ids=lambda operation: operation.name.lower())
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_operation_does_what_torchvisions_does(operation: Operation, shape: tuple[int, int, int]) -> None:
    strengths = strengths_of(operation, *shape[1:])
    images = greys(len(strengths), *shape)
    got = apply_operations(images.float(), np.full(len(strengths), int(operation)), strengths)
    wanted = torch.stack([REFERENCE[operation](image, value) for image, value in zip(images, strengths.tolist(), strict=True)])
    assert got.dtype == torch.float32
    difference = (got - wanted.float()).abs()
    if operation == Operation.ROTATE:
        # Some places lie half-way between two pixels, most of them at 45 and 135 degrees; there the last bit of a float decides
        # which one is taken.
        is_tie = half_way(strengths, *shape[1:])
        assert is_tie.float().mean() < 0.1
        difference = difference.masked_fill(is_tie.unsqueeze(1), 0)
    assert difference.max() <= (1 if operation in MAY_DIFFER_BY_ONE else 0)
    assert (difference > 0).float().mean() < 1e-3


def half_way(degrees: np.ndarray, height: int, width: int) -> Tensor:
    """Where a rotation's origin lies as good as half-way between two pixels, bool (N, H, W)."""
    column = np.arange(width) - (width - 1) / 2
    row = (np.arange(height) - (height - 1) / 2)[:, None]
    cosine, sine = (function(np.radians(degrees))[:, None, None] for function in (np.cos, np.sin))
    across = cosine * column - sine * row + (width - 1) / 2
    down = sine * column + cosine * row + (height - 1) / 2
    return torch.from_numpy((np.abs(across % 1 - 0.5) < 1e-5) | (np.abs(down % 1 - 0.5) < 1e-5))


def test_the_strengths_are_torchvisions() -> None:
    space = torchvision.transforms.TrivialAugmentWide()._augmentation_space(NUM_STRENGTHS)
    table = strength_table(height=224, width=224)
    assert [name.lower() for name in space] == [operation.name.lower().replace("_", "") for operation in Operation]
    for operation, (magnitudes, is_signed) in zip(Operation, space.values(), strict=True):
        assert np.allclose(table[operation], magnitudes.double().numpy(), rtol=1e-6, atol=1e-4), operation
        assert (operation in SIGNED) == is_signed


def test_small_images_are_moved_by_their_own_side_at_most() -> None:
    assert strength_table(height=8, width=6)[[Operation.TRANSLATE_Y, Operation.TRANSLATE_X], -1].tolist() == [8, 6]
    assert strength_table(height=32, width=224)[[Operation.TRANSLATE_Y, Operation.TRANSLATE_X], -1].tolist() == [32, 32]


def test_every_operation_has_its_kind() -> None:
    assert [operation for first, last, _ in KINDS for operation in range(first, last + 1)] == list(Operation)


def test_images_of_a_mixed_batch_keep_their_places() -> None:
    operations, strengths = draw_operations(200, height=6, width=6, seed=3)
    images = greys(200, 3, 6, 6).float()
    together = apply_operations(images, operations, strengths)
    for place in range(200):
        alone = apply_operations(images[place : place + 1], operations[place : place + 1], strengths[place : place + 1])
        assert torch.equal(together[place], alone[0]), Operation(operations[place])


def test_operations_strengths_and_signs_are_drawn_evenly() -> None:
    operations, strengths = draw_operations(140_000, height=32, width=32, seed=0)
    counts = np.bincount(operations, minlength=len(Operation))
    # Standard deviation 96.
    assert np.abs(counts - 10_000).max() < 450
    table = strength_table(height=32, width=32)
    for operation in Operation:
        drawn = strengths[operations == operation]
        assert set(np.abs(drawn)) == set(table[operation])
        assert (drawn.min() < 0) == (operation in SIGNED)
        expected = 0 if operation in SIGNED else table[operation].mean()
        assert abs(drawn.mean() - expected) < 0.05 * max(1, np.abs(table[operation]).max())


def test_draws_depend_on_the_seed_alone() -> None:
    images = greys(64, 3, 8, 8).float()
    first = trivial_augment(images, seed=1)
    np.random.default_rng(0)
    torch.manual_seed(0)
    assert torch.equal(trivial_augment(images, seed=1), first)
    assert not torch.equal(trivial_augment(images, seed=2), first)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_memory_layout_does_not_matter_and_the_argument_stays(memory_format: torch.memory_format) -> None:
    images = greys(64, 3, 12, 12).float()
    given = images.clone(memory_format=memory_format)
    changed = trivial_augment(given, seed=1)
    assert torch.equal(given, images)
    assert torch.equal(changed.round(), changed)
    assert changed.min() >= 0 and changed.max() <= 255
    assert (changed - trivial_augment(images, seed=1)).abs().max() <= 1  # the mean of `contrast`, summed in another order
