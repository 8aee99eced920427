"""Images on the device: one part of a pack as uint8 that lies there, and normalised batches of it.

The one module of this package that imports torch. Must not know recipes, models or augmentation. Read `DeviceImages.batch`
first.

Shape letters: N images of the part, B images of a batch, C channels, H height, W width.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from repro.datasets.pack import Pack
from repro.errors import OutOfMemory


class DeviceImages:
    """One part of a data set, resident on one device, in the pack's order."""

    def __init__(
        self,
        pack: Pack,
        *,
        part: Literal["train", "test"],
        device: str | torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        """Read a whole part from its mapped file and copy it to the device, N x H x W x C bytes.

        Values are normalised by mean and standard deviation of the whole training part, whichever part this is and however few
        images are trained on; a constant channel is only centred. Raises OutOfMemory when the part does not fit.
        """
        manifest = pack.manifest
        images, labels = (pack.x_train, pack.y_train) if part == "train" else (pack.x_test, pack.y_test)
        std = np.array([value or 1.0 for value in manifest.std])
        self._device = torch.device(device)
        self._memory_format = memory_format
        try:
            self._x_NHWC = torch.from_numpy(np.array(images)).to(self._device)
            self._labels_N = torch.from_numpy(np.array(labels)).to(self._device)
            self._scale_C = torch.tensor(1 / (255 * std), dtype=torch.float32, device=self._device)
            self._shift_C = torch.tensor(-np.array(manifest.mean) / std, dtype=torch.float32, device=self._device)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"The {len(labels)} {part} images of {manifest.name} ({images.nbytes / 2**30:.2f} GiB) do not fit on {device}.",
                remedy="Free memory on the device (nvidia-smi shows who uses it), or choose smaller images.",
            ) from error

    def __len__(self) -> int:
        return len(self._labels_N)

    def batch(self, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels at `positions_B` (int64 (B,), on any device) of the part, both on this object's device.

        Images are float32 (B, C, H, W) in the memory format asked for, normalised; labels are int64 (B,).
        """
        positions_B = positions_B.to(self._device, non_blocking=True)
        x_BHWC = self._x_NHWC[positions_B].to(torch.float32).mul_(self._scale_C).add_(self._shift_C)
        return x_BHWC.permute(0, 3, 1, 2).contiguous(memory_format=self._memory_format), self._labels_N[positions_B]
