"""Enlarging is torch's antialiased bicubic interpolation, of the whole image or of the box that torchvision would draw."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from repro.models.libraries import import_torchvision
from repro.training.enlargement import LARGEST_ASPECT, crop_and_enlarge, draw_crops, enlarge

torchvision = import_torchvision()
RandomResizedCrop = torchvision.transforms.RandomResizedCrop

SIDES = [
    pytest.param((32, 32), 224, id="up"),
    pytest.param((64, 64), 24, id="down"),
    pytest.param((20, 31), 48, id="up, not square"),
    pytest.param((40, 33), 11, id="down, not square"),
    pytest.param((12, 40), 24, id="up and down"),
    pytest.param((8, 8), 8, id="same"),
    pytest.param((3, 2), 5, id="few pixels"),
    pytest.param((1, 1), 4, id="one pixel"),
]


def greys(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def interpolated(x_BCHW: Tensor, size: int) -> Tensor:
    return functional.interpolate(x_BCHW, size=(size, size), mode="bicubic", antialias=True, align_corners=False)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("sides", "size"), SIDES)
def test_whole_images_are_interpolated(sides: tuple[int, int], size: int, channels: int) -> None:
    x_BCHW = greys(4, channels, *sides)
    torch.testing.assert_close(enlarge(x_BCHW, size), interpolated(x_BCHW, size), rtol=1e-4, atol=2e-3)
    exact_BCHW = greys(4, channels, *sides, dtype=torch.float64)
    torch.testing.assert_close(enlarge(exact_BCHW, size), interpolated(exact_BCHW, size), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("sides", "size"), SIDES)
def test_each_image_is_its_own_box_interpolated(sides: tuple[int, int], size: int, channels: int) -> None:
    height, width = sides
    boxes = draw_crops(40, height=height, width=width, min_area=0.05, seed=3)
    for dtype, tolerance in ((torch.float32, 2e-3), (torch.float64, 1e-9)):
        x_BCHW = greys(40, channels, height, width, dtype=dtype)
        got = crop_and_enlarge(x_BCHW, size, min_area=0.05, seed=3)
        assert got.shape == (40, channels, size, size)
        for place, (top, bottom, left, right) in enumerate(boxes.sides_4B.T):
            crop = x_BCHW[place : place + 1, :, top:bottom, left:right]
            torch.testing.assert_close(got[place : place + 1], interpolated(crop, size), rtol=1e-4, atol=tolerance)


def test_without_a_size_boxes_are_brought_to_the_images_own() -> None:
    x_BCHW = greys(6, 3, 10, 14)
    got = crop_and_enlarge(x_BCHW, None, min_area=0.2, seed=1)
    boxes = draw_crops(6, height=10, width=14, min_area=0.2, seed=1)
    for place, (top, bottom, left, right) in enumerate(boxes.sides_4B.T):
        crop = x_BCHW[place : place + 1, :, top:bottom, left:right]
        expected = functional.interpolate(crop, size=(10, 14), mode="bicubic", antialias=True)
        torch.testing.assert_close(got[place : place + 1], expected, rtol=1e-4, atol=2e-3)


def test_a_box_that_is_all_of_the_image_leaves_it_bit_by_bit() -> None:
    # Of boxes as large as the image only those that are nearly square fit, and otherwise the whole image is taken.
    x_BCHW = greys(50, 3, 9, 9)
    boxes = draw_crops(50, height=9, width=9, min_area=1.0, seed=0)
    is_whole_B = torch.from_numpy(boxes.areas() == 81)
    assert is_whole_B.any()
    got = crop_and_enlarge(x_BCHW, 9, min_area=1.0, seed=0)
    assert torch.equal(got[is_whole_B], x_BCHW[is_whole_B])
    assert enlarge(x_BCHW, 9) is x_BCHW


@pytest.mark.parametrize("size", [5, 17, 40])
def test_even_images_stay_even_and_edges_overshoot_unclipped(size: int) -> None:
    even = torch.full((8, 3, 16, 16), 255.0)
    for got in (enlarge(even, size), crop_and_enlarge(even, size, min_area=0.05, seed=0)):
        torch.testing.assert_close(got, torch.full_like(got, 255.0), rtol=1e-5, atol=0)
    edge = torch.zeros(1, 1, 16, 16)
    edge[..., 8:] = 255
    got = enlarge(edge, size)
    assert got.min() < -1 and got.max() > 256


def test_the_memory_format_is_kept() -> None:
    x_BCHW = greys(4, 3, 8, 8)
    expected = (enlarge(x_BCHW, 12), crop_and_enlarge(x_BCHW, 12, min_area=0.3, seed=0))
    assert all(result.is_contiguous() for result in expected)
    last_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
    got = (enlarge(last_BCHW, 12), crop_and_enlarge(last_BCHW, 12, min_area=0.3, seed=0))
    assert all(result.is_contiguous(memory_format=torch.channels_last) for result in got)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_boxes_follow_the_seed_alone() -> None:
    x_BCHW = greys(16, 3, 12, 12)
    kept = x_BCHW.clone()
    first = crop_and_enlarge(x_BCHW, 20, min_area=0.05, seed=4)
    torch.manual_seed(0)
    assert torch.equal(crop_and_enlarge(x_BCHW, 20, min_area=0.05, seed=4), first)
    assert not torch.equal(crop_and_enlarge(x_BCHW, 20, min_area=0.05, seed=5), first)
    assert torch.equal(x_BCHW, kept), "the batch given stays as it was"


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40), (300, 200)])
@pytest.mark.parametrize("min_area", [0.05, 0.5])
def test_boxes_are_drawn_as_torchvisions(height: int, width: int, min_area: float) -> None:
    boxes = draw_crops(20_000, height=height, width=width, min_area=min_area, seed=0)
    top, bottom, left, right = boxes.sides_4B
    heights, widths = bottom - top, right - left
    assert (heights > 0).all() and (widths > 0).all()
    assert (top >= 0).all() and (bottom <= height).all() and (left >= 0).all() and (right <= width).all()
    assert 0 in top and height in bottom and 0 in left and width in right, "also at the border"

    torch.manual_seed(0)
    image, ratio = torch.empty(1, height, width), (1 / LARGEST_ASPECT, LARGEST_ASPECT)
    theirs = np.array([RandomResizedCrop.get_params(image, (min_area, 1.0), ratio) for _ in range(4000)]).T

    def moments(top: np.ndarray, left: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> list[float]:
        area, aspect = heights * widths / (height * width), np.log(widths / heights)
        middle = ((top + heights / 2) / height, (left + widths / 2) / width)
        return [value for part in (area, aspect, *middle) for value in (part.mean(), part.std())]

    assert moments(top, left, heights, widths) == pytest.approx(moments(*theirs), abs=0.02)


@pytest.mark.parametrize(("height", "width"), [(4, 40), (40, 4), (5, 30), (1, 9), (1, 1)])
def test_where_no_box_fits_the_largest_legal_one_in_the_middle_is_taken(height: int, width: int) -> None:
    boxes = draw_crops(20, height=height, width=width, min_area=0.9, seed=0)
    random.seed(0)
    torch.manual_seed(0)
    ratio = (1 / LARGEST_ASPECT, LARGEST_ASPECT)
    row, column, tall, wide = RandomResizedCrop.get_params(torch.empty(1, height, width), (0.9, 1.0), ratio)
    assert all(box.tolist() == [row, row + tall, column, column + wide] for box in boxes.sides_4B.T)


@pytest.mark.gpu
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_gpu_gives_the_same_without_waiting(memory_format: torch.memory_format) -> None:
    x_BCHW = greys(32, 3, 32, 32)
    on_gpu = x_BCHW.to("cuda", memory_format=memory_format)
    expected = (enlarge(x_BCHW, 224), crop_and_enlarge(x_BCHW, 224, min_area=0.05, seed=0))
    crop_and_enlarge(on_gpu, 224, min_area=0.05, seed=0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = (enlarge(on_gpu, 224), crop_and_enlarge(on_gpu, 224, min_area=0.05, seed=0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for one, other in zip(got, expected, strict=True):
        assert one.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=2e-3, check_stride=False)
