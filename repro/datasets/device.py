"""Batches of a data set on the device: one part of a pack, resident there as uint8, and how its values are normalised.

`streaming` has the same for a part that does not fit; these two are the modules of this package that import torch. Must not
know recipes, models or augmentation. Read `DeviceImages.batch` first.

Shape letters: N images of the part, B images of a batch, C channels, H height, W width.
"""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from repro.datasets.arrays import Images, Labels
from repro.datasets.pack import Pack
from repro.errors import OutOfMemory

PartName = Literal["train", "test"]


class PartImages(ABC):
    """What both ways of holding a part have in common: labels on the device, grey values as float, normalisation."""

    def __init__(self, pack: Pack, *, part: PartName, device: str | torch.device, memory_format: torch.memory_format) -> None:
        """Put the labels on the device. Raises OutOfMemory when they do not fit."""
        manifest = pack.manifest
        self._images_NHWC, labels_N = arrays_of(pack, part)
        self._device = torch.device(device)
        self._memory_format = memory_format
        self._name = f"{len(labels_N)} {part} images of {manifest.name}"
        std = np.array([value or 1.0 for value in manifest.std])
        try:
            self._labels_N = torch.from_numpy(np.array(labels_N)).to(self._device)
            scale_C = torch.tensor(1 / (255 * std), dtype=torch.float32, device=self._device)
            shift_C = torch.tensor(-np.array(manifest.mean) / std, dtype=torch.float32, device=self._device)
            self._scale_C11, self._shift_C11 = scale_C.view(-1, 1, 1), shift_C.view(-1, 1, 1)
        except torch.OutOfMemoryError as error:
            raise self._does_not_fit() from error

    def __len__(self) -> int:
        return len(self._labels_N)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @abstractmethod
    def batch(self, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels at `positions_B` (int64 (B,)) of the part, both on this object's device.

        Images are float32 (B, C, H, W), grey values 0 … 255 in the memory format asked for, the caller's own; labels are int64
        (B,).
        """

    @abstractmethod
    def prefetch(self, positions_B: Tensor) -> None:
        """A hint that `batch` will be asked for these positions next."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held beside memory."""

    def normalise(self, x_BCHW: Tensor) -> Tensor:
        """Grey values 0 … 255 → values with mean 0 and standard deviation 1 over the whole training part, in each channel.

        Whichever part this is and however few images are trained on; a constant channel is only centred.
        """
        return x_BCHW.mul(self._scale_C11).add_(self._shift_C11)

    def normalised_batch(self, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """As `batch`, the images normalised: what is evaluated."""
        x_BCHW, labels_B = self.batch(positions_B)
        return self.normalise(x_BCHW), labels_B

    def _as_grey_values(self, x_BHWC: Tensor) -> Tensor:
        """uint8 (B, H, W, C) → float32 (B, C, H, W), both on the device."""
        return x_BHWC.to(torch.float32).permute(0, 3, 1, 2).contiguous(memory_format=self._memory_format)

    def _does_not_fit(self) -> OutOfMemory:
        return OutOfMemory(
            f"The {self._name} ({self._images_NHWC.nbytes / 2**30:.2f} GiB) do not fit on {self._device}.",
            remedy="Free memory on the device (nvidia-smi shows who uses it), or choose smaller images.",
        )


class DeviceImages(PartImages):
    """One part of a data set, resident on one device, in the pack's order."""

    def __init__(
        self,
        pack: Pack,
        *,
        part: PartName,
        device: str | torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        """Read a whole part from its mapped file and copy it to the device, N x H x W x C bytes.

        Raises OutOfMemory when the part does not fit.
        """
        super().__init__(pack, part=part, device=device, memory_format=memory_format)
        try:
            self._x_NHWC = torch.from_numpy(np.array(self._images_NHWC)).to(self._device)
        except torch.OutOfMemoryError as error:
            raise self._does_not_fit() from error

    def batch(self, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """As `PartImages.batch`; positions may lie on any device."""
        positions_B = positions_B.to(self._device, non_blocking=True)
        return self._as_grey_values(self._x_NHWC.index_select(0, positions_B)), self._labels_N.index_select(0, positions_B)

    def prefetch(self, positions_B: Tensor) -> None:
        """Nothing: the images are there."""

    def close(self) -> None:
        """Nothing: memory goes with the object."""


def arrays_of(pack: Pack, part: PartName) -> tuple[Images, Labels]:
    """Images and labels of a part."""
    return (pack.x_train, pack.y_train) if part == "train" else (pack.x_test, pack.y_test)
