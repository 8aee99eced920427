"""Device batches: the right images in grey values, the layout asked for, and normalised by the training part."""

from pathlib import Path

import numpy as np
import pytest
import torch

from repro.datasets import Pack, load_pack, prepare
from repro.datasets.device import DeviceImages
from repro.spec import DatasetSpec
from repro.workspace import Workspace


@pytest.fixture
def pack(workspace: Workspace, tmp_path: Path) -> Pack:
    rng = np.random.default_rng(0)
    x_train = rng.integers(0, 256, (40, 5, 5, 3), dtype=np.uint8)
    x_test = rng.integers(0, 128, (10, 5, 5, 3), dtype=np.uint8)
    x_train[..., 1] = x_test[..., 1] = 51  # a channel that never changes
    np.savez(tmp_path / "own.npz", x_train=x_train, y_train=np.arange(40) % 2, x_test=x_test, y_test=np.arange(10) % 2)
    spec = DatasetSpec(name="own", path=tmp_path / "own.npz")
    prepare(workspace, spec, log=print)
    return load_pack(workspace, spec)


def expected(pack: Pack, images: np.ndarray) -> np.ndarray:
    grey = np.asarray(pack.x_train) / 255
    mean, std = grey.mean(axis=(0, 1, 2)), grey.std(axis=(0, 1, 2))
    std[1] = 1
    return ((images / 255 - mean) / std).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_batches_are_the_images_asked_for(pack: Pack, memory_format: torch.memory_format) -> None:
    images = DeviceImages(pack, part="train", device="cpu", memory_format=memory_format)
    assert len(images) == 40
    positions_B = torch.tensor([7, 0, 39, 7])
    x_BCHW, labels_B = images.batch(positions_B)
    assert (x_BCHW.shape, x_BCHW.dtype, labels_B.dtype) == ((4, 3, 5, 5), torch.float32, torch.int64)
    assert x_BCHW.is_contiguous(memory_format=memory_format)
    assert np.array_equal(x_BCHW.numpy(), pack.x_train[[7, 0, 39, 7]].transpose(0, 3, 1, 2))
    normalised_BCHW = images.normalise(x_BCHW)
    assert normalised_BCHW.is_contiguous(memory_format=memory_format)
    assert np.allclose(normalised_BCHW.numpy(), expected(pack, pack.x_train[[7, 0, 39, 7]]), atol=1e-5)
    assert torch.equal(images.normalised_batch(positions_B)[0], normalised_BCHW)
    assert labels_B.tolist() == pack.y_train[[7, 0, 39, 7]].tolist()


def test_the_whole_training_part_has_mean_zero_and_deviation_one(pack: Pack) -> None:
    x_NCHW, _ = DeviceImages(pack, part="train", device="cpu").normalised_batch(torch.arange(40))
    assert torch.allclose(x_NCHW.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x_NCHW.std(dim=(0, 2, 3), correction=0), torch.tensor([1.0, 0.0, 1.0]), atol=1e-5)


def test_the_test_part_is_normalised_by_the_training_part(pack: Pack) -> None:
    x_NCHW, labels_N = DeviceImages(pack, part="test", device="cpu").normalised_batch(torch.arange(10))
    assert np.allclose(x_NCHW.numpy(), expected(pack, pack.x_test), atol=1e-5)
    assert labels_N.tolist() == pack.y_test.tolist()
    assert x_NCHW[:, 0].mean() < -0.5


def test_normalising_is_bitwise_one_product_and_one_sum(pack: Pack) -> None:
    # As batches were normalised when they left this class: the numbers of earlier records depend on it.
    images = DeviceImages(pack, part="train", device="cpu", memory_format=torch.channels_last)
    std = np.array([value or 1.0 for value in pack.manifest.std])
    scale_C = torch.tensor(1 / (255 * std), dtype=torch.float32)
    shift_C = torch.tensor(-np.array(pack.manifest.mean) / std, dtype=torch.float32)
    x_NHWC = torch.from_numpy(np.array(pack.x_train)).float().mul_(scale_C).add_(shift_C)
    assert torch.equal(images.normalised_batch(torch.arange(40))[0], x_NHWC.permute(0, 3, 1, 2))


def test_a_batch_may_be_changed_in_place(pack: Pack) -> None:
    images = DeviceImages(pack, part="train", device="cpu")
    first, _ = images.batch(torch.arange(3))
    kept = first.clone()
    first.zero_()
    assert torch.equal(images.batch(torch.arange(3))[0], kept)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_batches(pack: Pack) -> None:
    positions_B = torch.arange(0, 40, 3)
    on_cpu, _ = DeviceImages(pack, part="train", device="cpu").normalised_batch(positions_B)
    images = DeviceImages(pack, part="train", device="cuda", memory_format=torch.channels_last)
    on_gpu, labels_B = images.normalised_batch(positions_B)
    assert on_gpu.device.type == labels_B.device.type == "cuda"
    assert torch.allclose(on_gpu.cpu(), on_cpu, atol=1e-6)
