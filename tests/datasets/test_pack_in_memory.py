"""A pack on no disk is what a cell's pack is, but for its digest."""

import numpy as np
import torch

from repro.datasets.device import DeviceImages
from repro.datasets.memory import pack_in_memory


def test_images_in_memory_come_as_batches_like_those_of_any_pack() -> None:
    x_NHWC = np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 4, 4, 3)
    labels_N = np.array([0, 1, 2, 0, 1, 2])
    pack = pack_in_memory(x_NHWC, labels_N, num_classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, num_test=2)
    assert (pack.manifest.num_train, pack.manifest.num_test, pack.manifest.image_shape) == (6, 2, (4, 4, 3))
    assert pack.manifest.content_sha256 == "", "no data set has this digest"
    assert np.array_equal(pack.x_test, x_NHWC[:2]) and pack.y_test.tolist() == [0, 1]
    images = DeviceImages(pack, part="train", device=torch.device("cpu"), memory_format=torch.contiguous_format)
    x_BCHW, labels_B = images.batch(torch.tensor([5, 0]))
    assert labels_B.tolist() == [2, 0]
    assert torch.equal(x_BCHW, torch.from_numpy(x_NHWC[[5, 0]]).permute(0, 3, 1, 2).float())
